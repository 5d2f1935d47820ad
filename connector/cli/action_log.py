"""The audit log of what single commands do: written down before it begins, and again when its end is known."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from connector.cli.bulk.process import started_by
from connector.cli.screen import say
from connector.clock import SystemClock
from connector.closing.model import Intent, ReopenIntent, Report
from connector.closing.report import audit_data
from connector.errors import LedgerError
from connector.ledger.audit import AuditEntry, AuditSource
from connector.ledger.ledger import Ledger
from connector.ledger.store import SMALL_CACHE, open_ledger
from connector.settings.settings import Settings

STORE_PATIENCE = 8.0
"""Seconds for which an answer of a shared store is waited for."""


def written_down(
    settings: Settings, intent: Intent | ReopenIntent, organization: str, user: str, act: Callable[[], Report]
) -> Report:
    """Return what `act` reports, and keep it in the audit log; what cannot be kept there is said, and changes nothing.

    `organization` is its address, `user` as whom it is done there.
    """
    started = started_by()
    door = str(started.get("door", "command"))
    source = AuditSource(door, str(started["started_by"]), socket.gethostname(), user, organization)
    entry = AuditEntry("", intent.opportunity_id, source)
    with ExitStack() as closing:
        opened = _begun(settings, entry, closing)
        report = act()
        if opened is not None:
            ledger, number = opened
            try:
                ledger.audit.end(number, replace(entry, event=report.status.value, details=audit_data(report, intent)))
            except LedgerError as error:
                _say_not_kept(error)
        return report


def _begun(settings: Settings, entry: AuditEntry, closing: ExitStack) -> tuple[Ledger, int] | None:
    try:
        ledger = open_ledger(settings.store, SystemClock(), cache=SMALL_CACHE, patience=STORE_PATIENCE)
        closing.callback(ledger.close)
        ledger.audit.forget(settings.log_days)
        return ledger, ledger.audit.begin(entry)
    except LedgerError as error:
        _say_not_kept(error)
        return None


def _say_not_kept(error: LedgerError) -> None:
    say(f"Warning: The audit log does not have this. {error.message} {error.remedy}", sys.stderr)
