"""The routes of the endpoint: one request in, one answer out."""
