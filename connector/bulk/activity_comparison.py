"""Compares close activities with what was asked of rows: subject, description, competitor, own columns, and who."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from connector.closing.intent import Intent
from connector.closing.verify import same_amount
from connector.errors import ConnectorError, ServiceError
from connector.ledger.jobs import ItemStatus, Record

_TABLES = {"close_opportunity": "opportunityclose", "close_quote": "quoteclose", "win_quote": "quoteclose"}
_ELSEWHERE = frozenset({"actualend", "actualrevenue", "transactioncurrencyid@odata.bind"})
"""What the opportunity itself shows."""
_BIND = "@odata.bind"
_WHO = "_createdby_value"
Values = Mapping[UUID, Mapping[str, object]]


class ActivityReader(Protocol):
    """An organization whose close activities and users can be read."""

    def activity_values(self, table: str, ids: Sequence[UUID], columns: Sequence[str]) -> Values:
        """Return columns of close activities, by id; those that are not there are absent. Raises ConnectorError."""

    def user_ids(self, object_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """Return the users who have these Entra object ids. Raises ConnectorError."""


@dataclass(frozen=True, slots=True)
class ActivityCheck:
    """What a close activity of a row must say: values by the columns that hold them."""

    row: int
    table: str
    activity_id: UUID
    values: Mapping[str, object]


@dataclass(slots=True)
class ActivityComparison:
    """The comparison; `unread` counts, by column, what was asked of rows and could not be read."""

    organization: ActivityReader
    unread: Counter[str] = field(default_factory=Counter)

    def problems(self, records: Sequence[Record]) -> dict[int, list[str]]:
        """Return what is not as it was asked, by the number of the row. Raises ConnectorError."""
        expected = [each for record in records for each in self._expected(record)]
        users = self._users(records)
        mismatches: dict[int, list[str]] = {}
        for table in sorted({each.table for each in expected}):
            some = [each for each in expected if each.table == table]
            read = self._read(table, some)
            for each in some:
                mismatches.setdefault(each.row, []).extend(self._differences(each, read.get(each.activity_id), users))
        return mismatches

    def _expected(self, record: Record) -> Iterator[ActivityCheck]:
        intent = record.intent
        if not isinstance(intent, Intent):
            return
        if record.status is not ItemStatus.CLOSED:  # who closed it before wrote activities of their own
            self.unread.update(asked_names(intent))
            return
        steps = (record.report or {}).get("steps")
        for step in steps if isinstance(steps, list) else ():
            table = _TABLES.get(step["kind"], "")
            values = _asked(step, intent) if table and step.get("result") == "done" else {}
            if values and step.get("activity_id"):
                yield ActivityCheck(record.row, table, UUID(step["activity_id"]), values)

    def _users(self, records: Sequence[Record]) -> Mapping[UUID, UUID]:
        requested = {record.intent.as_user for record in records if isinstance(record.intent, Intent)}
        ids = [user for user in requested if isinstance(user, UUID)]
        return self.organization.user_ids(ids) if ids else {}

    def _read(self, table: str, expected: Sequence[ActivityCheck]) -> Values:
        """Read all columns together; where that is refused, each by itself, and say which cannot be read."""
        ids = [each.activity_id for each in expected]
        columns = sorted({name for each in expected for name in each.values})
        try:
            return self.organization.activity_values(table, ids, columns)
        except ServiceError as error:
            if error.transient:
                raise
        read: dict[UUID, dict[str, object]] = {}
        for column in columns:
            try:
                for id_, values in self.organization.activity_values(table, ids, [column]).items():
                    read.setdefault(id_, {}).update(values)
            except ConnectorError as error:
                if error.transient:
                    raise
        return read

    def _differences(
        self, expected: ActivityCheck, read: Mapping[str, object] | None, users: Mapping[UUID, UUID]
    ) -> Iterator[str]:
        for column, requested in expected.values.items():
            if read is None or column not in read:
                self.unread[_name(column)] += 1
                continue
            value = users.get(requested, requested) if column == _WHO and isinstance(requested, UUID) else requested
            if not _same(value, read[column]):
                secured = " (a secured column reads as empty, too)" if read[column] is None else ""
                is_now = "empty" if read[column] is None else repr(str(read[column]))
                yield (
                    f"In its {expected.table}, {_name(column)} is {is_now}, not {str(value)!r} as was asked{secured}."
                )


def asked_names(intent: Intent) -> list[str]:
    """Return the names of what was asked of a row that only close activities hold."""
    requested: dict[str, object] = {"subject": intent.subject, "description": intent.description}
    requested |= {"competitor": intent.competitor_id, _WHO: intent.as_user}
    requested |= {**intent.opportunity_columns, **intent.quote_columns}
    return [_name(name) for name, value in requested.items() if value is not None]


def _asked(step: Mapping[str, object], intent: Intent) -> dict[str, object]:
    """Return what was asked of the activity of a step, by the columns that hold it."""
    sent = step.get("activity")
    values = dict(sent) if isinstance(sent, Mapping) else {}
    own = intent.opportunity_columns if step["kind"] == "close_opportunity" else intent.quote_columns
    columns = {_column(name): values[name] for name in own if name in values}
    if step["kind"] == "close_opportunity":
        requested = {"subject": intent.subject, "description": intent.description}
        columns |= {name: values.get(name) for name, value in requested.items() if value is not None}
        if step.get("competitor_id"):
            columns["_competitorid_value"] = step["competitor_id"]
        if isinstance(intent.as_user, UUID):
            columns[_WHO] = intent.as_user
    return {name: value for name, value in columns.items() if name not in _ELSEWHERE}


def _column(name: str) -> str:
    """Return the column that can be read of one that is written: a lookup is bound by another name than it has."""
    return f"_{name.removesuffix(_BIND).lower()}_value" if name.endswith(_BIND) else name


def _name(column: str) -> str:
    """Return how a person calls a column."""
    plain = column.removesuffix(_BIND).removesuffix("_value").removeprefix("_")
    return {"competitorid": "competitor", "createdby": "closed by"}.get(plain, plain)


def _same(requested: object, read: object) -> bool:
    if read is None:
        return requested in (None, "")
    if isinstance(read, bool) or isinstance(requested, bool):
        return read == requested
    if isinstance(read, int | Decimal):
        return same_amount(Decimal(str(requested)), Decimal(read))
    if isinstance(requested, str) and requested.startswith("/") and requested.endswith(")"):  # a bound record
        return requested.rpartition("(")[2].rstrip(")").strip("'").lower() == str(read).lower()
    if isinstance(requested, UUID):
        return str(requested) == str(read).lower()
    return _plain(str(requested)) == _plain(str(read))


def _plain(text: str) -> str:
    """Return a text without what the service may have changed about its line ends."""
    return text.replace("\r\n", "\n").strip()
