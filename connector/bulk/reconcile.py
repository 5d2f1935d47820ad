"""Reads back what a job has done and compares it with what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Protocol
from uuid import UUID

from connector.bulk.activity_comparison import ActivityComparison, ActivityReader
from connector.bulk.reports.job_report import saved_names
from connector.bulk.reports.report_row import report_row
from connector.closing import reasons
from connector.closing.intent import Intent
from connector.closing.model import OpportunityState, OrganizationMetadata, QuoteState, Snapshot
from connector.closing.orders import needs_orders, orders_of
from connector.closing.organization import MetadataRequest, Organization
from connector.closing.plan import CLOSED_STATE
from connector.closing.plan_checks import winning_quotes
from connector.closing.verify import value_problems
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Job, Record
from connector.ledger.ledger import Ledger

CHUNK = 400
"""Rows read together."""

DONE = (ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED, ItemStatus.REOPENED, ItemStatus.ALREADY_OPEN, ItemStatus.UNDONE)
"""What is compared: rows that a job says are as they were asked for."""

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


class ActivityOrganization(Organization, ActivityReader, Protocol):
    """An organization in which everything that was asked can be read back."""


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
        records = self._last_words(self.ledger.records(self.job.name, DONE))
        while chunk := list(islice(records, CHUNK)):
            self.tell(self.checked)
            orders = any(isinstance(record.intent, Intent) and needs_orders(record.intent) for record in chunk)
            seen = self.organization.observe([record.opportunity_id for record in chunk], orders=orders)
            activities = ActivityComparison(self.organization, self.unread)
            problems_by_row = activities.problems([record for record in chunk if _stands_closed(record, seen)])
            for record in chunk:
                self.checked += 1
                problems = self._problems(record, seen.get(record.opportunity_id), metadata)
                for problem in (*problems, *problems_by_row.get(record.row, ())):
                    row = report_row(record, self.job.organization, names)
                    yield Mismatch(row.number, row.opportunity_id, names.of_users(problem), row.name, row.owner)

    def _last_words(self, records: Iterable[Record]) -> Iterator[Record]:
        """Return the records that no later job has followed."""
        followed = iter(self.ledger.followed(self.job, DONE))
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
        elif snapshot.opportunity.state is not OpportunityState.OPEN:
            yield f"It was opened again, and is {snapshot.opportunity.state.name.lower()} now."


def _stands_closed(record: Record, seen: Mapping[UUID, Snapshot]) -> bool:
    """Return whether a row stands as its job left it: else its activities say nothing."""
    snapshot = seen.get(record.opportunity_id)
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
    yield from _of_quotes(intent, snapshot, metadata)


def _of_quotes(intent: Intent, snapshot: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    quotes = snapshot.quotes
    left = sum(quote.is_open for quote in quotes)
    if left:
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
        other = sum(quote.state is QuoteState.CLOSED and quote.status != status for quote in quotes)
        if other:
            yield f"{other} of its {len(quotes)} quotes are closed with another status reason than {status}."
