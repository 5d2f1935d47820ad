"""The tenant: applications and people, tokens issued and checked, the token endpoint."""
