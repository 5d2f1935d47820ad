"""Jobs of a number of rows: how long they take with the governor, against the least time that the limits allow.

The documented limits, in full from the first second: 52 requests at once and 1,200 seconds of work in any 300 seconds,
per user and web server. Before the first row a job reads what it needs: those few quick requests are its start.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.service_limits import Budget
from connector.emulator.limits.protection import Limits
from scripts.benchmarks.governor_cells import Polite
from scripts.benchmarks.scenarios import drawn
from scripts.benchmarks.virtual_service import Load, Neighbour, Seconds, Service

ROWS = (100, 300, 1000, 3000, 10_000)
SERVERS = (1, 4, 8)
SECONDS = (0.2, 1.2)
STARTING_READS = 5
"""Quick requests of a job before its first row: who acts, what the organization has, the rows themselves."""
READ_SECONDS = 0.05
LEAST_SHARE = 0.6
"""The target: the least time is at least this share of the time taken."""


@dataclass(frozen=True, slots=True)
class Job:
    """So many rows, closed on so many servers, each taking so many seconds of work on average.

    Of the answers the share `lost` never comes while the service is at work; those rows are closed again. So many other
    programs have been at work as the same user for two windows `beside` it, each with one request after the other.
    """

    rows: int
    servers: int
    seconds: float
    spread: float = 0.35
    lost: float = 0.0
    beside: int = 0

    @property
    def name(self) -> str:
        """Return what it is called in tables."""
        lost = f", {self.lost:.1%} of answers lost" if self.lost else ""
        others = f", {self.beside} neighbours" if self.beside else ""
        return f"{self.rows:,} rows, {self.servers} server{'s' * (self.servers > 1)}, {self.seconds} s{lost}{others}"


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What came of a job, in seconds: the least time possible and the time taken, both from the first row on."""

    name: str
    least: float
    took: float
    ratio: float
    share_429: float
    early: int

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return asdict(self)


def jobs() -> Iterator[Job]:
    """Yield the jobs that are tried."""
    for seconds in SECONDS:
        for servers in SERVERS:
            for rows in ROWS:
                yield Job(rows, servers, seconds)


def play(job: Job, *, seed: int = 1) -> JobFigures:
    """Let the governor do a job."""
    limits = Limits(servers=job.servers)
    draw = drawn((job.seconds,), job.spread)
    chance = random.Random(seed)
    times = [draw(chance, 0.0) for _ in range(job.rows)]
    waiting = iter([READ_SECONDS] * STARTING_READS + times)
    others = (Neighbour(Polite, 0.0, math.inf),) * job.beside
    seconds: Seconds = draw if others else lambda _chance, _now: next(waiting)
    service = Service(limits, ((0.0, job.seconds),), seconds, lost=job.lost, neighbours=others)
    governor = Governor(0.0, Budget(window=limits.window_seconds))
    load = Load(service, [governor], rows=0, seed=seed)
    load.run(2 * limits.window_seconds if others else 0.0)
    load.kind = "read"
    for _ in range(STARTING_READS):
        load.finish(1)
    load.kind, began = "write", load.now
    outcome = load.finish(job.rows)
    took, least = load.now - began, least_seconds(limits, times)
    return JobFigures(job.name, least, took, least / took, outcome.share_refused, outcome.early)


def least_seconds(limits: Limits, times: list[float], beside: float = 0.0) -> float:
    """Return the least time in which the limits allow the work: window after window is used up at once.

    Requests do not bind, since one may carry many rows; no work is done faster than its longest row. `beside` are
    seconds of work that count although nobody waits for their end.
    """
    work = (sum(times) + beside) / limits.servers
    windows = max(0, math.ceil(work / limits.execution_seconds - 1e-9) - 1)
    last = (work - windows * limits.execution_seconds) / limits.concurrency
    return max(windows * limits.window_seconds + last, *times)
