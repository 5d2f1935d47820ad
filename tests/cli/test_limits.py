"""A job within limits, as a person sets, changes and sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from connector.bulk.run.live_view import drawn
from connector.bulk.status import status_data
from connector.clock import SystemClock
from connector.ledger.jobs import DesiredState
from connector.ledger.store import open_ledger
from tests.cli.desk import Desk
from tests.cli.test_bulk import bulk, write
from tests.ledger.conftest import postgres_server, postgres_store

__all__ = ["postgres_server", "postgres_store"]


def elsewhen(hours: int) -> str:
    """A window of an hour that is not now."""
    start = SystemClock().now() + timedelta(hours=hours)
    return f"{start:%H:%M}-{start + timedelta(hours=1):%H:%M} UTC"


def test_a_pilot_does_so_many_rows_and_resume_does_the_others(desk: Desk) -> None:
    write(desk)
    said = bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--limit", "7", "--json")
    assert (said.code, said.data["closed"], said.data["pending"]) == (4, 7, 23)
    assert said.data["limit_reached"] == "limit"
    assert "`bulk resume` does the others" in bulk(desk, "status", "june").out
    more = bulk(desk, "resume", "june", "--yes", "--limit", "5", "--json")
    assert (more.code, more.data["closed"]) == (4, 12)
    last = bulk(desk, "resume", "june", "--yes", "--json")
    assert (last.code, last.data["closed"], last.data["limits"]) == (0, 30, {})


def test_a_job_uses_no_more_operations_than_it_may(desk: Desk) -> None:
    write(desk)
    said = bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--max-operations", "40", "--json")
    assert (said.code, said.data["limit_reached"]) == (4, "max_operations")
    assert 30 < said.data["operations"] <= 40
    assert said.data["closed"] > 5
    bulk(desk, "set", "june", "--max-operations", str(said.data["operations"]))
    again = bulk(desk, "resume", "june", "--yes")
    assert (again.code, again.out) == (2, "")
    assert "bulk resume june --max-operations none" in again.err
    assert bulk(desk, "resume", "june", "--yes", "--max-operations", "none", "--json").data["closed"] == 30


def test_limits_are_changed_by_set_and_shown(desk: Desk) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--limit", "1", "--at-most", "600/min", "--in-flight", "1")
    said = bulk(desk, "set", "june", "--at-most", "20/s", "--in-flight", "none", "--window", elsewhen(3))
    assert said.out.startswith("Job june: in the hours ")
    assert "at most 20/s" in said.out
    assert "at once" not in said.out
    assert bulk(desk, "set", "june", "--json").data["limits"]["at_most"] == "20/s"
    for wrong in (["--at-most", "fast"], ["--in-flight", "0"], ["--window", "late"], ["--until", "2020-01-01 06:00"]):
        refused = bulk(desk, "set", "june", *wrong)
        assert (refused.code, refused.out) == (2, ""), wrong


def test_a_job_outside_its_hours_sleeps_says_until_when_and_ends_at_ctrl_c(desk: Desk, tmp_path: Path) -> None:
    write(desk)
    environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}", "CONNECTOR_STORE": str(tmp_path / "jobs.db")}
    command = ["run", "rows.csv", "--job", "june", "--yes", "--json", "--window", elsewhen(5)]
    with subprocess.Popen(
        [sys.executable, "-m", "connector", "bulk", *command], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        # A slow machine counts rows before.
        assert any(line.startswith("The job sleeps until ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 4
    assert '"closed": 0' in out
    data = bulk(desk, "status", "june", "--json").data
    assert data["sleeps_until"]
    bulk(desk, "set", "june", "--window", "none")
    assert bulk(desk, "resume", "june", "--yes").code == 0


def test_the_panel_says_until_when_it_sleeps_and_which_limits_hold(desk: Desk) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--limit", "1")
    bulk(desk, "set", "june", "--window", elsewhen(2), "--at-most", "5/s")
    with open_ledger(str(desk.file.parent / "jobs.db"), SystemClock()) as ledger:
        ledger.set_desired_state("june", DesiredState.RUN)
        data = status_data(ledger, ledger.job("june"))
    with (console := Console(width=100)).capture() as capture:
        console.print(drawn(data, SystemClock().now().astimezone()))
    assert "Sleeping  until " in capture.get()
    assert "at most 5/s" in capture.get()


@pytest.mark.parametrize("zone", ["", " UTC"])
def test_on_a_shared_store_a_window_names_its_zone(desk: Desk, postgres_store: str, zone: str) -> None:
    write(desk)
    settings = {"DATAVERSE_URL": f"emulator:{desk.file}", "CONNECTOR_STORE": postgres_store}
    said = desk.run("bulk", "run", "rows.csv", "--yes", "--window", f"00:00-24:00{zone}", "--limit", "3", **settings)
    assert said.code == (4 if zone else 2)
    assert zone or "time zone" in said.err


def test_the_list_has_the_jobs_of_this_organization_unless_others_are_asked_for(desk: Desk) -> None:
    store = str(desk.file.parent / "jobs.db")
    with open_ledger(store, SystemClock()) as ledger:
        for name in ("one", "two"):
            ledger.create(name, [], organization=f"https://{name}.crm.dynamics.com")
    settings = {
        "DATAVERSE_URL": "https://one.crm.dynamics.com", "DATAVERSE_CLIENT_ID": "00000000-0000-4000-8000-000000000001",
        "DATAVERSE_CLIENT_SECRET": "s", "DATAVERSE_TENANT_ID": "00000000-0000-4000-8000-000000000002",
        "CONNECTOR_STORE": store,
    }  # fmt: skip
    said = desk.run("bulk", "status", "--json", **settings)
    assert [job["job"] for job in said.data["jobs"]] == ["one"]
    assert "--organization all" in desk.run("bulk", "status", **settings).out
    every = desk.run("bulk", "status", "--organization", "all", "--json", **settings)
    assert [job["job"] for job in every.data["jobs"]] == ["two", "one"]
    other = desk.run("bulk", "status", "--organization", "https://two.crm.dynamics.com/", "--json", **settings)
    assert [job["job"] for job in other.data["jobs"]] == ["two"]
