"""The rules a connector definition must keep, as a lint."""
