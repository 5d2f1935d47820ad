"""A cutover weekend on the virtual clock: a file with keys and bad rows, hours, outages, a kill -9 and an operator.

Everything is the connector's own and the emulator's; only the network is left out, and the time, which passes when
somebody waits. Each shift is a process of its own (`python -m scripts.benchmarks.weekend FOLDER`), so that the kill is
one. Threads that wait at the same time each move the clock, so nothing is said about speed.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from connector.assembly.connection import IdentityClient, Upstream, identity_client
from connector.bulk.input.column_map import ColumnMapping
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run
from connector.clock import VirtualClock
from connector.dataverse.sign_in import auth
from connector.dataverse.transport import Network, Transport
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import NotSent
from connector.handler import Handler, Request, Response
from connector.ledger.job_limits import KEPT_AS, JobLimits
from connector.ledger.jobs import Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger
from connector.ledger.time_window import read_window
from connector.settings.environment import load
from scripts.benchmarks.served import opportunity_row, quote_row
from scripts.benchmarks.weekend_findings import JOB, findings

BEGINS = datetime(2026, 11, 27, 21, 58, tzinfo=UTC)
"""A Friday, two minutes before the first window."""
USERS = 4
BAD = 200
"""One row in so many is bad: no such record, a second row that says otherwise, no outcome."""
OUTAGES = {0.3: ("refused", 120.0), 0.7: ("503", 60.0)}
"""From which share of the rows on nothing gets through, how, and for how many seconds."""
OPERATOR = {0.15: 0.5, 0.25: 1.0}
"""From which share on the operator allows which share of the rate."""
KILLED_AT = 0.5
WAITING = 600.0
"""How much faster the time passes while the job sleeps outside its hours."""
PLUGIN = """
def plugin(context):
    if context.message in ("WinOpportunity", "LoseOpportunity") and context.stage == "pre":
        context.abort("Closing is frozen until Monday.")
"""


class WeekendClock(VirtualClock):
    """A clock that passes fast until `opens_at`, while nothing may be done."""

    opens_at: datetime | None = None

    def sleep(self, seconds: float) -> None:
        """Move the clock forward."""
        left = (self.opens_at - self.now()).total_seconds() if self.opens_at else 0.0
        self.advance(max(seconds, 0.2, min(seconds * WAITING, left)))


@dataclass(slots=True)
class Shift:
    """A process that works on the weekend's job; what it saw so far stands in the folder."""

    folder: Path
    rows: int
    rate: float
    clock: WeekendClock
    seen: list[str] = field(default_factory=list)
    down: str = ""
    down_until: float = 0.0

    def around(self, handler: Handler) -> Handler:
        """Return the network: it fails while an outage lasts."""

        def send(request: Request) -> Response:
            if self.clock.monotonic() < self.down_until:
                if self.down == "503":
                    return Response(503, (("Retry-After", "10"),), b"")
                raise NotSent("The connection was refused.")
            return handler(request)

        return send

    def watch(self, snapshot: ProgressSnapshot, ledger: Ledger) -> None:
        """Let the weekend happen: outages, the operator, the kill."""
        self.clock.opens_at = snapshot.opens_at
        share = 1 - snapshot.counts.open / snapshot.counts.total
        for at, (how, seconds) in OUTAGES.items():
            if self._due(f"outage {how}", share, at):
                self.down, self.down_until = how, self.clock.monotonic() + seconds
        for at, part in OPERATOR.items():
            if self._due(f"operator {part}", share, at):
                limits = JobLimits.of(ledger.job(JOB).options)
                ledger.set_limits(JOB, replace(limits, at_most=f"{self.rate * part:g}/s"))
        if self._due("killed", share, KILLED_AT):
            os.kill(os.getpid(), signal.SIGKILL)
        if snapshot.opens_at is not None and "slept" not in self.seen:
            self._note("slept")

    def _due(self, what: str, share: float, at: float) -> bool:
        if share < at or what in self.seen:
            return False
        self._note(what)
        return True

    def _note(self, what: str) -> None:
        self.seen.append(what)
        data = {"now": self.clock.now().isoformat(), "rows": self.rows, "rate": self.rate, "seen": self.seen}
        (self.folder / "weekend.json").write_text(json.dumps(data), encoding="utf-8")


def prepare(folder: Path, rows: int) -> None:
    """Make the organization and the file of rows."""
    with organization(folder, VirtualClock(BEGINS)) as emulator:
        world = emulator.emulator.organization
        for low in range(1, rows + 1, 5_000):
            numbers = range(low, min(low + 5_000, rows + 1))
            world.load_rows("opportunity", [{**opportunity_row(n), "estimatedvalue": float(n % 977)} for n in numbers])
            world.load_rows("quote", [quote_row(n, 1) for n in numbers])
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("name,outcome,actual_revenue\n")
        file.writelines(_line(number) for number in range(1, rows + 1))
    rate = max(2.0, round(rows / 1_500, 1))
    data = {"now": BEGINS.isoformat(), "rows": rows, "rate": rate, "seen": []}
    (folder / "weekend.json").write_text(json.dumps(data), encoding="utf-8")


