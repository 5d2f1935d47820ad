"""Signing in: MSAL, authorities, challenges."""
