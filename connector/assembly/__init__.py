"""Joins the parts: from settings to an organization or a hosted endpoint. No other room names concrete parts."""

from connector.assembly.connection import Connection, IdentityClient, connect, network_of, tell_on_stderr, user_id

__all__ = ["Connection", "IdentityClient", "connect", "network_of", "tell_on_stderr", "user_id"]
