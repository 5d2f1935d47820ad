"""What a run needs of each user: whether nobody else acts as it, a way to the organization, pace and limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from connector.clock import Clock
from connector.closing.organization import Organization
from connector.ledger.ledger import Ledger
from connector.ledger.user_slots import UserSlots


class PacerStatus(Protocol):
    """What a governor is doing. Rates are in requests per second, times in seconds; `binding` is what holds it."""

    @property
    def binding(self) -> str:
        """Return count, time, concurrency, latency, or waiting (for a Retry-After to pass)."""

    @property
    def waiting(self) -> float:
        """Return for how long everything is still stopped."""

    @property
    def ceiling(self) -> float:
        """Return the rate that could go on for hours."""

    @property
    def in_flight(self) -> int:
        """Return how many requests are being answered."""

    @property
    def most_in_flight(self) -> int:
        """Return how many may be."""

    @property
    def servers(self) -> int:
        """Return how many web servers have been seen."""

    @property
    def seconds_per_part(self) -> float:
        """Return what one opportunity in a batch costs."""

    @property
    def requests(self) -> int:
        """Return how many requests were sent so far."""

    @property
    def executed(self) -> float:
        """Return the seconds of execution so far."""

    @property
    def refused(self) -> int:
        """Return how many requests were turned away with 429 so far."""

    @property
    def spread(self) -> float:
        """Return by which share of their mean requests differ in length."""

    @property
    def since_sent(self) -> float:
        """Return how long ago the last batch of writes was sent."""

    @property
    def usual_seconds(self) -> float:
        """Return what one opportunity costs, without those few that take many times as long."""

    @property
    def unlike(self) -> int:
        """Return how many of those were answered so far."""

    @property
    def hanging(self) -> float:
        """Return the seconds that those of them take which are under way, at most."""


class Pacer(Protocol):
    """The governor of one user, as a run sees it."""

    def parts(self) -> int:
        """Return how many opportunities one batch should carry."""

    def fewest_parts(self, waiting: float) -> int:
        """Return how many it must carry, `waiting` being left, so that not the number of requests holds the rate."""

    def expect(self, parts: float) -> int:
        """Take in how many opportunities are still to be sent; return how many the next request must carry, if any."""

    def width(self) -> int:
        """Return how many requests may be under way at once."""

    def pace(self) -> PacerStatus:
        """Return what it is doing."""

    def carried_over(self) -> Mapping[str, object]:
        """Return what is known of the user's limits, as plain data, for the next governor of the same user."""

    def begin_with(self, carried_over: Mapping[str, object], age: float) -> None:
        """Begin with what another governor of this user left `age` seconds ago."""

    def seconds_for(self, requests: float, seconds: float, fastest: float) -> float:
        """Return how long so much work takes from now on, at no more than `fastest` requests a second."""


QUICK_SECONDS = 0.15
"""Rows share a request up to so much work, longer ones while requests are scarce: one that hangs holds the others."""
SPLIT = 3
"""Requests for each that may be in flight, at least, into which the rows that are left are divided."""
LEARN = 8
"""Rows answered before a request takes another one more: what a row costs shows by then."""


def rows_per_request(gate: Pacer, left: float, width: int, answered: int) -> int:
    """Return how many rows the next request takes: few enough that all `width` that may be in flight have some."""
    even = math.ceil(left / (SPLIT * max(1, width)))
    cost = max(gate.pace().seconds_per_part, 1e-6)
    by_work = max(QUICK_SECONDS / cost, gate.fewest_parts(left))
    return max(1, min(gate.parts(), even, int(by_work), 1 + answered // LEARN))


class PacedClient(Protocol):
    """One user's way to the organization."""

    @property
    def name(self) -> str:
        """Return its name, for people."""

    @property
    def user(self) -> str:
        """Return which user of the organization it acts as: an id, or the name where there is none."""

    @property
    def organization(self) -> Organization:
        """Return the organization as this user sees it."""

    @property
    def gate(self) -> Pacer:
        """Return what paces its requests."""


USER_LOOK = 0.5
"""Seconds between looks whether a user is free."""


@contextmanager
def free_users(
    ledger: Ledger, clients: Mapping[str, PacedClient], clock: Clock, name: str, tell: Callable[[str], None]
) -> Iterator[dict[str, PacedClient]]:
    """Give the clients, by user, of the users that no other process acts as; where there is none, wait for one.

    What the service allows a user is counted over all of them, so two governors would spend it twice.
    """
    holder = ledger.enter(f"{name} for its users")
    try:
        announced = False
        while not (ours := {user: clients[user] for user in clients if UserSlots(ledger).take(holder, [user])}):
            if not announced:
                announced = True
                tell(
                    "Waiting: every user of the settings is at work in another process already. More of them"
                    " (DATAVERSE_IDENTITIES) could work side by side. Ctrl-C gives up; nothing is lost."
                )
            clock.sleep(USER_LOOK)
        yield ours
    finally:
        holder.leave()


EVERY = 5.0
"""Seconds between the times it is written down."""
OLDEST = 86_400.0
"""Seconds after which it says nothing any more."""


class LimitsCarryOver:
    """Lets the governors of `clients` (by the user's name, the same on every machine) begin where the last ones ended.

    Methods raise LedgerError.
    """

    def __init__(self, ledger: Ledger, clients: Mapping[str, PacedClient], clock: Clock) -> None:
        self._ledger = ledger
        self._clients = clients
        self._clock = clock
        self._kept_at = clock.monotonic()

    def begin(self) -> None:
        """Let the governors know what the last ones left."""
        for user, client in self._clients.items():
            left = UserSlots(self._ledger).recall(_key(user))
            age = max(0.0, self._ledger.now() - left.at.timestamp()) if left else OLDEST
            if left and age < OLDEST:
                client.gate.begin_with(left.data, age)

    def now_and_then(self) -> None:
        """Write down what is known, if it is time to."""
        if self._clock.monotonic() - self._kept_at >= EVERY:
            self.keep()

    def keep(self) -> None:
        """Write down what is known."""
        self._kept_at = self._clock.monotonic()
        for user, client in self._clients.items():
            UserSlots(self._ledger).remember(_key(user), client.gate.carried_over())


def _key(user: str) -> str:
    return f"user {user}"
