"""Status reasons: from what a person says (a number, a label, nothing) to the value of the right state.

States are fixed by the platform, status reasons are the organization's own, so all of it is looked up in its metadata.
`-1` ("the default of the state") is never sent: for a closed quote the platform's default is 7 Revised, which says that
a revision follows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum

from connector.closing.model import Outcome, QuoteState, StatusReason
from connector.errors import InputError

LOST, CANCELED, REVISED = 5, 6, 7
"""The platform's own status reasons of a closed quote."""

CLOSED_QUOTE_DEFAULT = {Outcome.LOST: LOST, Outcome.WON: CANCELED}
"""What an open quote becomes when the caller does not say.

Lost with a lost opportunity. With a won one it is Canceled: the customer did buy, so counting what was withdrawn as
lost would spoil the figures of quotes lost. Where Project Operations wins a project quote it closes the others as
Lost itself. Never Revised, although that is the platform's default of the state: no revision follows.
"""


def resolve(table: str, statuses: Sequence[StatusReason], reason: int | str, state: IntEnum) -> int:
    """Return the value of the status reason `reason`, by value or label, which must belong to `state`.

    Labels are compared in all the organization's languages, without regard to case. Raises InputError, naming the
    valid reasons of the state, when the reason is unknown, belongs to another state, or its label is ambiguous.
    """
    label = _folded(str(reason))
    matches = _by_value(statuses, reason) or [s for s in statuses if label in map(_folded, s.labels)]
    fitting = [status for status in matches if status.state == state]
    if len(fitting) == 1:
        return fitting[0].value
    field = ("status" if table == "opportunity" else "quote_status",)
    valid = f"Valid for {table} {state.name.lower()}: {in_list(s for s in statuses if s.state == state) or 'none'}."
    if len(matches) > 1:
        candidates = in_list(fitting or matches)
        raise InputError(
            f"The label {reason!r} is ambiguous: the {table} has {candidates}.",
            remedy=f"Give the number. {valid}",
            fields=field,
        )
    if matches:
        raise InputError(
            f"The status reason {_said(matches[0], reason)} of the {table} is not one for {table}"
            f" {state.name.lower()}.",
            remedy=valid,
            fields=field,
        )
    raise InputError(f"The {table} has no status reason {reason!r}.", remedy=valid, fields=field)


def default_of(table: str, statuses: Sequence[StatusReason], state: IntEnum) -> int:
    """Return the state's default status reason, else its lowest; raises InputError when the state has none."""
    candidates = [status for status in statuses if status.state == state]
    if not candidates:
        raise InputError(
            f"The organization's metadata has no status reason for {table} {state.name.lower()}.",
            remedy="Check that the application user may read the table's definition.",
        )
    return min([status.value for status in candidates if status.default] or [status.value for status in candidates])


def closed_quote_default(statuses: Sequence[StatusReason], outcome: Outcome) -> int:
    """Return what an open quote becomes by default: see `CLOSED_QUOTE_DEFAULT`.

    Where the organization has removed that one it is the lowest other reason of the state which is not Revised.
    """
    candidates = [s.value for s in statuses if s.state == QuoteState.CLOSED and s.value != REVISED]
    usual = CLOSED_QUOTE_DEFAULT[outcome]
    if usual in candidates:
        return usual
    if not candidates:
        raise InputError(
            "The organization has no status reason for closed quotes other than Revised.",
            remedy="Name the status reason that quotes shall get.",
        )
    return min(candidates)


def may_follow(statuses: Sequence[StatusReason], was: int, then: int) -> bool:
    """Tell whether a status reason may come after another; everything may where transitions are not enforced."""
    followers = next((status.followers for status in statuses if status.value == was), None)
    return followers is None or was == then or then in followers


def reachable(table: str, statuses: Sequence[StatusReason], was: int, state: IntEnum, then: int | None = None) -> int:
    """Return the reason of `state` that may follow `was`, and be followed by `then`: its default, else the lowest.

    Where none may, it is still the default.
    """
    default = default_of(table, statuses, state)
    others = sorted(status.value for status in statuses if status.state == state)
    ways = (way for way in (default, *others) if may_follow(statuses, was, way))
    return next((way for way in ways if then is None or may_follow(statuses, way, then)), default)


def _by_value(statuses: Sequence[StatusReason], reason: int | str) -> list[StatusReason]:
    text = str(reason).strip()
    return [status for status in statuses if str(status.value) == text]


def _folded(text: str) -> str:
    """Return a text for comparing: without regard to case, and to how a letter with an accent is composed."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


def _said(status: StatusReason, reason: int | str) -> str:
    """Return a reason as the organization names it, with the label it was named by, where that is another."""
    names = {str(status.value), *map(_folded, status.labels[:1])}
    other = "" if _folded(str(reason)) in names else f" ({str(reason).strip()!r})"
    return f"{in_list([status])}{other}"


def otherwise(statuses: Sequence[StatusReason], now: int, then: int | None) -> str:
    """Return for people which status reason it is, and which it is not: `3 Won, not 9 Won by Referral`."""
    return ", not ".join(in_list(_by_value(statuses, str(value))) or str(value) for value in (now, then))


def in_list(statuses: Iterable[StatusReason]) -> str:
    """Return status reasons for people, each with its number: `4 Canceled, 5 Out-Sold`."""
    return ", ".join(" ".join((str(status.value), *status.labels[:1])) for status in statuses)
