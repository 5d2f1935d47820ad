"""Bulk jobs as people see them: their plan, a live picture or plain lines, the result, what was read back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TextIO
from uuid import UUID

import click

from connector.assembly import Connection, connect
from connector.assembly.asked_answers import fresh_answers
from connector.bulk.planning import PROBLEMS, Forecast, Summary, forecast, write_plan
from connector.bulk.reconcile import Reconciliation
from connector.bulk.reports.plan_review import ENDINGS as REVIEWS
from connector.bulk.reports.plan_review import write_plan_review
from connector.bulk.run.plain_view import PlainView, View
from connector.bulk.source import Source
from connector.bulk.status import parts_of
from connector.bulk.words import command_line, duration, limits_words, moment_words, rows
from connector.cli.bulk.process import read_names
from connector.cli.bulk.row_asking import PlanCounter, ask_rows, show_asked
from connector.cli.capture_option import capture_option, side_effects
from connector.cli.failure_text import ExitCode
from connector.cli.run_options import yes_option
from connector.cli.screen import TextTable, console, legible, print_json, say, show
from connector.clock import Clock, SystemClock
from connector.closing.bypass import KEPT_BYPASS
from connector.closing.model import OpportunityState, OrganizationMetadata, Outcome
from connector.closing.step_words import opportunity_words
from connector.dataverse.reading import read_rows
from connector.dataverse.webapi import Endpoint, read_set
from connector.errors import ConnectorError
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.organization.capture_reading import read_metadata_stamp
from connector.organization.kept_answers import basis_of, basis_text
from connector.organization.row_questions import RowSample
from connector.settings.settings import Settings


def view_on(stream: TextIO, clock: Clock) -> View:
    """Return the view for `stream`."""
    if not stream.isatty():
        return PlainView(stream, clock)
    from connector.bulk.run.live_view import LiveView

    return LiveView(console(stream), clock)


def show_counts(name: str, counts: Counts, data: Mapping[str, object]) -> None:
    """Write where a job stands, and what to look at next."""
    lines = [f"Job {legible(name)}: {rows(counts.total)}, {_stands(data)}.", f"  {legible(_origin(data))}"]
    lines += [
        f"  {counts.of(status):>10,}  {status.value.replace('_', ' ')}: {status.sentence}"
        for status in ItemStatus
        if counts.of(status)
    ]
    lines += [
        f"  {count:>10,}  {status.value}, {reason}"
        for (status, reason), count in sorted(counts.reasons.items(), key=lambda pair: -pair[1])
        if count
    ]
    for part in parts_of(data, "tried_later"):
        first = duration(float(str(part["seconds"])))
        lines.append(
            f"  {part['count']:>10,}  tried later, {part['reason'] or 'in doubt'}, not before {first} from now"
        )
    if data.get("limits"):
        lines.append(f"Limits: {limits_words(data['limits'])}.{_LIMIT_REACHED.get(str(data['limit_reached']), '')}")
    if data.get("sleeps_until"):
        lines.append(f"It sleeps until {moment_words(data['sleeps_until'])}.")
    if data.get("bypass"):
        lines.append(f"The organization's own logic: {data['bypass']}.")
    workers = data.get("workers")
    if isinstance(workers, list) and workers:
        lines.append(f"Being worked on by {', '.join(_heard(str(name), data) for name in workers)}{_pace(data)}.")
    lines += _last_run(data)
    if counts.reasons and not data.get("files"):
        command = command_line("bulk", "report", name, "--dead-letters", "FILE.csv")
        lines.append(f"Which rows were not done, why, and what to do about each: {command}")
    if counts.open and data["state"] == JobState.READY and not data.get("workers"):
        lines.append(f"{rows(counts.open)} to do. Go on with: {command_line('bulk', 'resume', name)}")
    click.echo("\n".join(lines))


def show_limits(name: str, data: Mapping[str, object]) -> None:
    """Write what a job may do."""
    click.echo(f"Job {legible(name)}: {limits_words(data['limits']) or 'no limits'}.")
    if data["sleeps_until"]:
        click.echo(f"It sleeps until {moment_words(data['sleeps_until'])}.")


def show_jobs(jobs: Sequence[Mapping[str, object]], now: datetime) -> None:
    """Write a table of jobs, with the command that goes on with each that stands still."""
    cells = []
    for data in jobs:
        done = int(str(data["total"])) - sum(int(str(data[name])) for name in ("pending", "claimed"))
        cells.append(
            (
                str(data["job"]),
                _stands(data),
                f"{done:,} of {data['total']:,}",
                str(data["organization"]).removeprefix("https://"),
                f"{_moment(data['created']):%Y-%m-%d %H:%M}",
                duration(_age(data, now)),
                str(data["started_by"]),
            )
        )
    show(TextTable("Jobs", ("job", "stands", "done", "organization", "started", "for", "by"), tuple(cells)), sys.stdout)
    for data in jobs:
        if data["state"] == JobState.READY and not data.get("workers"):
            click.echo(f"Go on: {command_line('bulk', 'resume', str(data['job']))}")


def _origin(data: Mapping[str, object]) -> str:
    """Return where, when and by whom a job was started."""
    by = f" by {data['started_by']}" if data.get("started_by") else ""
    ended = f", ended {_moment(data['finished']):%Y-%m-%d %H:%M}" if data.get("finished") else ""
    return f"In {data['organization']}, started {_moment(data['created']):%Y-%m-%d %H:%M}{by}{ended}."


def _moment(text: object) -> datetime:
    """Return a moment of the ledger in the time of this machine."""
    return datetime.fromisoformat(str(text)).astimezone()


def _age(data: Mapping[str, object], now: datetime) -> float:
    """Return the seconds from the start of a job to its end, or to now."""
    ended = _moment(data["finished"]) if data.get("finished") else now
    return max(0.0, (ended - _moment(data["created"])).total_seconds())


def _heard(worker: str, data: Mapping[str, object]) -> str:
    """Return the name of a worker, with how long ago it was last heard of."""
    heard = data.get("heard_seconds_ago")
    seconds = heard.get(worker) if isinstance(heard, Mapping) else None
    return worker if seconds is None else f"{worker} (last heard of {duration(seconds)} ago)"


def _last_run(data: Mapping[str, object]) -> list[str]:
    """Return why nobody works on a job, and what to do about it."""
    last = data.get("last_run")
    if not isinstance(last, Mapping):
        return []
    remedy = f" {last['remedy']}" if last["why"] == "blocked" else ""
    return [legible(f"{last['message']}{remedy} ({_moment(last['at']):%Y-%m-%d %H:%M})")]


def _stands(data: Mapping[str, object]) -> str:
    """Return how far a job is: what has come of it, who is at it, or what is wanted of it."""
    if data["state"] != JobState.READY:
        return str(data["state"])
    if data.get("workers"):
        return "being worked on"
    return _LEFT_TO_LIE.get(str(data.get("desired_state")), "not finished, and no process works on it")


_LIMIT_REACHED = {
    "until": " Its time is over.",
    "limit": " These rows are done; resume does the others.",
    "max_operations": " The operations are used up.",
}
_LEFT_TO_LIE = {DesiredState.PAUSE.value: "paused", DesiredState.CANCEL.value: "cancelled"}


def _pace(data: Mapping[str, object]) -> str:
    """Return how fast those who work on a job are, as they last said."""
    governor = data.get("governor")
    if not isinstance(governor, Mapping):
        return ""
    left = governor["left"]
    end = f", about {duration(left)} left" if isinstance(left, float) else ""
    return f", {governor['rate']} rows/s{end}"


def show_reconciliation(ledger: Ledger, job: Job, connection: Connection, *, as_json: bool) -> int:
    """Compare and show what does not match. Returns the exit code."""
    compared = Reconciliation(ledger, job, connection.organization)
    mismatches = [each.data() for each in compared.mismatches()]
    checked, later, unread = compared.checked, compared.later, dict(compared.unread)
    if as_json:
        data = {"job": job.name, "checked": checked, "mismatches": mismatches, "open": ledger.counts(job.name).open}
        print_json(data | {"left_later_by_other_jobs": later, "not_compared": unread})
    else:
        for each in mismatches:
            click.echo(f"row {each['row']}, {each['opportunity_id']}: {each['problem']}")
        result = f"{len(mismatches):,} do not match" if mismatches else "all match"
        click.echo(f"{rows(checked)} checked: {result}.")
        if later:
            click.echo(f"{rows(later)} left by other jobs since: reconcile those.")
        if unread:
            names = ", ".join(f"{column} ({count:,})" for column, count in sorted(unread.items()))
            click.echo(f"Not compared, since it cannot be read or was closed before: {names}.")
    return ExitCode.FAILED if mismatches else ExitCode.DONE


_STATES = {Outcome.WON: OpportunityState.WON, Outcome.LOST: OpportunityState.LOST}


SECONDS_PER_STEP = 0.3
"""Execution time of a write that a forecast assumes."""


def plan_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command `--out`, `--seconds-per-step`, `--capture`, `--ask` and `--yes`."""
    file = click.Path(dir_okay=False, path_type=Path)
    out = click.option(
        "--out", type=file, help="The plan file; else FILE with .plan.jsonl. As .xlsx or .html: beside that."
    )
    text = "Execution time assumed for the forecast."
    seconds = click.option("--seconds-per-step", default=SECONDS_PER_STEP, show_default=True, help=text)
    text = "Ask the organization for so many of the rows, by writes that must fail: would they be refused?"
    ask = click.option("--ask", metavar="N", type=click.IntRange(0, 1000), default=0, help=text)
    return out(seconds(capture_option(ask(yes_option(command)))))


