"""`connector list`, `show` and `log`: what can be closed, one opportunity as it is, and who closed what."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from uuid import UUID

import click

from connector.assembly import connect
from connector.bulk.words import command_line, reason_words
from connector.cli.bulk.process import opened
from connector.cli.intent_options import looked_up, opportunity_id, record_argument
from connector.cli.lazy import examples
from connector.cli.run_options import (
    STORE_ONLY,
    env_file_option,
    read_settings,
    run_options,
    verbose_option,
    wants_json,
)
from connector.cli.screen import TextTable, in_ascii, print_json, say, tell
from connector.cli.screen import show as show_table
from connector.closing.organization import Query
from connector.closing.record_keys import RecordKey
from connector.dataverse.record_cards import OpportunityCard, read_cards
from connector.errors import InputError, LedgerError
from connector.ledger.audit import STARTED, AuditEntry, AuditFilter
from connector.settings.settings import Settings

_LISTED = ("id", "opportunity", "customer", "owner", "status", "expected", "estimated value", "quotes")


@click.command(
    epilog=examples("list", "list --older-than 180", 'list --owner "Sam Seller"', 'list --view "My Open Opportunities"')
)
@click.option("--older-than", metavar="DAYS", type=click.IntRange(0, 36500), help="Days since the expected close date.")
@click.option("--owner", metavar="NAME", default="", help="The full name of the user that owns them.")
@click.option("--where", metavar="FILTER", default="", help='An OData filter, as "estimatedvalue lt 1000".')
@click.option("--view", metavar="NAME", default="", help="Those of a saved view, by its name or id.")
@click.option("--limit", metavar="N", type=click.IntRange(1, 5000), default=10, help="Show at most N. Default: 10.")
@run_options
def list(*, older_than: int | None, owner: str, where: str, view: str, limit: int) -> None:  # noqa: A001 - the command's name
    """List open opportunities: all, stale ones, those of an owner, a filter or a view."""
    if view and (owner or where or older_than is not None):
        raise click.UsageError("A view has its own conditions: give it without --where, --owner and --older-than.")
    settings = read_settings()
    conditions = [f"({where})" if owner else where] if where else []
    if owner:
        conditions.append("owninguser/fullname eq '{}'".format(owner.replace("'", "''")))
    query = Query(" and ".join(conditions), older_than, view)
    with connect(settings) as connection:
        ids = [*islice(dict.fromkeys(connection.organization.find(query)), limit + 1)]
        cards = read_cards(connection.api, ids[:limit]).values()
    if wants_json():
        print_json({"organization": connection.base_url, "opportunities": [card.data() for card in cards]})
        return
    if not ids:
        hint = " --owner takes the full name." if owner else ""
        say(f"No open opportunity in {connection.base_url} that this user can see fits.{hint}")
        return
    show_table(TextTable(f"Opportunities in {connection.base_url}", _LISTED, tuple(map(_listed, cards))), sys.stdout)
    more = f"There are more than {limit}: see more with --limit. " if len(ids) > limit else ""
    chosen = ["--older-than", str(older_than)] if older_than is not None else []
    chosen += ["--where", query.where] if query.where else []
    chosen += ["--view", view] if view else []
    many = f", or all of them: {command_line('bulk', 'plan', *chosen, '--lost')}" if chosen else ""
    say(f"{more}Next: connector show ID, connector plan ID --won{many}")


def _listed(card: OpportunityCard) -> tuple[str, ...]:
    record = card.record
    value = "" if record.estimated_value is None else f"{card.amount(record.estimated_value)} {card.currency}"
    due = str(card.estimated_close_date or "")
    return (str(record.id), record.name, card.customer, card.owner, card.status, due, value, str(len(card.quotes)))


LAST_ENTRIES = 10
"""Entries of the audit log that are shown with an opportunity, at most."""


@click.command(epilog=examples("show ID", "show ID --json"))
@record_argument
@run_options
def show(*, opportunity: UUID | RecordKey) -> None:
    """Show an opportunity with its quotes, its close activities and what this connector did to it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser.
    """
    settings = read_settings()
    id_ = looked_up(settings, opportunity)
    with connect(settings) as connection:
        card = read_cards(connection.api, [id_]).get(id_)
        snapshot = connection.organization.observe([id_], activities=True).get(id_)
    if card is None or snapshot is None:
        raise InputError(f"There is no opportunity {id_} that this user can see.", remedy="Check the id.")
    closes = [
        {"id": str(activity.id), "record": str(activity.record_id), "created": str(activity.created_on or "")}
        for activity in snapshot.activities
    ]
    data, history = card.data(), _history(settings, id_, connection.base_url)
    if wants_json():
        entries = [entry.data() for entry in history]
        print_json({"organization": connection.base_url, **data, "close_activities": closes, "log": entries})
        return
    closed = {"actual close date": snapshot.opportunity.actual_close_date, "actual revenue": card.record.actual_value}
    closed |= {"estimated value": card.record.estimated_value}
    shown = {name.replace("_", " "): value for name, value in data.items() if name != "quotes"} | closed
    rows = tuple((name, _cell(value, card)) for name, value in shown.items() if value not in (None, ""))
    show_table(TextTable(f"Opportunity in {connection.base_url}", ("", ""), rows), sys.stdout)
    columns = ("number", "name", "state", "status", "total")
    quotes = ({**quote.data(), "total": quote.total} for quote in card.quotes)
    cells = tuple(tuple(_cell(row[name], card) for name in columns) for row in quotes)
    show_table(TextTable("Quotes", columns, cells), sys.stdout)
    names = {quote.record.id: quote.record.number for quote in card.quotes}
    if snapshot.activities:
        activities = tuple(
            (_cell(activity.created_on, card), names.get(activity.record_id, "opportunity"), str(activity.id))
            for activity in snapshot.activities
        )
        show_table(TextTable("Close activities", ("created", "of", "id"), activities), sys.stdout)
    if history:
        show_table(log_table(history), sys.stdout)


def _cell(value: object, card: OpportunityCard) -> str:
    """Return a value for people: amounts with the decimals of their currency, times in the zone of this machine."""
    if isinstance(value, Decimal):
        return card.amount(value)
    return f"{value.astimezone():%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value or "")


def _history(settings: Settings, opportunity: UUID, organization: str) -> Sequence[AuditEntry]:
    """Return what this connector did to it last; nothing, and why, where its log cannot be read."""
    try:
        with opened(settings) as ledger:
            return [*ledger.audit.entries(AuditFilter(opportunity, organization=organization), LAST_ENTRIES)]
    except LedgerError as error:
        tell(f"Warning: The audit log cannot be read. {error.message} {error.remedy}")
        return []


SHOWN = 50
"""Entries of the table, unless somebody asks for more."""
_LOGGED = ("when", "what", "opportunity", "through", "by")
NOBODY = UUID(int=0)
_PERIODS = {"m": "minutes", "h": "hours", "d": "days"}


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    if period := re.fullmatch(r"(\d{1,6})([mhd])", text or ""):
        return datetime.now(UTC) - timedelta(**{_PERIODS[period[2]]: int(period[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
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
) -> None:
    """Show who closed or reopened what, when, from which machine and as which user.

    Every close and reopen that this connector did is in the log: those of single commands, scripts, jobs and the
    endpoint. CONNECTOR_STORE says where it is kept, CONNECTOR_LOG_DAYS for how long.
    """
    settings = read_settings(STORE_ONLY)
    chosen = AuditFilter(opportunity, since, job, by, organization)
    with opened(settings) as ledger:
        with suppress(LedgerError):  # a full disk: what is there is shown
            ledger.audit.forget(settings.log_days)
        if as_json:
            for entry in ledger.audit.entries(chosen, limit):
                click.echo(json.dumps(entry.data(), ensure_ascii=in_ascii(sys.stdout)))
            return
        most = limit or SHOWN
        rows = [*ledger.audit.entries(chosen, most + 1)]
    if not rows:
        click.echo("The log has no entry of this kind.")
        return
    show_table(log_table(rows[-most:]), sys.stdout)
    if len(rows) > most:
        say(f"There are more than {most}: see more with --limit, or all with --json.")


def log_table(entries: Sequence[AuditEntry]) -> TextTable:
    """Return entries as a table for people, in the time zone of this machine; of ids of users the beginning."""
    organizations = sorted({entry.source.organization for entry in entries})
    several = len(organizations) > 1
    rows = tuple(_logged(entry) + ((entry.source.organization,) if several else ()) for entry in entries)
    title = "Audit log" if several else f"Audit log of {organizations[0]}"
    return TextTable(title, (*_LOGGED, "organization") if several else _LOGGED, rows)


def _logged(entry: AuditEntry) -> tuple[str, ...]:
    source = entry.source
    when = entry.at.astimezone().strftime("%Y-%m-%d %H:%M") if entry.at else ""
    through = f"{source.door} {entry.job}".strip()
    user = source.user[:8] if len(source.user) == len(str(NOBODY)) else source.user
    by = f"{source.by}, as {user}" if user else source.by
    return (when, _event(entry), str(entry.opportunity_id or ""), through, by)


def _event(entry: AuditEntry) -> str:
    """Return the result in words."""
    if entry.event == STARTED:
        return "started, its end is unknown"
    details = entry.details
    outcome = f" as {details['outcome']}" if "outcome" in details and entry.event.endswith("closed") else ""
    error = details.get("error")
    code = details.get("reason") or (isinstance(error, dict) and (error.get("code") or error.get("kind")))
    return f"{entry.event.replace('_', ' ')}{outcome}{f': {reason_words(code)}' if code else ''}"
