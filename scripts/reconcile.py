#!/usr/bin/env python3
r"""Compare what recent jobs say they did with what the organization has.

    scripts/reconcile.py                 compares the jobs of the last 7 days; changes nothing
    scripts/reconcile.py --apply         first finishes what broke off and tries failed rows again, then compares

Ends with 0 only when all is as the jobs say. It may run twice, and at the same time as another: a job that is being
worked on is left to whoever works on it, and said. Settings: DATAVERSE_... and CONNECTOR_STORE.

Every morning at 7, by cron:
    0 7 * * *  cd /opt/connector && .venv/bin/python scripts/reconcile.py --apply
By Windows Task Scheduler:
    schtasks /Create /SC DAILY /ST 07:00 /TN "Reconcile closures" /TR
      "cmd /c cd /d C:\connector && .venv\Scripts\python scripts\reconcile.py --apply"
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from connector import ConnectorError, load_settings
from connector.bulk.undo import undo_name
from connector.cli.failure_text import describe, sentences
from connector.cli.program import run
from connector.clock import SystemClock
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobState
from connector.ledger.store import open_ledger


def main() -> int:
    """Go through the jobs; return the worst exit code of what was done for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7, help="how far back; default: 7")
    parser.add_argument(
        "--apply", action="store_true", help="finish and try again what is to be done, before comparing"
    )
    given = parser.parse_args()
    try:
        found = jobs(datetime.now(UTC) - timedelta(days=given.days))
    except ConnectorError as error:
        failure = describe(error)
        sys.stderr.write(f"{sentences(failure.error)}\n")
        return failure.exit_code
    if not found:
        sys.stdout.write(f"There are no jobs of the last {given.days} days.\n")
    codes = [0]
    for job, failed in found:
        if given.apply and job.state is JobState.READY and job.desired_state is DesiredState.RUN:
            codes.append(run(["bulk", "resume", job.name, "--yes"]))
        elif given.apply and failed:
            codes.append(run(["bulk", "retry", job.name, "--yes"]))
        sys.stdout.write(f"Job {job.name}: ")
        sys.stdout.flush()
        codes.append(run(["bulk", "reconcile", job.name]))
    return max(codes)


def jobs(since: datetime) -> list[tuple[Job, int]]:
    """Return the jobs that were made or finished since then, with how many of their rows may be tried again."""
    with open_ledger(load_settings().store, SystemClock()) as ledger:
        return [
            (job, 0 if ledger.find(undo_name(job)) else ledger.counts(job.name).of(ItemStatus.FAILED))
            for job in reversed(ledger.jobs())
            if job.state is not JobState.LOADING and max(job.created, job.finished or job.created) >= since
        ]


if __name__ == "__main__":
    sys.exit(main())
