"""`connector bulk`: closes many opportunities, as a job that survives anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from connector.bulk.ledger_model import ItemStatus, JobKind, Row, Wish
from connector.bulk.planning import forecast, is_plan, read_plan, write_plan
from connector.bulk.progress import Ending
from connector.bulk.results import BAD, write_results
from connector.bulk.status import status_data
from connector.cli.bulk_views import duration, show_counts
from connector.cli.bulk_work import agree, belongs, code, may_begin, opened, same_organization, say_wish, who, work
from connector.cli.connection import connected, read_settings
from connector.cli.failures import ExitCode
from connector.cli.options import run_options, yes_option
from connector.cli.results import print_json
from connector.settings import Settings

Command = Callable[..., object]


@click.group()
def bulk() -> None:
    """Close many opportunities from a file: durable, paced, resumable.

    A job has a name and a list of rows in the store (CONNECTOR_STORE). It can be stopped and killed at any moment:
    `resume` goes on where it was, and nothing is done twice.
    """


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: a file with how to read it."""

    path: Path
    kind: str
    renames: tuple[str, ...]
    outcome: str

    def rows(self, settings: Settings) -> Iterator[Row]:
        """Return the rows, read anew."""
        if is_plan(self.path):
            return read_plan(self.path)
        from connector.bulk.input import RowFile, read_rows  # noqa: PLC0415 - brings pydantic
        from connector.bulk.input_columns import Columns, parse_renames  # noqa: PLC0415

        defaults = {"drafts": settings.drafts.value}
        if self.outcome:
            defaults["outcome"] = self.outcome
        return read_rows(RowFile(self.path, self.kind, Columns(parse_renames(self.renames), defaults)))


