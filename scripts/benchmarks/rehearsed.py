"""A rehearsal beside the job itself: organizations drawn by chance, which the rehearsal knows by their capture only.

Each has limits, web servers and times of work that nobody is told. A capture is taken, a plan is made that asks for
some rows, and the plan is rehearsed. Then the job is run on the virtual clock: every request is executed by the
emulator, takes as long as its model of latency says, and meets its limits. A pilot job teaches the work per row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from connector.bulk.planning import read_plan, read_summary, write_plan
from connector.bulk.run.runner import Run, Simulation
from connector.cli.bulk.plan_views import PlanCounter
from connector.clock import Clock, VirtualClock
from connector.closing.model import Intent, Outcome
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.pacing.gate import WRITES
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.policies import authorize
from connector.dataverse.reading import WebApi
from connector.dataverse.sign_in.auth import Registration, application_tokens
from connector.dataverse.webapi import Endpoint
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.calls import MEDIANS, Latency, LatencyModel, calls_of
from connector.emulator.limits.protection import Limits, Protection
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Handler, Request, Response
from connector.ledger.jobs import Row
from connector.ledger.store import open_ledger
from connector.organization.capture_model import Capture
from connector.organization.capture_reading import CaptureReading
from connector.organization.safe_requests import RowAnswer, RowSample
from connector.rehearsal.rehearsal import Rehearsal
from connector.rehearsal.rehearsal_model import RowCost, cost_as_answered, cost_of_job, planned_shapes
from connector.rehearsal.virtual_client import VirtualClient, VirtualGate, VirtualTime, VirtualWake

BEFORE, AFTER = 0.15, 0.05
"""By which share of the job's time a rehearsal may be off: with rows that were asked, and after a pilot."""
SHORT = 1200.0
"""A job of fewer seconds, four windows, is one window shorter or longer by chance: of it only the range must hold."""
USER = "user"


@dataclass(frozen=True, slots=True)
class HiddenOrganization:
    """What nobody is told: limits, and the times of work of each message."""

    seed: int
    limits: Limits
    latency: LatencyModel

    @classmethod
    def drawn(cls, seed: int, execution: float) -> HiddenOrganization:
        """Return one drawn by chance, with about so many seconds of execution in a window."""
        chance = random.Random(f"{seed}:hidden")
        limits = Limits(
            requests=chance.randrange(3000, 8001),
            execution_seconds=float(round(execution * chance.uniform(0.7, 1.3))),
            servers=chance.choice((1, 2, 3)),
        )
        medians = {name: seconds * chance.uniform(0.4, 3.0) for name, seconds in MEDIANS.items()}
        return cls(seed, limits, LatencyModel(medians=medians, sigma=chance.uniform(0.2, 0.5)))


class RehearsedTime(NamedTuple):
    """How long a rehearsal says that a job takes, in seconds."""

    least: float
    likely: float
    most: float

    def off(self, took: float) -> float:
        """Return by which share of the time that the job took the likely one is off."""
        return abs(self.likely / took - 1)

    def cells(self, took: float) -> tuple[str, str, str]:
        """Return the cells of a table: the likely time, how far it is off, and the range."""
        return f"{self.likely:,.0f} s", f"{self.off(took):.1%}", f"{self.least:,.0f} to {self.most:,.0f} s"

    def holds(self, took: float, share: float) -> bool:
        """Return whether the job took what was told: within the range, and, unless it is short, near the middle."""
        return self.least <= took <= self.most and (took < SHORT or self.off(took) <= share)


@dataclass(frozen=True, slots=True)
class RehearsedJob:
    """How long a job took on the virtual clock, in seconds, and what was told of it before and after a pilot."""

    seed: int
    rows: int
    servers: int
    took: float
    before: RehearsedTime
    after: RehearsedTime

    @property
    def well(self) -> bool:
        """Whether the job took what both rehearsals told."""
        return self.before.holds(self.took, BEFORE) and self.after.holds(self.took, AFTER)


