"""`connector worker`: this machine's part in the bulk jobs of a store that many machines share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from connector.assembly import Connection, connect
from connector.bulk.run.decision import ALIKE
from connector.bulk.run.progress_meter import RunResult
from connector.bulk.status import JobProgress, status_data
from connector.cli.bulk.job_views import view_on
from connector.cli.bulk.process import clients_by_user, opened, stopped_by_keyboard, who
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import examples
from connector.cli.run_options import env_file_option, read_settings, verbose_option
from connector.cli.screen import tell
from connector.clock import Clock, SystemClock
from connector.errors import LedgerError, SettingsError
from connector.ledger.jobs import Job
from connector.ledger.ledger import LEASE, Ledger
from connector.ledger.store import POSTGRES
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.bulk.machine import Machine

SHORTEST_LEASE = 10.0
"""Seconds: a worker says every five that it lives, and may be late."""


def shared(settings: Settings) -> bool:
    """Return whether the store of the settings is one that many machines share."""
    return settings.store.startswith(POSTGRES)


@click.command(epilog=examples("worker", "worker --dead-after 60"))
@click.option(
    "--dead-after",
    metavar="SECONDS",
    type=click.FloatRange(min=SHORTEST_LEASE),
    default=LEASE,
    show_default=True,
    help="After so long without a sign of life, others do a machine's rows.",
)
@env_file_option
@verbose_option
def worker(*, dead_after: float) -> int:
    """Work on the bulk jobs of a shared store, together with other machines.

    Run it on as many machines as you like, with the same settings: CONNECTOR_STORE is a PostgreSQL database, and the
    application users (DATAVERSE_IDENTITIES) are shared out; where there are more machines than users, some stand by,
    since what the service allows a user cannot be spent twice. A machine that vanishes is noticed after --dead-after
    seconds and its rows are done by others; give the same number everywhere. One that was only cut off does no harm
    when it comes back: its rows are no longer its own, and nothing is closed twice. `connector bulk` with run, pause,
    resume, cancel and status works from anywhere. Ctrl-C (or SIGTERM) finishes what is in flight; a second one stops at
    once.
    """
    settings = read_settings()
    if not shared(settings):
        raise SettingsError(
            "Workers need a store that machines share, and CONNECTOR_STORE names a file or nothing.",
            remedy="Set it to postgresql://... on every machine. On one machine, bulk run needs no worker.",
        )
    clock = SystemClock()
    with opened(settings, dead_after) as ledger, connect(settings) as connection:
        connection.prepare()
        machine = _machine(ledger, connection, dead_after)
        users = ", ".join(client.name for client in connection.clients)
        tell(f"Ready for the jobs of {connection.base_url}, as {users}.")
        stopped: list[bool] = []

        def stop() -> None:
            stopped.append(True)
            machine.stop()

        with stopped_by_keyboard(stop):
            _through_outages(lambda: machine.work(who()), stopped, clock)
    return ExitCode.DONE


def work_beside(ledger: Ledger, job: Job, connection: Connection, most_alike: float) -> RunResult:
    """Work on one job of the shared store, as `connector worker` does, until it needs nobody or this is stopped."""
    machine = _machine(ledger, connection, LEASE, most_alike)
    machine.job = job.name
    view = view_on(sys.stderr, ledger.clock)
    progress = JobProgress(ledger, job, view.show)
    stopped: list[bool] = []

    def stop() -> None:
        stopped.append(True)
        machine.stop()

    def work() -> None:
        machine.work(who(), lambda: machine.blocked is not None or progress.done())

    try:
        with stopped_by_keyboard(stop, view.stopping):
            _through_outages(work, stopped, ledger.clock)
        view.show(status_data(ledger, ledger.job(job.name)))
    finally:
        view.end()
    counts = ledger.counts(job.name)
    return RunResult(counts, ledger.job(job.name).desired_state, stopped=counts.open > 0, blocked=machine.blocked)


def _machine(ledger: Ledger, connection: Connection, dead_after: float, most_alike: float = ALIKE) -> Machine:
    from connector.bulk.machine import Machine
    from connector.bulk.time_slices import Heartbeat

    machine = Machine(
        connection.settings.store,
        ledger,
        connection.base_url,
        clients_by_user(connection),
        tell=tell,
        heartbeat=Heartbeat.for_death_after(dead_after),
        most_alike=most_alike,
    )
    machine.bypass = connection.settings.bypass
    return machine


LONGEST_PAUSE = 60.0
"""Seconds between attempts while the store cannot be reached."""


def _through_outages(work: Callable[[], None], stopped: Sequence[bool], clock: Clock) -> None:
    """Work until stopped, whatever becomes of the store meanwhile. Raises LedgerError for what needs a person."""
    failures = 0
    while not stopped:
        began = clock.monotonic()
        try:
            work()
        except LedgerError as error:
            failures = 0 if clock.monotonic() - began > LONGEST_PAUSE else failures + 1
            if not error.transient or stopped:
                raise
            pause = min(LONGEST_PAUSE, 2.0**failures)
            tell(f"{error} Trying again in {pause:.0f} s.")
            ends = clock.monotonic() + pause
            while clock.monotonic() < ends and not stopped:
                clock.sleep(0.2)
        else:
            return