def _line(number: int) -> str:
    if number % BAD == 0:
        return f"There is no such deal {number},lost,\n"
    revenue = f"{number % 331}.25" if number % 3 == 0 else ""
    return f"Opportunity {number},{'won' if number % 2 else 'lost'},{revenue if number % 2 else ''}\n"


@contextmanager
def organization(folder: Path, clock: VirtualClock) -> Iterator[EmbeddedEmulator]:
    """Give the organization, whose plug-in aborts every close that does not leave it out."""
    plugin = folder / "frozen.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    options = EmulatorOptions(tenant=local_tenant(applications=USERS), seeded=0, journal_size=10, plugins=(plugin,))
    emulator = open_embedded(folder / "organization.db", clock, options)
    try:
        yield emulator
    finally:
        emulator.close()


def clients(shift: Shift, emulator: EmbeddedEmulator, opening: ExitStack) -> list[IdentityClient]:
    """Return a client for each user, as the connector makes them from its settings."""
    url = f"emulator:{shift.folder / 'organization.db'}"
    settings = load({"DATAVERSE_URL": url, "DATAVERSE_BYPASS": "sync,async,flows"}, Path(os.devnull))
    adapter = emulator.adapter()
    transport = Transport(
        Network(), {f"{emulator.url}/": adapter, f"{emulator.authority.rpartition('/')[0]}/": adapter}
    )
    opening.callback(transport.close)
    made: list[IdentityClient] = []
    for one in local_tenant(applications=USERS).applications:
        registration = auth.Registration(one.client_id, lambda: emulator.authority, emulator.url)
        secret = partial(auth.secret, one.secrets[0].value)
        tokens = auth.application_tokens(registration, secret, transport, shift.clock)
        tokens.token()
        upstream = Upstream(emulator.url, shift.around(transport), (one.name,), (tokens,))
        made.append(identity_client(one.name, settings, upstream, tokens, shift.clock, random.Random(1)))
    return made


def work(folder: Path) -> None:
    """Work until the job ends, or this process is killed."""
    logging.disable(logging.WARNING)  # outages are told by every request
    data = json.loads((folder / "weekend.json").read_text(encoding="utf-8"))
    clock = WeekendClock(datetime.fromisoformat(data["now"]))
    shift = Shift(folder, data["rows"], data["rate"], clock, data["seen"])
    with ExitStack() as opening:
        emulator = opening.enter_context(organization(folder, clock))
        users = clients(shift, emulator, opening)
        ledger = opening.enter_context(open_ledger(str(folder / "jobs.db"), clock))
        job = ledger.find(JOB) or _begin(shift, ledger, users[0], emulator.url)
        Run(ledger, job, users, clock, lambda snapshot: shift.watch(snapshot, ledger)).work("weekend")


def _begin(shift: Shift, ledger: Ledger, user: IdentityClient, url: str) -> Job:
    """Read the file, keys and all, and make the job."""
    seconds = shift.rows / shift.rate
    first = BEGINS + timedelta(seconds=120)
    ends = first + timedelta(minutes=max(2, int(seconds * 0.6 / 60)))
    windows = tuple(
        read_window(text) for text in (f"fri {first:%H:%M}-{ends:%a %H:%M} UTC".lower(), "sat 22:00-sun 08:00 UTC")
    )
    limits = JobLimits(windows=windows, at_most=f"{shift.rate:g}/s", in_flight=32)
    file = RowFile(shift.folder / "rows.csv", columns=ColumnMapping(key="name"), rejects=shift.folder / "rejects.csv")
    with RowReader(file, user.organization) as reader:
        return ledger.create(JOB, reader.rows(), options={KEPT_AS: limits.data()}, organization=url)


def rehearse(folder: Path, rows: int) -> Mapping[str, object]:
    """Let the weekend pass and return what is found afterwards."""
    prepare(folder, rows)
    began = time.monotonic()
    shifts: list[int] = []
    while len(shifts) < 5:
        command = [sys.executable, "-m", "scripts.benchmarks.weekend", str(folder)]
        shifts.append(subprocess.run(command, check=False).returncode)
        with open_ledger(str(folder / "jobs.db"), VirtualClock(BEGINS)) as ledger:
            job = ledger.find(JOB)
            if job is not None and job.state is JobState.FINISHED:
                break
    return {**findings(folder, rows), "shifts": shifts, "seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    work(Path(sys.argv[1]))
