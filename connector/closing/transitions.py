"""Status reasons that may not follow each other, where an organization enforces the transitions of a table.

Source: learn.microsoft.com/power-apps/developer/data-platform/define-custom-state-model-transitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.closing.model import OrganizationMetadata, Snapshot, StatusReason, Step, StepKind
from connector.closing.reasons import in_list, may_follow


def forbidden_transition(steps: Sequence[Step], snapshot: Snapshot, metadata: OrganizationMetadata) -> str:
    """Return why a step would be turned down, naming what may follow instead, or an empty text."""
    tables: Mapping[str, Sequence[StatusReason]] = {
        "opportunity": metadata.opportunity_statuses,
        "quote": metadata.quote_statuses,
    }
    now = {quote.id: quote.status for quote in snapshot.quotes} | {snapshot.opportunity.id: snapshot.opportunity.status}
    for step in steps:
        if step.status is None or step.kind is StepKind.CLOSE_ALL_QUOTES:
            continue
        reasons, was = tables[step.table], now.get(step.record_id, step.status)
        if not may_follow(reasons, was, step.status):
            return _why(step, was, reasons)
        now[step.record_id] = step.status
    return ""


def _why(step: Step, was: int, reasons: Sequence[StatusReason]) -> str:
    known = {reason.value: reason for reason in reasons}
    followers = known[was].followers or frozenset()
    allowed = [reason for reason in reasons if reason.value in followers and reason.state == step.state]
    options = f"Of that state only these may: {in_list(allowed)}." if allowed else "No reason of that state may."
    which = f"quote {step.label}" if step.table == "quote" else "opportunity"
    return (
        f"The organization does not let the status reason {in_list([known[step.status or 0]])} follow "
        f"{in_list([known[was]])}, which the {which} has. {options} Nothing was changed."
    )
