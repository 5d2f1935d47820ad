"""`scripts/bench beside`: the same trouble for every client, over TLS, in processes that are really killed.

Others are scripts that try each row once; whoever runs them runs them again with the rows that failed. This connector
is its command line, resumed after a kill.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connector.clock import SystemClock
from connector.ledger.jobs import ItemStatus
from connector.ledger.store import open_ledger
from scripts.benchmarks.clients import CLIENTS, ROOT, command, environment
from scripts.benchmarks.served import Served, opportunity_key, quote_key
from scripts.benchmarks.trial import OURS
from scripts.benchmarks.truth import EXPIRING, KILLED, PLANS, TWICE

RUNS = 5
"""How often a script is run, with the rows that failed, before whoever runs it gives up."""
KILLS = 8
QUOTES = 2
REVOKED_EVERY = 150
"""Records closed between two revocations of all tokens."""
PATIENCE, LOOK = 600.0, 0.1
SHORT = 1.0
"""Seconds of Retry-After here, so that no hours pass."""
NAMES = [*(name for name in PLANS if not name.startswith("slow")), KILLED, TWICE, EXPIRING]
"""The plans of `truth` but those in which hours pass or that are about signing in, which the scripts do not do."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the server says of a client under a plan, and how often it was run."""

    plan: str
    client: str
    rows: int
    duplicates: int
    missed: int
    wrongly_reported: int
    runs: int

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def play(plan: str, client: str, rows: int, seed: int) -> Beside:
    """Let a client close so many opportunities under a plan and count on the server what came of it."""
    with Served("--empty") as server:
        keys = [str(key) for key in server.load(rows, QUOTES)]
        faults = [{**one, **({"seconds": SHORT} if "seconds" in one else {})} for one in PLANS.get(plan, [])]
        server.control("PUT", "faults", {"seed": seed, "faults": faults})
        workers = 2 if plan == TWICE else 1
        kind = _Job if client == OURS else _Script
        jobs = [kind(client, server, keys, server.folder / f"worker{number}") for number in range(workers)]
        runs = _work(jobs, plan, server, random.Random(seed))
        closes = {one["id"]: one["closes"] for one in server.control("GET", "closes?more_than=0")}
        done = {key: _whole(number, closes) for number, key in enumerate(keys, 1)}
        told = [job.told() for job in jobs]
    return Beside(
        plan,
        client,
        rows,
        sum(count > 1 for count in closes.values()),
        sum(not one for one in done.values()),
        sum(done[key] != all(key in one for one in told) for key in keys),
        runs,
    )


def _whole(number: int, closes: Mapping[str, int]) -> bool:
    records = [opportunity_key(number), *(quote_key(number, which) for which in range(1, QUOTES + 1))]
    return all(str(record) in closes for record in records)


class _Script:
    """A script of another client, run again with the rows that failed."""

    def __init__(self, client: str, server: Served, keys: Sequence[str], folder: Path) -> None:
        folder.mkdir()
        self._client = client
        self._server = server
        self._keys = keys
        self._folder = folder
        self._told = folder / "told"
        self._told.touch()

    def told(self) -> set[str]:
        """Return the rows it says it has closed."""
        return set(self._told.read_text().split())

    def left(self) -> bool:
        """Return whether another run has anything to do."""
        return len(self.told()) < len(self._keys)

    def start(self) -> subprocess.Popen[bytes]:
        """Run it with the rows that are left."""
        told, file = self.told(), self._folder / "job.json"
        wanted = {
            "what": "attempt",
            "opportunities": [key for key in self._keys if key not in told],
            "token": self._server.token(),
            "told": str(self._told),
            "environment": dict(self._server.environment()),
        }
        file.write_text(json.dumps(wanted))
        return _process(command(CLIENTS[self._client], file), environment(self._server))


class _Job:
    """A bulk job of this connector, resumed until its rows have their results; failed rows are tried again."""

    def __init__(self, client: str, server: Served, keys: Sequence[str], folder: Path) -> None:
        del client
        folder.mkdir()
        self._file = folder / "rows.csv"
        self._file.write_text("opportunityid,outcome\n" + "".join(f"{key},lost\n" for key in keys))
        self._store = str(folder / "jobs.db")
        self._environment = {**environment(server), **server.environment(), "CONNECTOR_STORE": self._store}
        self._total = len(keys)

    def told(self) -> set[str]:
        """Return the rows its ledger says are closed."""
        with open_ledger(self._store, SystemClock()) as ledger:
            if ledger.find("rows") is None:
                return set()
            done = (ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED)
            return {str(record.intent.opportunity_id) for record in ledger.records("rows", done)}

    def left(self) -> bool:
        """Return whether another run has anything to do."""
        return len(self.told()) < self._total

    def start(self) -> subprocess.Popen[bytes]:
        """Run it, or go on with it."""
        with open_ledger(self._store, SystemClock()) as ledger:
            if ledger.find("rows") is not None:
                ledger.retry("rows")
        arguments = ["bulk", "run", str(self._file), "--job", "rows", "--yes", "--json"]
        return _process([sys.executable, "-m", "connector", *arguments], self._environment)


def _process(arguments: Sequence[str], surroundings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(arguments), env=dict(surroundings), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _work(jobs: Sequence[_Script | _Job], plan: str, server: Served, chance: random.Random) -> int:
    """Run what is left, side by side, until nothing is or nobody would run it again; returns how often."""
    runs = kills = 0
    revoking = _Revoking(server)
    while runs - kills < RUNS and any(job.left() for job in jobs):
        processes = [job.start() for job in jobs if job.left()]
        runs += 1
        if plan == KILLED and kills < KILLS:
            kills += _kill(processes[0], chance)
        for process in processes:
            _wait(process, revoking if plan == EXPIRING else None)
    return runs


def _kill(process: subprocess.Popen[bytes], chance: random.Random) -> int:
    """Kill -9 at some moment, most of them after it has begun to work; returns how often, 0 when it was done before."""
    try:
        process.wait(chance.uniform(0.5, 3.0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 1
    return 0


class _Revoking:
    """Makes all tokens worthless each time so many more records have been closed."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._next = REVOKED_EVERY

    def __call__(self) -> None:
        """Look whether it is time."""
        closed = len(self._server.control("GET", "closes?more_than=0"))
        if closed >= self._next:
            self._server.control("POST", "revoke")
            self._next = closed + REVOKED_EVERY


def _wait(process: subprocess.Popen[bytes], meanwhile: Callable[[], None] | None) -> None:
    """Wait for the end of a process; every so often something happens meanwhile."""
    for _ in range(int(PATIENCE / LOOK)):
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if meanwhile is not None:
                meanwhile()
        else:
            return
    process.kill()
    process.wait()
    raise RuntimeError("A client did not come to its end.")
