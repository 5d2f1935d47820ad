"""Tells trouble with everything from trouble with single rows, before rows count as failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from connector.bulk.run.decision import RowVerdict
from connector.errors import ConnectorError, Forbidden
from connector.ledger.jobs import ItemResult, ItemStatus

ALIKE = 25
"""Rows in a row that fail alike, while none is done, before the job stops."""
ALIKE_FORBIDDEN = 3
"""The same where what is refused is a matter of the user or the environment."""
_DONE = frozenset({ItemStatus.CLOSED, ItemStatus.REOPENED})


class Stopped(ConnectorError):
    """Many rows failed alike and none was done: something is wrong with more than single rows."""


@dataclass(slots=True)
class BreakerDecision:
    """What may be recorded, and the rows to be given back because the job stops."""

    record: list[ItemResult] = field(default_factory=list)
    give_back: list[ItemResult] = field(default_factory=list)


class Breaker:
    """Holds failures that are alike until a row is done (they were single trouble) or too many came (it stops).

    `open` says why the job stops. `most` is how many; infinite where the job shall go on whatever fails.
    """

    def __init__(self, most: float = ALIKE) -> None:
        self.open: ConnectorError | None = None
        self._most = most
        self._held: list[RowVerdict] = []

    def sift(self, verdicts: Sequence[RowVerdict]) -> BreakerDecision:
        """Take verdicts in the order in which they came."""
        decision = BreakerDecision()
        for verdict in verdicts:
            if verdict.result.status is ItemStatus.FAILED:
                self._hold(verdict, decision)
                continue
            if verdict.result.status in _DONE:
                self._release(decision)
            decision.record.append(verdict.result)
        return decision

    def end(self) -> BreakerDecision:
        """Return what is held when nothing more comes: single trouble, unless all of it is the user's."""
        decision = BreakerDecision()
        if self._held and self._most < float("inf") and _is_forbidden(self._held[-1]):
            self._stop(decision)
        self._release(decision)
        return decision

    def _hold(self, verdict: RowVerdict, decision: BreakerDecision) -> None:
        if self._held and self._held[-1].result.reason != verdict.result.reason:
            self._release(decision)
        self._held.append(verdict)
        most = min(self._most, ALIKE_FORBIDDEN) if _is_forbidden(verdict) and self._most < float("inf") else self._most
        if self.open is not None or len(self._held) >= most:
            self._stop(decision)
        elif self._most == float("inf"):
            self._release(decision)

    def _release(self, decision: BreakerDecision) -> None:
        decision.record += [verdict.result for verdict in self._held]
        self._held.clear()

    def _stop(self, decision: BreakerDecision) -> None:
        """Give back what is held: none of it counts as failed."""
        self.open = self.open or _why(self._held)
        decision.give_back += [verdict.result for verdict in self._held]
        self._held.clear()


def _is_forbidden(verdict: RowVerdict) -> bool:
    return isinstance(verdict.cause, Forbidden)


def _why(held: Sequence[RowVerdict]) -> ConnectorError:
    """Return the sentence for the person who must act, with what the organization said."""
    cause = held[-1].cause
    count = f"The last {len(held)} rows" if len(held) > 1 else "The last row"
    said = cause.message if cause else held[-1].result.reason
    detail = getattr(cause, "detail", "")
    words = f" The organization says: {detail}" if detail else ""
    repair = f"{cause.remedy} " if cause and cause.remedy else ""
    return Stopped(
        f"The job stopped: {count.lower()} failed alike and none was closed meanwhile. {said}{words} These rows are"
        " still to be done.",
        remedy=f"{repair}Then go on with bulk resume; with --keep-going it goes on whatever fails.",
    )
