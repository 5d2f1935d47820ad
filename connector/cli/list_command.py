"""`connector list`: finds the opportunities that can be closed."""

from __future__ import annotations

import sys
from itertools import islice

import click

from connector.assembly import connect
from connector.bulk.words import command_line
from connector.cli.lazy import examples
from connector.cli.run_options import read_settings, run_options, wants_json
from connector.cli.screen import TextTable, print_json, say, show
from connector.closing.organization import Query
from connector.dataverse.record_cards import OpportunityCard, read_cards

_COLUMNS = ("id", "opportunity", "customer", "owner", "status", "expected", "estimated value", "quotes")


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
    show(TextTable(f"Opportunities in {connection.base_url}", _COLUMNS, tuple(map(_cells, cards))), sys.stdout)
    more = f"There are more than {limit}: see more with --limit. " if len(ids) > limit else ""
    chosen = ["--older-than", str(older_than)] if older_than is not None else []
    chosen += ["--where", query.where] if query.where else []
    chosen += ["--view", view] if view else []
    many = f", or all of them: {command_line('bulk', 'plan', *chosen, '--lost')}" if chosen else ""
    say(f"{more}Next: connector show ID, connector plan ID --won{many}")


def _cells(card: OpportunityCard) -> tuple[str, ...]:
    record = card.record
    value = "" if record.estimated_value is None else f"{card.amount(record.estimated_value)} {card.currency}"
    due = str(card.estimated_close_date or "")
    return (str(record.id), record.name, card.customer, card.owner, card.status, due, value, str(len(card.quotes)))
