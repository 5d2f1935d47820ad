"""What a governor leaves to the next one of the same user, in another process or on another machine.

The service counts per user, whoever sends: so the next governor begins with the limits as they were learnt, with what
has been used of them, and with the Retry-After that is still running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from operator import ge
from typing import Self

from connector.dataverse.pacing.web_servers import LimitEstimates, WebServer

LEAST = (20.0, 20.0, 2.0)
"""Requests, seconds and concurrency below which no limit is believed: nothing would ever go through."""
STEPS = 30
"""Steps of the window by which use is carried over: one amount for each."""


@dataclass(frozen=True, slots=True)
class CarriedOverLimits:
    """The limits of one web server as they were learnt, and what was used of both windows on the one used most.

    `sent` and `executed` have what was used in each thirtieth of the window, newest first. `waiting` is for how many
    seconds everything was still stopped.
    """

    requests: float
    seconds: float
    concurrency: float
    sent: tuple[float, ...]
    executed: tuple[float, ...]
    waiting: float

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, object]) -> Self | None:
        """Return what `data` made; None for what another version left that is not understood."""
        numbers = [_numbers(data.get(name), 1) for name in ("requests", "seconds", "concurrency", "waiting")]
        ages = [_numbers(data.get(name), STEPS) for name in ("sent", "executed")]
        if not all(numbers) or not all(ages):
            return None
        (requests,), (seconds,), (concurrency,), (waiting,) = numbers
        limits = (requests, seconds, concurrency)
        return cls(*limits, ages[0], ages[1], waiting) if all(map(ge, limits, LEAST)) else None


def _numbers(value: object, count: int) -> tuple[float, ...]:
    """Return so many numbers, or nothing if `value` is not that: one number, or a list of several."""
    values = value if isinstance(value, list | tuple) else [value]
    good = [float(number) for number in values if isinstance(number, int | float) and isfinite(number) and number >= 0]
    return tuple(good) if len(good) == len(values) == count else ()


def left_by(servers: Iterable[WebServer], now: float, waiting: float) -> CarriedOverLimits:
    """Return what is known of `servers`."""
    known = list(servers)
    learnt = [server.learnt() for server in known]
    return CarriedOverLimits(
        min(limits.requests for limits in learnt),
        min(limits.seconds for limits in learnt),
        min(limits.concurrency for limits in learnt),
        tuple(map(max, *(server.sent.ages(now, STEPS) for server in known), _NOTHING)),
        tuple(map(max, *(server.executed.ages(now, STEPS) for server in known), _NOTHING)),
        max(0.0, waiting),
    )


_NOTHING = (0.0,) * STEPS


def begin_with(server: WebServer, carried_over: CarriedOverLimits, now: float, age: float) -> None:
    """Let `server`, of which little is known yet, begin with what was left `age` seconds ago."""
    server.assume(now, LimitEstimates(carried_over.requests, carried_over.seconds, carried_over.concurrency))
    server.sent.add_aged(now, carried_over.sent, age)
    server.executed.add_aged(now, carried_over.executed, age)
