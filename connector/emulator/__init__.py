"""Stands in for Dataverse: the closing slice of the service, true to the documents."""
