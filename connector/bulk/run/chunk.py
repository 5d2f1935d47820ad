"""Works off a chunk of items: what is done now, what is to be done again, and what keeps everything from being done."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from connector.bulk.run.spread import HeldBack, Spread
from connector.closing.close import close_many, reopen_many
from connector.closing.identity import is_made_under
from connector.closing.model import Intent, ReopenIntent, Report, ReportStatus, StepStatus
from connector.closing.report import report_data
from connector.errors import ConnectorError, NotConverged, NotSent, ServiceError, SignInError, Throttled, Unauthorized
from connector.ledger.jobs import Item, ItemResult, ItemStatus

MOST_ATTEMPTS = 6
"""Claims of a row that fails for passing reasons before it counts as failed."""
FIRST_PAUSE = 20.0
"""Seconds before such a row is tried again; doubled each time."""


@dataclass(slots=True)
class Outcome:
    """What came of a chunk.

    `results` are to be recorded, `untouched` given back (nothing was sent for them), `later` tried again after seconds.
    `outage` passes by itself; `blocked` needs a person, and everything else would fail alike.
    """

    results: list[ItemResult] = field(default_factory=list)
    untouched: list[Item] = field(default_factory=list)
    later: list[tuple[Item, float]] = field(default_factory=list)
    outage: ConnectorError | None = None
    blocked: ConnectorError | None = None


def work_off(
    items: Sequence[Item],
    organization: Spread,
    pause: Callable[[float], None],
    chance: Callable[[], float] = random.random,
) -> Outcome:
    """Close or reopen the opportunities of `items`; failures are part of the outcome."""
    by_id = {item.intent.opportunity_id: item for item in items}
    plans = {id_: item.plan for id_, item in by_id.items() if item.plan}
    closing = [item.intent for item in items if isinstance(item.intent, Intent)]
    reopening = [item.intent for item in items if isinstance(item.intent, ReopenIntent)]
    reports: list[Report] = []
    if closing:
        reports += close_many(organization, closing, pause=pause, chance=chance, if_plans=plans)
    if reopening:
        reports += reopen_many(organization, reopening, pause=pause, chance=chance, if_plans=plans)
    ours = _closed_before(reports, by_id, organization)
    outcome = Outcome()
    for report in reports:
        _sort(outcome, by_id[report.opportunity_id], report, ours)
    return outcome


def _closed_before(reports: Sequence[Report], items: Mapping[UUID, Item], organization: Spread) -> frozenset[UUID]:
    """Return which of those found closed an earlier attempt of this job closed, cut off before it could say so."""
    asked = {
        report.opportunity_id: items[report.opportunity_id].intent.key
        for report in reports
        if report.status is ReportStatus.ALREADY_CLOSED and items[report.opportunity_id].attempts > 1
    }
    if not asked:
        return frozenset()
    try:
        seen = organization.observe(list(asked), activities=True)
    except ConnectorError:
        return frozenset()  # they are closed as wanted in any case; who did it is told when it can be read
    return frozenset(
        id_
        for id_, snapshot in seen.items()
        if any(a.completed and is_made_under(a.id, id_, asked[id_]) for a in snapshot.activities)
    )


def _sort(outcome: Outcome, item: Item, report: Report, ours: frozenset[UUID]) -> None:
    cause = _cause(report.error)
    touched = any(result.status in {StepStatus.DONE, StepStatus.UNKNOWN} for result in report.steps)
    match cause:
        case HeldBack() if not touched:
            outcome.untouched.append(item)
        case SignInError() | Unauthorized() if not cause.transient:
            outcome.untouched.append(item)
            outcome.blocked = cause
        case SignInError() | NotSent() | Throttled() if not touched:
            outcome.untouched.append(item)
            outcome.outage = cause
        case HeldBack():
            outcome.later.append((item, 0.0))
        case ConnectorError() if cause.transient and item.attempts < MOST_ATTEMPTS:
            outcome.later.append((item, FIRST_PAUSE * 2.0 ** (item.attempts - 1)))
        case _:
            outcome.results.append(_result(item, report, ours))


def _result(item: Item, report: Report, ours: frozenset[UUID]) -> ItemResult:
    status = ItemStatus(report.status.value)
    if report.opportunity_id in ours:
        status = ItemStatus.CLOSED
    return ItemResult(item.row, item.epoch, status, _reason(report), report_data(report))


def _reason(report: Report) -> str:
    """Return the stable code that failures are counted by; empty when it went well."""
    if report.status not in {ReportStatus.REFUSED, ReportStatus.FAILED}:
        return ""
    if report.reason_code:
        return report.reason_code
    cause = _cause(report.error)
    if isinstance(cause, ServiceError) and cause.code:
        return cause.code
    return type(cause).__name__ if cause else "unknown"


def _cause(error: ConnectorError | None) -> ConnectorError | None:
    """Return the failure behind a loop that gave up, else the failure itself."""
    while isinstance(error, NotConverged) and error.last is not None:
        error = error.last
    return error
