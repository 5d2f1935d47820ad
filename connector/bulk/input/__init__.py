"""Files of rows, read as intents."""
