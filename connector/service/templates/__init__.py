"""The pages of the endpoint."""
