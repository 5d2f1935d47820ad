"""The audit log: who did what to which opportunity, when, from where and as whom. Entries are only ever added.

It stands in the store of the jobs. What a worker records and its entry are one transaction, so an entry is there
exactly when the result is. What is done without a job is written down before it begins, as `started`, and its end
takes the place of that word: after a crash in between, `started` is left. Entries hold ids, states and status reasons,
never names, amounts or other text of customers. They outlive their job, until they are older than they shall be kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID

from connector.clock import Clock
from connector.ledger.intents import report_bytes, report_from
from connector.ledger.schema import Database, SqlRow, Transaction, Value

STARTED = "started"
"""The event of what was begun; with a later word in its place once it has ended."""
FORGOTTEN_AT_ONCE = 5_000
_NOTHING: Mapping[str, object] = MappingProxyType({})
_INSERT = "INSERT INTO audit (at, source, job, opportunity, event, details) VALUES (?, ?, ?, ?, ?, ?)"
_ENTRY = (
    "SELECT audit.at, audit.event, audit.opportunity, audit.job, audit.details, audit_source.facts"
    " FROM audit JOIN audit_source ON audit_source.id = audit.source"
)


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Where an entry comes from: what many entries share, so that the store keeps it once.

    `door` is command, script, job, endpoint or mcp. `by` is who asked (`anna on pc7`, `user:OBJECT-ID`), `application`
    the program that asked for them, `host` the machine that did it, `user` as whom it was done in the organization.
    """

    door: str
    by: str
    host: str = ""
    user: str = ""
    organization: str = ""
    tenant: str = ""
    application: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. `event` is what came of it (`closed`, `failed`, ...) or was asked (`accepted`, `canceled`, ...).

    `job` names the job, or the endpoint's operation. `details` is plain data: see `closing.report.audit_data`.
    """

    event: str
    opportunity_id: UUID | None
    source: AuditSource
    job: str = ""
    details: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    at: datetime | None = None

    def data(self) -> dict[str, object]:
        """Return it ready for JSON: the same names for every door, what is empty left out."""
        data: dict[str, object] = {
            "at": self.at.isoformat() if self.at else "",
            "event": self.event,
            "opportunity": str(self.opportunity_id) if self.opportunity_id else "",
            "job": self.job,
            **_facts(self.source),
            **self.details,
        }
        return {name: value for name, value in data.items() if value not in ("", [], {}, None)}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects entries; an empty field matches all. `by` is any part of who asked, or of the user it was done as.

    `organization` is its host name or its address.
    """

    opportunity_id: UUID | None = None
    since: datetime | None = None
    job: str = ""
    by: str = ""
    organization: str = ""
    tenant: str = ""

    def fits(self, source: AuditSource) -> bool:
        """Return whether entries of this source match."""
        people = f"{source.by} {source.user} {source.application}".casefold()
        host = self.organization.casefold().removeprefix("https://").rstrip("/")
        right_place = host in ("", source.organization.removeprefix("https://")) and self.tenant in ("", source.tenant)
        return right_place and self.by.casefold() in people


