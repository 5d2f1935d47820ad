"""`connector show`: one opportunity, with its quotes and close activities."""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import connect
from connector.cli.bulk.process import opened
from connector.cli.lazy import examples
from connector.cli.log_command import log_table
from connector.cli.record_id import key_option, looked_up, opportunity_id
from connector.cli.run_options import read_settings, run_options
from connector.cli.screen import TextTable, print_json, tell
from connector.cli.screen import show as show_table
from connector.closing.record_keys import RecordKey
from connector.dataverse.record_cards import OpportunityCard, read_cards
from connector.errors import InputError, LedgerError
from connector.ledger.audit import AuditEntry, AuditFilter
from connector.settings.settings import Settings

SHOWN = 10
"""Entries of the audit log, at most."""


@click.command(epilog=examples("show ID", "show ID --json"))
@click.argument("named", metavar="ID", type=opportunity_id)
@key_option
@run_options
def show(*, named: UUID | RecordKey, as_json: bool, env_file: Path | None) -> None:
    """Show an opportunity with its quotes, its close activities and what this connector did to it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser.
    """
    settings = read_settings(env_file)
    opportunity = looked_up(settings, named)
    with connect(settings) as connection:
        card = read_cards(connection.handler, connection.endpoint, [opportunity]).get(opportunity)
        snapshot = connection.organization.observe([opportunity], activities=True).get(opportunity)
    if card is None or snapshot is None:
        raise InputError(f"There is no opportunity {opportunity} that this user can see.", remedy="Check the id.")
    closes = [
        {"id": str(activity.id), "record": str(activity.record_id), "created": str(activity.created_on or "")}
        for activity in snapshot.activities
    ]
    data, history = card.data(), _history(settings, opportunity, connection.base_url)
    if as_json:
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


def _history(settings: Settings, opportunity: UUID, organization: str) -> list[AuditEntry]:
    """Return what this connector did to it last; nothing, and why, where its log cannot be read."""
    try:
        with opened(settings) as ledger:
            return list(ledger.audit.entries(AuditFilter(opportunity, organization=organization), SHOWN))
    except LedgerError as error:
        tell(f"Warning: The audit log cannot be read. {error.message} {error.remedy}")
        return []
