"""Steps for people, as plain data, and by the name under which a plan is approved.

The same writes on the same rows have the same digest, in every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC
from types import MappingProxyType
from uuid import UUID

from connector.closing.model import (
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Plan,
    Quote,
    QuoteState,
    Snapshot,
    StatusReason,
    Step,
    StepKind,
)
from connector.closing.request import plain_value

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


_HEX_DIGITS = 16
_STEPS = "steps:"


def make_plan(
    opportunity_id: UUID,
    steps: Sequence[Step],
    bypass: str = "",
    as_user: UUID | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of these steps with its digest.

    `bypass` says which of the organization's logic is left out, `as_user` in whose name it is done, if not in that of
    the user who signs in. The digest covers what a person approves: these, and every step's kind, record, row version,
    message, state, status reason, competitor and activity columns. It leaves out the caller's key, the activity ids
    derived from it, and labels.
    """
    if not steps:  # a plan that does nothing leaves nothing out
        bypass, as_user, notes = "", None, ()
    approved = (str(opportunity_id), [_approved(step) for step in steps], *_around(bypass, as_user))
    return Plan(opportunity_id, tuple(steps), _hashed(approved), bypass, as_user, notes)


def steps_digest(plan: Plan) -> str:
    """Return the digest of a plan without the versions of its rows: the same steps have it, touched or not."""
    steps = [(kind, record, *others) for kind, record, _, *others in map(_approved, plan.steps)]
    return f"{_STEPS}{_hashed((str(plan.opportunity_id), steps, *_around(plan.bypass, plan.as_user)))}"


def digests(plan: Plan) -> tuple[str, str]:
    """Return the names by which a plan may be approved: with the versions of its rows, and without."""
    return plan.digest, steps_digest(plan)


def _hashed(approved: tuple[object, ...]) -> str:
    text = ascii(approved)  # not repr: it varies with the Python
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def _around(bypass: str, as_user: UUID | None) -> tuple[str, ...]:
    """Return what is approved beside the steps."""
    return (*((bypass,) if bypass else ()), *((f"as {as_user}",) if as_user else ()))


def in_words(plan: Plan) -> str:
    """Return the steps of a plan for people, in brackets."""
    return f" ({', '.join(step.label for step in plan.steps)})" if plan.steps else " (nothing is left to do)"


def last_change(snapshot: Snapshot) -> str:
    """Say which of the records was changed last, when and by which user; empty where that is not known."""
    quotes = [(quote.modified_on, f"quote {quote.number}", quote.modified_by) for quote in snapshot.quotes]
    opportunity = snapshot.opportunity
    changes = [(opportunity.modified_on, "the opportunity", opportunity.modified_by), *quotes]
    dated = [(moment, record, user) for moment, record, user in changes if moment is not None]
    if not dated:
        return ""
    moment, record, user = max(dated, key=lambda change: change[0])
    by = f" by user {user}" if user else ""
    return f" Changed last: {record}, at {moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{by}."


def step_data(step: Step) -> dict[str, object]:
    """Return a step as plain data; what a step does not have is absent."""
    data: dict[str, object] = {
        "kind": step.kind.value,
        "record": str(step.record_id),
        "table": step.table,
        "message": step.message,
        "state": step.state,
        "status_reason": step.status,
        "activity": {name: plain_value(value) for name, value in step.activity.items()} or None,
        "columns": {name: plain_value(value) for name, value in step.columns.items()} or None,
        "competitor_id": plain_value(step.competitor_id),
        "label": step.label,
        "activity_id": plain_value(step.activity_id),
    }
    return {name: value for name, value in data.items() if value is not None}


def _approved(step: Step) -> tuple[object, ...]:
    """Return what a person approves of a step, in values whose written form is the same everywhere."""
    state = None if step.state is None else int(step.state)
    competitor = None if step.competitor_id is None else str(step.competitor_id)
    columns = sorted((name, value) for name, value in step.activity.items() if name not in step.assumed)
    further, kind, record = sorted(step.columns.items()), step.kind.value, str(step.record_id)
    approved = (kind, record, step.version, step.table, step.message, state, step.status, columns, competitor)
    return (*approved, further) if further else approved
