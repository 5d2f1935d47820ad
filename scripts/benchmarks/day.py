"""`scripts/bench day`: 24 simulated hours with tokens of five minutes and outages of the identity provider."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from connector.emulator.identity.tenant import local_tenant
from connector.emulator.limits.faults import FaultPlan, Faults, plan_of
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Handler, Request, Response
from scripts.benchmarks.embedded_client import Stage
from scripts.benchmarks.rows_of_a_job import TAKINGS, Rows

HOURS = 24
TOKEN_LIFETIME = 300
AT_ONCE, EVERY = 3, 30.0
"""So many opportunities are closed together, that often, in seconds."""
HOURS_AN_OUTAGE = 2
"""One outage in so many hours."""
LONGEST_OUTAGE = 1800.0


@dataclass(frozen=True, slots=True)
class Day:
    """What came of it: `taken_up_again` counts what an outage outlasted, `failed` rows given up or said to have failed.

    `left_open` are those that the server has open at the end.
    """

    hours: float
    rows: int
    tokens: int
    outages: int
    seconds_of_outage: float
    taken_up_again: int
    failed: int
    left_open: int
    duplicates: int

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def play(hours: float, seed: int, takings: int = TAKINGS) -> Day:
    """Close a few opportunities every half minute for so many hours, each taken up so often at most."""
    rounds = int(hours * 3600 / EVERY)
    tenant = replace(local_tenant(), token_lifetime=TOKEN_LIFETIME)
    stage = Stage(rounds * AT_ONCE, EmulatorOptions(seeded=0, journal_size=10, tenant=tenant), quotes=1)
    outages = _outages(hours, random.Random(seed))
    weather = _Weather(stage, outages)
    client, rows = stage.client(seed, weather.around), Rows(takings)
    for number in range(rounds):
        keys = stage.keys[number * AT_ONCE : (number + 1) * AT_ONCE]
        if not rows.work(client, keys, stage.clock):
            rows.give_up(keys)  # nobody is there to do what the job stopped for
        stage.clock.sleep(max(0.0, (number + 1) * EVERY - stage.clock.monotonic()))
    return Day(
        round(stage.clock.monotonic() / 3600, 2),
        stage.opportunities,
        weather.tokens(),
        len(outages),
        round(sum(end - start for start, end in outages)),
        rows.again,
        rows.failed(),
        sum(not done for done in stage.state().values()),
        stage.duplicates(),
    )


class _Weather:
    """Lets the identity provider fail while an outage lasts."""

    def __init__(self, stage: Stage, outages: Sequence[tuple[float, float]]) -> None:
        self._stage = stage
        self._outages = outages
        self._down = plan_of([{"do": "status", "status": 503, "message": "token"}])
        self._is_down = False

    def around(self, handler: Handler) -> Handler:
        """Return the handler with the weather of the moment of each request."""

        def wire(request: Request) -> Response:
            self._settle()
            return handler(request)

        return wire

    def _settle(self) -> None:
        now = self._stage.clock.monotonic()
        down = any(start <= now < end for start, end in self._outages)
        if down != self._is_down:
            self._is_down = down
            self._stage.embedded.emulator.set_faults(Faults(self._down if down else FaultPlan()))

    def tokens(self) -> int:
        """Return how often a token was asked for."""
        titles = self._stage.embedded.emulator.journal.titles
        return sum(number for title, number in titles.items() if "token" in title.lower())


def _outages(hours: float, chance: random.Random) -> list[tuple[float, float]]:
    """Return outages, one in each equal part of the time, some longer than a token lives."""
    number = max(1, round(hours / HOURS_AN_OUTAGE))
    length = hours * 3600 / number
    starts = [(part + chance.uniform(0.1, 0.6)) * length for part in range(number)]
    return [(start, start + min(LONGEST_OUTAGE, 0.35 * length) * chance.uniform(0.05, 1.0)) for start in starts]
