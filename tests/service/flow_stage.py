"""A flow engine, an endpoint and an emulated organization on one timeline, with trouble on the wire."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.policies import RetryPolicy, retry
from connector.emulator.core import Emulator
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.calls import Latency, LatencyModel
from connector.emulator.limits.faults import Fault, FaultPlan, Faults
from connector.errors import Unanswered
from connector.handler import Request, Response
from connector.ledger.operation_store import OperationStore
from connector.service.app import create_app
from connector.service.operations.operation_runner import OperationRunner
from connector.service.operations.operation_service import OperationService
from tests.service.flow_engine import SCHEDULES, FlowEngine, TimelineWaiting, hands
from tests.service.stage import OPTIONS, Stage
from tests.service.timeline import Timeline

DELIVERIES_WITHIN = 3.5 * 3600
"""Seconds within which an action is delivered again and again."""
BETWEEN = 12.0
"""Seconds between two actions at the least: what eight workers bear who are held up as often as here."""
TIMEOUT = 120.0
"""Seconds after which the endpoint gives up on an answer of the organization."""


@dataclass(frozen=True, slots=True)
class Play:
    """What is played: how many actions, how often each is delivered, how many of 100 requests meet with trouble.

    `keyless` lets one action of four come with nothing that tells its repetitions from a new wish. For `outage` seconds
    after the first hour the organization answers nothing but 503.
    """

    actions: int
    deliveries: int
    troubles: int
    seed: int
    workers: int = 8
    keyless: bool = False
    outage: float = 0.0


@dataclass
class Witness:
    """What the organization's journal says was done: committed writes by message and row. `requests` counts all."""

    emulator: Emulator
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    def read(self) -> None:
        """Count the request that was answered last; of a change set that was refused, nothing was done."""
        (entry,) = self.emulator.journal.latest(1)
        self.requests += 1
        if entry.fault:
            self.faults[entry.fault] += 1
        if entry.request.method != "GET" and all(note.status < 400 for note in entry.operations):
            self.writes.update((note.message, note.record_id) for note in entry.operations if note.record_id)


@dataclass
class Played:
    """How a play went."""

    engine: FlowEngine
    stage: Stage
    witness: Witness
    quotes: Mapping[UUID, list[int]]
    """The status reasons of each opportunity's quotes before the play."""

    def close(self) -> None:
        """Leave the stage."""
        self.engine.close()
        self.stage.close()

    @property
    def effects(self) -> Counter[str]:
        """Count opportunities whose one set of effects is in the rows and in the journal, and those that differ."""
        rows = _Rows.of(self.stage)
        return Counter("once" if self._once(rows, *one) else f"not once: {one[0]}" for one in self.quotes.items())

    def _once(self, rows: _Rows, opportunity: UUID, quotes: list[int]) -> bool:
        own, done = str(opportunity), self.witness.writes
        numbered = [(str(UUID(int=opportunity.int + n)), status) for n, status in enumerate(quotes, 1)]
        closed = rows.states[own] in (1, 2) and rows.closes[own] == 1
        closed &= all(rows.states[quote] == 3 and rows.closes[quote] == 1 for quote, _ in numbered)
        told = done["WinOpportunity", own] + done["LoseOpportunity", own] == 1
        told &= all(done["CloseQuote", quote] == 1 for quote, _ in numbered)
        return closed and told and all(done["Update", quote] == (status == 1) for quote, status in numbered)


@dataclass(frozen=True)
class _Rows:
    """What stands in the organization: the state of each opportunity and quote, and how many activities closed it."""

    states: Mapping[str, int]
    closes: Counter[str]

    @classmethod
    def of(cls, stage: Stage) -> _Rows:
        emulator = stage.embedded.emulator
        states: dict[str, int] = {}
        closes: Counter[str] = Counter()
        with emulator.lock:
            for table in ("opportunity", "quote"):
                found = emulator.organization.store.rows(f"SELECT {table}id, statecode FROM {table}")
                states |= {str(key): int(str(state)) for key, state in found}
            for table in ("opportunity", "quote"):
                found = emulator.organization.store.rows(f"SELECT {table}id FROM {table}close")
                closes.update(str(key) for (key,) in found)
        return cls(states, closes)


