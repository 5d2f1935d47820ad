"""`scripts/bench truth`: what happened, counted on the server, against what was reported, while things go wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import UUID

from connector.closing.model import Outcome
from connector.emulator import examples
from connector.emulator.limits.faults import Faults, plan_of
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Handler, Request, Response
from scripts.benchmarks.embedded_client import Around, Stage, untouched
from scripts.benchmarks.rows_of_a_job import Rows

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
}
KILLED, TWICE, EXPIRING = "kill -9 at random points", "two runs at once", "tokens revoked at random points"
FAILING = "tokens revoked, the identity provider fails"
_NO_PROVIDER: Sequence[Mapping[str, object]] = [
    {"do": "status", "status": 503, "message": "token", "probability": 0.5},
    {"do": "reset", "message": "token", "probability": 0.2},
]


SHIPPED = tuple(
    Path(examples.__file__).with_name(f"{name}.py")
    for name in ("approval_required", "close_siblings", "recalculate_revenue", "slow_audit")
)
"""The emulator's examples of an organization's own logic."""
_LARGE = "UPDATE opportunity SET estimatedvalue = 150000 WHERE opportunityid = ?"
"""Makes an opportunity one that the example demands an approval for."""


class Died(BaseException):
    """The process is gone; nothing may catch it and go on."""


@dataclass(frozen=True, slots=True)
class Count:
    """What the server says of a plan: rows closed twice, rows left open, rows told otherwise than they are.

    `struck` is how often trouble struck, `again` how often a row was taken up again because of it.
    """

    plan: str
    rows: int
    duplicates: int
    missed: int
    wrongly_reported: int
    struck: int
    again: int
    requests: int

    @property
    def well(self) -> bool:
        """Return whether everything happened once and was told as it is."""
        return not (self.duplicates or self.missed or self.wrongly_reported)

    def numbers(self) -> tuple[int, ...]:
        """Return the figures in the order of the fields."""
        return tuple(getattr(self, name) for name in self.__slots__[1:])

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Told:
    """What was reported of the rows, and how often trouble struck that is no fault of the emulator's plan."""

    rows: Sequence[Rows]
    struck: int = 0

    def done(self, key: UUID) -> bool:
        """Return whether all who worked on the row say that it is closed."""
        return all(one.done(key) for one in self.rows)


def names() -> list[str]:
    """Return the names of the plans."""
    return [*PLANS, *_MANNERS]


def play(plan: str, rows: int, seed: int, *, plugins: bool = False) -> Count:
    """Close so many opportunities under a plan and count on the server what came of it.

    With `plugins` the emulator's examples are at work, and one opportunity in four lacks the approval they demand.
    """
    faults = [*PLANS.get(plan, []), *(_NO_PROVIDER if plan == FAILING else [])]
    return _play(plan, plan, faults, rows, seed, plugins=plugins)


def forever(rows: int, seed: int) -> Iterator[Count]:
    """Yield plan after plan, each a random mixture from its own seed, with a manner of going wrong beside it."""
    for number in count(seed):
        chance = random.Random(number)
        chosen = chance.sample(sorted(PLANS), chance.randint(2, len(PLANS)))
        faults = [{**fault, "probability": chance.uniform(0.001, 0.1)} for name in chosen for fault in PLANS[name]]
        manner = chance.choice(["", *_MANNERS])
        yield _play(f"seed {number}: {', '.join(filter(None, [manner, *chosen]))}", manner, faults, rows, number)


def _play(
    name: str, manner: str, faults: Sequence[Mapping[str, object]], rows: int, seed: int, *, plugins: bool = False
) -> Count:
    limits, files = Limits(enforced=False), SHIPPED if plugins else ()
    options = EmulatorOptions(seeded=0, journal_size=10, seed=seed, limits=limits, plugins=files)
    stage = Stage(rows, options, outcome=Outcome.WON if plugins else Outcome.LOST)
    refused = frozenset(stage.keys[::4] if plugins else ())
    for key in refused:
        stage.embedded.emulator.organization.store.execute(_LARGE, (str(key),))
    stage.embedded.emulator.set_faults(Faults(plan_of({"seed": seed, "faults": list(faults)})))
    told = _MANNERS.get(manner, _run)(stage, random.Random(seed))
    return _count(name, stage, told, refused)


