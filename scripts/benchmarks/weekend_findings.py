"""What a rehearsed weekend left: every row accounted for, each closed once, the report's sums the organization's."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from connector.bulk.results import write_results
from connector.clock import VirtualClock
from connector.ledger.jobs import ItemStatus
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger

JOB = "weekend"
GRACE = timedelta(seconds=30)
"""What is in flight when its hours end is finished."""
_ROW = re.compile(r"<tr><td>(\w+)</td><td>[^<]*</td><td[^>]*>([\d,]+)</td><td[^>]*>([\d,.]+)</td>")


def findings(folder: Path, rows: int) -> Mapping[str, object]:
    """Return the figures, and under `holds` what must be true of them."""
    with open_ledger(str(folder / "jobs.db"), VirtualClock()) as ledger:
        counts, job = ledger.counts(JOB), ledger.job(JOB)
        write_results(folder / "weekend.html", ledger, JOB)
        limits = [event.data.get("at_most") for event in ledger.events(JOB) if event.kind == "limits"]
        hours = _hours(ledger)
    with (folder / "rejects.csv").open(encoding="utf-8-sig", newline="") as file:
        rejected = sum(1 for _ in csv.DictReader(file))
    seen = json.loads((folder / "weekend.json").read_text(encoding="utf-8"))["seen"]
    closed = counts.of(ItemStatus.CLOSED)
    organization = _organization(folder / "organization.db")
    reported = _reported(folder / "weekend.html")
    return {
        "rows": rows,
        "rejected": rejected,
        "counts": {status.value: counts.of(status) for status in ItemStatus if counts.of(status)},
        "operations": job.operations,
        "seen": seen,
        "hours": hours,
        "organization": organization,
        "report": reported,
        "holds": {
            "every row accounted for": counts.total + rejected == rows and not counts.open,
            "every good row closed": closed == counts.total == organization["closed"],
            "each closed once": organization["closes"] == organization["closed"],
            "the report's sums are the organization's": (
                reported == {name: organization[name] for name in ("won", "lost", "won value", "lost value")}
            ),
            "outages, operator, kill and night happened": {"killed", "slept", "outage 503", "outage refused"}
            <= set(seen)
            and len(limits) == 2,
            "four users closed rows": organization["users"] == 4,
            "only what was in flight ended outside its hours": int(str(hours["outside"])) <= max(5, rows // 100),
        },
    }


def _hours(ledger: Ledger) -> Mapping[str, object]:
    """Return when rows ended, by day, and how many did outside the windows of the job."""
    from connector.ledger.job_limits import JobLimits

    windows = JobLimits.of(ledger.job(JOB).options).windows
    days: dict[str, int] = {}
    outside = 0
    for record in ledger.records(JOB):
        if record.ended is not None:
            days[f"{record.ended:%a}"] = days.get(f"{record.ended:%a}", 0) + 1
            moments = (record.ended, record.ended - GRACE)
            outside += not any(window.is_open(moment) for window in windows for moment in moments)
    return {**days, "outside": outside}


def _organization(file: Path) -> dict[str, str | int]:
    """Return what stands in the organization's own tables."""
    with closing(sqlite3.connect(file)) as connection:
        found: dict[str, str | int] = {}
        for state, outcome in ((1, "won"), (2, "lost")):
            value = "actualvalue" if outcome == "won" else "estimatedvalue"
            sql = f"SELECT COUNT(*), TOTAL({value}) FROM opportunity WHERE statecode = ?"  # noqa: S608 - our own columns
            count, total = connection.execute(sql, (state,)).fetchone()
            found |= {outcome: count, f"{outcome} value": f"{Decimal(str(total)):.2f}"}
        closes = connection.execute("SELECT COUNT(*) FROM opportunityclose WHERE statecode = 1").fetchone()[0]
        users = connection.execute("SELECT COUNT(DISTINCT createdby) FROM opportunityclose").fetchone()[0]
    return found | {"closed": int(found["won"]) + int(found["lost"]), "closes": closes, "users": users}


def _reported(file: Path) -> dict[str, str | int]:
    """Return the sums of the page, added up over currencies and status reasons."""
    counts, values = {"won": 0, "lost": 0}, {"won": Decimal(), "lost": Decimal()}
    for outcome, count, value in _ROW.findall(file.read_text(encoding="utf-8")):
        if outcome in counts:
            counts[outcome] += int(count.replace(",", ""))
            values[outcome] += Decimal(value.replace(",", ""))
    return {**counts, **{f"{outcome} value": f"{value:.2f}" for outcome, value in values.items()}}
