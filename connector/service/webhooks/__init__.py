"""The trigger: subscriptions, what feeds them, and their callbacks."""
