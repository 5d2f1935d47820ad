"""Which privileges each step needs, so that one which is missing is told before anything is written.

Sources: the message privileges of WinOpportunity, LoseOpportunity, WinQuote and CloseQuote (Microsoft Learn, previous
versions: gg334650, gg334747, gg334662, gg328578).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from connector.closing.model import Step, StepKind
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
        status=403,
        remedy="Add it to a security role of the application user (Power Platform admin center), or run "
        "`connector doctor`, which lists all that closing needs.",
    )


def _needed(step: Step) -> Iterable[str]:
    yield from _BY_STEP[step.kind]
    if step.competitor_id is not None:
        yield _COMPETITOR
