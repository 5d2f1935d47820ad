"""Working on bulk jobs from the command line: what the commands of `connector bulk` have in common."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from connector.assembly import Connection, connect
from connector.bulk.job_rules import finished_before, jobs_of, may_go_on, same_organization
from connector.bulk.planning import Summary, read_summary
from connector.bulk.reports.job_report import save_names
from connector.bulk.run.decision import ALIKE
from connector.bulk.run.paced_client import LimitsCarryOver, free_users
from connector.bulk.run.progress_meter import ProgressSnapshot, RunResult
from connector.bulk.source import Rows, Source
from connector.bulk.status import JobProgress, status_data, users_data
from connector.bulk.words import command_line, rows
from connector.cli.bulk.job_options import limits_of, take_up
from connector.cli.bulk.job_views import show_counts, show_jobs, view_on
from connector.cli.bulk.plan_views import show_closes
from connector.cli.bulk.process import begun_with, clients_by_user, opened, read_names, stopped_by_keyboard, who
from connector.cli.failure_text import ExitCode, describe, sentences
from connector.cli.run_options import STORE_ONLY, agree, answer, as_begun, read_settings, refuse, wants_json
from connector.cli.screen import print_json, say, tell
from connector.cli.worker_command import shared, work_beside
from connector.clock import SystemClock
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.settings.settings import Settings

T = TypeVar("T")

WATCH_EVERY = 0.5
"""Seconds between looks whether a job that is watched needs somebody."""
_NAMES_WITHIN = 10.0
"""Seconds that the end of a job waits for the names its reports show; without them they show ids."""


def work(ledger: Ledger, job: Job, settings: Settings, *, keep_going: bool = False) -> int:
    """Work on a job until it ends or is stopped, and say the result. Returns the exit code.

    With `keep_going` it does not stop where many rows fail alike.
    """
    settings = as_begun(settings, job.options)
    with connect(settings) as connection:
        same_organization(job, connection.base_url)
        pending = prepare_ahead(ledger, connection)
        return work_with(ledger, job, connection, pending, keep_going=keep_going)


@dataclass(frozen=True, slots=True)
class PendingConnection:
    """What is under way for a run before its first row: signing in, and reading what its rows and reports need."""

    signed_in: Future[None]
    names_kept: Future[None]


def prepare_ahead(ledger: Ledger, connection: Connection) -> PendingConnection:
    """Sign in and read what a run needs of the organization, while the caller does something else."""
    signed_in = _begun(connection.warm)

    def keep_names() -> None:
        signed_in.result()
        metadata = _begun(connection.prepare)
        save_names(ledger, connection.base_url, read_names(connection))
        metadata.result()

    return PendingConnection(signed_in, _begun(keep_names))


def _begun(work: Callable[[], T]) -> Future[T]:
    """Begin work in a thread that does not keep the process from ending: somebody may give up to sign in."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller who asks for the result raises it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def work_with(ledger: Ledger, job: Job, connection: Connection, pending: PendingConnection, *, keep_going: bool) -> int:
    """Work on a job with a connection that was made for it, as `work` does; `pending` has begun."""
    pending.signed_in.result()
    ending = _work_on(ledger, job, connection, float("inf") if keep_going else ALIKE)
    wait([pending.names_kept], _NAMES_WITHIN)  # a failure is told by the rows that meet it too
    users = users_data(connection.clients)
    data = status_data(ledger, ledger.job(job.name)) | {"users": users}
    if ending.blocked is not None:
        data["error"] = dict(describe(ending.blocked).error)
        tell(sentences(describe(ending.blocked).error))
    if left := ending.counts.not_read_again:
        resume = command_line("bulk", "resume", job.name)
        tell(f"Not read again since, so not known to stand as asked: {rows(left)}. Read them: {resume}")
    if wants_json():
        print_json(data)
    else:
        show_counts(job.name, ending.counts, data | {"last_run": None})
    return code(ending)


def _work_on(ledger: Ledger, job: Job, connection: Connection, most_alike: float) -> RunResult:
    """Work alone, or, where the store is shared, beside those who work there."""
    from connector.bulk.run.runner import Run

    if shared(connection.settings):
        return work_beside(ledger, job, connection, most_alike)
    view = view_on(sys.stderr, ledger.clock)
    with free_users(ledger, clients_by_user(connection), who(), tell) as clients:
        handover = LimitsCarryOver(ledger, clients)
        handover.begin()

        def watch(_snapshot: ProgressSnapshot) -> None:
            view.show(status_data(ledger, ledger.job(job.name)))
            handover.now_and_then()

        running = Run(ledger, job, list(clients.values()), watch, most_alike=most_alike)
        try:
            with stopped_by_keyboard(running.stop, view.stopping):
                ending = running.work(who())
        finally:
            view.end()
        handover.keep()
        return ending


def watch_job(ledger: Ledger, job: Job) -> None:
    """Show how a job goes, whichever process works on it, until nothing is left to do or Ctrl-C."""
    view = view_on(sys.stderr, ledger.clock)
    progress = JobProgress(ledger, job, view.show)
    stopped: list[bool] = []
    try:
        with stopped_by_keyboard(lambda: stopped.append(True), lambda: None):
            while not progress.done() and not stopped:
                ledger.clock.sleep(WATCH_EVERY)
    finally:
        view.end()


