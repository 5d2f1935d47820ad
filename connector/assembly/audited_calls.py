"""The close and its way back as Python programs call them, each kept in the audit log like those of every other door.

An entry is written before anything is done, and completed when its end is known. The commands use the same `audited`.
"""

from __future__ import annotations

import getpass
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from connector.assembly.connection import Connection
from connector.clock import SystemClock
from connector.closing import close
from connector.closing.intent import AnyIntent
from connector.closing.model import Intent, ReopenIntent, Report, ReportStatus
from connector.closing.report import audit_data
from connector.errors import InputError, LedgerError
from connector.ledger.audit import AuditEntry, AuditSource
from connector.ledger.store import SMALL_CACHE, open_ledger

STORE_PATIENCE = 8.0
"""Seconds for which an answer of a shared store is waited for."""
_UNBOUND: Mapping[UUID, None] = MappingProxyType({})
_OWN = {"connector", "__main__"}
"""How the command line itself is called; another program is a script that uses the connector."""


def close_opportunity(connection: Connection, intent: Intent, *, if_plan: str | None = None) -> Report:
    """Close one opportunity with its quotes and report what came of it; a failure is a report too.

    With `if_plan`, the digest of a plan, it acts on exactly that plan or is refused. The audit log has an entry of it;
    where none can be written that is said, and the close stands.

    >>> with connect(load_settings()) as connection:
    ...     close_opportunity(connection, Intent(opportunity_id, Outcome.LOST)).status.value
    'closed'
    """
    return close_many(connection, [intent], if_plans={intent.opportunity_id: if_plan})[0]


def close_many(
    connection: Connection, intents: Sequence[Intent], *, if_plans: Mapping[UUID, str | None] = _UNBOUND
) -> list[Report]:
    """Close opportunities side by side and return a report each, in order; one's failure does not stop another.

    `if_plans` has the digest of the approved plan by opportunity, where there is one. Raises InputError when an
    opportunity is named twice, before anything is read.

    >>> with connect(load_settings()) as connection:
    ...     reports = close_many(connection, [Intent(opportunity_id, Outcome.LOST)])
    >>> [report.status.value for report in reports]
    ['closed']
    """
    return _kept(connection, intents, if_plans)


def reopen_opportunity(connection: Connection, intent: ReopenIntent, *, if_plan: str | None = None) -> Report:
    """Open one opportunity and put the quotes this connector closed back to draft; as `close_opportunity`.

    >>> with connect(load_settings()) as connection:
    ...     reopen_opportunity(connection, ReopenIntent(opportunity_id)).status.value
    'already_open'
    """
    return reopen_many(connection, [intent], if_plans={intent.opportunity_id: if_plan})[0]


def reopen_many(
    connection: Connection, intents: Sequence[ReopenIntent], *, if_plans: Mapping[UUID, str | None] = _UNBOUND
) -> list[Report]:
    """Reopen opportunities side by side; as `close_many`.

    >>> with connect(load_settings()) as connection:
    ...     closed = close_opportunity(connection, Intent(opportunity_id, Outcome.WON))
    ...     [report.status.value for report in reopen_many(connection, [ReopenIntent(opportunity_id)])]
    ['reopened']
    """
    return _kept(connection, intents, if_plans)


def preview(connection: Connection, intent: AnyIntent) -> close.Preview:
    """Return what closing or reopening would do now; raises NotFound, InputError, or what reading raises.

    >>> with connect(load_settings()) as connection:
    ...     seen = preview(connection, Intent(opportunity_id, Outcome.WON))
    >>> seen.snapshot.opportunity.state.name, seen.verdict.steps[-1].kind.value
    ('OPEN', 'close_opportunity')
    """
    return close.preview(connection.organization, intent)


def _kept(connection: Connection, intents: Sequence[AnyIntent], if_plans: Mapping[UUID, str | None]) -> list[Report]:
    act = partial(close.fulfil_many, connection.organization, intents, if_plans=if_plans)
    return audited(connection, intents, act, connection.tell)


def audited(
    connection: Connection, intents: Sequence[AnyIntent], act: Callable[[], list[Report]], tell: Callable[[str], None]
) -> list[Report]:
    """Return what `act` reports of the intents, in order, and keep it in the audit log of the connection.

    Where no entry can be written, that is said, and the action goes on.
    """
    started, user, settings = started_by(), connection.clients[0].user, connection.settings
    by, door = str(started["started_by"]), str(started.get("door", "command"))
    source = AuditSource(door, by, socket.gethostname(), user, connection.base_url)
    entries, numbers = [AuditEntry("", intent.opportunity_id, source) for intent in intents], list[int]()
    with ExitStack() as closing:
        try:
            store = open_ledger(settings.store, SystemClock(), cache=SMALL_CACHE, patience=STORE_PATIENCE)
            audit = closing.enter_context(store).audit
            audit.forget(settings.log_days)
            numbers = [audit.begin(entry) for entry in entries]
        except LedgerError as error:
            tell(_not_kept(error))

        def end(reports: Sequence[Report]) -> None:
            try:
                for number, entry, report, intent in zip(numbers, entries, reports, intents, strict=False):
                    audit.end(number, replace(entry, event=report.status.value, details=audit_data(report, intent)))
            except LedgerError as error:
                tell(_not_kept(error))

        try:
            reports = act()
        except InputError as error:  # it is raised before anything is done
            end([Report(intent.opportunity_id, ReportStatus.FAILED, error=error) for intent in intents])
            raise
        end(reports)
        return reports


def _not_kept(error: LedgerError) -> str:
    return f"Warning: The audit log does not have this. {error.message} {error.remedy}"


def started_by() -> dict[str, object]:
    """Return who starts a job or an action and where, to keep with it; with `door` where a script does."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container may have no user of that number
        user = "somebody"
    person, program = f"{user} on {socket.gethostname()}", Path(sys.argv[0])
    if program.stem in _OWN:
        return {"started_by": person}
    return {"started_by": f"{person} ({program.name or 'python'})", "door": "script"}
