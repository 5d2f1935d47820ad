"""Works operations off: takes them from the ledger, closes or reopens, and writes down the result.

The process that finds an operation unfinished takes it over: after kill -9 the next one, with a shared store any other.
At most one worker has an opportunity, and closing looks before it acts, so nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from opentelemetry.trace import Span, SpanKind

from connector.clock import Clock
from connector.closing.close import fulfil
from connector.closing.identity import is_made_under
from connector.closing.intent import AnyIntent
from connector.closing.model import Report, ReportStatus
from connector.closing.organization import LookupOrganization, Organization
from connector.closing.report import audit_data, report_data
from connector.errors import ConnectorError, SignInError, Throttled, Unanswered, cause_of
from connector.ledger.claims import Worker
from connector.ledger.jobs import Item, ItemResult, ItemStatus, Job
from connector.service.auth.caller import Caller
from connector.service.dependencies import Dependencies
from connector.service.operations.operation_results import GAVE_UP, SIGN_IN
from connector.service.operations.operation_service import OperationService
from connector.service.service_options import ServiceOptions
from connector.service.telemetry import OPERATION_SECONDS, Fact, mark_failed

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 25.0
"""Seconds until what failed for a passing reason is tried again: doubled each time, at most the latter.

So an operation goes on within half a minute of whatever it waits for.
"""
TOLD_PAUSE = 3.0
"""Seconds from which a pause in the middle is told to those who ask."""

_BROKE_OFF = "The endpoint failed each time it tried this, in a way it did not foresee."
_LOOK = "Look at the opportunity: some of it may have been done. Then send the request again, or ask support."


class Stopping(Exception):
    """The process is stopping: raised by `pause`, so that an operation is given back instead of waited for."""


@dataclass(frozen=True, slots=True)
class OperationRunner:
    """How operations are worked off.

    `announce` tells a tenant's subscribers what an operation came to; doing it again does no harm. `pause` waits for
    some seconds.
    """

    service: OperationService
    options: ServiceOptions
    dependencies: Dependencies
    pause: Callable[[float], None]
    announce: Callable[[str, Report, str, Callable[[], Organization]], object]

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        return self.dependencies.clock

    def do(self, worker: Worker, job: Job, item: Item) -> None:
        """Work off a claimed operation: it ends, waits to be tried again, or is given back. Raises LedgerError."""
        facts: dict[str, Fact] = {
            "connector.operation_id": job.name,
            "connector.opportunity_id": str(item.intent.opportunity_id),
            "connector.attempt": item.attempts,
        }
        trace = str(job.options.get("trace", ""))
        with self.dependencies.telemetry.span(f"operation {job.kind.value}", SpanKind.INTERNAL, trace, facts) as span:
            self._do(worker, job, item, span)

    def give_up(self, worker: Worker, job: Job, item: Item) -> None:
        """End an operation that breaks off each time it is tried. Raises LedgerError."""
        error = Unanswered(_BROKE_OFF, remedy=_LOOK)
        report = Report(item.intent.opportunity_id, ReportStatus.FAILED, error=error)
        entry = {"run": job.options.get("run_id", ""), "attempt": item.attempts, **audit_data(report, item.intent)}
        worker.record(job, [ItemResult(item.row, item.epoch, ItemStatus.FAILED, GAVE_UP, _kept(report), "", entry)])
        self.dependencies.waiting.tell(job.name)

    def _do(self, worker: Worker, job: Job, item: Item, span: Span) -> None:
        operation = self.service.operations.get(job.name)
        caller = self.service.caller_of(operation)
        try:
            report = self._report(caller, job, item)
        except Stopping:
            span.set_attributes({"connector.result": "given back"})
            worker.release(job, [item])
            return
        cause = cause_of(report.error)
        passing = report.status is ReportStatus.FAILED and cause is not None and cause.transient
        patient = self.clock.now() < job.created + timedelta(seconds=self.options.patience)
        if passing and patient:
            span.set_attributes({"connector.result": "put off", "connector.reason": type(cause).__name__})
            self._put_off(worker, job, item, cause)
            return
        organization = partial(self.dependencies.organizations.organization, caller)
        self.announce(caller.tenant_id, report, job.name, organization)  # before the end: after a crash, once more
        reason = GAVE_UP if passing else _reason(report, cause)
        status = ItemStatus(report.status.value)
        entry = {"run": job.options.get("run_id", ""), "attempt": item.attempts, **audit_data(report, item.intent)}
        user = self._user(caller)
        worker.record(job, [ItemResult(item.row, item.epoch, status, reason, _kept(report), user, entry)])
        self.dependencies.waiting.tell(job.name)
        result_facts: dict[str, Fact] = {"connector.result": report.status.value, "connector.reason": reason}
        span.set_attributes(result_facts)
        if report.status is ReportStatus.FAILED:
            mark_failed(span, reason)
        seconds = (self.clock.now() - job.created).total_seconds()
        self.dependencies.telemetry.measure(
            OPERATION_SECONDS, seconds, {"connector.kind": job.kind.value, **result_facts}
        )

    def _user(self, caller: Caller) -> str:
        """Return as whom it was done, for the audit log; nobody where that caller could not be let in."""
        try:
            return self.dependencies.organizations.user(caller)
        except ConnectorError:
            return ""

    def _report(self, caller: Caller, job: Job, item: Item) -> Report:
        intent = item.intent
        try:
            organization = self.dependencies.organizations.organization(caller)
            report = self._act(organization, job, intent)
            return _ours(organization, report, intent) if item.epoch > 1 else report  # another worker had it before
        except ConnectorError as error:  # what keeps this caller out altogether
            return Report(intent.opportunity_id, ReportStatus.FAILED, error=error)

    def _act(self, organization: LookupOrganization, job: Job, intent: AnyIntent) -> Report:
        def pause(seconds: float) -> None:
            if seconds >= TOLD_PAUSE:
                self.service.note_waiting(job.name, self.clock.now() + timedelta(seconds=seconds), "pause")
            self.pause(seconds)

        plan = str(job.options.get("plan", "")) or None
        return fulfil(organization, intent, pause=pause, chance=self.dependencies.chance, if_plan=plan)

    def _put_off(self, worker: Worker, job: Job, item: Item, cause: ConnectorError | None) -> None:
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (item.attempts - 1))
        if isinstance(cause, Throttled):
            seconds = max(seconds, cause.retry_after)
        until = self.clock.now() + timedelta(seconds=seconds)
        self.service.note_waiting(job.name, until, type(cause).__name__)
        worker.requeue(job, [item], seconds)


def _kept(report: Report) -> dict[str, object]:
    """Return the report for the store, with the name by which people know the opportunity."""
    snapshot = report.before or report.after
    return report_data(report) | ({"name": snapshot.opportunity.name} if snapshot and snapshot.opportunity.name else {})


def _reason(report: Report, cause: ConnectorError | None) -> str:
    if isinstance(cause, SignInError):
        return SIGN_IN
    return report.reason_code or (type(cause).__name__ if cause else "")


def _ours(organization: LookupOrganization, report: Report, intent: AnyIntent) -> Report:
    """Say closed, not closed before, when an earlier attempt of this operation did it and was cut off."""
    if report.status is not ReportStatus.ALREADY_CLOSED:
        return report
    try:
        snapshot = organization.observe([intent.opportunity_id], activities=True).get(intent.opportunity_id)
    except ConnectorError:
        return report  # it is closed as asked in any case
    activities = snapshot.activities if snapshot else ()
    made = [each for each in activities if is_made_under(each.id, intent.opportunity_id, intent.key)]
    return (
        replace(report, status=ReportStatus.CLOSED, after=snapshot) if any(each.completed for each in made) else report
    )
