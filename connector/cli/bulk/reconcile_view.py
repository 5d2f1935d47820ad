"""What a job says it did beside what the organization has, for people."""

from __future__ import annotations

import click

from connector.assembly import Connection
from connector.bulk.reconcile import Reconciliation
from connector.bulk.words import rows
from connector.cli.failure_text import ExitCode
from connector.cli.json_output import print_json
from connector.ledger.jobs import Job
from connector.ledger.ledger import Ledger


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
            click.echo(f"Not compared, since it stands in close activities: {names}.")
    return ExitCode.FAILED if mismatches else ExitCode.DONE
