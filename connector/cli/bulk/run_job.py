"""Working on bulk jobs from the command line: what the commands of `connector bulk` have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from connector.assembly import Connection, connect
from connector.bulk.run.carry_over import LimitsCarryOver
from connector.bulk.run.paced_client import PacedClient
from connector.bulk.run.progress_meter import ProgressSnapshot, RunResult
from connector.bulk.status import lanes_data, status_data
from connector.bulk.takeover import live_workers
from connector.bulk.undo import undo_name
from connector.cli.bulk.job_views import show_counts, view_on
from connector.cli.bulk.process import lanes_by_user, opened, stopped_by_keyboard, who
from connector.cli.bulk.words import command_line, rows
from connector.cli.failure_text import ExitCode, describe, sentences
from connector.cli.json_output import print_json
from connector.cli.screen import say
from connector.cli.settings_of import read_settings
from connector.cli.worker_command import shared, work_beside
from connector.clock import Clock, SystemClock
from connector.errors import LedgerError
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobState, WorkerInfo
from connector.ledger.ledger import Ledger
from connector.ledger.user_slots import UserSlots
from connector.settings.settings import Settings

LONGEST_NAME = 200
"""Characters in the name of a job."""
USER_LOOK = 0.5
"""Seconds between looks whether a user is free."""


def work(ledger: Ledger, job: Job, settings: Settings, *, as_json: bool) -> int:
    """Work on a job until it ends or is stopped, and say what came of it. Returns the exit code."""
    with connect(settings) as connection:
        same_organization(job, connection.base_url)
        connection.warm()
        ending = _work_on(ledger, job, settings, connection)
        lanes = lanes_data(connection.clients)
    data = status_data(ledger, ledger.job(job.name)) | {"lanes": lanes}
    if ending.blocked is not None:
        data["error"] = dict(describe(ending.blocked).error)
        say(sentences(describe(ending.blocked).error), sys.stderr)
    if as_json:
        print_json(data)
    else:
        show_counts(job.name, ending.counts, data)
    return code(ending)


def _work_on(ledger: Ledger, job: Job, settings: Settings, connection: Connection) -> RunResult:
    """Work alone, or where the store is shared beside whoever works there."""
    from connector.bulk.run.runner import Run

    if shared(settings):
        return work_beside(ledger, job, settings, connection)
    clock = SystemClock()
    view = view_on(sys.stderr, clock)
    with _users(ledger, lanes_by_user(settings, connection), clock) as lanes:
        handover = LimitsCarryOver(ledger, lanes, clock)
        handover.begin()

        def watch(moment: ProgressSnapshot) -> None:
            view.show(moment)
            handover.now_and_then()

        running = Run(ledger, job, list(lanes.values()), clock, watch)
        try:
            with stopped_by_keyboard(running.stop):
                ending = running.work(who())
        finally:
            view.end()
        handover.keep()
        return ending


@contextmanager
def _users(ledger: Ledger, lanes: Mapping[str, PacedClient], clock: Clock) -> Iterator[dict[str, PacedClient]]:
    """Give the lanes, by user, of the users that no other process acts as; where there is none, wait for one.

    What the service allows a user is counted over all of them, so two governors would spend it twice.
    """
    holder = ledger.enter(f"{who()} for its users")
    try:
        told = False
        while not (taken := {user: lanes[user] for user in lanes if UserSlots(ledger).take(holder, [user])}):
            if not told:
                told = True
                click.echo(
                    "Waiting: every user of the settings is at work in another process already. More of them"
                    " (DATAVERSE_IDENTITIES) could work side by side. Ctrl-C gives up; nothing is lost.",
                    err=True,
                )
            clock.sleep(USER_LOOK)
        yield taken
    finally:
        holder.leave()


def code(ending: RunResult) -> int:
    """Return the exit code: 0 when every row is as wanted, 1 failed, 3 refused, 4 when rows are left."""
    if ending.well:
        return ExitCode.DONE
    counts = ending.counts
    if ending.blocked is not None or counts.of(ItemStatus.FAILED):
        return ExitCode.FAILED
    return ExitCode.PARTLY_DONE if ending.stopped else ExitCode.REFUSED


def say_desired_state(name: str, desired_state: DesiredState, *, as_json: bool, env_file: Path | None) -> int:
    """Say to the workers of a job what is wanted, and to the person what that means. Returns the exit code."""
    settings = read_settings(env_file)
    with opened(settings) as ledger:
        finished = ledger.job(name).state is JobState.FINISHED
        if not finished:
            ledger.set_desired_state(name, desired_state)
        data = status_data(ledger, ledger.job(name))
    if as_json:
        print_json(data)
    else:
        click.echo(
            "It is finished: every row has its result, and nothing was changed." if finished else desired_state.sentence
        )
    return ExitCode.DONE


def may_begin(ledger: Ledger, name: str, *, join: bool) -> None:
    """Raise LedgerError when somebody works on the job and this run shall not join, or is still loading it."""
    if ledger.find(name) is None:
        return
    there = [worker.name for worker in _at_work(ledger, name, join=join)]
    if ledger.find(name) is None:  # who loaded it is dead, and what was half loaded is gone
        return
    ledger.whole(name)
    if there and not join:
        raise LedgerError(
            f"The job {name} is being worked on by {', '.join(there)}.",
            remedy="Watch it with bulk status, or work beside it with --join.",
        )


def _at_work(ledger: Ledger, name: str, *, join: bool) -> list[WorkerInfo]:
    """Return who works on a job; who wants to work alone waits until that is certain."""
    return ledger.workers(name) if join else live_workers(ledger, name, lambda said: click.echo(said, err=True))


def may_go_on(ledger: Ledger, job: Job, left: int) -> None:
    """Raise LedgerError when rows are left of a job that was undone: what it closed now would not be undone again."""
    if left and ledger.find(undo_name(job)):
        raise LedgerError(
            f"The job {job.name} was undone, so what is left of it ({rows(left)}) stays as it is.",
            remedy="Give them to a job of another name.",
        )


def may_undo(ledger: Ledger, job: Job) -> None:
    """Raise LedgerError when a job may still close something that an undoing begun now would not open again."""
    there = [worker.name for worker in _at_work(ledger, job.name, join=False)]
    left = ledger.counts(job.name).open
    if there or (left and job.desired_state is not DesiredState.CANCEL):
        state = f"is being worked on by {', '.join(there)}" if there else f"still has {rows(left)} to do"
        raise LedgerError(
            f"The job {job.name} {state}, and what it closes from now on would not be undone; nothing was changed.",
            remedy=f"Let it finish, or stop it for good ({command_line('bulk', 'cancel', job.name)}), then undo it.",
        )


def checked_name(name: str) -> str:
    """Return the name of a new job if it can be shown and typed; raises click.UsageError."""
    if not name.isprintable() or name != name.strip() or name.startswith("-") or len(name) > LONGEST_NAME:
        raise click.UsageError(
            f"{name!r} cannot be the name of a job: it needs 1 to {LONGEST_NAME} printable characters, no spaces at its"
            " ends and no hyphen first. Give it another with --job."
        )
    return name


def same_organization(job: Job, base_url: str) -> None:
    """Raise LedgerError when the job belongs to another organization than the settings name."""
    if job.organization not in {"", base_url}:
        raise LedgerError(
            f"The job {job.name} belongs to {job.organization}, and the settings name {base_url}.",
            remedy="Check DATAVERSE_URL.",
        )


def agree(question: str, *, agreed: bool, as_json: bool, count: int | None = None) -> None:
    """Ask, unless somebody `agreed` already; who does not agree is told that nothing was changed, and it ends.

    Where nobody has listed the records, `count` is how many there are, and is typed to agree. Raises click.UsageError
    where there is no terminal to ask on.
    """
    if agreed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on, so nothing was changed. Agree with --yes.")
    code = ExitCode.REFUSED
    try:
        if count is None and click.confirm(question, default=False, err=True):
            return
        if count is not None and _typed(f"{question} Type their number to go on") == str(count):
            return
    except click.Abort:  # Ctrl-C or the end of what is typed, in the middle of a line
        click.echo(err=True)
        code = ExitCode.INTERRUPTED
    reason = "Not confirmed; nothing was changed."
    if as_json:
        print_json({"status": "refused", "reason": reason})
    else:
        click.echo(reason)
    raise click.exceptions.Exit(code)


def _typed(question: str) -> str:
    answer = click.prompt(question, default="", show_default=False, err=True)
    return str(answer).strip().replace(",", "")
