"""The way in: the hosted endpoint for Power Automate and agents."""
