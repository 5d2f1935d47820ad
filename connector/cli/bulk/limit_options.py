"""The options that limit a job: hours, rate, requests at once, rows, operations. `none` takes a limit away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import click

from connector.bulk.words import command_line, limits_words
from connector.cli.lazy import keep_under, kept
from connector.cli.worker_command import shared
from connector.errors import InputError
from connector.ledger.job_limits import KEPT_AS, JobLimits, read_rate
from connector.ledger.jobs import ItemStatus, Job
from connector.ledger.ledger import Ledger
from connector.ledger.time_window import read_moment, read_window
from connector.settings.settings import Settings

NONE = "none"
_KEPT = "connector.cli.bulk.limit_options"


_option = partial(click.option, expose_value=False, callback=keep_under(_KEPT, None, ()))
_ROWS = _option("--limit", metavar="N", help="Do N rows more, then stop; the others stay to be done.")
_OTHERS = (
    _option(
        "--window",
        multiple=True,
        metavar="HOURS",
        help='Run only in these hours: 22:00-08:00, "fri 22:00-mon 06:00 Europe/Paris"; may be repeated.',
    ),
    _option("--until", metavar="TIME", help='Stop at this time: 06:00, or "2026-01-31 06:00 Europe/Paris".'),
    _option("--at-most", metavar="RATE", help="At most this many rows: 10/s, 300/min or 5000/h."),
    _option("--in-flight", metavar="N", help="At most N requests at the same time."),
    _option("--max-operations", metavar="N", help="Stop when the job has used N Power Platform requests in all."),
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; `limits_of` returns what they say. It has a `--limit` of its own."""
    for option in reversed(_OTHERS):
        command = option(command)
    return command


def all_limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options with `--limit`, which says how many rows more are done."""
    return _ROWS(limit_options(command))


def limits_of(before: JobLimits, pending: int, settings: Settings, now: datetime, rows: int | None = None) -> JobLimits:
    """Return the limits of a job with what the command line says about them; `rows` stands for its `--limit`.

    `pending` is how many rows are still to do. Raises InputError.
    """
    options = kept(_KEPT)
    if rows is not None:
        options["limit"] = str(rows)
    data = before.data()
    for name, value in options.items():
        limit = "leave" if name == "limit" else name
        data.pop(limit, None)
        if value not in (NONE, (NONE,)):
            data[limit] = _value(name, value, pending, now)
    limits = JobLimits.of({KEPT_AS: data})
    if shared(settings) and any(window.zone is None for window in limits.windows):
        raise InputError(
            "Several machines may work on this job, and each has its own clock.",
            remedy="Name the time zone: --window '22:00-08:00 Europe/Stockholm'.",
        )
    return limits


def _value(name: str, value: Any, pending: int, now: datetime) -> object:
    """Return what an option says, as limits keep it. Raises InputError."""
    if name == "window":
        return [read_window(text).text for text in value]
    if name == "until":
        return read_moment(value, now).isoformat()
    if name == "at_most":
        return f"{value}" if read_rate(value) else None
    digits = value.replace(",", "")
    if not digits.isdecimal() or not int(digits):
        raise InputError(f"--{name.replace('_', '-')} is {value!r}.", remedy="Give a number from 1 up, or none.")
    if name == "limit":
        return pending - int(digits) if int(digits) < pending else None  # no limit where all are done
    return int(digits)


def take_up(ledger: Ledger, job: Job, settings: Settings, rows: int | None = None) -> None:
    """Let a job go on within the limits that it has and those that are given now; one on rows that is reached is over.

    Raises InputError where it would stop at once.
    """
    before, now, counts = JobLimits.of(job.options), ledger.clock.now(), ledger.counts(job.name)
    if before.reached(now, counts, job.operations) == "limit":
        before = before.without_pilot()
    limits = limits_of(before, counts.of(ItemStatus.PENDING), settings, now, rows)
    reached = limits.reached(now, counts, job.operations)
    if reached and counts.open:
        option = f"--{reached.replace('_', '-')}"
        raise InputError(
            f"The job {job.name} has reached its limit ({limits_words(limits.data())}), and nothing was done.",
            remedy=f"Give another, or take it away: {command_line('bulk', 'resume', job.name, option, NONE)}.",
        )
    if limits != JobLimits.of(job.options):
        ledger.set_limits(job.name, limits)


def says_limits() -> bool:
    """Return whether the command line says anything about limits."""
    return bool(kept(_KEPT))
