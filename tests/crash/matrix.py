"""One opportunity after another, each closed while something goes wrong, on the real emulator behind the real policies.

A case is the status reasons of its quotes, the outcome and the way of performing. A schedule says what happens to which
request of the first run: the process dies before or after the service acts, the answer is lost, or a 503 comes instead
of acting. Then a fresh run, with nothing kept from the first, must end where an undisturbed one ends.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from connector.clock import VirtualClock
from connector.closing import close
from connector.closing.model import Intent, Outcome, Report
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.policies import RetryPolicy, retry
from connector.emulator.core import Emulator
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import Unanswered
from connector.handler import Handler, Request, Response

STATE_OF_QUOTE = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 3}
"""The platform's status reasons of a quote and the state each belongs to."""

Statuses = tuple[int, ...]


class Died(BaseException):
    """The process is gone; nothing may catch it and go on."""


class Trouble(Enum):
    """What happens to one request."""

    DIES_BEFORE = "the process dies before the service acts"
    DIES_AFTER = "the process dies after the service acted"
    LOST = "the answer is lost"
    BUSY = "503 instead of acting"


Schedule = Mapping[int, Trouble]
CALM: Schedule = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Case:
    """An opportunity to be made and closed."""

    quotes: Statuses
    outcome: Outcome
    atomic: bool

    def __str__(self) -> str:
        way = "atomic" if self.atomic else "stepwise"
        return f"{self.outcome} {way} quotes {','.join(map(str, self.quotes)) or 'none'}"


@dataclass(frozen=True, slots=True)
class End:
    """Where a case ended: states and status reasons of the rows, completed close activities of each, the report."""

    opportunity: tuple[object, ...]
    quotes: tuple[tuple[object, ...], ...]
    closes: tuple[int, ...]


def cases(most_quotes: int) -> Iterator[Case]:
    """Yield every combination of up to `most_quotes` quotes, both outcomes, both ways."""
    for number in range(most_quotes + 1):
        for quotes in itertools.combinations_with_replacement(STATE_OF_QUOTE, number):
            for outcome, atomic in itertools.product(Outcome, (True, False)):
                yield Case(quotes, outcome, atomic)


@dataclass(slots=True)
class Stage:
    """An emulated organization with a clock that sleeping moves, on which cases are played.

    `plugins` are files of its own logic, `worth` the estimated value of its opportunities.
    """

    plugins: tuple[Path, ...] = ()
    worth: float | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    embedded: EmbeddedEmulator = field(init=False)
    token: str = ""
    made: int = 0
    metadata: dict[bytes, Response] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = EmulatorOptions(seeded=0, journal_size=10, plugins=self.plugins)
        self.embedded = open_embedded(":memory:", self.clock, options)

    @property
    def emulator(self) -> Emulator:
        return self.embedded.emulator

    def opportunity(self, quotes: Statuses) -> UUID:
        """Make an open opportunity with quotes of these status reasons; their ids follow from its own."""
        self.made += 1
        key = UUID(int=(0x0C << 120) | (self.made << 16))
        organization = self.emulator.organization
        deal = {"opportunityid": str(key), "name": f"Case {self.made}", "statecode": 0, "statuscode": 1,
                "estimatedvalue": self.worth}  # fmt: skip
        organization.load_rows("opportunity", [deal])
        rows = [
            {"quoteid": str(quote_id(key, n)), "name": f"Quote {n}", "quotenumber": f"QUO-{self.made}-{n}",
             "opportunityid": str(key), "statecode": STATE_OF_QUOTE[status], "statuscode": status}
            for n, status in enumerate(quotes, 1)
        ]  # fmt: skip
        organization.load_rows("quote", rows)
        return key

    def run(self, case: Case, opportunity: UUID, schedule: Schedule = CALM) -> tuple[Report, int]:
        """Close it in a fresh process; return the report and how many requests were sent. Raises Died."""
        return self._run(case, opportunity, _Wire(self._signed(), schedule, self.metadata))

    def race(self, ours: Case, theirs: Case, opportunity: UUID, before: int) -> tuple[Report, Report]:
        """Run `ours`, and `theirs` as a whole just before the request of that number; return both reports."""
        signed, sent, other = self._signed(), itertools.count(1), list[Report]()

        def interrupted(request: Request) -> Response:
            if next(sent) == before:
                other.append(self.run(theirs, opportunity)[0])
            return signed(request)

        report, _ = self._run(ours, opportunity, _Wire(interrupted, CALM, self.metadata))
        return report, other[0]

    def _run(self, case: Case, opportunity: UUID, wire: _Wire) -> tuple[Report, int]:
        chance = random.Random(7)
        handler = retry(wire, sleep=self.clock.sleep, chance=chance, policy=RetryPolicy())
        organization = DataverseOrganization(
            handler, self.embedded.url, clock=self.clock, atomic=case.atomic, new_id=lambda: _random_id(chance)
        )
        organization.metadata()
        wire.begin()
        intent = Intent(opportunity, case.outcome)
        report = close.fulfil(organization, intent, pause=self.clock.sleep, chance=chance.random)
        return report, wire.sent

    def end(self, opportunity: UUID) -> End:
        """Look past the Web API at what stands."""
        store = self.emulator.organization.store
        key = (str(opportunity),)
        row = store.rows("SELECT statecode, statuscode, actualclosedate FROM opportunity WHERE opportunityid = ?", key)
        quotes = store.rows("SELECT statecode, statuscode FROM quote WHERE opportunityid = ? ORDER BY quoteid", key)
        closes = store.rows(
            "SELECT (SELECT COUNT(*) FROM opportunityclose WHERE opportunityid = ?1) UNION ALL "
            "SELECT * FROM (SELECT (SELECT COUNT(*) FROM quoteclose c WHERE c.quoteid = q.quoteid) "
            "FROM quote q WHERE q.opportunityid = ?1 ORDER BY q.quoteid)",
            key,
        )
        return End(tuple(row[0][:2]), tuple(quotes), tuple(int(str(count)) for (count,) in closes))

    def _signed(self) -> Handler:
        def signed(request: Request) -> Response:
            headers = {**request.headers, "authorization": f"Bearer {self.token}"}
            authorized = Request(request.method, request.url, headers, request.body)
            response = self.emulator.handle(authorized)
            if response.status != 401:
                return response
            self.token = self._sign_in()
            return signed(request)

        return signed

    def _sign_in(self) -> str:
        import json
        from urllib.parse import urlencode

        form = urlencode({
            "grant_type": "client_credentials", "client_id": self.embedded.client_id,
            "client_secret": self.embedded.client_secret, "scope": f"{self.embedded.url}/.default",
        })  # fmt: skip
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url = f"{self.embedded.authority}/oauth2/v2.0/token"
        answer = json.loads(self.emulator.handle(Request("POST", url, headers, form.encode())).body)
        return str(answer["access_token"])


