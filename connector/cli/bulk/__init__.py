"""The commands of bulk jobs."""

from connector.cli.bulk.commands import bulk

__all__ = ["bulk"]
