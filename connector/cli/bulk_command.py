"""`connector bulk`: closes many opportunities, as a job that survives anything."""

from __future__ import annotations

from pathlib import Path

import click

from connector.assembly import connect
from connector.bulk.job_rules import checked_name, may_begin, may_go_on, may_undo, same_organization
from connector.bulk.results import write_results
from connector.bulk.run.progress_meter import RunResult
from connector.bulk.status import status_data
from connector.bulk.words import file_name
from connector.bulk.words import rows as rows_of
from connector.cli.bulk import run_job
from connector.cli.bulk.job_options import (
    all_limit_options,
    limit_options,
    limits_of,
    plan_options,
    says_limits,
    source_of,
    source_options,
    take_up,
)
from connector.cli.bulk.job_views import show_counts, show_limits, show_reconciliation, show_undo
from connector.cli.bulk.process import begun_with, job_argument, new_job_option, opened, who
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import FILE, CommandGroup, examples
from connector.cli.run_options import (
    STORE_ONLY,
    agree,
    as_begun,
    bypass_options,
    dry_run_option,
    keep_going_option,
    read_settings,
    run_options,
    wants_json,
    yes_option,
)
from connector.cli.screen import print_json, tell
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import NOT_DONE, DesiredState, ItemStatus, JobKind


@click.group(cls=CommandGroup)
def bulk() -> None:
    """Close many opportunities, from a file or a query, as a job.

    A job has a name and a list of rows in the store (CONNECTOR_STORE). It can be stopped and killed at any moment:
    `resume` goes on where it was, and nothing is done twice.
    """


@bulk.command(epilog=examples("bulk plan june.csv", "bulk plan --older-than 180 --lost --out stale.plan.jsonl"))
@source_options
@plan_options
@bypass_options
@run_options
def plan(*, out: Path | None, capture_file: Path | None, ask: int, yes: bool) -> int:
    """Show what would happen to each row, and write a plan file.

    The rows are those of FILE or of a query. Nothing is changed in the organization; `run` carries the plan file out,
    and refuses the rows of which something else is true by then.
    """
    from connector.cli.bulk.plan_views import show_job_plan

    source = source_of()
    settings = read_settings()
    return show_job_plan(source, settings, out or source.plan_file(), capture_file, ask, yes=yes)


@bulk.command(
    epilog=examples(
        "bulk run june.plan.jsonl",
        "bulk run june.csv --won --job june",
        'bulk run --view "Stale" --lost --limit 50 --job stale',
    )
)
@source_options
@new_job_option
@click.option("--join", is_flag=True, help="Work on the job although other processes work on it.")
@keep_going_option
@yes_option
@dry_run_option
@limit_options
@bypass_options
@run_options
def run(*, name: str | None, join: bool, keep_going: bool, yes: bool, dry_run: bool) -> int:
    """Close the opportunities of FILE or of a query, as a job.

    FILE has rows, or is a plan file. The same command again goes on with the same job; one that is paused, or has done
    its --limit, goes on with `resume`. A query is asked once, when its job begins.
    """
    from connector.cli.bulk.plan_views import show_job_plan

    source = source_of()
    settings = as_begun(read_settings(), source.plan_head())
    if dry_run:
        path = Path(file_name(checked_name(name), ".plan.jsonl")) if name else source.plan_file()
        return show_job_plan(source, settings, path)
    job_name = checked_name(name or source.job_name())
    with opened(settings, create=True) as ledger:
        may_begin(ledger, job_name, tell, join=join)
        pending = None
        with connect(settings) as connection:
            with source.opened(settings.drafts, connection) as rows:
                source.must_belong(connection.base_url)
                run_job.compare_with_plan(source, connection)
                job = ledger.find(job_name)
                if job is not None:
                    source.must_be_of(job, ledger, rows)
                    run_job.go_on(ledger, job, settings, source.pilot)
                else:
                    pending = run_job.begin(ledger, job_name, source, rows, connection, agreed=yes)
                    if pending is None:
                        return run_job.nothing_found(connection.base_url)
            job = ledger.job(job_name)
            if pending is not None:
                return run_job.work_with(ledger, job, connection, pending, keep_going=keep_going)
        return run_job.work(ledger, job, settings, keep_going=keep_going)


