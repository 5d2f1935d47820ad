"""What may be done with a job now: begin, go on, take over, undo; and which names and organizations it may have.

How its last run ended is kept for those who ask later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from connector.bulk.words import command_line, rows
from connector.closing.model import ColumnValue, Intent, OpportunityState, ReopenIntent
from connector.errors import ConnectorError, InputError, LedgerError
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job, JobKind, JobState, Row, WorkerInfo
from connector.ledger.ledger import Ledger
from connector.ledger.shared_state import recall, remember


def undo_name(job: Job) -> str:
    """Return the name of the job that undoes `job`."""
    return f"{job.name}.undo"


def undo_rows(ledger: Ledger, job: Job) -> Iterator[Row]:
    """Return a row for each opportunity that `job` closed, under the number it has there.

    An opportunity that was closed by anything else since is refused when its turn comes: what counts is under which key
    its close activities were made. Raises InputError when `job` is not one that closes.
    """
    if job.kind is not JobKind.CLOSE:
        raise InputError(f"The job {job.name} opens opportunities; there is nothing to undo.")
    for record in ledger.records(job.name, (ItemStatus.CLOSED,)):
        assert isinstance(record.intent, Intent)
        before = (record.report or {}).get("before")
        if not isinstance(before, Mapping) or before.get("state") != OpportunityState.OPEN:  # it was cut off
            before = {}
        values, status, key = _values_before(before), before.get("status"), record.intent.key
        intent = ReopenIntent(record.opportunity_id, closed_under=key, open_status=status, open_values=values)
        yield Row(record.row, intent, record.account)


def _values_before(before: Mapping[str, Any]) -> dict[str, ColumnValue]:
    """Return the columns that a close changes, as a report keeps them."""
    values: dict[str, ColumnValue] = {
        name: before[name] for name in ("actualvalue", "actualclosedate", "closeprobability") if name in before
    }
    if isinstance(values.get("actualvalue"), str):
        values["actualvalue"] = Decimal(before["actualvalue"])
    return values


LOOK = 0.5
"""Seconds between looks whether a worker has given a sign of life."""


def live_workers(ledger: Ledger, job: str, tell: Callable[[str], None]) -> list[WorkerInfo]:
    """Return the workers of a job that live: by proof, or by a heartbeat seen meanwhile.

    Waits at most a lease and says so by `tell`; who gives no sign of life by then is reaped. Raises LedgerError.
    """
    doubtful = {worker.id: worker for worker in ledger.workers(job) if ledger.database.is_dead(worker.id) is None}
    if doubtful:
        names = ", ".join(worker.name for worker in doubtful.values())
        tell(f"Job {job}: waiting up to {ledger.lease:.0f} s for a sign of life of {names}.")
    ends = ledger.clock.monotonic() + ledger.lease + 2 * LOOK
    while doubtful and ledger.clock.monotonic() < ends:
        ledger.clock.sleep(LOOK)
        workers = {worker.id: worker for worker in ledger.workers(job)}
        if any(id_ in workers and workers[id_].last_heard != worker.last_heard for id_, worker in doubtful.items()):
            break
        doubtful = {id_: worker for id_, worker in doubtful.items() if id_ in workers}
    return ledger.workers(job)


LONGEST_NAME = 200
"""Characters in the name of a job."""
Tell = Callable[[str], None]
"""Says a sentence to the person who waits."""


def may_begin(ledger: Ledger, name: str, tell: Tell, *, join: bool) -> int:
    """Raise LedgerError when somebody works on the job and this run shall not join, or is still loading it.

    Returns how many rows that earlier runs had done are to be read again; nothing is changed yet.
    """
    if ledger.find(name) is None:
        return 0
    at_work = [worker.name for worker in (ledger.workers(name) if join else live_workers(ledger, name, tell))]
    if ledger.find(name) is None:  # who loaded it is dead, and what was half loaded is gone
        return 0
    ledger.whole(name)
    if at_work and not join:
        raise LedgerError(
            f"The job {name} is being worked on by {', '.join(at_work)}.",
            remedy="Watch it with bulk status, or work on it too with --join.",
        )
    again = ledger.counts(name).not_read_again
    if again:
        tell(f"To be read again, since an earlier run ended just after it did them: {rows(again)}.")
    return again


def may_go_on(ledger: Ledger, job: Job, left: int) -> None:
    """Raise LedgerError when rows are left of a job that was undone: what it closed now would not be undone again."""
    if left and ledger.find(undo_name(job)):
        raise LedgerError(
            f"The job {job.name} was undone, so what is left of it ({rows(left)}) stays as it is.",
            remedy="Give them to a job of another name.",
        )


def finished_before(job: Job, counts: Counts) -> str:
    """Say when a job was finished that is asked for again, what came of its rows, and what may be done now."""
    results = [(counts.of(status), status) for status in ItemStatus if status.final]
    listed = ", ".join(f"{count:,} {status.value.replace('_', ' ')}" for count, status in results if count)
    refused = ("--refused",) if not counts.of(ItemStatus.FAILED) else ()
    bad = counts.of(ItemStatus.FAILED) + counts.of(ItemStatus.REFUSED)
    again = f" To try the {rows(bad)} again: {command_line('bulk', 'retry', job.name, *refused)}." if bad else ""
    return (
        f"The job {job.name} was finished at {job.finished:%Y-%m-%d %H:%M} UTC ({listed or 'no rows'}), so nothing is"
        f" done.{again} To close its rows again, after they were reopened, give the job another name with --job."
    )


def may_undo(ledger: Ledger, job: Job, tell: Tell) -> None:
    """Raise LedgerError when a job may still close something that an undoing begun now would not open again."""
    at_work = [worker.name for worker in live_workers(ledger, job.name, tell)]
    left = ledger.counts(job.name).open
    if at_work or (left and job.desired_state is not DesiredState.CANCEL):
        state = f"is being worked on by {', '.join(at_work)}" if at_work else f"still has {rows(left)} to do"
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


def jobs_of(ledger: Ledger, organization: str) -> list[Job]:
    """Return the jobs of the organization at an address, the newest first; all for `all` and an emulator's file."""
    every = organization == "all" or organization.startswith("emulator:")
    return [job for job in ledger.jobs() if every or job.organization in {"", organization.rstrip("/")}]


