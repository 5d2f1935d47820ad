"""How a bulk job goes, drawn anew on a terminal about twice a second. Brings rich, so it is imported only there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TextIO

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.words import BINDS, duration
from connector.cli.screen import console
from connector.clock import Clock
from connector.ledger.jobs import ItemStatus

REASONS = 5
"""The most frequent reasons why rows are not done; the others are counted."""


class LiveView:
    """Shows how a run goes on a terminal."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._clock = clock
        self._live = Live(console=console(stream), auto_refresh=False, redirect_stdout=False)

    def show(self, moment: ProgressSnapshot) -> None:
        """Show a moment."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(drawn(moment, self._clock.now().astimezone()), refresh=True)

    def end(self) -> None:
        """Leave the last picture behind."""
        self._live.stop()


def drawn(moment: ProgressSnapshot, now: datetime) -> Table:
    """Return a moment as a picture; `now` is the time of day where the person is."""
    counts = moment.counts
    done = counts.total - counts.open
    picture = Table.grid(padding=(0, 2))
    picture.add_column(style="bold")
    picture.add_column()
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(max(1, counts.total), done, width=30), Text(f"{done:,} of {counts.total:,}"))
    picture.add_row(Text(f"Job {moment.job}"), bar)
    for name, value in _lines(moment, now):
        picture.add_row(Text(name), Text(value))  # Text: brackets are no markup
    return picture


def _lines(moment: ProgressSnapshot, now: datetime) -> list[tuple[str, str]]:
    ceiling = f", at most {moment.ceiling:,.1f} for long" if moment.ceiling else ""
    paces = [pace for _, pace in moment.paces]
    at_once = f"{sum(p.in_flight for p in paces)} of {sum(p.most_in_flight for p in paces)} requests"
    lines = [("Rate", f"{moment.rate:,.1f} rows/s{ceiling}")]
    if moment.counts.open:
        lines += [
            ("Bound by", BINDS.get(moment.binding, moment.binding)),
            ("In flight", at_once if len(paces) == 1 else f"{at_once}, {len(paces)} users"),
        ]
    if moment.desired_state.seen:
        lines.append(("Wanted", moment.desired_state.seen))
    if moment.waiting:
        lines.append(("Waiting", f"until {_when(now, moment.waiting)} ({duration(moment.waiting)})"))
    if moment.left is not None and moment.left < float("inf"):
        lines.append(("Done", f"about {_when(now, moment.left)} (in {duration(moment.left)})"))
    return lines + _bad(moment)


def _bad(moment: ProgressSnapshot) -> list[tuple[str, str]]:
    counts = moment.counts
    bad = counts.of(ItemStatus.REFUSED) + counts.of(ItemStatus.FAILED)
    if not bad:
        return []
    ordered = sorted(((n, s.value, why) for (s, why), n in counts.reasons.items() if n), reverse=True)
    lines = [("Not done", f"{bad:,}")]
    lines += [("", f"{count:,} {status}: {why}") for count, status, why in ordered[:REASONS]]
    if len(ordered) > REASONS:
        lines.append(("", f"and {len(ordered) - REASONS} more reasons"))
    return lines


def _when(now: datetime, seconds: float) -> str:
    """Return the time of day in so many seconds, with the date where that is another day."""
    then = now + timedelta(seconds=seconds)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
