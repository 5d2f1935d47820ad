"""What a person allows a job: hours, rate, requests at once, rows, operations. It is kept with the job.

Whoever works on the job looks at it again and again, so it can be changed at any time. Rate, rows and operations are
counted in the ledger, when rows are claimed: so they hold for all workers together, on whatever machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from connector.errors import InputError
from connector.ledger.jobs import Counts, ItemStatus
from connector.ledger.time_window import TimeWindow, opens_at, read_window

KEPT_AS = "limits"
"""What they are called among the options of a job."""
BURST = 2.0
"""Seconds of the rate that may be saved up: workers do not look at every moment."""
FIRST_OPERATIONS = 4.0
"""Operations that a row is taken to cost until some are done."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|per)\s*(s|sec|second|m|min|minute|h|hour)", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The limits of a job; None, or no window, where nothing is said.

    `windows` are the hours in which it runs, `until` is when it stops, `at_most` is a rate as `10/s`, `in_flight` how
    many requests may be under way at once, `leave` how many rows stay to be done, `max_operations` how many requests
    may be counted towards the entitlement.
    """

    windows: tuple[TimeWindow, ...] = ()
    until: datetime | None = None
    at_most: str | None = None
    in_flight: int | None = None
    leave: int | None = None
    max_operations: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the limits among the options of a job."""
        data = options.get(KEPT_AS) or {}
        until = data.get("until")
        return cls(
            windows=tuple(read_window(text) for text in data.get("window", ())),
            until=None if until is None else datetime.fromisoformat(until),
            at_most=data.get("at_most"),
            in_flight=data.get("in_flight"),
            leave=data.get("leave"),
            max_operations=data.get("max_operations"),
        )

    def data(self) -> dict[str, object]:
        """Return what is said, as plain data."""
        values: dict[str, object] = {
            "window": [window.text for window in self.windows],
            "until": None if self.until is None else self.until.astimezone(UTC).isoformat(),
            "at_most": self.at_most,
            "in_flight": self.in_flight,
            "leave": self.leave,
            "max_operations": self.max_operations,
        }
        return {name: value for name, value in values.items() if value not in (None, [])}

    @property
    def rate(self) -> float | None:
        """Return the rows per second."""
        return None if self.at_most is None else read_rate(self.at_most)

    def opens_at(self, now: datetime) -> datetime | None:
        """Return until when the job sleeps; None while it may run."""
        return opens_at(self.windows, now)

    def reached(self, now: datetime, counts: Counts, operations: int) -> str:
        """Return the name of the limit that ends the job for now, or an empty text."""
        if self.until is not None and now >= self.until:
            return "until"
        if self.max_operations is not None and operations >= self.max_operations:
            return "max_operations"
        left = counts.of(ItemStatus.PENDING)
        pilot = self.leave is not None and 0 < left == counts.open and left <= self.leave
        return "limit" if pilot else ""

    def without_pilot(self) -> Self:
        """Return the limits without the one on rows."""
        return replace(self, leave=None)


def read_rate(text: str) -> float:
    """Return rows per second of a rate as `10/s`, `300/min` or `5000/h`. Raises InputError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise InputError(f"{text!r} is no rate.", remedy="Write it as 10/s, 300/min or 5000/h.")
    return float(match[1]) / _SECONDS[match[2][0].lower()]


def saved_up(rate: float, allowance: float | None, since: float, now: float) -> float:
    """Return how many rows may be taken now: what was left at `since`, and what has come since, but no more than BURST.

    A clock that was set back adds nothing.
    """
    if allowance is None:
        return 1.0
    return min(max(1.0, BURST * rate), allowance + max(0.0, now - since) * rate)


def affordable(limits: JobLimits, counts: Counts, operations: int) -> int:
    """Return how many more rows the operations that are left may be enough for, by what rows have cost so far.

    One is tried while any are left: whether they are enough for it shows when it is planned.
    """
    if limits.max_operations is None:
        return counts.open
    if operations >= limits.max_operations:
        return 0
    done = counts.total - counts.open
    cost = operations / done if done and operations else FIRST_OPERATIONS
    claimed = counts.of(ItemStatus.CLAIMED)
    return max(int((limits.max_operations - operations) / cost), 1) - claimed