@bulk.command(epilog=examples("bulk resume june"))
@job_argument()
@click.option("--join", is_flag=True, help="Work on the job although other processes work on it.")
@keep_going_option
@yes_option
@all_limit_options
@bypass_options
@run_options
def resume(*, name: str, join: bool, keep_going: bool, yes: bool) -> int:
    """Go on with a job that was paused, stopped or broken off.

    It may have been begun on another machine, if the store is one that machines share. Its limits stay, unless you
    give others; a `--limit` that was reached no longer counts.
    """
    settings = read_settings()
    with opened(settings) as ledger:
        left = may_begin(ledger, name, tell, join=join) + ledger.counts(name).open
        may_go_on(ledger, ledger.job(name), left)
        if not left and ledger.job(name).finished is not None:
            return run_job.nothing_done(ledger, name)
        if left:
            agree(f"Go on with the {rows_of(left)} of job {name} that are left?", agreed=yes)
        take_up(ledger, ledger.job(name), settings)
        if ledger.job(name).desired_state is not DesiredState.RUN:
            ledger.set_desired_state(name, DesiredState.RUN)
        return run_job.work(ledger, ledger.job(name), settings, keep_going=keep_going)


@bulk.command("set", epilog=examples("bulk set june --at-most 20/s", "bulk set june --window none --until 06:00"))
@job_argument()
@all_limit_options
@run_options
def set_limits(*, name: str) -> int:
    """Change the limits of a job, also while it runs.

    Every process that works on it follows within seconds; `none` takes a limit away.
    """
    settings = read_settings(STORE_ONLY)
    with opened(settings) as ledger:
        job = ledger.whole(name)
        if says_limits():
            pending = ledger.counts(name).of(ItemStatus.PENDING)
            before = JobLimits.of(job.options)
            job = ledger.set_limits(name, limits_of(before, pending, settings, ledger.clock.now()))
        data = status_data(ledger, job)
    if wants_json():
        print_json(data)
    else:
        show_limits(name, data)
    return ExitCode.DONE


@bulk.command(epilog=examples("bulk pause june"))
@job_argument()
@run_options
def pause(*, name: str) -> int:
    """Stop a job for a while, wherever it is worked on. What is in flight is finished; `resume` goes on."""
    return run_job.say_desired_state(name, DesiredState.PAUSE)


@bulk.command(epilog=examples("bulk cancel june"))
@job_argument()
@run_options
def cancel(*, name: str) -> int:
    """Stop a job for good; what is done stays done. Only `resume` takes it up again."""
    return run_job.say_desired_state(name, DesiredState.CANCEL)


@bulk.command(epilog=examples("bulk status", "bulk status june --json"))
@job_argument(required=False)
@click.option(
    "--organization",
    metavar="ADDRESS",
    default="",
    help="List the jobs of this organization; `all` for those of every one. Default: that of the settings.",
)
@click.option("--watch", is_flag=True, help="Keep showing it until it ends, or until Ctrl-C.")
@run_options
def status(*, name: str | None, watch: bool, organization: str) -> int:
    """Show where a job stands, or list the jobs."""
    settings = read_settings(STORE_ONLY)
    if watch and (wants_json() or not name):
        raise click.UsageError("--watch shows one job to a person: name it, and leave --json away.")
    with opened(settings) as ledger:
        if watch and name:
            run_job.watch_job(ledger, ledger.job(name))
        return run_job.show_status(ledger, name, organization or settings.url)


