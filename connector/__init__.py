"""Closes Dynamics 365 opportunities, with their quotes, through the Dataverse Web API."""
