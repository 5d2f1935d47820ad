"""Steps for people: what each does to which record, from which state to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from connector.closing.model import (
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Quote,
    QuoteState,
    Snapshot,
    StatusReason,
    Step,
    StepKind,
)

COLUMNS = ("step", "record", "from", "to")


def phrase(kind: StepKind) -> str:
    """Return what a step does: `close quote`."""
    return "make the order of quote" if kind is StepKind.CREATE_ORDER else kind.value.replace("_", " ")


def label_of(row: Opportunity | Quote) -> str:
    """Return what names the row for people: a quote's number, else the name, else the id."""
    number = row.number if isinstance(row, Quote) else ""
    return number or row.name or str(row.id)


def step_rows(
    steps: Sequence[Step],
    before: Snapshot | None,
    metadata: OrganizationMetadata,
    totals: Mapping[UUID, str] = MappingProxyType({}),
) -> list[tuple[str, ...]]:
    """Return one row of cells under COLUMNS per step, in order; a record's second step starts where its first ended.

    `totals` has the value of each record, ready to be shown.
    """
    records = _start(before, metadata)
    rows: list[tuple[str, ...]] = []
    for step in steps:
        after = _target(step, metadata)
        if step.kind is StepKind.CLOSE_ALL_QUOTES:
            rows.append((phrase(step.kind), step.label, "", after))
            continue
        name, stands = records.get(step.record_id, (step.label, ""))
        total = totals.get(step.record_id, "")
        rows.append((phrase(step.kind), f"{name}, {total}" if total else name, stands, after))
        records[step.record_id] = (name, after)
    return rows


def opportunity_words(state: int, status: int, metadata: OrganizationMetadata) -> str:
    """Name an opportunity's state and status reason: `Open, In Progress`."""
    return _words(OpportunityState(state).name, status, metadata.opportunity_statuses)


def quote_words(state: int, status: int, metadata: OrganizationMetadata) -> str:
    """Name a quote's state and status reason: `Closed, Lost`."""
    return _words(QuoteState(state).name, status, metadata.quote_statuses)


def _start(before: Snapshot | None, metadata: OrganizationMetadata) -> dict[UUID, tuple[str, str]]:
    """Return what each record is called and where it stands."""
    if before is None:
        return {}
    opportunity = before.opportunity
    stands = opportunity_words(opportunity.state, opportunity.status, metadata)
    records = {opportunity.id: (label_of(opportunity), stands)}
    for quote in before.quotes:
        name = f"{quote.number} {quote.name}".strip() or str(quote.id)
        records[quote.id] = (name, quote_words(quote.state, quote.status, metadata))
    return records


def _target(step: Step, metadata: OrganizationMetadata) -> str:
    if step.kind is StepKind.DELETE_QUOTE:
        return "deleted"
    if step.state is None or step.status is None:
        return ""
    if step.table == "quote" or step.kind is StepKind.CLOSE_ALL_QUOTES:
        return quote_words(step.state, step.status, metadata)
    return opportunity_words(step.state, step.status, metadata)


def _words(state: str, status: int, reasons: Sequence[StatusReason]) -> str:
    name = state.capitalize()
    labels = [reason.labels[0] for reason in reasons if reason.value == status and reason.labels]
    label = labels[0] if labels else str(status)
    return name if label == name else f"{name}, {label}"
