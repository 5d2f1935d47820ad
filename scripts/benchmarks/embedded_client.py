"""The connector and the emulator in one process on a virtual clock: everything real but the network and the time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar
from uuid import UUID

from connector.bulk.run.decision import Decisions, SendOrder
from connector.bulk.run.pipeline import Pipeline
from connector.clock import VirtualClock
from connector.closing.close import fulfil_many
from connector.closing.model import Intent, Outcome, Report
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.pacing.gate import Gate
from connector.dataverse.policies import RetryPolicy, TokenSource, anything, authorize, retry
from connector.dataverse.sign_in import auth
from connector.dataverse.transport import Network, Transport
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import SignInError
from connector.handler import Handler
from connector.ledger.jobs import Item
from scripts.benchmarks.served import opportunity_key, opportunity_row, quote_row

P = ParamSpec("P")
T = TypeVar("T")
LOOK = 0.1
"""Seconds between looks at what is due, at least."""
Around = Callable[[Handler], Handler]


def untouched(handler: Handler) -> Handler:
    """Return the handler as it is."""
    return handler


@dataclass(slots=True)
class Stage:
    """An emulated organization with open opportunities that have active quotes each.

    `batch` opportunities share a batch: few make many requests, for trouble to strike.
    """

    opportunities: int
    options: EmulatorOptions = field(default_factory=lambda: EmulatorOptions(seeded=0, journal_size=100))
    quotes: int = 2
    batch: int = 4
    outcome: Outcome = Outcome.LOST
    clock: VirtualClock = field(default_factory=VirtualClock)
    embedded: EmbeddedEmulator = field(init=False)
    keys: list[UUID] = field(init=False)

    def __post_init__(self) -> None:
        self.embedded = open_embedded(":memory:", self.clock, self.options)
        organization = self.embedded.emulator.organization
        numbers = range(1, self.opportunities + 1)
        self.keys = [opportunity_key(number) for number in numbers]
        organization.load_rows("opportunity", [opportunity_row(n) for n in numbers])
        organization.load_rows("quote", [quote_row(n, m) for n in numbers for m in range(1, self.quotes + 1)])

    def client(self, seed: int, around: Around = untouched) -> Client:
        """Return a fresh client, as a new process has one; `around` wraps its network."""
        return Client(self, seed, around)

    def state(self) -> dict[UUID, bool]:
        """Return, past the Web API, which opportunities are closed with all their quotes, each exactly once."""
        store = self.embedded.emulator.organization.store
        open_rows = {str(one[0]) for one in store.rows("SELECT opportunityid FROM opportunity WHERE statecode = 0", ())}
        quotes = store.rows("SELECT opportunityid FROM quote WHERE statecode <> 3", ())
        undone = open_rows | {str(one[0]) for one in quotes}
        return {key: str(key) not in undone for key in self.keys}

    def duplicates(self) -> int:
        """Return how many opportunities and quotes have more than one completed close activity."""
        return len(self.embedded.emulator.control.closes(more_than=1))

    def once(self) -> int:
        """Return how many opportunities and quotes have a completed close activity."""
        return len(self.embedded.emulator.control.closes(more_than=0))


class Client:
    """The connector as `connector.assembly` joins it, on the emulator's clock."""

    name = user = "embedded"

    def __init__(self, stage: Stage, seed: int, around: Around) -> None:
        chance = random.Random(seed)
        embedded, clock = stage.embedded, stage.clock
        adapter = embedded.adapter()
        login = embedded.authority.rpartition("/")[0]
        self.outcome = stage.outcome
        self._transport = Transport(Network(), {f"{embedded.url}/": adapter, f"{login}/": adapter})
        network = around(self._transport)
        http = retry(network, sleep=clock.sleep, chance=chance, policy=RetryPolicy(told=60.0), repeatable=anything)
        registration = auth.Registration(embedded.client_id, lambda: embedded.authority, embedded.url)

        def source() -> TokenSource:
            return auth.application_tokens(registration, lambda: embedded.client_secret, http, clock)

        self.gate = Gate(authorize(network, _Unbiased(source), embedded.url), clock)
        handler = retry(self.gate, sleep=clock.sleep, chance=chance, policy=RetryPolicy())
        self.organization = DataverseOrganization(
            handler,
            embedded.url,
            clock=clock,
            batch_size=stage.batch,
            new_id=lambda: UUID(int=chance.getrandbits(128), version=4),
        )
        self._clock = clock
        self._chance = chance

    def work_off(self, items: Sequence[Item]) -> Iterator[Decisions]:
        """Work rows of a bulk job off as the job does, but one request after the other; yield what to record."""
        waiting = _Waiting()
        pipeline = Pipeline(self, waiting, self._clock, self._chance.random, lambda: None, SendOrder())
        pipeline.add(items)
        while not pipeline.idle:
            if not waiting.carry_out_one():
                self._clock.sleep(max(LOOK, min(pipeline.due_in(), 1.0)))
                pipeline.go_on(0)
            yield pipeline.take_decisions()

    def close(self, keys: Sequence[UUID]) -> list[Report]:
        """Close these opportunities."""
        intents = [Intent(key, self.outcome) for key in keys]
        return fulfil_many(self.organization, intents, pause=self._clock.sleep, chance=self._chance.random)


class _Waiting(Executor):
    """Keeps what it is given until it is asked to carry out the oldest."""

    def __init__(self) -> None:
        self._work: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """See `Executor`."""
        future: Future[T] = Future()
        self._work.append(lambda: future.set_result(work(*arguments, **named)))
        return future

    def carry_out_one(self) -> bool:
        """Carry out the oldest; returns False where there is nothing."""
        if not self._work:
            return False
        self._work.popleft()()
        return True


class _Unbiased:
    """A token source that is made anew when signing in has failed.

    MSAL remembers a failure of the identity provider for a minute of the machine's time, which hardly passes here; a
    minute of the emulator's time has passed when rows are taken up again.
    """

    def __init__(self, source: Callable[[], TokenSource]) -> None:
        self._make = source
        self._source = source()

    def token(self) -> str:
        """Return a token. Raises SignInError."""
        try:
            return self._source.token()
        except SignInError:
            self._source = self._make()
            raise

    def renew(self, rejected: str, claims: str = "") -> str:
        """Return another token. Raises SignInError."""
        try:
            return self._source.renew(rejected, claims)
        except SignInError:
            self._source = self._make()
            raise
