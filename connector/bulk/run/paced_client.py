"""What a run needs of each user it may act as: a way to the organization, and who sets its pace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from connector.closing.organization import Organization


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


class Pacer(Protocol):
    """The governor of one user, as a run sees it."""

    def parts(self) -> int:
        """Return how many opportunities one batch should carry."""

    def pace(self) -> PacerStatus:
        """Return what it is doing."""

    def carried_over(self) -> Mapping[str, object]:
        """Return what is known of the user's limits, as plain data, for the next governor of the same user."""

    def begin_with(self, carried_over: Mapping[str, object], age: float) -> None:
        """Begin with what another governor of this user left `age` seconds ago."""

    def seconds_for(self, requests: float, seconds: float, fastest: float) -> float:
        """Return how long so much work takes from now on, at no more than `fastest` requests a second."""


class PacedClient(Protocol):
    """One user's way to the organization."""

    @property
    def name(self) -> str:
        """Return its name, for people."""

    @property
    def organization(self) -> Organization:
        """Return the organization as this user sees it."""

    @property
    def gate(self) -> Pacer:
        """Return what paces its requests."""
