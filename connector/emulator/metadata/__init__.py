"""What an organization says of itself: service document, `$metadata`, table definitions."""