class AuditLog:
    """The entries of a store; methods raise LedgerError. `told` is given entries that have just become durable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.told: Callable[[Sequence[AuditEntry]], None] = lambda _entries: None
        self._database = database
        self._clock = clock

    def add(self, transaction: Transaction, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
        """Write entries down at the end of a transaction; return them with their time, for `told` after it."""
        now = self._clock.now()
        transaction.run_for_each(_INSERT, _values(transaction, entries, now))
        return [replace(entry, at=now) for entry in entries]

    def write(self, entry: AuditEntry) -> None:
        """Write one entry down, durably."""
        with self._database.transaction() as transaction:
            written = self.add(transaction, [entry])
        self.told(written)

    def begin(self, entry: AuditEntry) -> int:
        """Write down, durably, that something is begun; return the number by which `end` completes the entry."""
        with self._database.transaction() as transaction:
            values = _values(transaction, [replace(entry, event=STARTED)], self._clock.now())
            return transaction.insert(_INSERT, values[0])

    def end(self, number: int, entry: AuditEntry) -> None:
        """Write down, durably, what came of what was begun."""
        with self._database.transaction() as transaction:
            transaction.run(
                "UPDATE audit SET event = ?, details = ? WHERE id = ?",
                (entry.event, report_bytes(entry.details), number),
            )
        self.told([replace(entry, at=self._clock.now())])

    def entries(self, chosen: AuditFilter, most: int | None = None) -> Iterator[AuditEntry]:
        """Return the entries that match, or the last `most` of them, the oldest first; they stream."""
        rows = self._database.rows("SELECT id, facts FROM audit_source ORDER BY id")
        sources = [id_ for id_, facts in rows if chosen.fits(_source(facts))]
        conditions, values = ["1 = 1"], list[str | float | bytes]()
        if len(sources) < len(rows):
            conditions.append(f"audit.source IN ({', '.join(map(str, sources)) or 'NULL'})")
        for column, value in (
            ("opportunity =", chosen.opportunity_id.bytes if chosen.opportunity_id else None),
            ("job =", chosen.job or None),
            ("at >=", chosen.since.timestamp() if chosen.since else None),
        ):
            if value is not None:
                conditions.append(f"audit.{column} ?")
                values.append(value)
        query = f"{_ENTRY} WHERE {' AND '.join(conditions)} ORDER BY audit.id"
        if most is None:
            return map(_entry, self._database.stream(query, values))
        return map(_entry, reversed(self._database.rows(f"{query} DESC LIMIT {most}", values)))

    def forget(self, days: float) -> int:
        """Delete the entries that are older than this, and return how many; 0 days keeps all."""
        before, forgotten, some = self._clock.now().timestamp() - days * 86400, 0, FORGOTTEN_AT_ONCE
        rows = self._database.rows("SELECT id FROM audit WHERE at >= ? ORDER BY id LIMIT 1", (before,)) if days else []
        first = rows[0][0] if rows else 2**62
        while days and some == FORGOTTEN_AT_ONCE:
            with self._database.transaction() as transaction:
                some = transaction.run(
                    "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ? ORDER BY id LIMIT ?)",
                    (first, FORGOTTEN_AT_ONCE),
                )
            forgotten += some
        return forgotten


def source_of(options: Mapping[str, object], organization: str, host: str, user: str = "") -> AuditSource:
    """Return where entries come from, by the options of their job, or of their operation of the endpoint."""
    caller = options.get("caller")
    if not isinstance(caller, Mapping):
        door = str(options.get("door", "job"))
        return AuditSource(door, str(options.get("started_by", "")), host, user, organization)
    door, by = str(options.get("door", "endpoint")), f"{caller.get('kind', '')}:{caller.get('object', '')}"
    tenant, application = str(caller.get("tenant", "")), str(caller.get("application", ""))
    return AuditSource(door, by, host, user, organization, tenant, application)


def request_entry(
    event: str, opportunity_id: UUID, name: str, options: Mapping[str, object], organization: str
) -> AuditEntry:
    """Return the entry of a request for the operation `name` of these options, with its run and correlation id."""
    details = {"run": options.get("run_id", ""), "correlation": options.get("correlation", "")}
    return AuditEntry(event, opportunity_id, source_of(options, organization, ""), name, details)


def _values(transaction: Transaction, entries: Sequence[AuditEntry], now: datetime) -> list[tuple[Value, ...]]:
    """Return the rows of entries; sources that are new are made in one order, so that no two processes block."""
    facts = {source: json.dumps(_facts(source)) for source in {entry.source for entry in entries}}
    ids = {text: _source_id(transaction, text) for text in sorted(facts.values())}
    return [
        (
            now.timestamp(),
            ids[facts[entry.source]],
            entry.job or None,
            entry.opportunity_id.bytes if entry.opportunity_id else None,
            entry.event,
            report_bytes(entry.details) if entry.details else None,
        )
        for entry in entries
    ]


def _source_id(transaction: Transaction, facts: str) -> int:
    look = "SELECT id FROM audit_source WHERE facts = ?"
    if not (rows := transaction.rows(look, (facts,))):
        transaction.run("INSERT INTO audit_source (facts) VALUES (?) ON CONFLICT (facts) DO NOTHING", (facts,))
        rows = transaction.rows(look, (facts,))
    return int(rows[0][0])


def _facts(source: AuditSource) -> dict[str, str]:
    return {name: value for name in AuditSource.__slots__ if (value := getattr(source, name))}


def _source(facts: str) -> AuditSource:
    return AuditSource(**{"door": "", "by": "", **json.loads(facts)})


def _entry(row: SqlRow) -> AuditEntry:
    at, event, opportunity, job, details, facts = row
    return AuditEntry(
        event=event,
        opportunity_id=UUID(bytes=bytes(opportunity)) if opportunity is not None else None,
        source=_source(facts),
        job=job or "",
        details=report_from(details) if details is not None else {},
        at=datetime.fromtimestamp(at, UTC),
    )