def source_options(command: Command) -> Command:
    """Give a command the argument FILE and the options that say how to read it."""
    for option in (
        click.option("--outcome", type=click.Choice(["won", "lost"]), default=None, help="For rows that say none."),
        click.option("--map", "renames", multiple=True, metavar="THEIRS=OURS", help="Read a column under our name."),
        click.option("--format", "kind", default="", help="csv, jsonl, excel or parquet; else by the file's name."),
        click.argument("file", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@bulk.command()
@source_options
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The plan file; else FILE with .plan.jsonl."
)
@click.option("--seconds-per-step", default=0.3, show_default=True, help="Execution time assumed for the forecast.")
@run_options
def plan(
    *,
    file: Path,
    kind: str,
    renames: tuple[str, ...],
    outcome: str | None,
    out: Path | None,
    seconds_per_step: float,
    as_json: bool,
    env_file: Path | None,
) -> int:
    """Write a plan file: what would happen to each row, and why some are refused. Changes nothing."""
    settings = read_settings(env_file)
    source = Source(file, kind, renames, outcome or "")
    target = out or file.with_name(f"{file.stem}.plan.jsonl")
    for _ in source.rows(settings):  # every problem of the file is told before anything is asked
        pass
    with connected(settings) as connection:
        head = {"organization": connection.base_url, "source": file.name}
        summary = write_plan(target, head, source.rows(settings), connection.organization)
        told = forecast(summary, connection.lanes, seconds_per_step)
    data = {"plan": str(target), **summary.data(), "forecast": told.data()}
    if as_json:
        print_json(data)
    else:
        click.echo(f"{target}: {summary.rows:,} rows, {', '.join(f'{n:,} {s}' for s, n in summary.by_status.items())}.")
        for reason, count in summary.reasons.most_common():
            click.echo(f"  {count:>8,}  {reason}")
        click.echo(
            f"To carry it out takes about {told.requests:,} requests, {told.operations:,} operations of the "
            f"entitlement, and {duration(told.seconds)} if a write takes {seconds_per_step} s."
        )
    return ExitCode.REFUSED if summary.by_status["refused"] or summary.by_status["failed"] else ExitCode.DONE


@bulk.command()
@source_options
@click.option("--job", "name", metavar="NAME", help="The job's name; else that of the file.")
@click.option("--join", is_flag=True, help="Work beside others that are at this job already.")
@yes_option
@run_options
def run(  # noqa: PLR0913 - each is an option
    *,
    file: Path,
    kind: str,
    renames: tuple[str, ...],
    outcome: str | None,
    name: str | None,
    join: bool,
    yes: bool,
    as_json: bool,
    env_file: Path | None,
) -> int:
    """Close the opportunities of FILE (rows, or a plan file) as a job.

    The same command again goes on with the same job.
    """
    settings = read_settings(env_file)
    source = Source(file, kind, renames, outcome or "")
    job_name = name or file.name.split(".")[0]
    with opened(settings) as ledger:
        may_begin(ledger, job_name, join=join)
        with connected(settings) as connection:
            belongs(file, connection.base_url)
            if ledger.find(job_name) is None:
                count = sum(1 for _ in source.rows(settings))
                agree(f"Close {count:,} opportunities of {connection.base_url} as job {job_name}?", agreed=yes)
                options = {"organization": connection.base_url, "source": file.name}
                ledger.create(job_name, source.rows(settings), options=options, who=who())
            else:
                ledger.same_rows(job_name, source.rows(settings))
        return work(ledger, ledger.job(job_name), settings, as_json=as_json)


@bulk.command()
@click.argument("name")
@click.option("--join", is_flag=True, help="Work beside others that are at this job already.")
@yes_option
@run_options
def resume(*, name: str, join: bool, yes: bool, as_json: bool, env_file: Path | None) -> int:
    """Go on with a job: after a pause, a stop, a crash or on another machine."""
    settings = read_settings(env_file)
    with opened(settings) as ledger:
        may_begin(ledger, name, join=join)
        left = ledger.counts(name).open
        if left:
            agree(f"Go on with the {left:,} rows of job {name} that are left?", agreed=yes)
        if ledger.job(name).wish is not Wish.RUN:
            ledger.wish(name, Wish.RUN)
        return work(ledger, ledger.job(name), settings, as_json=as_json)


@bulk.command()
@click.argument("name")
@run_options
def pause(*, name: str, as_json: bool, env_file: Path | None) -> int:
    """Let the workers of a job finish what is in flight and stop, wherever they run."""
    return say_wish(name, Wish.PAUSE, as_json=as_json, env_file=env_file)


@bulk.command()
@click.argument("name")
@run_options
def cancel(*, name: str, as_json: bool, env_file: Path | None) -> int:
    """Stop a job for good; what is done stays done. Only `resume` takes it up again."""
    return say_wish(name, Wish.CANCEL, as_json=as_json, env_file=env_file)


@bulk.command()
@click.argument("name", required=False)
@run_options
def status(*, name: str | None, as_json: bool, env_file: Path | None) -> int:
    """Show where a job stands, or list the jobs."""
    settings = read_settings(env_file)
    with opened(settings) as ledger:
        names = [name] if name else [job.name for job in ledger.jobs()]
        found = [status_data(ledger, ledger.job(each)) for each in names]
        if as_json:
            print_json(found[0] if name else {"jobs": found})
            return ExitCode.DONE
        for data in found:
            show_counts(str(data["job"]), ledger.counts(str(data["job"])), data)
        if not found:
            click.echo("There are no jobs in this store.")
    return ExitCode.DONE


@bulk.command()
@click.argument("name")
@click.option("--refused", is_flag=True, help="The refused rows too, not only those that failed.")
@yes_option
@run_options
def retry(*, name: str, refused: bool, yes: bool, as_json: bool, env_file: Path | None) -> int:
    """Do the failed rows of a job again."""
    settings = read_settings(env_file)
    statuses = (ItemStatus.FAILED, ItemStatus.REFUSED) if refused else (ItemStatus.FAILED,)
    with opened(settings) as ledger:
        may_begin(ledger, name, join=False)
        rows = sum(ledger.counts(name).of(each) for each in statuses)
        if rows:
            agree(f"Try {rows:,} rows of job {name} again?", agreed=yes)
            ledger.retry(name, statuses)
        ledger.wish(name, Wish.RUN)
        return work(ledger, ledger.job(name), settings, as_json=as_json)


@bulk.command()
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Every row with what came of it.")
@click.option(
    "--dead-letters",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The refused and failed rows, as input for another run.",
)
@run_options
def report(*, name: str, out: Path | None, dead_letters: Path | None, as_json: bool, env_file: Path | None) -> int:
    """Write what came of the rows to files (.csv or .jsonl). The exit code says whether all is well."""
    settings = read_settings(env_file)
    with opened(settings) as ledger:
        asked = ((out, ()), (dead_letters, BAD))
        files = {str(path): write_results(path, ledger, name, statuses) for path, statuses in asked if path}
        data = status_data(ledger, ledger.job(name)) | {"files": files}
        counts = ledger.counts(name)
        if as_json:
            print_json(data)
        else:
            show_counts(name, counts, data)
    return code(Ending(counts, Wish.RUN, stopped=counts.open > 0, blocked=None))


@bulk.command()
@click.argument("name")
@run_options
def reconcile(*, name: str, as_json: bool, env_file: Path | None) -> int:
    """Read back what a job has done and compare it with what was intended; exit code 1 on any mismatch."""
    from connector.bulk.reconcile import DONE, mismatches  # noqa: PLC0415

    settings = read_settings(env_file)
    with opened(settings) as ledger, connected(settings) as connection:
        job = ledger.job(name)
        same_organization(job, connection.base_url)
        counts = ledger.counts(name)
        found = [each.data() for each in mismatches(ledger.records(name, DONE), connection.organization)]
    checked = sum(counts.of(each) for each in DONE)
    if as_json:
        print_json({"job": name, "checked": checked, "mismatches": found, "open": counts.open})
    else:
        for each in found:
            click.echo(f"row {each['row']}, {each['opportunity_id']}: {each['problem']}")
        click.echo(f"{checked:,} rows checked, {len(found):,} are not as the job says.")
    return ExitCode.FAILED if found else ExitCode.DONE


@bulk.command()
@click.argument("name")
@yes_option
@run_options
def undo(*, name: str, yes: bool, as_json: bool, env_file: Path | None) -> int:
    """Open again what a job closed, and only that, as a job of its own."""
    from connector.bulk.undo import undo_name, undo_rows  # noqa: PLC0415

    settings = read_settings(env_file)
    with opened(settings) as ledger:
        job = ledger.job(name)
        undoing = undo_name(job)
        may_begin(ledger, undoing, join=False)
        if ledger.find(undoing) is None:
            closed = ledger.counts(name).of(ItemStatus.CLOSED)
            agree(f"Open the {closed:,} opportunities again that job {name} closed?", agreed=yes)
            rows = undo_rows(ledger, job)
            ledger.create(undoing, rows, kind=JobKind.REOPEN, options=job.options, undoes=name, who=who())
        return work(ledger, ledger.job(undoing), settings, as_json=as_json)
