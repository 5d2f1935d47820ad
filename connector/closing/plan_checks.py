"""What forbids a step before anything is written: a transition of status reasons, or a privilege that is missing.

Sources: the message privileges of WinOpportunity, LoseOpportunity, WinQuote and CloseQuote (Microsoft Learn, previous
versions: gg334650, gg334747, gg334662, gg328578); learn.microsoft.com/power-apps/developer/data-platform/define-
custom-state-model-transitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from connector.closing.model import OrganizationMetadata, Snapshot, StatusReason, Step, StepKind
from connector.closing.reasons import in_list, may_follow
from connector.closing.step_words import PHRASES
from connector.errors import Forbidden

_ACTIVITY = ("prvCreateActivity", "prvAppendActivity")
_QUOTE_CLOSE = ("prvWriteQuote", "prvAppendToQuote", *_ACTIVITY)
_COMPETITOR = "prvAppendToCompetitor"
_BY_STEP: Mapping[StepKind, tuple[str, ...]] = {
    StepKind.ACTIVATE_QUOTE: ("prvWriteQuote",),
    StepKind.DELETE_QUOTE: ("prvDeleteQuote",),
    StepKind.WIN_QUOTE: _QUOTE_CLOSE,
    StepKind.CLOSE_QUOTE: _QUOTE_CLOSE,
    StepKind.CLOSE_PROJECT_QUOTE: ("prvWriteQuote",),
    StepKind.CLOSE_ALL_QUOTES: ("prvWriteQuote",),
    StepKind.CLOSE_OPPORTUNITY: ("prvWriteOpportunity", "prvAppendToOpportunity", *_ACTIVITY),
    StepKind.CREATE_ORDER: (),  # no document names what the conversion needs
    StepKind.REOPEN_OPPORTUNITY: ("prvWriteOpportunity",),
    StepKind.REOPEN_QUOTE: ("prvWriteQuote",),
}

STEP_PRIVILEGES = tuple(sorted({name for names in _BY_STEP.values() for name in names} | {_COMPETITOR}))
"""Every privilege that a step may need."""


def refuse_lacking(steps: Sequence[Step], held: frozenset[str] | None) -> None:
    """Raise Forbidden for the privileges that `steps` need and the acting user lacks; None: they are not known."""
    if held is None:
        return
    lacking: dict[str, list[str]] = {}
    for step in steps:
        for name in _needed(step):
            if name not in held:
                lacking.setdefault(name, []).append(PHRASES[step.kind])
    if not lacking:
        return
    named = ", ".join(f"{name} (to {' and '.join(dict.fromkeys(uses))})" for name, uses in lacking.items())
    raise Forbidden(
        f"The user lacks {named}. This was found before anything was written.",
        status=HTTPStatus.FORBIDDEN,
        remedy="Add it to a security role of the application user (Power Platform admin center), or run "
        "`connector doctor`, which lists all that closing needs.",
    )


def _needed(step: Step) -> Iterable[str]:
    yield from _BY_STEP[step.kind]
    if step.competitor_id is not None:
        yield _COMPETITOR


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
