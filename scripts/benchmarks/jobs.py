"""A bulk job as its user starts it: the command, over TLS, to the last row, beside others on the same service.

Each client closes the same rows on a fresh emulator with the latency model and the documented limits. Time counts from
the start of the process to the moment at which the last row that can be closed is closed in the organization. While our
command works, what it tells is compared with what the organization has.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from connector.bulk.status import status_data
from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.limits.faults import PLUGIN_LIMIT, Fault, FaultPlan
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import LedgerError
from connector.ledger.jobs import ItemStatus
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger
from scripts.benchmarks.clients import CLOSERS, node_modules
from scripts.benchmarks.governor_jobs import least_seconds
from scripts.benchmarks.served import opportunity_key, opportunity_row, quote_row

OURS, NAIVE, NODE = "this connector", "naive, 40 threads", "dynamics-web-api"
QUOTES = 2
WORK = 1.2
"""Seconds of work for a close with two quotes, on average, by the emulator's model."""
BAD_SHARE = 0.003
MOST_FOR_NODE, MOST_BAD_FOR_NODE = 1000, 300
"""Rows, and those of cells with bad ones: it closes about twelve a second, whatever the servers."""
BYTECODE = Path(tempfile.gettempdir()) / "bench-bytecode"
"""Where Python clients find their bytecode, as installed programs do."""
JOB = "bench"
LOOK_EVERY = 0.1
LONGEST = 1800.0
"""Seconds after which a client that has not closed every row is given up."""
FORECASTS_FROM = 0.05
"""The share of rows after which a forecast counts."""


@dataclass(frozen=True, slots=True)
class Cell:
    """So many rows on so many web servers; with `bad`, three rows in a thousand end in a timeout each time.

    A close takes so many `seconds` of work on average.
    """

    rows: int
    servers: int
    bad: bool = False
    seconds: float = WORK

    @property
    def name(self) -> str:
        """Return what it is called in tables."""
        servers = f"{self.servers} server{'s' * (self.servers > 1)}"
        return f"{self.rows:,} rows, {servers}, {self.seconds} s{', bad rows' * self.bad}"

    @property
    def bad_rows(self) -> list[int]:
        """Return the numbers of the rows that keep timing out, spread over the file."""
        count = max(1, round(self.rows * BAD_SHARE)) if self.bad else 0
        return [self.rows * place // (count + 1) for place in range(1, count + 1)]

    @property
    def good_rows(self) -> int:
        """Return how many rows can be closed."""
        return self.rows - len(self.bad_rows)

    @property
    def least(self) -> float:
        """Return the least time in seconds in which the documented limits allow the work, each bad row tried once."""
        return least_seconds(Limits(servers=self.servers), [self.seconds] * self.good_rows, self.bad_seconds)

    @property
    def bad_seconds(self) -> float:
        """Return how long the service works on the bad rows, each tried once."""
        return PLUGIN_LIMIT * len(self.bad_rows)


@dataclass(frozen=True, slots=True)
class JobRun:
    """What a client did in a cell, in seconds; None where it does not tell.

    `start` is from the start of its process to its first request, on the virtual clock from the first read of rows to
    the first write; `took` is to the last row, start included, `ratio` the least time against that without. `early`
    requests were sent before a Retry-After was over.
    """

    cell: str
    client: str
    closed: int
    twice: int
    least: float
    start: float
    took: float | None
    ratio: float | None
    requests: int
    refused: int
    early: int | None = None
    behind: float | None = None
    forecast_error: float | None = None
    clock: str = "real"

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return asdict(self)


@dataclass(slots=True)
class Watched:
    """What was seen while a client worked: time, rows closed in the organization, rows told, seconds foreseen."""

    cell: Cell
    looks: list[tuple[float, int, int, float | None]] = field(default_factory=list)
    start: float = 0.0

    def took(self) -> float | None:
        """Return when the last row was closed that can be."""
        return next((at for at, closed, _, _ in self.looks if closed >= self.cell.good_rows), None)

    def behind(self) -> float:
        """Return by how many seconds the telling was behind at most."""
        longest, later = 0.0, iter(self.looks)
        told_at, _, told, _ = next(later)
        for at, closed, _, _ in self.looks:
            while told < closed and (look := next(later, None)) is not None:
                told_at, _, told, _ = look
            longest = max(longest, told_at - at)
        return round(longest, 2)

    def forecast_error(self) -> float | None:
        """Return by what share of the whole time a forecast was wrong at most, once it counts."""
        end = self.took()
        foreseen = [
            abs(at + left - end) / end
            for at, _, told, left in self.looks
            if end is not None and left is not None and told >= FORECASTS_FROM * self.cell.rows and at < end
        ]
        return round(max(foreseen), 3) if foreseen else None


def clients(cell: Cell) -> list[str]:
    """Return those that can be measured here; the slowest is left out of the largest cells."""
    node = isinstance(node_modules(), Path) and cell.rows <= (MOST_BAD_FOR_NODE if cell.bad else MOST_FOR_NODE)
    return [OURS, NAIVE, *([NODE] if node else [])]


def play(cell: Cell, client: str, *, seed: int = 1) -> JobRun:
    """Let a client close the rows of a cell on an emulator of its own."""
    faults = tuple(Fault("plugin_timeout", record=str(opportunity_key(number))) for number in cell.bad_rows)
    options = EmulatorOptions(
        seeded=0,
        latency=LatencyModel(),
        limits=Limits(servers=cell.servers),
        faults=FaultPlan(faults, seed),
        seed=seed,
        journal_size=10,
    )
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        served(options, SystemClock(), Path(name) / "keys") as emulator,
    ):
        folder = Path(name)
        _fill(emulator, cell, folder)
        with open_ledger(str(folder / "jobs.db"), SystemClock()) as ledger:
            command = _command(emulator, client, cell, folder)
            watched = _watch(emulator, cell, ledger, command, tells=client == OURS)
        statuses = emulator.emulator.journal.statuses
        took = watched.took()
        return JobRun(
            cell=cell.name,
            client=client,
            closed=watched.looks[-1][1],
            twice=len(emulator.emulator.control.closes(more_than=1)),
            least=round(cell.least, 2),
            start=round(watched.start, 2),
            took=None if took is None else round(took, 2),
            ratio=None if took is None else round(cell.least / (took - watched.start), 3),
            requests=sum(statuses.values()),
            refused=statuses.get(429, 0),
            behind=watched.behind() if client == OURS else None,
            forecast_error=watched.forecast_error() if client == OURS else None,
        )