@bulk.command(epilog=examples("bulk retry june", "bulk retry june --refused"))
@job_argument()
@click.option("--refused", is_flag=True, help="The refused rows too, not only those that failed.")
@yes_option
@bypass_options
@run_options
def retry(*, name: str, refused: bool, yes: bool) -> int:
    """Do the failed rows of a job again."""
    settings = read_settings()
    statuses = NOT_DONE if refused else (ItemStatus.FAILED,)
    with opened(settings) as ledger:
        unchecked = may_begin(ledger, name, tell, join=False)
        counts = ledger.counts(name)
        left, rows = counts.open + unchecked, sum(counts.of(each) for each in statuses)
        may_go_on(ledger, ledger.job(name), rows)
        if not rows:
            return run_job.nothing_done(ledger, name, f"No row of job {name} is to be tried again.")
        others = f", and do the {rows_of(left)} that are left" if left else ""
        agree(f"Try {rows_of(rows)} of job {name} again{others}?", agreed=yes)
        ledger.retry(name, statuses)
        ledger.set_desired_state(name, DesiredState.RUN)
        return run_job.work(ledger, ledger.job(name), settings)


@bulk.command(epilog=examples("bulk report june --out june.html", "bulk report june --dead-letters again.csv"))
@job_argument()
@click.option("--out", type=FILE, help="Every row with what came of it.")
@click.option("--dead-letters", type=FILE, help="The refused and failed rows, as input for another run.")
@run_options
def report(*, name: str, out: Path | None, dead_letters: Path | None) -> int:
    """Write the results of the rows to files.

    The ending of a name says the kind: .csv or .jsonl, of --out also .xlsx or .html. The exit code says if all is well.
    """
    if out and dead_letters and out.resolve() == dead_letters.resolve():
        raise click.UsageError(f"--out and --dead-letters are both {out}; name a file for each. Nothing was written.")
    with opened(read_settings(STORE_ONLY)) as ledger:
        outputs = ((dead_letters, NOT_DONE), (out, ()))
        files = {str(path): write_results(path, ledger, name, statuses) for path, statuses in outputs if path}
        data = status_data(ledger, ledger.job(name)) | {"files": files}
        counts = ledger.counts(name)
        if wants_json():
            print_json(data)
        else:
            show_counts(name, counts, data)
            for path, count in files.items():
                click.echo(f"{path}: {rows_of(count)} written.")
    return run_job.code(RunResult(counts, DesiredState.RUN, stopped=counts.open > 0, blocked=None))


@bulk.command(epilog=examples("bulk reconcile june"))
@job_argument()
@run_options
def reconcile(*, name: str) -> int:
    """Compare what a job says it did with what the organization has. Exit code 1 on any mismatch."""
    settings = read_settings()
    with opened(settings) as ledger, connect(settings) as connection:
        job = ledger.job(name)
        same_organization(job, connection.base_url)
        return show_reconciliation(ledger, job, connection)


@bulk.command(epilog=examples("bulk undo june", "bulk undo june --dry-run"))
@job_argument()
@yes_option
@dry_run_option
@bypass_options
@run_options
def undo(*, name: str, yes: bool, dry_run: bool) -> int:
    """Open again what a job closed, and only that.

    It runs as a new job, NAME.undo. The job must be finished or cancelled.
    """
    from connector.bulk.job_rules import undo_name, undo_rows

    settings = read_settings()
    with opened(settings) as ledger:
        job = ledger.job(name)
        if dry_run:
            may_undo(ledger, job, tell)
            return show_undo(ledger, job, settings)
        undoing = undo_name(job)
        left = may_begin(ledger, undoing, tell, join=False)
        before, closed = ledger.find(undoing), ledger.counts(name).of(ItemStatus.CLOSED)
        if before is not None and before.finished is not None and not left:
            sentence = f"The job {name} was undone at {before.finished:%Y-%m-%d %H:%M} UTC, so nothing is done."
            return run_job.nothing_done(ledger, undoing, sentence)
        if before is None:
            may_undo(ledger, job, tell)
            if not closed:
                return run_job.nothing_done(ledger, name, f"The job {name} closed nothing, so nothing is done.")
            agree(f"Open the {closed:,} opportunities again that job {name} closed?", agreed=yes)
            rows, options = undo_rows(ledger, job), {**job.options, **begun_with(settings, JobLimits())}
            place, kind = job.organization, JobKind.REOPEN
            ledger.create(undoing, rows, kind=kind, options=options, organization=place, undoes=name, who=who())
        return run_job.work(ledger, ledger.job(undoing), settings)


bulk.modules = {"rehearse": "connector.cli.bulk.rehearse"}
