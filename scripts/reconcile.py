#!/usr/bin/env python3
r"""Compare what recent jobs say they did with what the organization has.

    scripts/reconcile.py                 compares the jobs of the last 7 days; changes nothing
    scripts/reconcile.py --apply         first finishes what broke off and tries failed rows again, then compares

Ends with 0 only when all is as the jobs say. It may run twice, and at the same time as another: a job that is being
worked on is left to whoever works on it, and said. Settings: DATAVERSE_... and CONNECTOR_STORE.

Every morning at 7, by cron:
    0 7 * * *  cd /opt/connector && .venv/bin/python scripts/reconcile.py --apply
By Windows Task Scheduler:
    schtasks /Create /SC DAILY /ST 07:00 /TN "Reconcile closures" /TR "cmd /c cd /d C:\connector && .venv\Scripts\python scripts\reconcile.py --apply"
"""  # noqa: E501 - a line of a scheduler is one line

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

try:
    from connector import ConnectorError, Jobs, load_settings, report_failure, run_command
except ImportError as missing:
    python = "Run it with .venv/bin/python, on Windows with .venv\\Scripts\\python."
    sys.exit(f"The connector is not installed for this Python ({missing}). {python}")


def main() -> int:
    """Go through the jobs; return the worst exit code of what was done for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7, help="how far back; default: 7")
    parser.add_argument(
        "--apply", action="store_true", help="finish and try again what is to be done, before comparing"
    )
    given = parser.parse_args()
    try:
        with Jobs(load_settings().store) as jobs:
            reports = jobs.since(datetime.now(UTC) - timedelta(days=given.days))
    except ConnectorError as error:
        return report_failure(error)
    if not reports:
        sys.stdout.write(f"There are no jobs of the last {given.days} days.\n")
    codes = [0]
    for report in reports:
        if given.apply and report.unfinished:
            codes.append(run_command(["bulk", "resume", report.name, "--yes"]))
        elif given.apply and report.retryable:
            codes.append(run_command(["bulk", "retry", report.name, "--yes"]))
        sys.stdout.write(f"Job {report.name}: ")
        sys.stdout.flush()
        codes.append(run_command(["bulk", "reconcile", report.name]))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
