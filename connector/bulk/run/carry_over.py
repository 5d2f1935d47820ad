"""What was learnt of users' limits, written down now and then for whoever acts as them next."""

from __future__ import annotations

from collections.abc import Mapping

from connector.bulk.run.paced_client import PacedClient
from connector.clock import Clock
from connector.ledger.ledger import Ledger
from connector.ledger.user_slots import UserSlots

EVERY = 5.0
"""Seconds between the times it is written down."""
OLDEST = 86_400.0
"""Seconds after which it says nothing any more."""


class LimitsCarryOver:
    """Lets the governors of `lanes`, by what names their users on every machine, begin where the last ones ended.

    Methods raise LedgerError.
    """

    def __init__(self, ledger: Ledger, lanes: Mapping[str, PacedClient], clock: Clock) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._clock = clock
        self._kept_at = clock.monotonic()

    def begin(self) -> None:
        """Let the governors know what the last ones left."""
        for user, lane in self._lanes.items():
            left = UserSlots(self._ledger).recall(_key(user))
            age = max(0.0, self._ledger.now() - left.at.timestamp()) if left else OLDEST
            if left and age < OLDEST:
                lane.gate.begin_with(left.data, age)

    def now_and_then(self) -> None:
        """Write down what is known, if it is time to."""
        if self._clock.monotonic() - self._kept_at >= EVERY:
            self.keep()

    def keep(self) -> None:
        """Write down what is known."""
        self._kept_at = self._clock.monotonic()
        for user, lane in self._lanes.items():
            UserSlots(self._ledger).remember(_key(user), lane.gate.carried_over())


def _key(user: str) -> str:
    return f"user {user}"