def show_status(ledger: Ledger, name: str | None, organization: str) -> int:
    """Show where a job stands, or without a name list the jobs of an organization. Returns the exit code."""
    jobs = [ledger.job(name)] if name else jobs_of(ledger, organization)
    statuses = [status_data(ledger, job) for job in jobs]
    if wants_json():
        print_json(statuses[0] if name else {"jobs": statuses})
    elif name:
        show_counts(name, ledger.counts(name), statuses[0])
    else:
        if statuses:
            show_jobs(statuses, ledger.clock.now())
        if len(statuses) < len(ledger.jobs()):
            say("Other organizations have jobs in this store too: bulk status --organization all")
        elif not statuses:
            say("There are no jobs in this store.")
    return ExitCode.DONE


def code(ending: RunResult) -> int:
    """Return the exit code: 0 when every row is as wanted, 1 failed, 3 refused, 4 when rows are left."""
    if ending.well:
        return ExitCode.DONE
    counts = ending.counts
    if ending.blocked is not None or counts.of(ItemStatus.FAILED):
        return ExitCode.FAILED
    return ExitCode.PARTLY_DONE if ending.stopped or counts.not_read_again else ExitCode.REFUSED


def say_desired_state(name: str, desired_state: DesiredState) -> int:
    """Say to the workers of a job what is wanted, and to the person what that means. Returns the exit code."""
    settings = read_settings(STORE_ONLY)
    with opened(settings) as ledger:
        finished = ledger.job(name).state is JobState.FINISHED
        if not finished:
            ledger.set_desired_state(name, desired_state)
        data = status_data(ledger, ledger.job(name))
    done = "It is finished: every row has its result, and nothing was changed."
    answer(data, done if finished else desired_state.sentence)
    return ExitCode.DONE


def go_on(ledger: Ledger, job: Job, settings: Settings, pilot: int | None) -> None:
    """Let a job go on that the same command began earlier."""
    counts = ledger.counts(job.name)
    if job.finished is not None and not counts.not_read_again:
        tell(finished_before(job, counts))
    may_go_on(ledger, job, counts.open)
    take_up(ledger, job, settings, rows=pilot)


def compare_with_plan(source: Source, connection: Connection) -> None:
    """Say where the metadata moved since the plan file was made; end where its rows set off something else by now.

    Steps, processes and flows are read again; a plan without a capture says nothing of them. Raises InputError.
    """
    head = source.plan_head()
    if not head or source.file is None:
        return
    from connector.organization.capture_reading import CaptureReading, read_metadata_stamp
    from connector.organization.side_effects import PlannedLogic

    stamp = read_metadata_stamp(connection.api)
    if stamp and head.get("metadata") and stamp != head["metadata"]:
        tell(
            "The organization's metadata changed since this plan was made: columns, status reasons or logic may be "
            "others. Plan again to be sure; rows of which something else is true by now are refused in any case."
        )
    effects = read_summary(source.file).get("side_effects")
    if effects is None:
        return
    agreed = PlannedLogic.of_plan(effects)
    reading = CaptureReading(connection.api, SystemClock())
    changes = list(agreed.changes(PlannedLogic.of(agreed.events, reading.logic(), connection.settings.bypass.kinds)))
    for sentence in changes:
        tell(sentence)
    if changes and not source.despite_changes:
        tell("Plan again, or go on with --despite-changes.")
        reason = "What the rows set off changed since the plan was made; nothing was changed in the organization."
        refuse(reason, changes=changes)


def nothing_found(base_url: str) -> int:
    """Say that a query finds nothing, so that no job is made. Returns the exit code."""
    sentence = f"The query finds no opportunities in {base_url} that this user can see: nothing was done."
    answer({"job": None, "total": 0, "message": sentence}, sentence)
    return ExitCode.DONE


def nothing_done(ledger: Ledger, name: str, sentence: str = "") -> int:
    """Say why nothing is done with a job (None given: it is finished), and where it stands. Returns the exit code."""
    counts = ledger.counts(name)
    tell(sentence or finished_before(ledger.job(name), counts))
    show_status(ledger, name, "")
    return code(RunResult(counts, DesiredState.RUN, stopped=counts.open > 0, blocked=None))


def begin(
    ledger: Ledger, name: str, source: Source, rows: Rows, connection: Connection, *, agreed: bool
) -> PendingConnection | None:
    """Make a job of the rows once somebody agrees, and return what is under way for its run; None without rows.

    Of a plan file it first shows what it closes; the rows of a query are agreed by their number.
    """
    closes, settings = source.outcomes(rows), connection.settings
    if not closes:
        return None
    limits = limits_of(JobLimits(), closes.total(), settings, ledger.clock.now(), source.pilot)
    if source.file is not None and source.plan_head() and not agreed:
        show_closes(Summary.of(read_summary(source.file)), connection)
    question = f"Close {source.first_of(closes)} of {connection.base_url} as job {name}?"
    agree(question, agreed=agreed, count=closes.total() if source.file is None else None)
    pending = prepare_ahead(ledger, connection)
    options = {**source.data(), **begun_with(settings, limits)}
    ledger.create(name, rows(), options=options, organization=connection.base_url, who=who())
    return pending