def _fill(emulator: ServedEmulator, cell: Cell, folder: Path) -> None:
    numbers = range(1, cell.rows + 1)
    organization = emulator.emulator.organization
    organization.load_rows("opportunity", [opportunity_row(number) for number in numbers])
    organization.load_rows("quote", [quote_row(number, which) for number in numbers for which in range(1, QUOTES + 1)])
    rows = "".join(f"{opportunity_key(number)},lost\n" for number in numbers)
    (folder / "rows.csv").write_text(f"opportunityid,outcome\n{rows}", encoding="utf-8")


def _command(
    emulator: ServedEmulator, client: str, cell: Cell, folder: Path
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the command of a client, and its environment."""
    settings = {
        "DATAVERSE_URL": emulator.url,
        "DATAVERSE_TENANT_ID": emulator.tenant_id,
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
        "DATAVERSE_AUTHORITY": emulator.authority,
        "DATAVERSE_CA_FILE": str(emulator.ca_file),
        "CONNECTOR_STORE": str(folder / "jobs.db"),
    }
    ours = ("DATAVERSE_", "CONNECTOR_")
    dropped = (*ours, "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | settings
    environment["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    rows, file = str(folder / "rows.csv"), folder / "job"
    if client == OURS:
        command = [sys.executable, "-m", "connector", "bulk", "run", rows, "--job", JOB, "--yes", "--json"]
        return command, environment
    if client == NAIVE:
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        return [sys.executable, "-m", "scripts.benchmarks.naive", str(file), rows], environment
    keys = [str(opportunity_key(number)) for number in range(1, cell.rows + 1)]
    work = {
        "what": "attempt",
        "opportunities": keys,
        "token": _token(emulator),
        "told": str(folder / "told"),
        "environment": settings,
    }
    file.write_text(json.dumps(work), encoding="utf-8")
    node = {"NODE_EXTRA_CA_CERTS": str(emulator.ca_file), "NODE_PATH": str(node_modules())}
    return [shutil.which("node") or "node", str(CLOSERS / "dynamics_web_api.js"), str(file)], environment | node


def _token(emulator: ServedEmulator) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": emulator.client_id,
        "client_secret": emulator.client_secret,
        "scope": f"{emulator.url}/.default",
    }
    answer = requests.post(f"{emulator.authority}/oauth2/v2.0/token", form, verify=str(emulator.ca_file), timeout=60)
    return str(answer.json()["access_token"])


def _watch(
    emulator: ServedEmulator,
    cell: Cell,
    ledger: Ledger,
    command: tuple[Sequence[str], Mapping[str, str]],
    *,
    tells: bool,
) -> Watched:
    """Start a client and look at the organization and at what it tells until the last row is closed and told."""
    watched = Watched(cell)
    began = time.perf_counter()
    with subprocess.Popen(
        command[0], env=dict(command[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while (now := time.perf_counter() - began) < LONGEST:
            told, left = _told(ledger)
            if not emulator.emulator.journal.number:
                watched.start = now
            watched.looks.append((now, _closed(emulator), told, left))
            ended = process.poll() is not None
            if ended or (cell.bad and min(watched.looks[-1][1], told if tells else math.inf) >= cell.good_rows):
                break
            time.sleep(LOOK_EVERY)
        process.kill()  # what is left are rows that cannot be closed
    told, left = _told(ledger)
    watched.looks.append((time.perf_counter() - began, _closed(emulator), told, left))
    return watched


def _closed(emulator: ServedEmulator) -> int:
    with emulator.emulator.lock:
        rows = emulator.emulator.organization.store.rows("SELECT count(*) FROM opportunity WHERE statecode <> 0")
    return int(str(rows[0][0]))


def _told(ledger: Ledger) -> tuple[int, float | None]:
    """Return the rows that `bulk status` tells as closed, and the seconds it foresees."""
    try:
        status: dict[str, Any] = status_data(ledger, ledger.job(JOB))
    except LedgerError:
        return 0, None
    governor = status["governor"]
    left = None if governor is None else governor["left"]
    return int(status.get(ItemStatus.CLOSED.value, 0)), left


def cells(*, quick: bool) -> Iterator[Cell]:
    """Yield the cells of the command itself, those without bad rows first.

    3,000 rows on one server have to wait for two windows: they are played on the virtual clock.
    """
    for bad in (False, True):
        for rows in (100, 300) if quick else (100, 300, 1000, 3000):
            for servers in (1, 4) if quick else (1, 4, 8):
                if (rows, servers) != (3000, 1):
                    yield Cell(rows, servers, bad)
