"""`scripts/bench truth`: what happened, counted on the server, against what was reported, while things go wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from uuid import UUID

from connector.closing.model import Report, ReportStatus
from connector.emulator.load.faults import Faults, plan_of
from connector.emulator.load.protection import Limits
from connector.emulator.organization.options import EmulatorOptions
from connector.handler import Handler, Request, Response
from scripts.benchmarks.embedded_client import Around, Client, Stage, untouched

CHUNK = 100
PASSES = 12
"""How often the rows that are not done are taken up again, as a bulk job does."""
_DONE = frozenset({ReportStatus.CLOSED, ReportStatus.ALREADY_CLOSED})

PLANS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "answers lost after the commit": [{"do": "reset", "when": "after", "probability": 0.1}],
    "connections reset before the commit": [{"do": "reset", "when": "before", "probability": 0.1}],
    "answers broken off": [{"do": "truncate", "when": "after", "probability": 0.1}],
    "429 of all three facets": [
        {"do": "throttle", "facet": facet, "seconds": 7, "probability": 0.05}
        for facet in ("count", "time", "concurrency")
    ],
    "503 before, 500 after the commit": [
        {"do": "status", "status": 503, "form": "html", "when": "before", "probability": 0.05},
        {"do": "status", "status": 500, "form": "json", "when": "after", "probability": 0.05},
    ],
    "slow beyond the time-out": [{"do": "slow", "seconds": 200, "when": "before", "probability": 0.05}],
    "deadlocks and time-outs of SQL": [
        {"do": "deadlock", "probability": 0.005},
        {"do": "lock_timeout", "probability": 0.005},
        {"do": "sql_timeout", "probability": 0.005},
    ],
    "the identity provider fails": [
        {"do": "status", "status": 503, "message": "token", "probability": 0.5},
        {"do": "reset", "message": "token", "probability": 0.2},
    ],
}
KILLED, TWICE, EXPIRING = "kill -9 at random points", "two runs at once", "tokens revoked at random points"


class Died(BaseException):
    """The process is gone; nothing may catch it and go on."""


@dataclass(frozen=True, slots=True)
class Count:
    """What the server says of a plan: rows closed twice, rows left open, rows told otherwise than they are."""

    plan: str
    rows: int
    duplicates: int
    missed: int
    wrongly_reported: int
    requests: int
    trouble: int

    @property
    def well(self) -> bool:
        """Return whether everything happened once and was told as it is."""
        return not (self.duplicates or self.missed or self.wrongly_reported)

    def numbers(self) -> tuple[int, ...]:
        """Return the figures in the order of the fields."""
        return self.rows, self.duplicates, self.missed, self.wrongly_reported, self.requests, self.trouble

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def names() -> list[str]:
    """Return the names of the plans."""
    return [*PLANS, KILLED, TWICE, EXPIRING]


def play(plan: str, rows: int, seed: int) -> Count:
    """Close so many opportunities under a plan and count on the server what came of it."""
    stage = _stage(rows, seed)
    faults = Faults(plan_of({"seed": seed, "faults": PLANS.get(plan, [])}))
    stage.embedded.emulator.set_faults(faults)
    if plan == TWICE:
        told = _two_at_once(stage, seed)
    elif plan == KILLED:
        told = _killed(stage, seed)
    elif plan == EXPIRING:
        told = _run(stage, seed, _revoking(stage, random.Random(seed)))  # noqa: S311 - a reproducible story
    else:
        told = _run(stage, seed, untouched)
    return _count(plan, stage, told)


def forever(rows: int, seed: int) -> Iterator[Count]:
    """Yield plan after plan, each a random mixture from its own seed."""
    for number in count(seed):
        chance = random.Random(number)  # noqa: S311 - a reproducible story
        chosen = chance.sample(sorted(PLANS), chance.randint(2, len(PLANS)))
        faults = [{**fault, "probability": chance.uniform(0.001, 0.1)} for name in chosen for fault in PLANS[name]]
        stage = _stage(rows, number)
        stage.embedded.emulator.set_faults(Faults(plan_of({"seed": number, "faults": faults})))
        yield _count(f"seed {number}: {', '.join(chosen)}", stage, _run(stage, number, untouched))


def _stage(rows: int, seed: int) -> Stage:
    return Stage(rows, EmulatorOptions(seeded=0, journal_size=10, seed=seed, limits=Limits(enforced=False)))


def _run(stage: Stage, seed: int, around: Around) -> dict[UUID, bool]:
    """Close everything in chunks, what is not done again and again; returns what was reported last of each row."""
    client = stage.client(seed, around)
    told: dict[UUID, bool] = {}
    _passes(stage, client, told)
    return told


def _passes(stage: Stage, client: Client, told: dict[UUID, bool]) -> None:
    for _ in range(PASSES):
        left = [key for key in stage.keys if not told.get(key)]
        if not left:
            return
        for start in range(0, len(left), CHUNK):
            _note(told, client.close(left[start : start + CHUNK]))
        stage.clock.sleep(60.0)


def _note(told: dict[UUID, bool], reports: Sequence[Report]) -> None:
    told.update({report.opportunity_id: report.status in _DONE for report in reports})


def _killed(stage: Stage, seed: int) -> dict[UUID, bool]:
    """Die at random requests, before or after the service acts, and begin anew with nothing but the list of rows."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible story
    for number in count(seed):
        told: dict[UUID, bool] = {}
        try:
            _passes(stage, stage.client(number, lambda handler: _deadly(handler, chance)), told)
        except Died:
            stage.clock.sleep(5.0)
            continue
        return told
    raise AssertionError


def _deadly(handler: Handler, chance: random.Random) -> Handler:
    def wire(request: Request) -> Response:
        fate = chance.random()
        if fate < 0.02:  # noqa: PLR2004 - one request in fifty is never sent
            raise Died
        response = handler(request)
        if fate > 0.98:  # noqa: PLR2004 - the answer of another is never taken in
            raise Died
        return response

    return wire


def _revoking(stage: Stage, chance: random.Random) -> Around:
    def around(handler: Handler) -> Handler:
        def wire(request: Request) -> Response:
            if chance.random() < 0.05:  # noqa: PLR2004 - often
                stage.clock.sleep(1.0)  # tokens are dated in whole seconds
                stage.embedded.emulator.control.revoke()
                stage.clock.sleep(1.0)
            return handler(request)

        return wire

    return around


def _two_at_once(stage: Stage, seed: int) -> dict[UUID, bool]:
    """Let two clients close the same rows at the same time, one from the front and one from the back of each chunk."""
    both: list[dict[UUID, bool]] = [{}, {}]

    def work(which: int) -> None:
        _passes(stage, stage.client(seed + which), both[which])

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {key: both[0].get(key, False) and both[1].get(key, False) for key in stage.keys}


def _count(plan: str, stage: Stage, told: Mapping[UUID, bool]) -> Count:
    state = stage.state()
    emulator = stage.embedded.emulator
    trouble = sum(number for status, number in emulator.journal.statuses.items() if status >= 400)  # noqa: PLR2004 - HTTP
    found = Count(
        plan,
        stage.opportunities,
        stage.duplicates(),
        sum(not done for done in state.values()),
        sum(state[key] != told.get(key, False) for key in stage.keys),
        emulator.journal.number,
        trouble,
    )
    stage.embedded.close()
    return found
