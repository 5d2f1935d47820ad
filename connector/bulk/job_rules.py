"""What may be done with a job now: begin, go on, undo; and which names and organizations it may have."""

from __future__ import annotations

from collections.abc import Callable

from connector.bulk.takeover import live_workers
from connector.bulk.undo import undo_name
from connector.bulk.words import command_line, rows
from connector.errors import InputError, LedgerError
from connector.ledger.jobs import DesiredState, Job, WorkerInfo
from connector.ledger.ledger import Ledger

LONGEST_NAME = 200
"""Characters in the name of a job."""
Tell = Callable[[str], None]
"""Says a sentence to the person who waits."""


def may_begin(ledger: Ledger, name: str, tell: Tell, *, join: bool) -> None:
    """Raise LedgerError when somebody works on the job and this run shall not join, or is still loading it."""
    if ledger.find(name) is None:
        return
    there = [worker.name for worker in _at_work(ledger, name, tell, join=join)]
    if ledger.find(name) is None:  # who loaded it is dead, and what was half loaded is gone
        return
    ledger.whole(name)
    if there and not join:
        raise LedgerError(
            f"The job {name} is being worked on by {', '.join(there)}.",
            remedy="Watch it with bulk status, or work beside it with --join.",
        )


def _at_work(ledger: Ledger, name: str, tell: Tell, *, join: bool) -> list[WorkerInfo]:
    """Return who works on a job; who wants to work alone waits until that is certain."""
    return ledger.workers(name) if join else live_workers(ledger, name, tell)


def may_go_on(ledger: Ledger, job: Job, left: int) -> None:
    """Raise LedgerError when rows are left of a job that was undone: what it closed now would not be undone again."""
    if left and ledger.find(undo_name(job)):
        raise LedgerError(
            f"The job {job.name} was undone, so what is left of it ({rows(left)}) stays as it is.",
            remedy="Give them to a job of another name.",
        )


def finished_before(job: Job) -> str:
    """Say that a job was finished when it was asked for again, and how to do its rows once more."""
    return (
        f"The job {job.name} was finished at {job.finished:%Y-%m-%d %H:%M} UTC, and nothing is done again. To do its"
        " rows once more, where they were opened again since, give them a job name of their own with --job."
    )


def may_undo(ledger: Ledger, job: Job, tell: Tell) -> None:
    """Raise LedgerError when a job may still close something that an undoing begun now would not open again."""
    there = [worker.name for worker in _at_work(ledger, job.name, tell, join=False)]
    left = ledger.counts(job.name).open
    if there or (left and job.desired_state is not DesiredState.CANCEL):
        state = f"is being worked on by {', '.join(there)}" if there else f"still has {rows(left)} to do"
        raise LedgerError(
            f"The job {job.name} {state}, and what it closes from now on would not be undone; nothing was changed.",
            remedy=f"Let it finish, or stop it for good ({command_line('bulk', 'cancel', job.name)}), then undo it.",
        )


def checked_name(name: str) -> str:
    """Return the name of a new job if it can be shown and typed; raises InputError."""
    if not name.isprintable() or name != name.strip() or name.startswith("-") or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name!r} cannot be the name of a job: it needs 1 to {LONGEST_NAME} printable characters, no spaces at its"
            " ends and no hyphen first.",
            remedy="Give it another with --job.",
        )
    return name


def same_organization(job: Job, base_url: str) -> None:
    """Raise LedgerError when the job belongs to another organization than the settings name."""
    if job.organization not in {"", base_url}:
        raise LedgerError(
            f"The job {job.name} belongs to {job.organization}, and the settings name {base_url}.",
            remedy="Check DATAVERSE_URL.",
        )
