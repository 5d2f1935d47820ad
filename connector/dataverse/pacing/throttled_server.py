"""How a web server that has refused is come back to."""

from __future__ import annotations

from connector.dataverse.pacing.permits import Permit

PROBE_SECONDS = 5.0
"""After a refusal one request goes first; when it takes longer than this, the others follow anyway."""


class ThrottledServer:
    """When the Retry-After of its refusal is over, one request goes first to a server, and the others follow it.

    `until` is when that is, `first` the request that went first, `again` how many refusals in a row came to those.
    """

    __slots__ = ("again", "first", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self.first: Permit | None = None
        self.again = 0

    def refused(self, until: float) -> None:
        """Take in a refusal that says until when to wait."""
        self.until = max(self.until, until)
        self.first = None

    def sent(self, permit: Permit) -> None:
        """Take in what goes there."""
        if self.until > float("-inf"):
            self.first = self.first or permit

    def answered(self) -> None:
        """Take in that the first was answered: the others follow."""
        self.until = float("-inf")
        self.first = None
        self.again = 0

    def open_at(self, now: float) -> float | None:
        """Return from when on the next request may go; None where nothing is held.

        It is long ago for the one that goes first: the service said when it would take it, whatever we think is left.
        """
        if self.until == float("-inf") or now < self.until:
            return self.until if now < self.until else None
        if self.first is None:
            return float("-inf")
        follows = self.first.sent_at + PROBE_SECONDS
        return follows if now < follows else None


def further_back(again: int, window: float, chance: float) -> float:
    """Return how many seconds to stay away beyond what we are told: none at first.

    Refused `again` after waiting as told, so many times, somebody else under the same user keeps the penalty going. Two
    who both come back exactly as told prolong it for each other for good; so each time twice as far back, at random.
    """
    return window / 60 * 2.0 ** min(again, 5) * chance if again else 0.0
