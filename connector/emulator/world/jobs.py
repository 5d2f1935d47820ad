"""Background jobs of Project Operations: accepted at once, done half a minute later, one at a time per opportunity."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta

from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.callers import Access, Caller
from connector.emulator.world.message_handlers import HANDLERS
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import Records, Ref

DELAY = timedelta(seconds=30)
"""How long a job waits. The real time is not documented, only that it is long (long-running-jobs page)."""

_NOTE = "jobs"


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """One message that waits for its time (`due`, as moments are stored)."""

    due: str
    message: str
    table: str
    record_id: str
    status: int | None
    user_id: str
    opportunity: str


def waiting(records: Records) -> list[BackgroundJob]:
    """Return the jobs that wait, oldest first."""
    return [BackgroundJob(**load) for load in json.loads(records.store.note(_NOTE) or "[]")]


def enqueue(records: Records, caller: Caller, message: str, arguments: Arguments, target: Ref) -> None:
    """Take a message for later; raises Refused when the row does not exist or its opportunity has a job already."""
    mine = _opportunity(records, target)
    jobs = waiting(records)
    if any(job.opportunity == mine for job in jobs):
        raise refuse("project.busy")
    due = (records.clock.now() + DELAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = arguments.get("quoteStatus")
    number = status if isinstance(status, int) else None
    _keep(records, [*jobs, BackgroundJob(due, message, target.table, target.id, number, caller.user_id, mine)])


def run_due(records: Records, access: Access) -> None:
    """Do the jobs whose time has come; one that is refused then is dropped, as a failed system job would be."""
    jobs = waiting(records)
    due = [job for job in jobs if job.due <= records.now()]
    for job in due:
        try:
            with records.store.transaction():
                arguments: Arguments = {} if job.status is None else {"quoteStatus": job.status}
                target = Ref(job.table, job.record_id)
                HANDLERS[job.message](records, access, access.user(job.user_id), arguments, target)
        except Refused:
            continue
    if due:
        _keep(records, [job for job in jobs if job not in due])


def _opportunity(records: Records, target: Ref) -> str:
    if target.table == "opportunity":
        records.get("opportunity", target.id, ("opportunityid",))
        return target.id
    return str(records.get("quote", target.id, ("opportunityid",))["opportunityid"])


def _keep(records: Records, jobs: list[BackgroundJob]) -> None:
    records.store.keep_note(_NOTE, json.dumps([asdict(job) for job in jobs]))
