"""A cutover weekend on a virtual clock: a file with keys and bad rows, hours, outages, a kill -9 and an operator.

File, keys, ledger, run, governor, requests and answers are the connector's own; the organization with its rules, limits
and work is the emulator's. Only the network and the passing of time are played, in one thread: what a user's governor
lets through waits for its answer as long as the work takes, and what the HTTP layer would send again is left to the
run. Each shift is a process of its own (`python -m scripts.benchmarks.weekend FOLDER`), so that the kill is one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from connector.bulk.input.column_map import ColumnMapping
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run, Simulation
from connector.clock import Clock
from connector.closing.bypass import read_bypass
from connector.closing.model import Plan
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.policies import authorize, log
from connector.dataverse.sign_in import auth
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.limits.protection import Limits, Protection
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.customization import CustomColumn, Customization
from connector.emulator.world.schema import AlternateKey, Kind
from connector.errors import NotSent
from connector.handler import Handler, Request, Response
from connector.ledger.job_limits import KEPT_AS, JobLimits, read_window
from connector.ledger.jobs import Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger
from connector.rehearsal.virtual_client import VirtualClient, VirtualGate, VirtualNetwork, VirtualTime, VirtualWake
from scripts.benchmarks.served import opportunity_row, quote_row
from scripts.benchmarks.weekend_findings import JOB, findings

BEGINS = datetime(2026, 11, 27, 21, 58, tzinfo=UTC)
"""A Friday, two minutes before the first window."""
USERS, SERVERS, RATE = 4, 8, 80.0
"""Application users, web servers, and the rows per second that are allowed: 800,000 take three hours."""
WORK, SPREAD = 0.15, 0.35
"""Seconds of work of a close while the organization's own logic is left out, and their spread."""
QUOTED = 4
"""One opportunity in so many has a quote."""
BAD = 600
"""Of so many rows three are bad: one has a key of no record, two ask one record for different things."""
OUTAGES = {0.3: ("refused", 120.0), 0.7: ("503", 60.0)}
"""From which share of the rows on nothing gets through, how, and for how many seconds."""
OPERATOR = {0.15: 0.5, 0.25: 1.0}
"""From which share on the operator allows which share of the rate."""
KILLED_AT = 0.5
NAP = 600.0
"""Seconds that pass at once while the job sleeps outside its hours."""
KEY = "new_legacyid"
PLUGIN = """
def plugin(context):
    if context.message in ("WinOpportunity", "LoseOpportunity") and context.stage == "pre":
        context.abort("Closing is frozen until Monday.")
"""


@dataclass(frozen=True, slots=True)
class _Client:
    """One user's way to the organization."""

    organization: DataverseOrganization
    gate: VirtualGate
    name: str
    user: str


@dataclass(slots=True)
class Shift:
    """A process that works on the weekend's job; what it saw so far stands in the folder."""

    folder: Path
    rows: int
    rate: float
    time: VirtualTime
    seen: list[str] = field(default_factory=list)
    down: str = ""
    down_until: float = 0.0

    def around(self, handler: Handler) -> Handler:
        """Return the network: it fails while an outage lasts."""

        def send(request: Request) -> Response:
            if self.time.monotonic() < self.down_until:
                if self.down == "503":
                    return Response(503, (("Retry-After", "10"),), b"")
                raise NotSent("The connection was refused.")
            return handler(request)

        return send

    def watch(self, snapshot: ProgressSnapshot, ledger: Ledger) -> None:
        """Let the weekend happen: outages, the operator, the kill, the day between two nights."""
        share = 1 - snapshot.counts.open / snapshot.counts.total
        for at, (how, seconds) in OUTAGES.items():
            if self._due(f"outage {how}", share, at):
                self.down, self.down_until = how, self.time.monotonic() + seconds
        for at, part in OPERATOR.items():
            if self._due(f"operator {part}", share, at):
                limits = JobLimits.of(ledger.job(JOB).options)
                ledger.set_limits(JOB, replace(limits, at_most=f"{self.rate * part:g}/s"))
        if self._due("killed", share, KILLED_AT):
            os.kill(os.getpid(), signal.SIGKILL)
        if snapshot.opens_at is not None and not snapshot.in_hand:
            self._due("slept", share, 0)
            self.time.sleep(min(NAP, (snapshot.opens_at - self.time.now()).total_seconds() - 1))

    def _due(self, what: str, share: float, at: float) -> bool:
        if share < at or what in self.seen:
            return False
        self.seen.append(what)
        keep(self.folder, self.time, self.rows, self.rate, self.seen)
        return True


def keep(folder: Path, clock: Clock, rows: int, rate: float, seen: list[str]) -> None:
    """Write down how far the weekend is."""
    data = {"now": clock.now().isoformat(), "rows": rows, "rate": rate, "seen": seen}
    (folder / "weekend.json").write_text(json.dumps(data), encoding="utf-8")


def prepare(folder: Path, rows: int) -> None:
    """Make the organization and the file of rows."""
    with organization(folder, VirtualTime(BEGINS)) as emulator:
        world = emulator.emulator.organization
        world.store.db.execute(f"CREATE INDEX legacy ON opportunity (fold({KEY}))")  # as the service has one for a key
        for low in range(1, rows + 1, 5_000):
            numbers = range(low, min(low + 5_000, rows + 1))
            world.load_rows("opportunity", [_opportunity(number) for number in numbers])
            world.load_rows("quote", [quote_row(number, 1) for number in numbers if number % QUOTED == 0])
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("legacy_id,outcome,actual_revenue,region\n")
        file.writelines(_line(number) for number in range(1, rows + 1))
    keep(folder, VirtualTime(BEGINS), rows, min(RATE, rows / 200), [])


