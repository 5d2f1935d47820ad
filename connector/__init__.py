"""Closes Dynamics 365 opportunities, with their quotes, through the Dataverse Web API.

The public names load when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.assembly.audited_calls import close_many, close_opportunity, preview, reopen_many, reopen_opportunity
    from connector.assembly.connection import connect
    from connector.bulk.status import JobReport, Jobs
    from connector.cli.failure_text import report_failure
    from connector.cli.program import run as run_command
    from connector.closing.intent import DraftPolicy, Intent, Outcome, ReopenIntent
    from connector.closing.model import Plan, Refusal, Report
    from connector.closing.organization import Query
    from connector.dataverse.search import Changes
    from connector.errors import ConnectorError
    from connector.ledger.lock_files import exclusive
    from connector.settings.environment import load as load_settings

__all__ = [
    "Changes",
    "ConnectorError",
    "DraftPolicy",
    "Intent",
    "JobReport",
    "Jobs",
    "Outcome",
    "Plan",
    "Query",
    "Refusal",
    "ReopenIntent",
    "Report",
    "close_many",
    "close_opportunity",
    "connect",
    "exclusive",
    "load_settings",
    "preview",
    "reopen_many",
    "reopen_opportunity",
    "report_failure",
    "run_command",
]

_MODULES = {
    "bulk.status": "JobReport Jobs",
    "assembly.connection": "connect",
    "cli.failure_text": "report_failure",
    "cli.program": "run_command:run",
    "assembly.audited_calls": "close_many close_opportunity preview reopen_many reopen_opportunity",
    "closing.intent": "DraftPolicy Intent Outcome ReopenIntent",
    "closing.model": "Plan Refusal Report",
    "closing.organization": "Query",
    "dataverse.search": "Changes",
    "errors": "ConnectorError",
    "ledger.lock_files": "exclusive",
    "settings.environment": "load_settings:load",
}
"""The public names by their module; after a colon the name there, if it is another."""
_HOMES = {
    public: (module, own_name or public)
    for module, names in _MODULES.items()
    for public, _, own_name in (name.partition(":") for name in names.split())
}


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'connector' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"connector.{module}"), attribute)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
