"""The begin of a bulk job: what is shown and asked before it, and what it is made of."""

from __future__ import annotations

import click

from connector.assembly import Connection
from connector.bulk.planning import Summary, read_summary
from connector.bulk.source import Rows, Source
from connector.cli.bulk.limit_options import limits_of
from connector.cli.bulk.plan_views import show_closes
from connector.cli.bulk.process import begun_with, who
from connector.cli.bulk.run_job import PendingConnection, agree, prepare_ahead
from connector.ledger.job_limits import JobLimits
from connector.ledger.ledger import Ledger


def begin(
    context: click.Context,
    ledger: Ledger,
    name: str,
    source: Source,
    rows: Rows,
    connection: Connection,
    *,
    agreed: bool,
    as_json: bool,
) -> PendingConnection | None:
    """Make a job of the rows once somebody agrees, and return what is under way for its run; None without rows.

    Of a plan file it first shows what it closes; the rows of a query are agreed by their number.
    """
    closes, settings = source.outcomes(rows), connection.settings
    if not closes:
        return None
    limits = limits_of(context, JobLimits(), closes.total(), settings, ledger.clock.now(), source.pilot)
    if source.file is not None and source.plan_head() and not agreed:
        show_closes(Summary.of(read_summary(source.file)), connection)
    question = f"Close {source.first_of(closes)} of {connection.base_url} as job {name}?"
    agree(question, agreed=agreed, as_json=as_json, count=closes.total() if source.file is None else None)
    pending = prepare_ahead(ledger, connection)
    options = {**source.data(), **begun_with(settings, limits)}
    ledger.create(name, rows(), options=options, organization=connection.base_url, who=who())
    return pending
