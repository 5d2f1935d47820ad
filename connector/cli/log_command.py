"""`connector log`: who closed and reopened what, when, by which job or door, from where and as whom."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click

from connector.bulk.words import reason_words
from connector.cli.bulk.process import opened
from connector.cli.lazy import examples
from connector.cli.record_id import opportunity_id
from connector.cli.run_options import STORE_ONLY, env_file_option, read_settings, verbose_option
from connector.cli.screen import TextTable, in_ascii, say, show
from connector.ledger.audit import STARTED, AuditEntry, AuditFilter

SHOWN = 50
"""Entries of the table, unless somebody asks for more."""
_COLUMNS = ("when", "what", "opportunity", "through", "by")
NOBODY = UUID(int=0)
_PERIODS = {"m": "minutes", "h": "hours", "d": "days"}


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    if not text:
        return None
    if period := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return datetime.now(UTC) - timedelta(**{_PERIODS[period[2]]: int(period[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        forms = "a day (2026-01-31), a time (2026-01-31T08:00) or a period (7d, 12h, 30m)"
        raise click.BadParameter(f"write {forms}.") from None


@click.command(
    epilog=examples(
        "log", "log ID", "log --since 7d --by anna", "log --job june", "log --since 2026-01-01 --json > log.jsonl"
    )
)
@click.argument("opportunity", metavar="[ID]", required=False, type=opportunity_id)
@click.option(
    "--since", metavar="TIME", callback=_moment, help="Entries since this day or time, or of the last 7d, 12h, 30m."
)
@click.option("--job", metavar="NAME", default="", help="Entries of this job, or of this operation of the endpoint.")
@click.option("--by", metavar="TEXT", default="", help="Part of the name of who asked, or of the user it was done as.")
@click.option("--organization", metavar="HOST", default="", help="Entries of this organization.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 100_000), help="Show the last N. Default: 50, with --json all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: all entries, the oldest first.")
@env_file_option
@verbose_option
def log(
    *,
    opportunity: UUID | None,
    since: datetime | None,
    job: str,
    by: str,
    organization: str,
    limit: int | None,
    as_json: bool,
    env_file: Path | None,
) -> None:
    """Show who closed or reopened what, when, from which machine and as which user.

    Every close and reopen that this connector did is in the log: those of single commands, scripts, jobs and the
    endpoint. CONNECTOR_STORE says where it is kept, CONNECTOR_LOG_DAYS for how long.
    """
    settings = read_settings(env_file, STORE_ONLY)
    chosen = AuditFilter(opportunity, since, job, by, organization)
    with opened(settings) as ledger:
        ledger.audit.forget(settings.log_days)
        if as_json:
            for entry in ledger.audit.entries(chosen, limit):
                click.echo(json.dumps(entry.data(), ensure_ascii=in_ascii(sys.stdout)))
            return
        most = limit or SHOWN
        rows = list(ledger.audit.entries(chosen, most + 1))
    if not rows:
        click.echo("The log has no entry of this kind.")
        return
    show(log_table(rows[-most:]), sys.stdout)
    if len(rows) > most:
        say(f"There are more than {most}: see more with --limit, or all with --json.")


def log_table(entries: list[AuditEntry]) -> TextTable:
    """Return entries as a table for people, in the time zone of this machine; of ids of users the beginning."""
    organizations = sorted({entry.source.organization for entry in entries})
    several = len(organizations) > 1
    rows = tuple(_cells(entry) + ((entry.source.organization,) if several else ()) for entry in entries)
    title = "Audit log" if several else f"Audit log of {organizations[0]}"
    return TextTable(title, (*_COLUMNS, "organization") if several else _COLUMNS, rows)


def _cells(entry: AuditEntry) -> tuple[str, ...]:
    source = entry.source
    when = entry.at.astimezone().strftime("%Y-%m-%d %H:%M") if entry.at else ""
    through = f"{source.door} {entry.job}".strip()
    user = source.user[:8] if len(source.user) == len(str(NOBODY)) else source.user
    by = f"{source.by}, as {user}" if user else source.by
    return (when, _event(entry), str(entry.opportunity_id or ""), through, by)


def _event(entry: AuditEntry) -> str:
    """Return what came of it in words."""
    if entry.event == STARTED:
        return "started, its end is unknown"
    details = entry.details
    outcome = f" as {details['outcome']}" if "outcome" in details and entry.event.endswith("closed") else ""
    error = details.get("error")
    code = details.get("reason") or (isinstance(error, dict) and (error.get("code") or error.get("kind")))
    return f"{entry.event.replace('_', ' ')}{outcome}{f': {reason_words(code)}' if code else ''}"
