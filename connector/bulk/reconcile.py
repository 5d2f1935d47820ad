"""Reads back what a job has done and compares it with what was intended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from connector.closing import reasons
from connector.closing.model import Intent, OpportunityState, OrganizationMetadata, Outcome, QuoteState, Snapshot
from connector.closing.organization import Organization
from connector.closing.verify import is_amount
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Record

CHUNK = 400
"""Rows read together."""

DONE = (ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED, ItemStatus.REOPENED, ItemStatus.ALREADY_OPEN, ItemStatus.UNDONE)
"""What is compared: rows that a job says are as they were wanted."""

_CLOSED = frozenset({ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED})
_STATES = {Outcome.WON: OpportunityState.WON, Outcome.LOST: OpportunityState.LOST}
_OPEN_QUOTES = frozenset({QuoteState.DRAFT, QuoteState.ACTIVE})


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that is not as its job says: the row's number, the opportunity, and a sentence."""

    row: int
    opportunity_id: UUID
    problem: str

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"row": self.row, "opportunity_id": str(self.opportunity_id), "problem": self.problem}


def mismatches(records: Iterable[Record], organization: Organization) -> Iterator[Mismatch]:
    """Yield what is not as its job says; `records` are those with a status of `DONE`. Raises ConnectorError."""
    metadata = organization.metadata()
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        seen = organization.observe([record.opportunity_id for record in chunk])
        for record in chunk:
            problem = _problem(record, seen.get(record.opportunity_id), metadata)
            if problem:
                yield Mismatch(record.row, record.opportunity_id, problem)


def _problem(record: Record, snapshot: Snapshot | None, metadata: OrganizationMetadata) -> str:
    if snapshot is None:
        return "The opportunity is not there any more."
    if record.status in _CLOSED and isinstance(record.intent, Intent):
        return _not_closed(record.intent, snapshot, metadata)
    if snapshot.opportunity.state is not OpportunityState.OPEN:
        return f"It was opened again, and is {snapshot.opportunity.state.name.lower()} now."
    return ""


def _not_closed(intent: Intent, snapshot: Snapshot, metadata: OrganizationMetadata) -> str:
    opportunity, state = snapshot.opportunity, _STATES[intent.outcome]
    if opportunity.state is not state:
        return f"It was closed as {intent.outcome}, and is {opportunity.state.name.lower()} now."
    left = sum(quote.state in _OPEN_QUOTES for quote in snapshot.quotes)
    if left:
        return f"It is closed, but {left} of its {len(snapshot.quotes)} quotes are draft or active."
    if intent.status is not None:
        try:
            wanted = reasons.resolve("opportunity", metadata.opportunity_statuses, intent.status, state)
        except InputError as error:
            return error.message
        if opportunity.status != wanted:
            return f"Its status reason is {opportunity.status}, not {wanted} as was asked."
    seen = opportunity.actual_value  # None: empty, or secured, which the close itself has said
    if intent.actual_revenue is not None and seen is not None and not is_amount(seen, intent.actual_revenue):
        return f"Its actual revenue is {opportunity.actual_value}, not {intent.actual_revenue} as was asked."
    return ""
