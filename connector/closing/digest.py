"""The name of a plan for approval: the same writes on the same rows have the same digest, in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from connector.closing.model import Plan, Snapshot, Step
from connector.closing.request import plain_value

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
