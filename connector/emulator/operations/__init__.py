"""The operations of the Web API on rows: bodies read, rows fetched and written, messages invoked, answers formed."""