@dataclass(slots=True)
class _Wire:
    """The network between one run and the service, with its troubles."""

    handler: Handler
    schedule: Schedule
    kept: dict[bytes, Response]
    sent: int = 0
    begun: bool = False

    def begin(self) -> None:
        """Count, and go wrong, from here on: signing in and metadata come before."""
        self.begun = True

    def __call__(self, request: Request) -> Response:
        if not self.begun:
            return self._metadata(request)
        self.sent += 1
        trouble = self.schedule.get(self.sent)
        if trouble is Trouble.DIES_BEFORE:
            raise Died
        if trouble is Trouble.BUSY:
            return Response(503, (("Content-Type", "text/html"),), b"<html>Service Unavailable</html>")
        response = self.handler(request)
        if trouble is Trouble.DIES_AFTER:
            raise Died
        if trouble is Trouble.LOST:
            raise Unanswered("The connection was reset before the answer came.")
        return response

    def _metadata(self, request: Request) -> Response:
        """Ask once for what is the same in every run: ids of requests are seeded, so the bytes are too."""
        asked = request.url.encode() + request.body
        if asked not in self.kept:
            self.kept[asked] = self.handler(request)
        return self.kept[asked]


def quote_id(opportunity: UUID, number: int) -> UUID:
    """Return the id of the n-th quote of an opportunity that a stage made."""
    return UUID(int=opportunity.int + number)


def _random_id(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)


def undisturbed(stage: Stage, case: Case) -> tuple[End, Report, int]:
    """Play a case with nothing going wrong."""
    opportunity = stage.opportunity(case.quotes)
    report, sent = stage.run(case, opportunity)
    return stage.end(opportunity), report, sent


def disturbed(stage: Stage, case: Case, schedule: Schedule) -> tuple[End, Report | None, Report]:
    """Play a case with trouble, then run it afresh; return where it ended and both reports (None: the run died)."""
    opportunity = stage.opportunity(case.quotes)
    first: Report | None
    try:
        first, _ = stage.run(case, opportunity, schedule)
    except Died:
        first = None
    second, _ = stage.run(case, opportunity)
    return stage.end(opportunity), first, second


def singles(requests: int) -> Iterator[Schedule]:
    """Yield every schedule of one trouble."""
    for number, trouble in itertools.product(range(1, requests + 1), Trouble):
        yield {number: trouble}


def pairs(requests: int) -> Iterator[Schedule]:
    """Yield every schedule of two troubles; the second may strike one of the requests that the first one caused."""
    going_on = (Trouble.LOST, Trouble.BUSY)
    for number, trouble in itertools.product(range(1, requests + 1), going_on):
        for later, second in itertools.product(range(number + 1, requests + 4), Trouble):
            yield {number: trouble, later: second}
