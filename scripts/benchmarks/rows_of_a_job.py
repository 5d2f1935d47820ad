"""What a bulk job knows of its rows, kept in memory: which have a result, which are to be taken up again and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from connector.bulk.run.decision import Decisions
from connector.clock import Clock
from connector.closing.model import Intent, Outcome
from connector.ledger.jobs import Item, ItemStatus
from scripts.benchmarks.embedded_client import Client

CHUNK = 20
"""Rows taken up at once: few, so that many are half done whenever trouble strikes, and every life gets on."""
AGAIN = 60.0
"""Seconds until rows are taken up again for which nothing could be sent, as jobs do in a long outage."""
TAKINGS = 60
"""How often a row is taken up before it has failed; a job does not count those in which nothing was sent."""
DONE = frozenset({ItemStatus.CLOSED, ItemStatus.ALREADY_CLOSED})


@dataclass(slots=True)
class Rows:
    """The rows of a job. `results` is what its ledger would hold, `again` how often a row was taken up once more."""

    takings: int = TAKINGS
    results: dict[UUID, ItemStatus] = field(default_factory=dict)
    again: int = 0
    _taken: dict[UUID, int] = field(default_factory=dict)
    _attempts: dict[UUID, int] = field(default_factory=dict)

    def done(self, key: UUID) -> bool:
        """Return whether the row is said to be closed."""
        return self.results.get(key) in DONE

    def failed(self) -> int:
        """Return how many rows are said to have failed or been refused."""
        return sum(status not in DONE for status in self.results.values())

    def work(self, client: Client, keys: Sequence[UUID], clock: Clock) -> bool:
        """Work until every row has its result; what a client that dies had recorded stays.

        Returns False when it ends before, as a job does that needs a person first: it can be resumed.
        """
        while left := [key for key in keys if key not in self.results]:
            pauses = [0.0]
            for at in range(0, len(left), CHUNK):
                for decisions in self._chunk(client, left[at : at + CHUNK]):
                    if decisions.blocked is not None:
                        return False
                    pauses += [one.seconds for one in decisions.postponed] + [AGAIN] * bool(decisions.untouched)
            clock.sleep(max(pauses))
        return True

    def retry(self) -> None:
        """Take up once more what failed, as the command `bulk retry` does."""
        failed = [key for key, status in self.results.items() if status is ItemStatus.FAILED]
        for kept in (self.results, self._taken, self._attempts):
            for key in failed:
                kept.pop(key, None)

    def give_up(self, keys: Sequence[UUID]) -> None:
        """Count rows without a result as failed."""
        self.results.update({key: ItemStatus.FAILED for key in keys if key not in self.results})

    def _chunk(self, client: Client, keys: Sequence[UUID]) -> Iterator[Decisions]:
        """Take a chunk up, record what comes of it as soon as it is decided, and yield it."""
        for decisions in client.work_off([self._item(number, key, client.outcome) for number, key in enumerate(keys)]):
            self.results.update({keys[one.result.row]: one.result.status for one in decisions.verdicts})
            for item in decisions.untouched:
                self._attempts[item.intent.opportunity_id] -= 1
            items = [*decisions.untouched, *(one.item for one in decisions.postponed)]
            left = [item.intent.opportunity_id for item in items]
            given_up = [key for key in left if self._taken[key] >= self.takings]
            self.give_up(given_up)
            self.again += len(left) - len(given_up)
            yield decisions

    def _item(self, number: int, key: UUID, outcome: Outcome) -> Item:
        self._taken[key] = self._taken.get(key, 0) + 1
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return Item(number, 1, self._attempts[key], Intent(key, outcome))
