"""What is decided about rows: a result to record, another time, or back to where it came from.

Failures are held until it is known whether single rows fail or everything does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from connector.bulk.run.row_in_hand import RowInHand
from connector.closing.identity import is_made_under
from connector.closing.model import Intent, ReopenIntent, Report, ReportStatus
from connector.closing.report import alike, audit_data, error_data, failure_lines, record_data, report_data
from connector.errors import (
    Broken,
    ConnectorError,
    Effect,
    Forbidden,
    NotSent,
    ServiceError,
    SignInError,
    Throttled,
    Unanswered,
    Unauthorized,
    cause_of,
)
from connector.ledger.jobs import Item, ItemResult, ItemStatus

MOST_ATTEMPTS = 4
"""Claims of a row that keeps failing before it counts as failed."""
FIRST_PAUSE, GROWTH = 15.0, 4.0
"""Seconds before such a row is tried again at the end of the job, and by how much they grow each time."""


class SendOrder:
    """Numbers what is sent by all users of a run; `done` is the highest number of a row that was answered as done.

    Whatever failed before that number failed by itself.
    """

    def __init__(self) -> None:
        self.done = 0
        self.latest = 0
        self._numbers = itertools.count(1)

    def next(self) -> int:
        """Return the number of what is sent now."""
        self.latest = next(self._numbers)
        return self.latest


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """The result of a row and, where it failed, why; `amends` one that was recorded before.

    `sent` is its number in the order of sending.
    """

    result: ItemResult
    cause: ConnectorError | None = None
    amends: bool = False
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Postponed:
    """A row to be tried again after `seconds`, and the code of the reason."""

    item: Item
    seconds: float
    reason: str


def result_of(row: RowInHand, report: Report, user: str) -> ItemResult:
    """Return the result of a row that was done as `user`.

    What an earlier attempt of this job closed, cut off before it said so, is closed. Of what it had recorded and only
    read again now, the report stays: what the record was before its close is known from then.
    """
    status = ItemStatus(report.status.value)
    if report.status is ReportStatus.ALREADY_CLOSED and row.item.attempts > 1 and _is_ours(row, report):
        status = ItemStatus.CLOSED
    if report.status is ReportStatus.ALREADY_OPEN and row.item.recorded:
        status = ItemStatus.REOPENED
    notes = report.notes if isinstance(row.item.intent, ReopenIntent) else ()
    data, reason = report_data(replace(report, notes=notes)), ""
    if row.item.recorded and status.value != report.status.value:
        kept = {**row.item.recorded, "warnings": data["warnings"] or row.item.recorded["warnings"]}
        return ItemResult(row.item.row, row.item.epoch, status, "", kept, user, None)
    if report.status in {ReportStatus.REFUSED, ReportStatus.FAILED}:
        before = report.before
        names = [before.opportunity.name, *(quote.name for quote in before.quotes)] if before else []
        reason = report.reason_code or reason_of(report.error, names)
    if report.before is not None:
        intent = row.item.intent
        by = intent.as_user if isinstance(intent, Intent) and intent.as_user else user
        snapshot = report.after if status is ItemStatus.CLOSED and report.after else report.before
        data["record"] = record_data(snapshot.opportunity) | {"by": str(by)}
    return ItemResult(row.item.row, row.item.epoch, status, reason, data, user, audit_data(report, row.item.intent))


@dataclass(slots=True)
class Decisions:
    """What was decided since it was last asked for, of rows that are done as `user`; `result_of` makes the results.

    `verdicts` are to be recorded, `untouched` given back (nothing happened to them), `postponed` tried again later.
    `blocked` is what everything else would fail of too, until a person has done something.
    """

    user: str = ""
    result_of: Callable[[RowInHand, Report, str], ItemResult] = result_of
    verdicts: list[RowVerdict] = field(default_factory=list)
    untouched: list[Item] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)
    blocked: ConnectorError | None = None

    def take(self, row: RowInHand, report: Report) -> ConnectorError | None:
        """Decide about a row that came to an end; return the outage that it suffers from, if nothing is wrong with it.

        An outage passes by itself; the row is given back.
        """
        cause = cause_of(report.error)
        if isinstance(cause, SignInError | Unauthorized) and not cause.transient:
            self.untouched.append(row.item)
            self.blocked = cause
        elif is_outage(cause) and not row.touched:
            self.untouched.append(row.item)
            return cause
        elif cause is not None and _may_pass(cause) and row.item.attempts < MOST_ATTEMPTS:
            self.postpone(row, cause)
        else:
            self.verdicts.append(RowVerdict(self.result_of(row, report, self.user), cause, sent=row.sent))
        return None

    def amend(self, row: RowInHand, report: Report) -> None:
        """Add to the result of a row that was recorded before what its check has shown."""
        self.verdicts.append(RowVerdict(self.result_of(row, report, self.user), amends=True))

    def give_back(self, rows: Iterable[RowInHand]) -> None:
        """Give rows back; of those that may have been done the next run sees what became of them."""
        for row in rows:
            if row.touched:
                self.postponed.append(Postponed(row.item, 0.0, "stopped"))
            else:
                self.untouched.append(row.item)

    def postpone(self, row: RowInHand, cause: ConnectorError | None) -> None:
        """Let a row be tried again at the end of the job."""
        seconds = FIRST_PAUSE * GROWTH ** (row.item.attempts - 1)
        self.postponed.append(Postponed(row.item, seconds, reason_of(cause)))


def is_outage(cause: ConnectorError | None) -> bool:
    """Return whether nothing was done because nothing gets through at present."""
    return isinstance(cause, NotSent | Throttled) or (isinstance(cause, SignInError) and cause.transient)


def reason_of(error: ConnectorError | None, names: Iterable[str] = ()) -> str:
    """Return what failures are counted by: the code, and what the organization said apart from names and numbers.

    `names` are those of the row's own records. What a user lacks stands far behind in the organization's words, and in
    our sentence.
    """
    cause = cause_of(error)
    if isinstance(cause, Forbidden):
        sentence = (cause.message.partition(": ")[2] or cause.message).replace(f" ({cause.code})", "")
        return f"{cause.code or 'Forbidden'} {alike(sentence, names)}"
    if isinstance(cause, ServiceError) and cause.code:
        silent = f"{cause.origin.plug_in}, which gives no reason" if cause.origin.plug_in else ""
        return f"{cause.code} {alike(cause.detail, names) or silent}".rstrip()
    return type(cause).__name__ if cause else "unknown"


def _is_ours(row: RowInHand, report: Report) -> bool:
    activities = report.after.activities if report.after else ()
    key, opportunity = row.item.intent.key, row.item.intent.opportunity_id
    return any(a.completed and is_made_under(a.id, opportunity, key) for a in activities)


def _may_pass(cause: ConnectorError) -> bool:
    """Return whether trying again can help: a failure of the service may pass even where it does not look temporary."""
    return cause.transient or isinstance(cause, Broken)


def looks_temporary(failure: ConnectorError | None) -> bool:
    """Return whether the very next try may well succeed: a lock, a lost connection, a failure not known to last."""
    if isinstance(failure, Broken):
        return not failure.lasting
    return isinstance(failure, Unanswered) or (failure is not None and failure.effect is Effect.NONE)


LONGEST_OUTAGE_PAUSE = 60.0
"""Seconds between attempts while the organization or the sign-in cannot be reached."""


class Outage:
    """While nothing gets through nothing is sent `until` a moment, later and later with each of the `failures`."""

    def __init__(self) -> None:
        self.failures = 0
        self.until = float("-inf")

    def lasts(self, now: float) -> bool:
        """Return whether nothing is to be sent now."""
        return now < self.until

    def is_over(self) -> None:
        """Take in that something got through: all goes on at once."""
        self.failures, self.until = 0, float("-inf")

    def back_off(self, now: float) -> None:
        """Take in that something did not get through; what was sent meanwhile counts with it."""
        if not self.lasts(now):
            self.failures += 1
            self.until = now + min(LONGEST_OUTAGE_PAUSE, 2.0 ** min(self.failures, 6))


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