def _head(source: Source, connection: Connection, settings: Settings) -> dict[str, object]:
    """Return what a plan file says of itself first."""
    stamp = read_metadata_stamp(connection.handler, Endpoint(connection.base_url, settings.impersonate))
    head = {"organization": connection.base_url, "metadata": stamp, **source.data()}
    return head | ({KEPT_BYPASS: settings.bypass.data()} if settings.bypass.text else {})


def show_job_plan(
    source: Source,
    settings: Settings,
    path: Path,
    seconds_per_step: float,
    capture_file: Path | None = None,
    ask: int = 0,
    *,
    yes: bool = False,
    as_json: bool,
) -> int:
    """Write the plan of a job to a file, show what it comes to, and return the exit code. Nothing else is changed.

    A `path` that ends in .xlsx or .html is for whoever approves the plan, which stands beside it.
    """
    review = path if path.suffix.lower() in REVIEWS else None
    path = source.plan_file(review) if review else path
    with connect(settings) as connection, source.opened(settings.drafts, connection) as rows:
        for _ in rows():  # every problem is told before anything is written
            pass
        effects = side_effects(settings, connection, capture_file)
        asking = partial(ask_rows, connection=connection, settings=settings, agreed=yes)
        counter = PlanCounter(effects, RowSample(ask), asking)
        summary = write_plan(path, _head(source, connection, settings), rows(), connection.organization, counter)
        cost = forecast(summary, connection.clients, seconds_per_step)
        if review is not None:
            write_plan_review(review, path, read_names(settings, connection))
        kept = fresh_answers(settings, SystemClock().now())
        if as_json:
            basis: dict[str, object] = {"basis": [each.data() for each in basis_of(kept)]}
            basis |= {"review": str(review)} if review else {}
            basis |= {"answers": [answer.data() for answer in counter.answers]} if ask else {}
            print_json({"plan": str(path), **summary.data(), "forecast": cost.data(), **basis})
        else:
            say(f"The plan relies on this. {basis_text(kept)}.")
            if review is not None:
                say(f"For whoever approves it: {review}.")
            show_asked(effects, counter.answers)
            show_plan(path, summary, cost, connection, settings)
    return ExitCode.REFUSED if summary.by_status["refused"] or summary.by_status["failed"] else ExitCode.DONE


