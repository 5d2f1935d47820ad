#!/usr/bin/env python3
r"""Close stale opportunities: those that are open and whose estimated close date is long past.

    scripts/close_stale.py --days 180                       what would be closed, into stale.plan.jsonl
    scripts/close_stale.py --days 180 --apply               closes them as lost, with their quotes

It may run twice, and at the same time as another: what is closed already is found so and left alone. Every run with
--apply is a job of its own (`connector bulk status`, `report`, `undo`). Settings: DATAVERSE_... and CONNECTOR_STORE.

Every Monday at 6, by cron:
    0 6 * * 1  cd /opt/connector && .venv/bin/python scripts/close_stale.py --days 180 --apply
By Windows Task Scheduler:
    schtasks /Create /SC WEEKLY /D MON /ST 06:00 /TN "Close stale opportunities" /TR "cmd /c cd /d C:\connector && .venv\Scripts\python scripts\close_stale.py --days 180 --apply"
"""  # noqa: E501 - a line of a scheduler is one line

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

try:
    from connector import ConnectorError, Query, connect, load_settings, report_failure, run_command
except ImportError as missing:
    python = "Run it with .venv/bin/python, on Windows with .venv\\Scripts\\python."
    sys.exit(f"The connector is not installed for this Python ({missing}). {python}")


def main() -> int:
    """Find them, then plan or run; return the exit code of `connector bulk`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, required=True, help="how long the estimated close date is past, at least")
    parser.add_argument("--outcome", choices=("won", "lost"), default="lost", help="default: lost")
    parser.add_argument("--status", default="", help="status reason of the opportunity, by number or label")
    parser.add_argument("--apply", action="store_true", help="close them; without it nothing is changed")
    given = parser.parse_args()
    try:
        ids = stale(given.days)
    except ConnectorError as error:
        return report_failure(error)
    if not ids:
        sys.stdout.write(f"No open opportunity has an estimated close date more than {given.days} days ago.\n")
        return 0
    said = f"Closed by a schedule: more than {given.days} days past its estimated close date."
    wanted = ["--older-than", str(given.days), f"--{given.outcome}", "--description", said]
    wanted += ["--status", given.status] if given.status else []
    if not given.apply:
        sys.stdout.write(f"{len(ids):,} opportunities are stale. Nothing is changed without --apply.\n")
        sys.stdout.flush()
        return run_command(["bulk", "plan", "--out", "stale.plan.jsonl", *wanted])
    name = f"stale-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"
    return run_command(["bulk", "run", "--job", name, "--yes", *wanted])


def stale(days: int) -> list[UUID]:
    """Return the ids of what is stale."""
    with connect(load_settings()) as connection:
        return sorted(set(connection.organization.find(Query(older_than=days))))


if __name__ == "__main__":
    sys.exit(main())
