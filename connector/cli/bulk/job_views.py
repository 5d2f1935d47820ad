"""Bulk jobs as people see them: a live picture or plain lines, the result, what was read back."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from connector.assembly import Connection, connect
from connector.bulk.job_rules import same_organization, undo_rows
from connector.bulk.run.plain_view import PlainView, View, later_words, pace_parts
from connector.bulk.status import done_of, parts_of
from connector.bulk.words import command_line, duration, file_name, limits_words, moment_words, reason_words, rows
from connector.cli.failure_text import ExitCode
from connector.cli.run_options import wants_json
from connector.cli.screen import RowCounter, TextTable, console, legible, print_json, say, show
from connector.clock import Clock, SystemClock
from connector.closing.close import Preview
from connector.closing.model import Plan, Refusal
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.settings.settings import Settings


def view_on(stream: TextIO, clock: Clock) -> View:
    """Return the view for `stream`."""
    if not stream.isatty():
        return PlainView(stream, clock)
    from connector.bulk.run.live_view import LiveView

    return LiveView(console(stream), clock)


def show_counts(name: str, counts: Counts, data: Mapping[str, object]) -> None:
    """Write where a job stands, and what to look at next."""
    lines = [f"Job {legible(name)}: {rows(counts.total)}, {_job_state(data)}.", f"  {legible(_origin(data))}"]
    lines += [
        f"  {counts.of(status):>10,}  {status.value.replace('_', ' ')}: {status.sentence}"
        for status in ItemStatus
        if counts.of(status)
    ]
    lines += [
        f"  {count:>10,}    of these: {reason_words(reason)}"
        for (status, reason), count in sorted(counts.reasons.items(), key=lambda pair: -pair[1])
        if count
    ]
    later = parts_of(data, "tried_later")
    lines += [f"  {part['count']:>10,}  {later_words(part)}" for part in later]
    if data.get("limits"):
        lines.append(f"Limits: {limits_words(data['limits'])}.{_LIMIT_REACHED.get(str(data['limit_reached']), '')}")
    if data.get("sleeps_until"):
        lines.append(f"It sleeps until {moment_words(data['sleeps_until'])}.")
    if data.get("bypass"):
        lines.append(f"The organization's own logic: {data['bypass']}.")
    workers = data.get("workers")
    if isinstance(workers, list) and workers:
        lines.append(f"Being worked on by {', '.join(_heard(str(name), data) for name in workers)}.")
        pace = ", ".join(pace_parts({**data, "tried_later": []}))
        lines += [f"{pace[0].upper()}{pace[1:]}."] if pace else []
    lines += _last_run(data)
    lines += _next(name, counts, data)
    say("\n".join(lines))


def _next(name: str, counts: Counts, data: Mapping[str, object]) -> list[str]:
    """Return the commands that go on from where a job stands."""
    if counts.open and data["state"] == JobState.READY and not data.get("workers"):
        return [f"{rows(counts.open)} to do. Go on: {command_line('bulk', 'resume', name)}"]
    if data.get("files") or data["state"] != JobState.FINISHED:
        return []
    bad = counts.of(ItemStatus.FAILED) + counts.of(ItemStatus.REFUSED)
    lines = [
        f"Report: {command_line('bulk', 'report', name, '--out', file_name(name, '.html'))} (or .xlsx, .csv, .jsonl)"
    ]
    if bad:
        command = command_line("bulk", "report", name, "--dead-letters", "FILE.csv")
        lines.append(f"The {rows(bad)} not done, and what to do about each: {command}")
    return lines


def show_limits(name: str, data: Mapping[str, object]) -> None:
    """Write what a job may do."""
    say(f"Job {legible(name)}: {limits_words(data['limits']) or 'no limits'}.")
    if data["sleeps_until"]:
        say(f"It sleeps until {moment_words(data['sleeps_until'])}.")


def show_jobs(jobs: Sequence[Mapping[str, object]], now: datetime) -> None:
    """Write a table of jobs, with the command that goes on with each that stands still."""
    cells = tuple(
        (
            str(data["job"]),
            _job_state(data),
            f"{done_of(data):,} of {data['total']:,}",
            str(data["organization"]).removeprefix("https://"),
            f"{_moment(data['created']):%Y-%m-%d %H:%M}",
            duration(_age(data, now)),
            str(data["started_by"]),
        )
        for data in jobs
    )
    show(TextTable("Jobs", ("job", "stands", "done", "organization", "started", "for", "by"), cells), sys.stdout)
    for data in jobs:
        if data["state"] == JobState.READY and not data.get("workers"):
            say(f"Go on: {command_line('bulk', 'resume', str(data['job']))}")


def _origin(data: Mapping[str, object]) -> str:
    """Return where, when and by whom a job was started."""
    by = f" by {data['started_by']}" if data.get("started_by") else ""
    ended = f", ended {_moment(data['finished']):%Y-%m-%d %H:%M}" if data.get("finished") else ""
    return f"In {data['organization']}, started {_moment(data['created']):%Y-%m-%d %H:%M}{by}{ended}."


def _moment(text: object) -> datetime:
    """Return a moment of the ledger in the time of this machine."""
    return datetime.fromisoformat(str(text)).astimezone()


def _age(data: Mapping[str, object], now: datetime) -> float:
    """Return the seconds from the start of a job to its end, to when its last run ended or told its pace, or to now."""
    told_last = data.get("last_run") or (None if data.get("workers") else data.get("governor"))
    ended = data.get("finished") or (told_last.get("at") if isinstance(told_last, Mapping) else None)
    return max(0.0, ((_moment(ended) if ended else now) - _moment(data["created"])).total_seconds())


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


def _job_state(data: Mapping[str, object]) -> str:
    """Return how far a job is: its results, who works on it, or what it is to do."""
    if data["state"] != JobState.READY:
        return str(data["state"])
    if data.get("workers"):
        return "being worked on"
    return _LEFT_TO_LIE.get(str(data.get("desired_state")), "stopped")


_LIMIT_REACHED = {
    "until": " Its time is over.",
    "limit": " That is reached: `bulk resume` does the others.",
    "max_operations": " They are used up.",
}
_LEFT_TO_LIE = {DesiredState.PAUSE.value: "paused", DesiredState.CANCEL.value: "cancelled"}


def show_reconciliation(ledger: Ledger, job: Job, connection: Connection) -> int:
    """Compare and show what does not match. Returns the exit code."""
    from connector.bulk.reconcile import Reconciliation

    line = RowCounter(f"{{}} of {rows(ledger.counts(job.name).total)} compared", SystemClock().monotonic)
    compared = Reconciliation(ledger, job, connection.organization, tell=line.show)
    try:
        mismatches = [each.data() for each in compared.mismatches()]
    finally:
        line.end()
    checked, later, unread = compared.checked, compared.later, dict(compared.unread)
    if wants_json():
        data = {"job": job.name, "checked": checked, "mismatches": mismatches, "open": ledger.counts(job.name).open}
        print_json(data | {"left_later_by_other_jobs": later, "not_compared": unread})
    else:
        for each in mismatches:
            owner = f" (owner {each['owner']})" if each["owner"] else ""
            say(f"row {each['row']}, {each['name']}{owner}, {each['opportunity_id']}: {each['problem']}")
        result = f"{len(mismatches):,} do not match" if mismatches else "all match"
        say(f"{rows(checked)} checked: {result}.")
        if later:
            say(f"{rows(later)} left by other jobs since: reconcile those.")
        if unread:
            names = ", ".join(f"{column} ({count:,})" for column, count in sorted(unread.items()))
            say(f"Not compared, since it cannot be read or was closed before: {names}.")
    return ExitCode.FAILED if mismatches else ExitCode.DONE


def show_undo(ledger: Ledger, job: Job, settings: Settings) -> int:
    """Show what undoing a job would do to its rows, as the organization is now. Returns the exit code."""
    from connector.bulk.planning import PROBLEMS, previews

    line = RowCounter("{} rows planned", SystemClock().monotonic)
    planned, refused, problems = 0, 0, []
    with connect(settings) as connection:
        same_organization(job, connection.base_url)
        for row, result in line.counted(previews(undo_rows(ledger, job), connection.organization)):
            verdict = result.verdict if isinstance(result, Preview) else result
            if isinstance(verdict, Plan):
                planned += bool(verdict.steps)
                continue
            refused += 1
            reason = verdict.reason if isinstance(verdict, Refusal) else verdict.message
            if refused <= PROBLEMS:
                key = str(row.intent.opportunity_id)
                problems.append({"row": row.number, "opportunity_id": key, "reason": reason})
    if wants_json():
        print_json({"job": job.name, "would_reopen": planned, "would_refuse": refused, "problems": problems})
    else:
        for each in problems:
            say(f"row {each['row']}, {each['opportunity_id']}: would stay as it is: {each['reason']}")
        more = f", and {refused:,} would stay as they are" if refused else ""
        say(f"{rows(planned)} that the job closed would be reopened{more}. Nothing was changed.")
        if planned:
            say(f"To do it: {command_line('bulk', 'undo', job.name)}")
    return ExitCode.REFUSED if refused else ExitCode.DONE