def same_organization(job: Job, base_url: str) -> None:
    """Raise LedgerError when the job belongs to another organization than the settings name."""
    if job.organization not in {"", base_url}:
        raise LedgerError(
            f"The job {job.name} belongs to {job.organization}, and the settings name {base_url}.",
            remedy="Check DATAVERSE_URL.",
        )


KILLED = ("killed", "The last run was broken off: killed, machine down, or disk full. Nothing is lost or done twice.")
STOPPED = ("stopped", "The last run was stopped by Ctrl-C or by the system; what was in flight was finished.")
BLOCKED = "blocked"
_GO_ON = "Go on with bulk resume."


def is_running(ledger: Ledger, job: str) -> None:
    """Write down that a run has begun: where it is killed that is how it ended."""
    remember(ledger, _key(job), {"why": KILLED[0], "message": KILLED[1]})


def has_ended(ledger: Ledger, job: str, blocked: ConnectorError | None) -> None:
    """Write down that a run has ended by itself, because of `blocked` if that is so."""
    data = {"why": STOPPED[0], "message": STOPPED[1]}
    if blocked is not None:
        data = {"why": BLOCKED, "message": blocked.message, "remedy": blocked.remedy}
    remember(ledger, _key(job), data)


def last_run_data(ledger: Ledger, job: Job, *, at_work: bool) -> dict[str, str] | None:
    """Return why nobody works on a job that is to be done, since when, and what to do; None where that is known."""
    left = recall(ledger, _key(job.name))
    if left is None or at_work or job.state is JobState.FINISHED or job.desired_state is not DesiredState.RUN:
        return None
    reasons = {name: str(left.data.get(name) or "") for name in ("why", "message", "remedy")}
    return reasons | {"remedy": reasons["remedy"] or _GO_ON, "at": left.at.isoformat()}


def _key(job: str) -> str:
    return f"last run of {job}"
