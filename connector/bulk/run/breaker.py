"""Tells trouble with everything from trouble with single rows, before rows count as failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from connector.bulk.run.decision import RowVerdict, SendOrder
from connector.closing.report import error_data, failure_lines
from connector.errors import ConnectorError, Forbidden
from connector.ledger.jobs import ItemResult, ItemStatus

ALIKE = 25
"""Rows that fail alike, while none that was sent later is done, before the job stops."""
ALIKE_FORBIDDEN = 3
"""The same where what is refused is a matter of the user or the environment."""

_NO_ACCESS = "0x80048306"


class Stopped(ConnectorError):
    """Many rows failed alike and none was done: something is wrong with more than single rows."""


@dataclass(slots=True)
class BreakerDecision:
    """What may be recorded, and the rows to be given back because the job stops."""

    record: list[ItemResult] = field(default_factory=list)
    give_back: list[ItemResult] = field(default_factory=list)


class Breaker:
    """Holds failures until a row that was sent after them is done (single trouble) or too many are alike (it stops).

    What is refused to the user is held until one is done that was sent after the refusal was read: a privilege may
    vanish while several requests are under way, and those sent last may still be done.

    `open` says why the job stops. `most` is how many; infinite where the job shall go on whatever fails.
    """

    def __init__(self, order: SendOrder, most: float = ALIKE) -> None:
        self.open: ConnectorError | None = None
        self._order = order
        self._most = most
        self._held: list[RowVerdict] = []

    def sift(self, verdicts: Sequence[RowVerdict]) -> BreakerDecision:
        """Take verdicts; what is not a failure is recorded at once."""
        failed = [
            replace(verdict, sent=max(verdict.sent, self._order.latest)) if _is_forbidden(verdict) else verdict
            for verdict in verdicts
            if verdict.result.status is ItemStatus.FAILED
        ]
        decision = BreakerDecision(
            [verdict.result for verdict in verdicts if verdict.result.status is not ItemStatus.FAILED]
        )
        self._held += failed
        self._settle(decision, [row for row in self._held if row.sent < self._order.done or self._most == float("inf")])
        for reason, count in Counter(row.result.reason for row in self._held).items():
            alike = [row for row in self._held if row.result.reason == reason]
            if self.open is None and count >= (ALIKE_FORBIDDEN if _is_forbidden(alike[-1]) else self._most):
                self.open = _why(alike)
        if self.open is not None:
            self._give_back(decision)
        return decision

    def end(self) -> BreakerDecision:
        """Return what is held when nothing more comes: single trouble, unless all of it is refused to the user."""
        decision = BreakerDecision()
        if self._held and all(_is_forbidden(verdict) for verdict in self._held):
            self.open = _why(self._held)
            self._give_back(decision)
        self._settle(decision, self._held)
        return decision

    def _settle(self, decision: BreakerDecision, verdicts: Sequence[RowVerdict]) -> None:
        """Let failures count."""
        decision.record += [verdict.result for verdict in verdicts]
        self._held = [verdict for verdict in self._held if verdict not in verdicts]

    def _give_back(self, decision: BreakerDecision) -> None:
        """Let no failure count that came since the trouble began."""
        decision.give_back += [verdict.result for verdict in self._held]
        self._held = []


def _is_forbidden(verdict: RowVerdict) -> bool:
    """Tell whether it is a matter of the user or the environment; access to one row is a matter of that row."""
    return isinstance(verdict.cause, Forbidden) and verdict.cause.code != _NO_ACCESS


def _why(held: Sequence[RowVerdict]) -> ConnectorError:
    """Return the sentence for the person who must act, with what the organization said."""
    cause = held[-1].cause
    count = f"The last {len(held)} rows" if len(held) > 1 else "The last row"
    lines = failure_lines(error_data(cause) | {"remedy": ""}) if cause else [held[-1].result.reason]
    repair = f"{cause.remedy} " if cause and cause.remedy else ""
    return Stopped(
        f"The job stopped: {count.lower()} failed alike and none was closed meanwhile. {' '.join(lines)} These rows "
        "are still to be done.",
        remedy=f"{repair}Then go on with bulk resume; --keep-going does not stop for failures.",
    )
