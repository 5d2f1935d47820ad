"""A flow engine, an endpoint and an emulated organization on one timeline, with trouble on the wire."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from connector.bulk.ledger_operations import Operations
from connector.dataverse.organization import DataverseOrganization
from connector.dataverse.policies import Patience, retry
from connector.emulator.identity.keys import Keys
from connector.handler import Handler, Request, Response
from connector.service.app import create_app
from connector.service.operations import Desk
from connector.service.operations_work import Work
from tests.service.flow_engine import SCHEDULES, FlowEngine, TimelineWaiting, hands
from tests.service.stage import OPTIONS, Stage, Trouble, busy, lost, unavailable
from tests.service.timeline import Timeline

DELIVERIES_WITHIN = 3.5 * 3600


@dataclass(frozen=True, slots=True)
class Play:
    """What is played: how many actions, how often each is delivered, how many of 100 requests meet with trouble."""

    actions: int
    deliveries: int
    troubles: int
    seed: int
    workers: int = 8


def played(play: Play, folder: Path, keys: Keys | None = None) -> tuple[FlowEngine, Stage, list[UUID]]:
    """Play to the end and return the engine with its answers, the stage, and the opportunities in order."""
    chance, timeline = random.Random(play.seed), Timeline()  # noqa: S311 - a play that can be played again
    stage = Stage(folder, clock=timeline, keys=keys)
    wire = retry(
        lambda request: _troubled(request, stage, timeline, chance, play.troubles),
        clock=timeline, chance=chance, patience=Patience(told=0.0, tries=2),
    )  # fmt: skip
    stage.organization = DataverseOrganization(
        wire, stage.embedded.url, clock=timeline, cache_seconds=1e9,
        new_id=lambda: uuid.UUID(int=chance.getrandbits(128), version=4),
    )  # fmt: skip
    waiting = TimelineWaiting(timeline)
    options = replace(
        OPTIONS, workers=0, requests_per_minute=10**6, queue=10**6, public_url="https://close.contoso.com"
    )
    around = replace(stage.around(), clock=timeline, waiting=waiting)
    app, desk = create_app(options, around), Desk(stage.ledger, options, stage.notes, timeline, around.entropy)
    work = Work(
        desk, options, stage.organization_for, stage.notes, timeline, waiting.tell, timeline.sleep, chance.random
    )
    engine = FlowEngine(app, timeline, chance)
    _metadata_at_hand(stage, play)
    worker = stage.ledger.enter("hands")
    for _ in range(play.workers):
        timeline.spawn(hands(timeline, Operations(stage.ledger), worker, work))
    opportunities = [stage.opportunity(*chance.choices((1, 2, 3), k=chance.randrange(4))) for _ in range(play.actions)]
    for number, opportunity in enumerate(opportunities):
        _schedule(engine, timeline, chance, play, number, opportunity)
    timeline.run(lambda: sum(map(len, engine.answers.values())) == play.actions * play.deliveries)
    return engine, stage, opportunities


def _schedule(
    engine: FlowEngine, timeline: Timeline, chance: random.Random, play: Play, number: int, opportunity: UUID
) -> None:
    """Let one action be delivered several times, at moments of its own, each with the retries of its flow."""
    schedule = chance.choice(SCHEDULES)
    body = {"outcome": chance.choice(("won", "lost"))}
    run = {"x-ms-workflow-run-id": f"run{number}", "x-ms-workflow-operation-name": "Close"}
    headers = chance.choice((run, run | {"idempotency-key": f'"action-{number}"'}))
    for _ in range(play.deliveries):
        path = f"/opportunities/{opportunity}/close"

        def delivery(path: str = path) -> None:
            engine.deliver(str(number), path, body, headers, schedule)

        timeline.spawn(delivery, at=chance.uniform(0, DELIVERIES_WITHIN))


def _troubled(request: Request, stage: Stage, timeline: Timeline, chance: random.Random, percent: int) -> Response:
    timeline.sleep(chance.uniform(0.05, 1.5))
    if chance.randrange(100) >= percent:
        return stage._signed(request)

    def slow(request: Request, pass_on: Handler) -> Response:
        timeline.sleep(chance.uniform(30, 150))
        return pass_on(request)

    troubles: tuple[Trouble, ...] = (slow, busy(chance.randrange(1, 120)), unavailable, lost)
    return chance.choice(troubles)(request, stage._signed)


def _metadata_at_hand(stage: Stage, play: Play) -> None:
    """Read the metadata before the play: actors must not wait for each other behind a lock of the product."""
    timeline_free = DataverseOrganization(stage._signed, stage.embedded.url, clock=stage.clock, cache_seconds=1e9)
    stage.organization._metadata._kept = (timeline_free.metadata(), 0.0)
    assert play.workers


def effects(stage: Stage, opportunities: list[UUID]) -> Counter[str]:
    """Count opportunities that have one set of effects, and those that do not."""
    found: Counter[str] = Counter()
    for opportunity in opportunities:
        state, quotes, closes, quote_closes = stage.state(opportunity)
        right = state in (1, 2) and set(quotes) <= {3} and closes == 1 and quote_closes == len(quotes)
        found["once" if right else "not once"] += 1
    return found