def played(play: Play, folder: Path, keys: Keys | None = None) -> Played:
    """Play to the end."""
    chance, timeline = random.Random(play.seed), Timeline()
    stage = Stage(folder, clock=timeline, keys=keys, journal_size=1)
    emulator = stage.embedded.emulator
    witness = Witness(emulator)
    wire = retry(
        lambda request: _carried(request, stage, timeline, witness),
        sleep=timeline.sleep, chance=chance, policy=RetryPolicy(told=0.0, tries=2),
    )  # fmt: skip
    stage.organization = DataverseOrganization(
        wire, stage.embedded.url, clock=timeline, cache_seconds=1e9,
        new_id=lambda: uuid.UUID(int=chance.getrandbits(128), version=4),
    )  # fmt: skip
    engine = _engine(play, stage, timeline, chance)
    emulator.latency = Latency(LatencyModel(), play.seed)
    usual = Faults(FaultPlan(_faults(play.troubles / 100), play.seed))
    emulator.set_faults(usual)
    if play.outage:
        timeline.spawn(lambda: emulator.set_faults(Faults(FaultPlan((Fault("status", form="html"),)))), at=3600)
        timeline.spawn(lambda: emulator.set_faults(usual), at=3600 + play.outage)
    quotes: dict[UUID, list[int]] = {}
    for number in range(play.actions):
        statuses = chance.choices((1, 2, 3), k=chance.randrange(4))
        opportunity = stage.opportunity(*statuses)
        quotes[opportunity] = statuses
        _schedule(engine, timeline, chance, play, number, opportunity)
    timeline.run(lambda: engine.ended == play.actions * play.deliveries)
    return Played(engine, stage, witness, quotes)


def _engine(play: Play, stage: Stage, timeline: Timeline, chance: random.Random) -> FlowEngine:
    """Put an endpoint with its workers on the timeline."""
    waiting = TimelineWaiting(timeline)
    options = replace(
        OPTIONS, workers=0, requests_per_minute=10**6, queue=10**6, public_url="https://close.contoso.com"
    )
    dependencies = replace(stage.dependencies(), clock=timeline, waiting=waiting, chance=chance.random)
    app, service = create_app(options, dependencies), OperationService(options, dependencies)
    work = OperationRunner(service, options, dependencies, timeline.sleep, announce=lambda *_: None)
    _metadata_at_hand(stage)
    worker = stage.ledger.enter("hands")
    for _ in range(play.workers):
        timeline.spawn(hands(timeline, OperationStore(stage.ledger), worker, work))
    return FlowEngine(app, timeline, chance)


def _schedule(
    engine: FlowEngine, timeline: Timeline, chance: random.Random, play: Play, number: int, opportunity: UUID
) -> None:
    """Let one action be delivered several times, at moments of its own, each with the retries of its flow."""
    schedule = chance.choice(SCHEDULES)
    body = {"outcome": chance.choice(("won", "lost"))}
    run = {"x-ms-workflow-run-id": f"run{number}", "x-ms-workflow-operation-name": "Close"}
    keyed = (run, run | {"idempotency-key": f'"action-{number}"'}, {"idempotency-key": f"a{number}"})
    headers = chance.choice((*keyed, {}) if play.keyless else keyed)
    path = f"/opportunities/{opportunity}/close"
    first = chance.uniform(0, max(DELIVERIES_WITHIN, play.actions * BETWEEN))
    for delivery in range(play.deliveries):
        # every other one comes within a minute of the first: it overlaps with it, or comes just after its end
        at = chance.uniform(first, first + 60) if delivery % 2 else first + chance.uniform(0, DELIVERIES_WITHIN)
        timeline.spawn(lambda: engine.deliver(str(number), path, body, headers, schedule), at=at)


def _faults(probability: float) -> tuple[Fault, ...]:
    """Return what may befall a request, all equally likely, together as likely as given."""
    kinds = (
        Fault("throttle", facet="count", seconds=41),
        Fault("throttle", facet="concurrency", seconds=3),
        Fault("status", status=503, form="html"),
        Fault("status", when="after", status=503, form="html"),
        Fault("reset"),
        Fault("reset", when="after"),
        Fault("truncate"),
        Fault("slow", seconds=45),
        Fault("slow", seconds=150),
        Fault("deadlock", message="CloseQuote"),
    )
    return tuple(replace(kind, probability=probability / len(kinds)) for kind in kinds)


def _carried(request: Request, stage: Stage, timeline: Timeline, witness: Witness) -> Response:
    """Carry a request to the organization and its answer back, as slowly and as badly as the emulator says."""
    emulator = stage.embedded.emulator
    begun = emulator.begin(stage.signed(request))
    if begun.delay > TIMEOUT:
        timeline.sleep(TIMEOUT)

        def finish() -> None:
            emulator.finish(begun)
            witness.read()

        timeline.spawn(finish, at=timeline.monotonic() + begun.delay - TIMEOUT)
        raise Unanswered("The answer did not come in time.")
    timeline.sleep(begun.delay)
    exchange = emulator.finish(begun)
    witness.read()
    timeline.sleep(exchange.hold)
    if exchange.cut:
        raise Unanswered("The connection was cut before the answer came.")
    return exchange.response


def _metadata_at_hand(stage: Stage) -> None:
    """Read the metadata before the play: actors must not wait for each other behind a lock of the product."""
    timeline_free = DataverseOrganization(stage.answer, stage.embedded.url, clock=stage.clock, cache_seconds=1e9)
    stage.organization._metadata._kept = (timeline_free.metadata(), 0.0)
