"""Closes Dynamics 365 opportunities, with their quotes, through the Dataverse Web API.

The public names load when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.assembly import connect
    from connector.closing.close import close_many, close_opportunity, preview, reopen_many, reopen_opportunity
    from connector.closing.model import DraftPolicy, Intent, Outcome, Plan, Refusal, ReopenIntent, Report
    from connector.errors import ConnectorError
    from connector.settings.environment import load as load_settings

__all__ = [
    "ConnectorError",
    "DraftPolicy",
    "Intent",
    "Outcome",
    "Plan",
    "Refusal",
    "ReopenIntent",
    "Report",
    "close_many",
    "close_opportunity",
    "connect",
    "load_settings",
    "preview",
    "reopen_many",
    "reopen_opportunity",
]

_HOMES = {
    "ConnectorError": "connector.errors",
    "DraftPolicy": "connector.closing.model",
    "Intent": "connector.closing.model",
    "Outcome": "connector.closing.model",
    "Plan": "connector.closing.model",
    "Refusal": "connector.closing.model",
    "ReopenIntent": "connector.closing.model",
    "Report": "connector.closing.model",
    "close_many": "connector.closing.close",
    "close_opportunity": "connector.closing.close",
    "connect": "connector.assembly",
    "load_settings": "connector.settings.environment:load",
    "preview": "connector.closing.close",
    "reopen_many": "connector.closing.close",
    "reopen_opportunity": "connector.closing.close",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'connector' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
