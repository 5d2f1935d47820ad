"""Who calls: tokens, keys, limits."""
