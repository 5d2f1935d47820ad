"""How a run goes, as plain lines: where there is no terminal to draw on."""

from __future__ import annotations

from typing import Protocol, TextIO

from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.words import BINDS, duration
from connector.clock import Clock
from connector.ledger.jobs import DesiredState, ItemStatus

PLAIN_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class View(Protocol):
    """Shows how a run goes."""

    def show(self, moment: ProgressSnapshot) -> None:
        """Show a moment."""

    def end(self) -> None:
        """Show no more."""


class PlainView:
    """Writes a line every so often, where there is no terminal."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._told_at = float("-inf")
        self._told_state = DesiredState.RUN

    def show(self, moment: ProgressSnapshot) -> None:
        """Show a moment, if it is time to, and what is newly wanted at once."""
        if moment.desired_state is not self._told_state:
            self._told_state = moment.desired_state
            self._stream.write(moment.desired_state.seen + "\n")
            self._stream.flush()
        if self._clock.monotonic() - self._told_at >= PLAIN_EVERY:
            self._told_at = self._clock.monotonic()
            self._stream.write(line_of(moment) + "\n")
            self._stream.flush()

    def end(self) -> None:
        """Show no more."""


def line_of(moment: ProgressSnapshot) -> str:
    """Return a moment as one line."""
    counts = moment.counts
    total = counts.total
    done = total - counts.open
    parts = [f"{done:,} of {total:,} ({done / max(1, total):.0%})", f"{moment.rate:.1f}/s"]
    if moment.ceiling:
        parts.append(f"ceiling {moment.ceiling:.1f}/s")
    if counts.open:
        parts.append(f"bound by {BINDS.get(moment.binding, moment.binding)}")
    if moment.waiting:
        parts.append(f"waiting {duration(moment.waiting)} more")
    if moment.left is not None and moment.left < float("inf"):
        parts.append(f"about {duration(moment.left)} left")
    bad = counts.of(ItemStatus.REFUSED) + counts.of(ItemStatus.FAILED)
    if bad:
        worst = max(counts.reasons.items(), key=lambda pair: pair[1], default=((None, ""), 0))
        parts.append(f"{bad:,} not done (most: {worst[0][1]})" if worst[1] else f"{bad:,} not done")
    return ", ".join(parts)