def _opportunity(number: int) -> Mapping[str, object]:
    return {**opportunity_row(number), "estimatedvalue": float(number % 977), KEY: f"006-{number:07}"}


def _line(number: int) -> str:
    region = f"R{number % 7}"
    if number % BAD == BAD // 2:
        return f"no such deal {number},lost,,{region}\n"
    if number % BAD == 0:
        return f"006-{number - 1:07},lost,,{region}\n"
    revenue = f"{number % 331}.25" if number % 6 == 3 else ""
    return f"006-{number:07},{'won' if number % 2 else 'lost'},{revenue},{region}\n"


@contextmanager
def organization(folder: Path, clock: Clock) -> Iterator[EmbeddedEmulator]:
    """Give the organization, whose plug-in aborts every close that does not leave it out."""
    plugin = folder / "frozen.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    own = Customization(
        columns=(CustomColumn("opportunity", KEY, Kind.STRING, {1033: "Legacy id"}, max_length=40),),
        keys=(AlternateKey("opportunity", "legacy", (KEY,)),),
    )
    options = EmulatorOptions(
        tenant=local_tenant(applications=USERS), seeded=0, journal_size=10, plugins=(plugin,), customization=own
    )
    emulator = open_embedded(folder / "organization.db", clock, options)
    try:
        yield emulator
    finally:
        emulator.close()


def clients(shift: Shift, emulator: EmbeddedEmulator) -> tuple[list[_Client], VirtualNetwork]:
    """Return each user's way to the organization, and the network that carries what all of them send."""

    def answer(request: Request) -> Response:
        return emulator.emulator.finish(emulator.emulator.begin(request)).response  # the network lets the time pass

    protection = Protection(Limits(servers=SERVERS))
    chance, bypass = random.Random(1), read_bypass("sync,async,flows", "", "")
    made, senders = [], {}
    for user in local_tenant(applications=USERS).applications:
        registration = auth.Registration(user.client_id, lambda: emulator.authority, emulator.url)
        tokens = auth.application_tokens(registration, partial(str, user.secrets[0].value), answer, shift.time)
        handler = log(authorize(shift.around(answer), tokens, emulator.url), clock=shift.time)
        way = DataverseOrganization(handler, emulator.url, clock=shift.time, bypass=bypass)
        governor = Governor(shift.time.monotonic(), connections=math.inf, chance=random.Random(user.name))
        sender = senders[id(way)] = VirtualClient(user.name, shift.time, protection, governor)
        made.append(_Client(way, VirtualGate(shift.time, sender.governor), user.name, user.name))

    def seconds_of(_plan: Plan) -> float:
        return WORK * math.exp(chance.gauss(0.0, SPREAD))

    return made, VirtualNetwork(senders, seconds_of)


def work(folder: Path) -> None:
    """Work until the job ends, or this process is killed."""
    logging.disable(logging.WARNING)  # outages are told by every request
    data = json.loads((folder / "weekend.json").read_text(encoding="utf-8"))
    clock = VirtualTime(datetime.fromisoformat(data["now"]))
    shift = Shift(folder, data["rows"], data["rate"], clock, data["seen"])
    with organization(folder, clock) as emulator, open_ledger(str(folder / "jobs.db"), clock) as ledger:
        users, network = clients(shift, emulator)
        job = ledger.find(JOB) or _begin(shift, ledger, users[0].organization, emulator.url)
        watch: Callable[[ProgressSnapshot], None] = partial(shift.watch, ledger=ledger)
        Run(ledger, job, users, watch, simulation=Simulation(network, VirtualWake(clock))).work("weekend")


def _begin(shift: Shift, ledger: Ledger, organization: DataverseOrganization, url: str) -> Job:
    """Read the file, keys and all, and make the job."""
    first = BEGINS + timedelta(seconds=120)
    ends = first + timedelta(minutes=max(1, round(shift.rows / shift.rate * 0.9 / 60)))
    windows = tuple(
        read_window(text) for text in (f"fri {first:%H:%M}-{ends:%a %H:%M} UTC".lower(), "sat 22:00-sun 08:00 UTC")
    )
    limits = JobLimits(windows=windows, at_most=f"{shift.rate:g}/s", in_flight=32)
    columns = ColumnMapping({"legacy_id": "opportunityid"}, key=KEY, keep=("region",))
    file = RowFile(shift.folder / "rows.csv", columns=columns, rejects=shift.folder / "rejects.csv")
    with RowReader(file, organization) as reader:
        return ledger.create(JOB, reader.rows(), options={KEPT_AS: limits.data()}, organization=url)


def rehearse(folder: Path, rows: int) -> Mapping[str, object]:
    """Let the weekend pass and return what is found afterwards."""
    began = time.monotonic()
    prepare(folder, rows)
    shifts: list[int] = []
    while len(shifts) < 5:
        command = [sys.executable, "-m", "scripts.benchmarks.weekend", str(folder)]
        shifts.append(subprocess.run(command, check=False).returncode)
        with open_ledger(str(folder / "jobs.db"), VirtualTime(BEGINS)) as ledger:
            job = ledger.find(JOB)
            if job is not None and job.state is JobState.FINISHED:
                break
    return {**findings(folder, rows), "shifts": shifts, "seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    work(Path(sys.argv[1]))
