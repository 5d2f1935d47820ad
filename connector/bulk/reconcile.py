"""Reads back what a job has done and compares it with what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Protocol
from uuid import UUID

from connector.bulk.reports.job_report import saved_names
from connector.bulk.reports.report_row import report_row, steps_in
from connector.closing import reasons
from connector.closing.intent import Intent
from connector.closing.model import OpportunityState, OrganizationMetadata, QuoteState, Snapshot
from connector.closing.organization import MetadataRequest, Organization
from connector.closing.plan import CLOSED_STATE
from connector.closing.plan_checks import needs_orders, orders_of, winning_quotes
from connector.closing.verify import same_amount, value_problems
from connector.errors import ConnectorError, InputError, ServiceError
from connector.ledger.jobs import AS_ASKED, ItemStatus, Job, Record
from connector.ledger.ledger import Ledger

CHUNK = 400
"""Rows read together."""

_CLOSED = frozenset({ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED})


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that is not as its job says: the row's number, the opportunity with name and owner, and a sentence."""

    row: int
    opportunity_id: UUID
    problem: str
    name: str
    owner: str

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self) | {"opportunity_id": str(self.opportunity_id)}


class ActivityOrganization(Organization, Protocol):
    """An organization in which everything that was asked can be read back."""

    def activity_values(self, table: str, ids: Sequence[UUID], columns: Sequence[str]) -> Values:
        """Return columns of close activities, by id; those that are not there are absent. Raises ConnectorError."""

    def user_ids(self, object_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """Return the users who have these Entra object ids. Raises ConnectorError."""


_TABLES = {"close_opportunity": "opportunityclose", "close_quote": "quoteclose", "win_quote": "quoteclose"}
_ELSEWHERE = frozenset({"actualend", "actualrevenue", "transactioncurrencyid@odata.bind"})
"""What the opportunity itself shows."""
_BIND = "@odata.bind"
_WHO = "_createdby_value"
Values = Mapping[UUID, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ActivityCheck:
    """What a close activity of a row must say: values by the columns that hold them."""

    row: int
    table: str
    activity_id: UUID
    values: Mapping[str, object]


@dataclass(slots=True)
class Reconciliation:
    """The comparison of a job with the organization; `checked`, `later` and `unread` count while it goes on.

    Rows that a later job left otherwise are counted as `later`: they are compared with that job. `unread` counts what
    was asked of rows and could not be compared, by the name of its column: it cannot be read, or the opportunity was
    closed before the job came. `tell` is told now and then how many were checked.
    """

    ledger: Ledger
    job: Job
    organization: ActivityOrganization
    checked: int = 0
    later: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    tell: Callable[[int], None] = lambda _checked: None

    def mismatches(self) -> Iterator[Mismatch]:
        """Yield what is not as the job says. Raises ConnectorError."""
        metadata, names = self.organization.metadata(MetadataRequest(amounts=True)), saved_names(self.ledger, self.job)
        records = self._last_words(self.ledger.records(self.job.name, AS_ASKED))
        while chunk := list(islice(records, CHUNK)):
            self.tell(self.checked)
            orders = any(isinstance(record.intent, Intent) and needs_orders(record.intent) for record in chunk)
            snapshots = self.organization.observe([record.opportunity_id for record in chunk], orders=orders)
            problems_by_row = self._of_activities([record for record in chunk if _stands_closed(record, snapshots)])
            for record in chunk:
                self.checked += 1
                problems = self._problems(record, snapshots.get(record.opportunity_id), metadata)
                for problem in (*problems, *problems_by_row.get(record.row, ())):
                    row = report_row(record, self.job.organization, names)
                    yield Mismatch(row.number, row.opportunity_id, names.of_users(problem), row.name, row.owner)

    def _last_words(self, records: Iterable[Record]) -> Iterator[Record]:
        """Return the records that no later job has followed."""
        followed = iter(self.ledger.followed(self.job, AS_ASKED))
        next_followed = next(followed, None)
        for record in records:
            while next_followed is not None and next_followed < record.row:
                next_followed = next(followed, None)
            if next_followed == record.row:
                self.later += 1
            else:
                yield record

    def _problems(self, record: Record, snapshot: Snapshot | None, metadata: OrganizationMetadata) -> Iterator[str]:
        if snapshot is None:
            yield "The opportunity is not there any more."
        elif record.status in _CLOSED and isinstance(record.intent, Intent):
            yield from _of_closed(record.intent, snapshot, metadata, self.unread)
            yield from _of_quotes(record, record.intent, snapshot, metadata)
        elif snapshot.opportunity.state is not OpportunityState.OPEN:
            yield f"It was opened again, and is {snapshot.opportunity.state.name.lower()} now."

    def _of_activities(self, records: Sequence[Record]) -> dict[int, list[str]]:
        """Return what is not as asked in the close activities of rows, by the number of the row."""
        expected = [each for record in records for each in self._expected(record)]
        users = self._users(records)
        mismatches: dict[int, list[str]] = {}
        for table in sorted({each.table for each in expected}):
            checks = [each for each in expected if each.table == table]
            read = self._read(table, checks)
            for each in checks:
                mismatches.setdefault(each.row, []).extend(self._differences(each, read.get(each.activity_id), users))
        return mismatches

    def _expected(self, record: Record) -> Iterator[ActivityCheck]:
        intent = record.intent
        if not isinstance(intent, Intent):
            return
        if record.status is not ItemStatus.CLOSED:  # who closed it before wrote activities of their own
            self.unread.update(asked_names(intent))
            return
        for step in steps_in(record.report or {}):
            table = _TABLES.get(str(step["kind"]), "")
            values = _requested_values(step, intent) if table and step.get("result") == "done" else {}
            if values and step.get("activity_id"):
                yield ActivityCheck(record.row, table, UUID(str(step["activity_id"])), values)

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


def _stands_closed(record: Record, snapshots: Mapping[UUID, Snapshot]) -> bool:
    """Return whether a row stands as its job left it: else its activities say nothing."""
    snapshot = snapshots.get(record.opportunity_id)
    if snapshot is None or record.status not in _CLOSED or not isinstance(record.intent, Intent):
        return False
    return snapshot.opportunity.state is CLOSED_STATE[record.intent.outcome]


def _of_closed(
    intent: Intent, snapshot: Snapshot, metadata: OrganizationMetadata, unread: Counter[str]
) -> Iterator[str]:
    opportunity, state = snapshot.opportunity, CLOSED_STATE[intent.outcome]
    if opportunity.state is not state:
        yield f"It was closed as {intent.outcome}, and is {opportunity.state.name.lower()} now."
        return
    if intent.status is not None:
        try:
            status = reasons.resolve("opportunity", metadata.opportunity_statuses, intent.status, state)
        except InputError as error:
            yield error.message
        else:
            if opportunity.status != status:
                otherwise = reasons.otherwise(metadata.opportunity_statuses, opportunity.status, status)
                yield f"Its status reason is {otherwise} as was asked."
    for column, sentence in value_problems(intent, snapshot, metadata):
        if f"opportunity.{column}" in metadata.unreadable:
            unread[column] += 1
        else:
            yield sentence


def _of_quotes(record: Record, intent: Intent, snapshot: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    if snapshot.opportunity.state is not CLOSED_STATE[intent.outcome]:
        return
    quotes, planned = snapshot.quotes, {step["record"] for step in steps_in(record.report or {})}
    if left := sum(quote.is_open for quote in quotes):
        yield f"It is closed, but {left} of its {len(quotes)} quotes are draft or active."
    winning = next(iter(winning_quotes(snapshot, intent)), None)
    if intent.winning_quote_id is not None and (winning is None or winning.state is not QuoteState.WON):
        state = "not there any more" if winning is None else winning.state.name.lower()
        yield f"The winning quote {intent.winning_quote_id} is {state}, not won as was asked."
    orders = len(orders_of(snapshot, intent))
    if intent.order and orders != 1:
        yield f"Its winning quote has {orders or 'no'} orders, not one as was asked."
    if intent.quote_status is not None:
        try:
            status = reasons.resolve("quote", metadata.quote_statuses, intent.quote_status, QuoteState.CLOSED)
        except InputError as error:
            yield error.message
            return
        planned_quotes = [quote for quote in quotes if str(quote.id) in planned]  # what was closed before is left alone
        if other := sum(quote.state is QuoteState.CLOSED and quote.status != status for quote in planned_quotes):
            yield f"{other} of its {len(quotes)} quotes are closed with another status reason than {status}."


def asked_names(intent: Intent) -> list[str]:
    """Return the names of what was asked of a row that only close activities hold."""
    requested: dict[str, object] = {"subject": intent.subject, "description": intent.description}
    requested |= {"competitor": intent.competitor_id, _WHO: intent.as_user}
    requested |= {**intent.opportunity_columns, **intent.quote_columns}
    return [_name(name) for name, value in requested.items() if value is not None]


def _requested_values(step: Mapping[str, object], intent: Intent) -> dict[str, object]:
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
