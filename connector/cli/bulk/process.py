"""A process that works on a store of jobs, alone or beside others: its ledger, its users, its name, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from connector.assembly import Connection, user_id
from connector.assembly.audited_calls import started_by
from connector.bulk.reports.report_row import OrganizationNames
from connector.bulk.run.paced_client import PacedClient
from connector.cli.failure_text import ExitCode
from connector.clock import SystemClock
from connector.closing.bypass import KEPT_BYPASS
from connector.dataverse.webapi import read_currencies, read_users
from connector.errors import ConnectorError
from connector.ledger.job_limits import KEPT_AS, JobLimits
from connector.ledger.ledger import LEASE, Ledger
from connector.ledger.store import open_ledger
from connector.settings.environment import load
from connector.settings.settings import Settings


def opened(settings: Settings, lease: float = LEASE, *, create: bool = False) -> Ledger:
    """Return the ledger of the settings, for use in a `with` statement. `lease` is in seconds, see `Ledger`.

    A file that is not there is made only by who wants to `create` it; everybody else finds no job.
    """
    return open_ledger(settings.store, SystemClock(), lease=lease, create=create)


def clients_by_user(connection: Connection) -> dict[str, PacedClient]:
    """Return the clients by the name of their user, of this organization, in every process and on every machine."""
    settings = connection.settings
    return {f"{user_id(settings, client.name)}@{connection.base_url}": client for client in connection.clients}


def read_names(connection: Connection) -> OrganizationNames:
    """Return what currencies, status reasons and users are called, for reports; without that they show numbers."""
    try:
        rows = connection.api.read_rows(read_currencies(), "Reading the currencies")
        reasons = connection.organization.metadata().opportunity_statuses
        users = connection.api.read_rows(read_users(), "Reading the users")
    except ConnectorError:
        return OrganizationNames()
    labels = {str(reason.value): reason.labels[0] for reason in reasons if reason.labels}
    currencies = {str(row["transactioncurrencyid"]): str(row["isocurrencycode"]) for row in rows}
    decimals = {str(row["transactioncurrencyid"]): str(row["currencyprecision"] or 0) for row in rows}
    ids = ("systemuserid", "azureactivedirectoryobjectid", "applicationid")
    named = {str(row[id_]): str(row["fullname"]) for row in users for id_ in ids if row.get(id_) and row["fullname"]}
    return OrganizationNames(currencies, labels, named, decimals)


STOPPING = ("SIGINT", "SIGTERM", "SIGBREAK")
"""Ctrl-C, a polite end, and Ctrl-Break, which Windows sends when its window closes too."""


def _tell_stopping() -> None:
    os.write(2, b"\nStopping: what is in flight is finished. Press Ctrl-C again to stop at once.\n")


@contextmanager
def stopped_by_keyboard(stop: Callable[[], None], tell: Callable[[], None] = _tell_stopping) -> Iterator[None]:
    """Finish what is in flight at the first Ctrl-C (or a polite end), stop at once at the second.

    `tell` says what is waited for; it runs in a signal handler.
    """
    stopping = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(ExitCode.INTERRUPTED)  # the ledger has what was done; resuming finds out the rest
        stopping = True
        tell()
        stop()

    numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begun_with(settings: Settings, limits: JobLimits) -> dict[str, object]:
    """Return what is kept with a new job: who starts it, its limits, and which of the organization's logic it skips."""
    return {**started_by(), KEPT_AS: limits.data(), KEPT_BYPASS: settings.bypass.data()}


def job_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the argument that names a job; shells complete it."""
    return click.argument("name", metavar="JOB" if required else "[JOB]", required=required, shell_complete=_job_names)


def _dated(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    return name and name.replace("{day}", f"{SystemClock().now().astimezone():%Y-%m-%d}")


new_job_option = click.option(
    "--job",
    "name",
    metavar="NAME",
    callback=_dated,
    help="The name of the job; default: that of FILE. A query needs one. {day} in it becomes the date.",
)


def _job_names(_context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    """Return the names of the jobs that begin so; none where the store cannot be read."""
    try:
        with opened(load()) as ledger:
            return [job.name for job in ledger.jobs() if job.name.startswith(begun)]
    except ConnectorError:
        return []


def who() -> str:
    """Return where this process runs, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"
