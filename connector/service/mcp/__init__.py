"""The same operations as tools for agents."""
