"""Services that are not as documented, and neighbours under the same application user, played for hours.

What is held against the ceiling of a service is the sustained rate of work that is much longer than a window. Beside
neighbours it is what all get through together, and afterwards what we reach when they have left.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Binding, Feedback, Permit, Wait
from connector.dataverse.pacing.service_limits import Budget
from connector.emulator.limits.protection import Limits
from scripts.benchmarks.scenarios import Scenario, drawn
from scripts.benchmarks.virtual_service import Load, Neighbour, Rule, Seconds, Service

LONG = 10_800.0
"""Seconds: 36 windows."""
FIFTH: Mapping[str, float] = {"requests": 1200, "execution_seconds": 240.0, "concurrency": 10}
STRAGGLER, ONE_IN = 110.0, 300
"""One request in so many takes so many seconds: just below the two minutes that end an operation."""
COME, GO, END = 1200.0, 4800.0, 7200.0
"""When neighbours come and go, and when it ends."""
SETTLING = 600.0
"""Seconds after which what was learnt by being refused must show."""


@dataclass(frozen=True, slots=True)
class CellFigures:
    """What a cell showed, as shares of the ceiling: all clients together, and ourselves.

    Beside neighbours both are of the time that they are there, and `after` is ours when they have left.
    """

    name: str
    together: float
    ours: float
    after: float | None
    share_429: float
    early: int

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return asdict(self)


class Polite:
    """A program that asks one thing after the other, without end, and waits exactly as long as it is told."""

    def __init__(self, threads: int = 1, patience: float = float("inf")) -> None:
        self._free = threads
        self._held_until = 0.0
        self._patience = patience

    def ask(self, now: float, kind: str, parts: int) -> Permit | Wait:
        """Return leave when a thread is free and nobody was told to wait."""
        if now < self._held_until:
            return Wait(self._held_until, Binding.WAITING)
        if not self._free:
            return Wait(float("inf"), Binding.CONCURRENCY)
        self._free -= 1
        return Permit(now, "", kind, parts, 0.0)

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in an answer; a refusal holds all."""
        del permit
        self._free += 1
        if feedback.facet is not None:
            wait = feedback.retry_after or 1.0
            self._held_until = max(self._held_until, now + min(wait, self._patience))


def rude() -> Rule:
    """Return a program that waits ten seconds at most, whatever it is told."""
    return Polite(patience=10.0)


NEIGHBOURS: Mapping[str, Callable[[], Rule]] = {"polite": Polite, "rude": rude}


def cells(*, quick: bool = False, length: float = LONG) -> Iterator[Scenario]:
    """Yield the services that are tried: those that are otherwise, for so many seconds, and those with neighbours."""
    times = (1.2,) if quick else (0.2, 1.2)
    for seconds in times:
        for servers in (1,) if quick else (1, 4):
            yield from _otherwise(servers, seconds, length)
        chosen = _cell("no affinity cookie, 3 servers", Limits(servers=3), seconds, affinity=False)
        yield replace(chosen, seconds=length)
        idle = _cell("a cookie without effect, 3 servers", Limits(servers=3), seconds)
        yield replace(idle, service=replace(idle.service, steers=False), seconds=length)
        for kind in NEIGHBOURS:
            for number in (1, 3):
                yield _beside(kind, number, seconds)


def _otherwise(servers: int, seconds: float, length: float) -> Iterator[Scenario]:
    for cell in _strange(servers, seconds, length / 3):
        yield replace(cell, seconds=length)


def _strange(servers: int, seconds: float, fall: float) -> Iterator[Scenario]:
    on = f"{servers} server{'s' * (servers > 1)}"
    yield _cell(f"40 at once, {on}", Limits(servers=servers, concurrency=40), seconds)
    yield _cell(f"limits untold, {on}", Limits(servers=servers), seconds, headers=False)
    higher = Limits(servers=servers, requests=9000, execution_seconds=1800.0, concurrency=100)
    yield _cell(f"higher limits, {on}", higher, seconds)
    for headers in (True, False):
        told = "told" if headers else "untold"
        yield _cell(
            f"falling to a fifth, {told}, {on}",
            Limits(servers=servers),
            seconds,
            headers=headers,
            changes=((fall, FIFTH),),
        )
    yield _cell(f"one in {ONE_IN} takes {STRAGGLER:.0f} s, {on}", Limits(servers=servers), seconds, straggling=True)
    yield _cell(f"widely spread service times, {on}", Limits(servers=servers), seconds, spread=1.5)


def _cell(
    name: str,
    limits: Limits,
    seconds: float,
    *,
    headers: bool = True,
    affinity: bool = True,
    changes: Sequence[tuple[float, Mapping[str, float]]] = (),
    straggling: bool = False,
    spread: float = 0.35,
) -> Scenario:
    draw, mean = drawn((seconds,), spread), seconds
    if straggling:
        draw, mean = _straggling(draw), seconds + (STRAGGLER - seconds) / ONE_IN
    service = Service(limits, ((0.0, mean),), draw, changes=changes, headers=headers, affinity=affinity)
    return Scenario(f"{name}, {seconds} s", service, LONG)


def _straggling(draw: Seconds) -> Seconds:
    def seconds(chance: random.Random, now: float) -> float:
        return STRAGGLER if chance.random() < 1 / ONE_IN else draw(chance, now)

    return seconds


def _beside(kind: str, number: int, seconds: float) -> Scenario:
    cell = _cell(f"{number} {kind} neighbour{'s' * (number > 1)}, 1 server", Limits(), seconds)
    neighbours = tuple(Neighbour(NEIGHBOURS[kind], COME + 7 * place, GO) for place in range(number))
    return replace(cell, service=replace(cell.service, neighbours=neighbours), seconds=END)


def play(cell: Scenario, *, seed: int = 1) -> CellFigures:
    """Play a cell with the connector's governor."""
    service = cell.service
    governor = Governor(0.0, Budget(window=service.limits.window_seconds), chance=random.Random(seed))
    load = Load(service, [governor], seed=seed)
    outcome = load.run(cell.seconds)
    start, end = (COME, GO) if service.neighbours else (0.0, cell.seconds)
    allowed = service.allowed(start, end)
    ours = outcome.count(start, end) / allowed
    return CellFigures(
        cell.name,
        ours + load.others.count(start, end) / allowed,
        ours,
        outcome.count(GO + SETTLING, END) / service.allowed(GO + SETTLING, END) if service.neighbours else None,
        outcome.share_refused,
        outcome.early,
    )