def _run(stage: Stage, chance: random.Random, around: Around = untouched) -> Told:
    """Close everything; a job that stops for want of a person is resumed, and what failed is tried once more."""
    rows = Rows()
    for _ in range(2):
        rows.retry()
        while not rows.work(stage.client(chance.getrandbits(32), around), stage.keys, stage.clock):
            pass
    return Told([rows])


def _killed(stage: Stage, chance: random.Random) -> Told:
    """Die at random requests, before or after the service acts, and begin anew with the chunks recorded till then."""
    told = Told([Rows()])
    while True:
        client = stage.client(chance.getrandbits(32), lambda handler: _deadly(handler, chance))
        try:
            if told.rows[0].work(client, stage.keys, stage.clock):
                return told
        except Died:
            told.struck += 1
            stage.clock.sleep(5.0)


def _deadly(handler: Handler, chance: random.Random) -> Handler:
    def wire(request: Request) -> Response:
        fate = chance.random()
        if fate < 0.02:
            raise Died
        response = handler(request)
        if fate > 0.98:
            raise Died
        return response

    return wire


def _revoked(stage: Stage, chance: random.Random) -> Told:
    """Let all tokens become worthless before one request in twenty."""
    times = 0

    def around(handler: Handler) -> Handler:
        def wire(request: Request) -> Response:
            nonlocal times
            if chance.random() < 0.05:
                times += 1
                stage.clock.sleep(1.0)  # tokens are dated in whole seconds
                stage.embedded.emulator.control.revoke()
                stage.clock.sleep(1.0)
            return handler(request)

        return wire

    told = _run(stage, chance, around)
    told.struck = times
    return told


class _Turns:
    """Lets two threads run by turns: before each request chance says whose turn it is, so the story can be repeated."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._state = threading.Condition()
        self._at_work = {0, 1}
        self._turn = 0

    def wait(self, which: int) -> None:
        """Return when it is this one's turn."""
        with self._state:
            self._state.wait_for(lambda: self._turn == which)

    def go_on(self, which: int) -> None:
        """Let chance choose who is next, and return when it is this one's turn again."""
        with self._state:
            self._turn = self._chance.choice(sorted(self._at_work))
            self._state.notify_all()
        self.wait(which)

    def leave(self, which: int) -> None:
        """Take no more turns."""
        with self._state:
            self._at_work.discard(which)
            self._turn = min(self._at_work, default=which)
            self._state.notify_all()


def _two_at_once(stage: Stage, chance: random.Random) -> Told:
    """Let two clients that know nothing of each other close the same rows in the same order, request by request."""
    turns, both, seeds = _Turns(chance), (Rows(), Rows()), (chance.getrandbits(32), chance.getrandbits(32))

    def around(handler: Handler, which: int) -> Handler:
        def wire(request: Request) -> Response:
            turns.go_on(which)
            return handler(request)

        return wire

    def work(which: int) -> None:
        turns.wait(which)
        try:
            client = stage.client(seeds[which], lambda handler: around(handler, which))
            while not both[which].work(client, stage.keys, stage.clock):
                pass
        finally:
            turns.leave(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Told(both, stage.opportunities)


def _count(plan: str, stage: Stage, told: Told, refused: Collection[UUID]) -> Count:
    """Count; what is to be `refused` counts as missed when it is closed."""
    state = stage.state()
    emulator = stage.embedded.emulator
    found = Count(
        plan,
        stage.opportunities,
        stage.duplicates(),
        sum(done == (key in refused) for key, done in state.items()),
        sum(state[key] != told.done(key) for key in stage.keys),
        told.struck + sum(emulator.control.faults()["acted"]),
        sum(rows.again for rows in told.rows),
        emulator.journal.number,
    )
    stage.embedded.close()
    return found


_MANNERS: Mapping[str, Callable[[Stage, random.Random], Told]] = {
    KILLED: _killed,
    TWICE: _two_at_once,
    EXPIRING: _revoked,
    FAILING: _revoked,
}
