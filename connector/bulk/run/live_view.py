"""How a bulk job goes, drawn anew on a terminal as a panel. Brings rich, so it is imported only there."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from connector.bulk.status import done_of, numbers, parts_of
from connector.bulk.words import BINDS, duration, limits_words, moment_words, reason_words, rows
from connector.clock import Clock

REASONS = 5
"""The most frequent reasons why rows are not done; the others are counted."""
WIDEST = 100
"""Columns of the panel, at most: longer lines are hard to read."""
ECHO = 3
"""Columns left free for the `^C` that a terminal shows: it would begin a new line and tear the panel."""


class LiveView:
    """Shows on a terminal how a job goes. What is said or logged meanwhile comes above the panel."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._handlers: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
        self._stopping_at: float | None = None

    def show(self, data: Mapping[str, object]) -> None:
        """Show where the job stands, as `status_data` has it."""
        if not self._live.is_started:
            before = sys.stderr
            self._live.start()
            self._redirect(before)
        since = self._stopping_at
        stopping = None if since is None else self._clock.monotonic() - since
        width = self._live.console.width - ECHO
        self._live.update(drawn(data, self._clock.now().astimezone(), stopping, width), refresh=True)

    def stopping(self) -> None:
        """Show from now on that it is being stopped, and what is waited for."""
        self._stopping_at = self._clock.monotonic()

    def end(self) -> None:
        """Leave the last picture behind."""
        self._live.stop()
        for handler, stream in self._handlers:
            handler.setStream(stream)

    def _redirect(self, before: TextIO) -> None:
        """Let loggers write above the panel, too: they keep the stream that they began with."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                self._handlers.append((handler, before))
                handler.setStream(sys.stderr)


def drawn(data: Mapping[str, object], now: datetime, stopping: float | None = None, width: int = WIDEST) -> Panel:
    """Return where a job stands as a picture, at most `width` wide; `now` is the time of day where the person is.

    `stopping` is since how many seconds it is being stopped, if it is.
    """
    total, done = int(str(data["total"])), done_of(data)
    bar = Table.grid(padding=(0, 2))
    share = f"{done:,} of {total:,} ({100 * done // max(1, total)}%)"
    bar.add_row(ProgressBar(max(1, total), done, width=30, complete_style="green", finished_style="green"), Text(share))
    picture = Table.grid(padding=(0, 2))
    picture.add_column(style="bold", no_wrap=True)
    picture.add_column()
    picture.add_row(Text("Rows"), bar)
    for name, value in _lines(data, now, stopping):
        picture.add_row(Text(name), Text(value))  # Text: brackets are no markup
    title = Text(f"Job {data['job']}", style="bold")
    return Panel(picture, title=title, title_align="left", border_style="dim", width=min(width, WIDEST))


def _lines(data: Mapping[str, object], now: datetime, stopping: float | None) -> list[tuple[str, str]]:
    pace = numbers(data)
    working = bool(data["workers"])
    lines = []
    if pace.get("rate"):  # at first nothing is known of it
        ceiling = pace.get("ceiling") or 0.0
        words = f"; the limits allow {ceiling:,.1f}{' in the long run' if pace['rate'] > ceiling else ''}"
        lines.append(("Rate", f"{pace['rate']:,.1f} rows/s in the last 30 s{words if ceiling else ''}"))
    if data.get("sleeps_until"):
        lines = [("Sleeping", f"until {moment_words(data['sleeps_until'])}")]
    elif pace and working and done_of(data) < int(str(data["total"])):
        lines += _flow(data, pace, now, ending=stopping is None)
    elif pace and working and pace.get("left", 0.0) >= 1:
        lines.append(("Checking", f"the last rows are read again, {_end(pace, now)}"))
    if data.get("limits"):
        lines.append(("Limits", limits_words(data["limits"])))
    if stopping is not None and working:
        lines.append(("Stopping", _stopping(pace, stopping)))
    for number, part in enumerate(parts_of(data, "tried_later")):
        first = float(str(part["seconds"]))
        when = f"not before {_when(now, first)}" if first else "as soon as no others are left"
        name = "" if number else "Tried later"
        lines.append((name, f"{part['count']:,} {reason_words(part['reason'])}, at the end of the job, {when}"))
    return lines + _bad(data)


def _flow(
    data: Mapping[str, object], pace: Mapping[str, float], now: datetime, *, ending: bool
) -> list[tuple[str, str]]:
    """Return what is under way, what holds it and, where it goes on to its `ending`, when that is."""
    governor = data["governor"]
    assert isinstance(governor, Mapping)
    users = parts_of(governor, "users")
    limits = data.get("limits") or {}
    assert isinstance(limits, Mapping)
    most = min(sum(int(str(user["most_in_flight"])) for user in users), limits.get("in_flight", math.inf))
    flight = f"{sum(int(str(user['in_flight'])) for user in users)} of {most} requests"
    flight += f", {len(users)} users" if len(users) > 1 else ""
    flight += f"; {pace['in_doubt']:,.0f} rows in doubt, looked at again" if pace["in_doubt"] else ""
    held_by = BINDS.get(str(governor["binding"]), str(governor["binding"]))
    lines = [("Limited by", held_by)] if pace.get("rate") or governor["binding"] != "rows" else []
    lines.append(("In flight", flight))
    if pace["waiting"]:
        lines.append(("Waiting", f"until {_when(now, pace['waiting'])} ({duration(pace['waiting'])})"))
    return [*lines, ("Ends", _end(pace, now) if "left" in pace else "not known yet")] if ending else lines


def _end(pace: Mapping[str, float], now: datetime) -> str:
    return f"about {_when(now, pace['left'])} (in {duration(pace['left'])})"


def _stopping(pace: Mapping[str, float], seconds: float) -> str:
    """Return what is waited for before it stops, and how to stop at once."""
    waited = f"{rows(int(pace['in_hand']))} in flight" if pace and pace["in_hand"] else "the last answers"
    return f"waiting for {waited} ({duration(seconds)} so far). Ctrl-C again stops at once."


def _bad(data: Mapping[str, object]) -> list[tuple[str, str]]:
    bad = int(str(data["refused"])) + int(str(data["failed"]))
    if not bad:
        return []
    reasons: Sequence[Mapping[str, object]] = parts_of(data, "reasons")
    lines = [("Not done", f"{bad:,}")]
    lines += [
        ("", f"{group['count']:,} {group['status']}: {reason_words(group['reason'])}") for group in reasons[:REASONS]
    ]
    if len(reasons) > REASONS:
        lines.append(("", f"and {len(reasons) - REASONS} more reasons"))
    return lines


def _when(now: datetime, seconds: float) -> str:
    """Return the time of day in so many seconds, with the date where that is another day."""
    then = now + timedelta(seconds=seconds)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
