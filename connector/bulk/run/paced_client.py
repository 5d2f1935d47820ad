"""What a run needs of each user: whether nobody else acts as it, a way to the organization, pace and limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from connector.closing.organization import Organization
from connector.handler import PacingStatus
from connector.ledger.ledger import Ledger
from connector.ledger.shared_state import recall, remember, take_user


class Pacer(Protocol):
    """The governor of one user, as a run sees it."""

    def parts(self) -> int:
        """Return how many opportunities one batch should carry."""

    def fewest_parts(self, waiting: float) -> int:
        """Return how many it must carry, `waiting` being left, so that not the number of requests holds the rate."""

    def expect(self, parts: float, ready: int = 0) -> int | None:
        """Take in how many are to be sent, some made `ready`; return how many the last request carries, None later."""

    def width(self) -> int:
        """Return how many requests may be under way at once."""

    def pace(self) -> PacingStatus:
        """Return what it is doing."""

    def close(self) -> None:
        """Turn away what waits to be sent, until it opens."""

    def open(self) -> None:
        """Let requests wait again."""

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


MOST_IN_FLIGHT = 512
"""Requests of one user under way at once, whatever the pacer allows."""
AHEAD = 2
"""Requests made ready beyond those that may be in flight, so that one can go as soon as an answer comes."""
PACED, PACED_AHEAD = frozenset({"count", "time", "waiting"}), 8
"""What binds while requests wait for their time; then one for so many that may be in flight is made ready."""


def width_of(gate: Pacer) -> int:
    """Return how many requests may be in flight."""
    return min(gate.width(), MOST_IN_FLIGHT)


def is_full(gate: Pacer, batches: int, requests: int) -> bool:
    """Return whether no more is to be made ready beside `batches` of writes and `requests` of all kinds.

    While a window holds requests back only few are ready: rows that have a request cannot join the last one any more.
    """
    pace, width = gate.pace(), width_of(gate)
    ready = requests - pace.in_flight if pace.binding in PACED else 0
    return batches >= width + AHEAD or ready >= max(AHEAD, width // PACED_AHEAD)


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
    ledger: Ledger, clients: Mapping[str, PacedClient], name: str, tell: Callable[[str], None]
) -> Iterator[dict[str, PacedClient]]:
    """Give the clients, by user, of the users that no other process acts as; where there is none, wait for one.

    What the service allows a user is counted over all of them, so two governors would spend it twice.
    """
    holder = ledger.enter(f"{name} for its users")
    try:
        announced = False
        while not (ours := {user: clients[user] for user in clients if take_user(ledger, holder, user)}):
            if not announced:
                announced = True
                tell(
                    "Waiting: every user of the settings is at work in another process already. More of them"
                    " (DATAVERSE_IDENTITIES) could work side by side. Ctrl-C gives up; nothing is lost."
                )
            ledger.clock.sleep(USER_LOOK)
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

    def __init__(self, ledger: Ledger, clients: Mapping[str, PacedClient]) -> None:
        self._ledger = ledger
        self._clients = clients
        self._kept_at = ledger.clock.monotonic()

    def begin(self) -> None:
        """Let the governors know what the last ones left."""
        for user, client in self._clients.items():
            left = recall(self._ledger, _key(user))
            age = max(0.0, self._ledger.now() - left.at.timestamp()) if left else OLDEST
            if left and age < OLDEST:
                client.gate.begin_with(left.data, age)

    def now_and_then(self) -> None:
        """Write down what is known, if it is time to."""
        if self._ledger.clock.monotonic() - self._kept_at >= EVERY:
            self.keep()

    def keep(self) -> None:
        """Write down what is known."""
        self._kept_at = self._ledger.clock.monotonic()
        for user, client in self._clients.items():
            remember(self._ledger, _key(user), client.gate.carried_over())


def _key(user: str) -> str:
    return f"user {user}"
