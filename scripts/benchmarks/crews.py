"""The same job by several worker processes and as several users, against a service that takes its time.

The emulator's latency model (about 1.2 s of work for a close with two quotes) and the documented limits make the
service what everybody waits for: on a machine of few cores nothing else would show what more processes can do. Rows are
so many that each user spends most of what a window allows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.jobs import ItemStatus
from connector.ledger.store import open_ledger
from scripts.benchmarks.served import opportunity_key, opportunity_row, quote_row

CREWS: Sequence[tuple[int, int]] = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (4, 4))
"""Worker processes and users."""
ROWS_A_USER, FEW = 600, 60
QUOTES = 2
JOB = "shared"


@dataclass(frozen=True, slots=True)
class Crew:
    """What so many processes did as so many users: seconds from the first start to the last end, their own CPU."""

    processes: int
    users: int
    rows: int
    closed: int
    twice: int
    seconds: float
    cpu_seconds: float
    refused: int

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"closes_per_second": self.rate}

    @property
    def whole(self) -> bool:
        """Return whether every row was closed."""
        return self.closed == self.rows

    @property
    def rate(self) -> float:
        """Return closes per second."""
        return round(self.closed / self.seconds, 2)


def work(processes: int, users: int, rows_a_user: int) -> Crew:
    """Let so many processes work one job off as so many users."""
    tenant = local_tenant()
    more = [
        Application(str(UUID(int=n)), str(UUID(int=n + 100)), f"user {n}", (Secret(f"emulator-{n}"),))
        for n in range(1, users)
    ]
    options = EmulatorOptions(
        tenant=replace(tenant, applications=(*tenant.applications, *more)), seeded=0, latency=LatencyModel()
    )
    rows = rows_a_user * users
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        served(options, SystemClock(), Path(name) / "keys") as emulator,
    ):
        folder = Path(name)
        organization = emulator.emulator.organization
        organization.load_rows("opportunity", [opportunity_row(n) for n in range(1, rows + 1)])
        quotes = [quote_row(n, which) for n in range(1, rows + 1) for which in range(1, QUOTES + 1)]
        organization.load_rows("quote", quotes)
        keys = "".join(f"{opportunity_key(n)},lost\n" for n in range(1, rows + 1))
        (folder / "rows.csv").write_text("opportunityid,outcome\n" + keys)
        (folder / "identities.toml").write_text("\n".join(_identity(one) for one in more))
        environment = _environment(emulator, folder, several=bool(more))
        began = time.perf_counter()
        cpu = _run(folder, environment, processes)
        seconds = time.perf_counter() - began
        with open_ledger(environment["CONNECTOR_STORE"], SystemClock()) as ledger:
            closed = ledger.counts(JOB).by_status.get(ItemStatus.CLOSED, 0)
        control = emulator.emulator.control
        refused = emulator.emulator.journal.statuses.get(429, 0)
        return Crew(processes, users, rows, closed, len(control.closes(more_than=1)), round(seconds, 1), cpu, refused)


def _run(folder: Path, environment: Mapping[str, str], processes: int) -> float:
    """Begin the job, let others join, wait for all; returns the processor time they took."""
    before = os.times()
    begun = [_start(["run", str(folder / "rows.csv"), "--job", JOB], environment)]
    with open_ledger(environment["CONNECTOR_STORE"], SystemClock()) as ledger:
        while not ledger.workers(JOB) and begun[0].poll() is None:
            time.sleep(0.02)
    begun += [_start(["resume", JOB, "--join"], environment) for _ in range(processes - 1)]
    for process in begun:
        process.wait()
    after = os.times()
    return round(after.children_user + after.children_system - before.children_user - before.children_system, 2)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "connector", "bulk", *arguments, "--yes", "--json"]
    return subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _environment(emulator: ServedEmulator, folder: Path, *, several: bool) -> dict[str, str]:
    settings = {
        "DATAVERSE_URL": emulator.url,
        "DATAVERSE_TENANT_ID": emulator.tenant_id,
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
        "DATAVERSE_AUTHORITY": emulator.authority,
        "DATAVERSE_CA_FILE": str(emulator.ca_file),
        "CONNECTOR_STORE": str(folder / "jobs.db"),
    }
    if several:
        settings["DATAVERSE_IDENTITIES"] = str(folder / "identities.toml")
    ours = ("DATAVERSE_", "CONNECTOR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | settings


def _identity(one: Application) -> str:
    secret = one.secrets[0].value
    return f'[[identity]]\nname = "{one.name}"\nclient_id = "{one.client_id}"\nclient_secret = "{secret}"'
