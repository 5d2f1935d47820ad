"""What a governor leaves to the next one of the same user, in another process or on another machine.

The service counts per user, whoever sends: so the next governor begins with the limits as they were learnt, with what
has been used of them, and with the Retry-After that is still running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from operator import ge
from typing import Self

from connector.dataverse.pacing.web_servers import LimitEstimates, WebServer

LEAST = (20.0, 20.0, 2.0)
"""Requests, seconds and concurrency below which no limit is believed: nothing would ever go through."""


@dataclass(frozen=True, slots=True)
class CarriedOverLimits:
    """The limits of one web server as they were learnt, what was used of both windows on the one used most.

    `waiting` is for how many seconds everything was still stopped.
    """

    requests: float
    seconds: float
    concurrency: float
    sent: float
    executed: float
    waiting: float

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, object]) -> Self | None:
        """Return what `data` made; None for what another version left that is not understood."""
        numbers = [data.get(field.name) for field in fields(cls)]
        good = [float(one) for one in numbers if isinstance(one, int | float) and isfinite(one) and one >= 0]
        return cls(*good) if len(good) == len(numbers) and all(map(ge, good, LEAST)) else None


def left_by(servers: Iterable[WebServer], now: float, waiting: float) -> CarriedOverLimits:
    """Return what is known of `servers`."""
    known = list(servers)
    learnt = [server.learnt() for server in known]
    return CarriedOverLimits(
        min(one.requests for one in learnt),
        min(one.seconds for one in learnt),
        min(one.concurrency for one in learnt),
        max(server.sent.used(now) for server in known),
        max(server.executed.used(now) for server in known),
        max(0.0, waiting),
    )


def begin_with(server: WebServer, carried_over: CarriedOverLimits, now: float, age: float) -> None:
    """Let `server`, of which little is known yet, begin with what was left `age` seconds ago.

    What was used then is taken as used evenly over the window that ended then, so that a part of it has come back.
    """
    server.assume(now, LimitEstimates(carried_over.requests, carried_over.seconds, carried_over.concurrency))
    share = max(0.0, 1 - age / server.budget.window)
    server.sent.add_spread(now, carried_over.sent * share)
    server.executed.add_spread(now, carried_over.executed * share)
