"""How requests come in: over a socket with TLS, or as an adapter for requests with no socket."""