class EmulatedNetwork(Executor):
    """Executes the pipeline's work in the emulator at once, and lets its answer come when limits and latency allow."""

    def __init__(self, sender: VirtualClient, requests: list[Request], seconds_of: Callable[[Request], float]) -> None:
        self._sender = sender
        self._requests = requests
        self._seconds_of = seconds_of

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Take work of the pipeline: a look at a group of rows, or the plans of a batch."""
        assert isinstance(work, partial)
        self._requests.clear()
        result = work(*arguments, **named)
        seconds = sum(map(self._seconds_of, self._requests))
        writes = getattr(work.func, "__name__", "") == "perform"
        kind, parts = (WRITES, len(work.args[0])) if writes else ("batch of reads", 2)
        return self._sender.send(lambda: result, kind, parts, seconds)


@dataclass(frozen=True, slots=True)
class _Client:
    organization: DataverseOrganization
    gate: VirtualGate
    name: str = USER
    user: str = USER


@dataclass(slots=True)
class _Trial:
    """One organization in a folder, at a time with a clock that passes when somebody waits."""

    hidden: HiddenOrganization
    folder: Path
    keys: Keys = field(default_factory=Keys)

    @contextmanager
    def emulator(self, clock: Clock, options: EmulatorOptions) -> Iterator[EmbeddedEmulator]:
        """Yield the emulator on the organization's file."""
        emulator = open_embedded(self.folder / "organization.db", clock, options, self.keys)
        try:
            yield emulator
        finally:
            emulator.close()

    def prepare(self, rows: int, pilot: int, ask: int) -> Capture:
        """Make the organization, take its capture, write a plan of the pilot and one of the job."""
        clock, hidden = VirtualClock(), self.hidden
        options = EmulatorOptions(seeded=rows + pilot, seed=hidden.seed, limits=hidden.limits, latency=hidden.latency)
        with self.emulator(clock, options) as emulator:
            handler = _signed_in(emulator, clock, [])
            capture = CaptureReading(WebApi(handler, Endpoint(emulator.url)), clock).take("emulator")
            emulator.emulator.protection.change({"enforced": False})  # one after another, no real limit is reached
            keys = emulator.emulator.organization.store.rows(
                "SELECT opportunityid FROM opportunity WHERE statecode = 0"
            )
            intents = [Intent(UUID(str(key)), Outcome.LOST) for (key,) in keys]
            random.Random(hidden.seed).shuffle(intents)
            organization = DataverseOrganization(handler, emulator.url, clock=clock)
            user = Diagnosis(handler, emulator.url).acting_user()
            for name, part, most in (("pilot", intents[:pilot], 0), ("job", intents[pilot:], ask)):

                def asking(sample: RowSample) -> list[RowAnswer]:
                    return list(
                        sample.ask(WebApi(handler, Endpoint(emulator.url)), organization, clock.monotonic, user)
                    )

                numbered = [Row(number, intent) for number, intent in enumerate(part, 1)]
                counter = PlanCounter(None, RowSample(most, hidden.seed), asking)
                write_plan(self.plan(name), {}, numbered, organization, counter)
        return capture

    def plan(self, name: str) -> Path:
        """Return where the plan of this name is."""
        return self.folder / f"{name}.plan.jsonl"

    def run(self, name: str) -> tuple[float, RowCost]:
        """Run a plan on the virtual clock; return how many seconds it took, and what it taught."""
        time, limits, requests = VirtualTime(), self.hidden.limits, list[Request]()
        latency = Latency(self.hidden.latency, self.hidden.seed)
        options = EmulatorOptions(seeded=0, limits=replace(limits, enforced=False))
        with (
            self.emulator(time, options) as emulator,
            open_ledger(str(self.folder / f"{name}.db"), time) as ledger,
        ):
            handler, sets = _signed_in(emulator, time, requests), emulator.emulator.organization.entity_sets
            protection = Protection(limits, self.hidden.seed)
            sender = VirtualClient(USER, time, protection, Governor(0.0, chance=random.Random(self.hidden.seed)))
            network = EmulatedNetwork(sender, requests, lambda request: latency.seconds(calls_of(request, sets)))
            organization = DataverseOrganization(handler, emulator.url, clock=time)
            ledger.create(name, read_plan(self.plan(name)))
            client = _Client(organization, VirtualGate(time, sender.governor))
            run = Run(
                ledger,
                ledger.job(name),
                [client],
                lambda _snapshot: None,
                simulation=Simulation(network, VirtualWake(time)),
            )
            result = run.work("here")
            assert result.well, result
            return time.monotonic(), cost_of_job(ledger, name)

    def rehearsed(self, capture: Capture, cost: RowCost | None) -> RehearsedTime:
        """Return how long the job takes, as the rehearsal says."""
        rehearsal = Rehearsal(capture, measured=cost, seed=self.hidden.seed + 100)
        cases = rehearsal.play(list(planned_shapes(self.plan("job")))).cases
        return RehearsedTime(*[case.seconds for case in cases])


def rehearse_beside(hidden: HiddenOrganization, folder: Path, *, rows: int, pilot: int, ask: int) -> RehearsedJob:
    """Rehearse the close of all rows as lost, before and after a pilot of so many, and run the job."""
    trial = _Trial(hidden, folder)
    capture = trial.prepare(rows, pilot, ask)
    summary = read_summary(trial.plan("job"))
    before = trial.rehearsed(capture, cost_as_answered(summary))
    _, cost = trial.run("pilot")
    after = trial.rehearsed(capture, cost)
    took, _ = trial.run("job")
    planned = int(str(summary["planned"]))
    return RehearsedJob(hidden.seed, planned, hidden.limits.servers, took, before, after)


def prepared(hidden: HiddenOrganization, folder: Path, rows: int) -> tuple[Capture, Path]:
    """Return the capture of an organization of so many opportunities, and the plan that closes them."""
    trial = _Trial(hidden, folder)
    return trial.prepare(rows, 0, 0), trial.plan("job")


def _signed_in(emulator: EmbeddedEmulator, clock: Clock, requests: list[Request]) -> Handler:
    """Return the way in as the first application; `requests` gets what is sent."""
    registration = Registration(emulator.client_id, lambda: emulator.authority, emulator.url)
    tokens = application_tokens(registration, lambda: emulator.client_secret, emulator.handler, clock)

    def noted(request: Request) -> Response:
        requests.append(request)
        return emulator.handler(request)

    return authorize(noted, tokens, emulator.url)