def say_moved(source: Source, connection: Connection, settings: Settings) -> None:
    """Say so where the organization's metadata moved since the plan file was made."""
    planned = source.planned_metadata()
    if not planned:
        return
    stamp = read_metadata_stamp(connection.handler, Endpoint(connection.base_url, settings.impersonate))
    if stamp and stamp != planned:
        say(
            "The organization's metadata changed since this plan was made: columns, status reasons or logic may be "
            "others. Plan again to be sure; rows of which something else is true by now are refused in any case.",
            sys.stderr,
        )


def show_plan(path: Path, summary: Summary, cost: Forecast, connection: Connection, settings: Settings) -> None:
    """Write what a plan comes to, and what to type next."""
    by_status = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in summary.by_status.items())
    if not summary.rows:
        say(f"The query finds no opportunities in {connection.base_url} that this user can see: nothing is to be done.")
        return
    say(f"Plan of {rows(summary.rows)} in {connection.base_url}: {by_status}.")
    if summary.closes:
        show(
            _closes(summary, connection.organization.metadata(), _currencies(summary, connection, settings)), sys.stdout
        )
    if summary.problems:
        _show_problems(summary, path)
    say(
        f"Cost: about {cost.requests:,} {'request' if cost.requests == 1 else 'requests'} sent, "
        f"{cost.operations:,} Power Platform requests counted, and "
        f"{duration(cost.seconds)} to run."
    )
    if summary.by_status["planned"]:
        say("Nothing was changed. Read the plan, then carry it out with:")
        click.echo(f"  {command_line('bulk', 'run', str(path))}")


def _closes(summary: Summary, metadata: OrganizationMetadata, currencies: dict[UUID, str]) -> TextTable:
    cells = []
    for group, count in summary.closes.most_common():
        words = opportunity_words(_STATES[group.outcome], group.status, metadata)
        currency = currencies.get(group.currency_id, "") if group.currency_id else ""
        cells.append((words, f"{count:,}", f"{summary.values[group]:,.2f} {currency}".rstrip()))
    return TextTable("To be closed", ("as", "opportunities", "estimated value"), tuple(cells))


def _show_problems(summary: Summary, path: Path) -> None:
    bad = summary.by_status["refused"] + summary.by_status["failed"]
    for problem in summary.problems:
        name = f" '{problem['name']}'" if problem.get("name") else ""
        say(f"Row {problem['row']}{name}, {problem['opportunity_id']}: {problem['status']}: {problem['reason']}")
    more = f"These are the first {len(summary.problems)}. " if bad > PROBLEMS else ""
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in summary.reasons.most_common())
    say(f"{more}Reasons: {by_reason}. See {path} for the {rows(bad)} and why.")


def _currencies(summary: Summary, connection: Connection, settings: Settings) -> dict[UUID, str]:
    """Return the names of the currencies; where they cannot be read, sums stand without."""
    ids = {group.currency_id for group in summary.closes if group.currency_id}
    if not ids:
        return {}
    endpoint = Endpoint(connection.base_url, settings.impersonate)
    operation = read_set("transactioncurrencies", "currencyname", "transactioncurrencyid", sorted(ids))
    try:
        rows = read_rows(connection.handler, endpoint, operation, "Reading the names of currencies")
        return {UUID(row["transactioncurrencyid"]): str(row["currencyname"]) for row in rows}
    except ConnectorError:
        return {}
