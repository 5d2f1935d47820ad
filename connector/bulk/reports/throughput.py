"""How fast a job was, beside what was allowed and what held it: drawn as lines and bars of one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from connector.ledger.jobs import PACE, Event, Job

BARS = 120
SHORTEST = 2.0
"""Seconds of a bar, at least: results are recorded some times a second."""
WIDTH, HEIGHT = 1000.0, 240.0
STALE, NOTES = 900.0, 100
"""Seconds after which the word of a worker counts no more, unless so many words are spread over the whole job. After
twice that time of silence nobody worked, and nothing is drawn."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: bars (x, y, width, height), the path of what was allowed, the strip of what held the rate.

    `ticks` are labels beneath (x, text), `lines` labels of the rate (y, text). Rates are in rows per second.
    """

    bars: Sequence[tuple[float, float, float, float]]
    allowed: str
    strip: Sequence[tuple[float, float, str]]
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[tuple[float, str]]
    best: float


class Throughput:
    """The rows of a job that ended in each second since 1970, and what its runs noted meanwhile."""

    def __init__(self, job: Job, events: Sequence[Event], ended: Mapping[int, int]) -> None:
        self._paces = [event for event in events if event.kind == PACE]
        moments = [*ended, *(event.at.timestamp() for event in self._paces)]
        self._start = min([job.created.timestamp(), *moments])
        self._seconds = max(1.0, max([self._start, *moments]) + 1 - self._start)
        self._silence = 2 * max(STALE, self._seconds / NOTES)
        self._ended = ended

    def bindings(self) -> list[str]:
        """Return what held the rate, in the order in which it did first."""
        return list(dict.fromkeys(str(event.data.get("binding", "")) for event in self._paces))

    def plot(self) -> Plot:
        """Return the picture."""
        bars = max(1, min(BARS, int(self._seconds / SHORTEST)))
        width = self._seconds / bars
        counts = [0] * bars
        for second, count in self._ended.items():
            counts[min(bars - 1, int((second + 0.5 - self._start) / width))] += count
        rates = [count / width for count in counts]
        allowed = self._allowed()
        best = max([*rates, *(min(rate, 4 * max(rates)) for _, rate in allowed), 1e-6])
        scale = HEIGHT / (best * 1.05)
        step = WIDTH / bars
        drawn = [
            (round(number * step, 1), round(HEIGHT - rate * scale, 1), round(step * 0.9, 1), round(rate * scale, 1))
            for number, rate in enumerate(rates)
            if rate
        ]
        return Plot(drawn, self._path(allowed, scale), self._strip(), self._ticks(), _lines(best, scale), max(rates))

    def _allowed(self) -> list[tuple[float, float]]:
        """Return from when on how many rows a second were allowed, by all workers together."""
        ceilings: dict[object, tuple[float, float]] = {}
        line = []
        for event in self._paces:
            at, ceiling = event.at.timestamp(), event.data.get("ceiling")
            if isinstance(ceiling, int | float):
                ceilings[event.data.get("worker")] = at, float(ceiling)
                line.append((at, sum(rate for since, rate in ceilings.values() if at - since < STALE)))
        return line

    def _path(self, allowed: Sequence[tuple[float, float]], scale: float) -> str:
        path, before, until = "", 0.0, float("-inf")
        for at, rate in allowed:
            x, y = self._x(at), round(max(0.0, HEIGHT - rate * scale), 1)
            path += f"L{x} {before}L{x} {y}" if at <= until else f"M{x} {y}"
            before, until = y, at + self._silence
        return f"{path}L{min(WIDTH, self._x(until))} {before}" if path else ""

    def _strip(self) -> list[tuple[float, float, str]]:
        """Return what held the rate: from where, how wide, its name."""
        begins = [(self._x(event.at.timestamp()), str(event.data.get("binding", ""))) for event in self._paces]
        longest = self._x(self._start + self._silence)
        ends = [min(x + longest, end) for (x, _), end in zip(begins, [x for x, _ in begins[1:]] + [WIDTH], strict=True)]
        return [(x, round(end - x, 1), name) for (x, name), end in zip(begins, ends, strict=True) if end > x]

    def _ticks(self) -> list[tuple[float, str]]:
        pattern = "%H:%M:%S" if self._seconds < 600 else "%H:%M" if self._seconds < 86_400 else "%a %H:%M"
        moments = [self._start + self._seconds * part / 4 for part in range(5)]
        return [(self._x(at), f"{datetime.fromtimestamp(at, UTC):{pattern}}") for at in moments]

    def _x(self, at: float) -> float:
        return round((at - self._start) / self._seconds * WIDTH, 1)


def _lines(best: float, scale: float) -> list[tuple[float, str]]:
    step = 10 ** math.floor(math.log10(best)) if best > 0 else 1
    step = next(candidate for candidate in (step / 5, step / 2, step, 2 * step, 5 * step) if best / candidate <= 5)
    return [
        (round(HEIGHT - number * step * scale, 1), f"{number * step:g}/s") for number in range(1, int(best / step) + 1)
    ]
