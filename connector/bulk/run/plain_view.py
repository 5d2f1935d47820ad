"""How a bulk job goes, in plain lines, where there is no terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol, TextIO

from connector.bulk.status import done_of, numbers, parts_of
from connector.bulk.words import BINDS, duration, limits_words, moment_words, reason_words, rows
from connector.clock import Clock
from connector.ledger.jobs import DesiredState

PLAIN_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class View(Protocol):
    """Shows how a job goes."""

    def show(self, data: Mapping[str, object]) -> None:
        """Show where the job stands, as `status_data` has it."""

    def stopping(self) -> None:
        """Show that it is being stopped; called by a signal handler."""

    def end(self) -> None:
        """Show no more."""


class PlainView:
    """Writes a line every so often, where there is no terminal."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._written_at = float("-inf")
        self._written_state = DesiredState.RUN.value
        self._in_hand = 0
        self._sleeps_until: object = None

    def show(self, data: Mapping[str, object]) -> None:
        """Show it, if it is time to, and what is newly wanted at once."""
        self._in_hand = int(numbers(data).get("in_hand", 0))
        if data["desired_state"] != self._written_state:
            self._written_state = str(data["desired_state"])
            self._say(DesiredState(self._written_state).seen)
        if data.get("sleeps_until") != self._sleeps_until:
            self._sleeps_until = data.get("sleeps_until")
            self._say(sleeping(data) if self._sleeps_until else "The job goes on: its hours have begun.")
        if not self._sleeps_until and self._clock.monotonic() - self._written_at >= PLAIN_EVERY:
            self._written_at = self._clock.monotonic()
            self._say(line_of(data))

    def stopping(self) -> None:
        """Say what is waited for."""
        rows_in_flight = f"{rows(self._in_hand)} in flight" if self._in_hand else "the last answers"
        sentence = f"\nStopping: waiting for {rows_in_flight}. Press Ctrl-C again to stop at once.\n"
        os.write(2, sentence.encode())  # safe in a signal handler, where a stream may be in the middle of a line

    def end(self) -> None:
        """Show no more."""

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def sleeping(data: Mapping[str, object]) -> str:
    """Say until when a job sleeps."""
    return f"The job sleeps until {moment_words(data['sleeps_until'])}, {limits_words(data['limits'])}."


def line_of(data: Mapping[str, object]) -> str:
    """Return where a job stands as one line."""
    total, done = int(str(data["total"])), done_of(data)
    bad = int(str(data["refused"])) + int(str(data["failed"]))
    most = f" (most: {reason_words(reasons[0]['reason'])})" if (reasons := parts_of(data, "reasons")) else ""
    not_done = [f"{bad:,} not done{most}"] if bad else []
    return ", ".join([f"{done:,} of {total:,} ({100 * done // max(1, total)}%)", *pace_parts(data), *not_done])


def pace_parts(data: Mapping[str, object]) -> list[str]:
    """Return how fast a job goes, what holds it, when it ends, and what is tried later, as far as it is known."""
    total, done, pace = int(str(data["total"])), done_of(data), numbers(data)
    parts = []
    rate, ceiling, governor = pace.get("rate"), pace.get("ceiling"), data["governor"]
    if rate:  # at first nothing is known of it
        parts.append(f"{rate:.1f} rows/s in the last 30 s" + (f"; the limits allow {ceiling:.1f}" if ceiling else ""))
    if isinstance(governor, Mapping) and (rate or governor["binding"] in {"outage", "waiting"}) and done < total:
        parts.append(f"limited by {BINDS.get(str(governor['binding']), str(governor['binding']))}")
        parts.append(f"about {duration(pace['left'])} left" if "left" in pace else "time left not known yet")
    if done == total and pace.get("left", 0.0) >= 1:
        parts.append(f"the last rows are read again, about {duration(pace['left'])} left")
    if pace.get("waiting"):
        parts.append(f"waiting {duration(pace['waiting'])} more")
    return parts + [f"{part['count']:,} {later_words(part)}" for part in parts_of(data, "tried_later")]


def later_words(part: Mapping[str, object]) -> str:
    """Return why some rows are tried later, and when."""
    first = duration(float(str(part["seconds"])))
    return f"tried later, {reason_words(part['reason'])}, not before {first} from now"
