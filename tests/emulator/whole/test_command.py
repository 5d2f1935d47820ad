"""The command: ready file, settings file, clean ends, and nothing lost when it is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from connector.emulator.command import ask

ROOT = Path(__file__).parents[3]
OPPORTUNITY = "00000003-0000-4000-8000-000000000004"
Started = tuple[subprocess.Popen[bytes], dict[str, str]]
Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts the emulator on one file and waits until it is ready."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> Started:
        ready = tmp_path / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "connector", "emulator", "--db", str(tmp_path / "a.db"), "--port", "0"]
        command += ["--ready-file", str(ready), "--env-file", str(tmp_path / "settings.env"), *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        while not ready.exists():
            assert process.poll() is None, "the emulator ended before it was ready"
            time.sleep(0.01)
        return process, json.loads(ready.read_text(encoding="utf-8"))

    yield begin
    for process in running:
        process.kill()
        process.wait()


def session(ready: dict[str, str]) -> requests.Session:
    made = requests.Session()
    made.trust_env, made.verify = False, ready["ca_file"]
    form = {name: ready[name] for name in ("client_id", "client_secret")}
    form |= {"grant_type": "client_credentials", "scope": f"{ready['url']}/.default"}
    token = made.post(f"{ready['authority']}/oauth2/v2.0/token", data=form, timeout=120).json()["access_token"]
    made.headers["Authorization"] = f"Bearer {token}"
    return made


def test_it_says_where_it_is_and_ends_cleanly(start: Start, tmp_path: Path) -> None:
    process, ready = start()
    assert set(ready) == {"url", "authority", "tenant_id", "client_id", "client_secret", "ca_file", "control_url"}
    settings = (tmp_path / "settings.env").read_text(encoding="utf-8")
    for name in ("URL", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CA_FILE"):
        assert f"DATAVERSE_{name}=" in settings
    assert stat.S_IMODE((tmp_path / "ready.json").stat().st_mode) == 0o600
    assert ask(ready["control_url"], Path(ready["ca_file"]), "GET", "health")["status"] == "ok"
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


def test_the_journal_keeps_as_many_requests_as_was_said(start: Start) -> None:
    _, ready = start("--journal", "2")
    with session(ready) as client:
        for _ in range(3):
            client.get(f"{ready['url']}/api/data/v9.2/WhoAmI()", timeout=120).raise_for_status()
    assert [entry["number"] > 1 for entry in ask(ready["control_url"], Path(ready["ca_file"]), "GET", "journal")] == [
        True,
        True,
    ]


def test_what_was_acknowledged_survives_a_kill_and_so_do_trust_and_tokens(start: Start) -> None:
    process, ready = start()
    with session(ready) as client:
        body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({OPPORTUNITY})"}, "Status": 4}
        assert client.post(f"{ready['url']}/api/data/v9.2/LoseOpportunity", json=body, timeout=120).status_code == 204
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, again = start()
    assert again["ca_file"] == ready["ca_file"]
    with session(again) as client:
        row = client.get(f"{again['url']}/api/data/v9.2/opportunities({OPPORTUNITY})?$select=statecode", timeout=120)
    assert row.json()["statecode"] == 2
    counted = ask(again["control_url"], Path(again["ca_file"]), "GET", "closes")
    assert {"table": "opportunity", "id": OPPORTUNITY, "closes": 1} in counted


def test_a_kill_in_the_middle_of_writing_loses_nothing_acknowledged_and_leaves_nothing_half_done(
    start: Start, tmp_path: Path
) -> None:
    asked: set[str] = set()
    acknowledged: set[str] = set()
    for first in (1, 101):
        process, ready = start()
        with session(ready) as client:
            for number in range(first, first + 100):
                key = f"00000003-0000-4000-8000-{number:012d}"
                asked.add(key)
                body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({key})"}, "Status": 4}
                if len(acknowledged) >= first // 10 + 8:
                    threading.Timer(0.002, process.kill).start()
                try:
                    answer = client.post(f"{ready['url']}/api/data/v9.2/LoseOpportunity", json=body, timeout=60)
                except requests.RequestException:
                    break
                if answer.status_code == 204:
                    acknowledged.add(key)
            process.kill()
            process.wait()
    with closing(sqlite3.connect(tmp_path / "a.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        lost = {key for (key,) in file.execute("SELECT opportunityid FROM opportunity WHERE statecode = 2")}
        closes = dict(
            file.execute("SELECT opportunityid, COUNT(*) FROM opportunityclose WHERE statecode = 1 GROUP BY 1")
        )
    assert len(acknowledged) >= 16
    assert acknowledged <= lost
    assert {key: closes.get(key, 0) for key in asked} == {key: int(key in lost) for key in asked}


def test_it_is_asked_and_moved_from_another_terminal(start: Start, tmp_path: Path) -> None:
    start()

    def control(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "connector", "emulator", "control", *arguments]
        command += ["--ready-file", str(tmp_path / "ready.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    (tmp_path / "opportunity.csv").write_text("name,statecode,statuscode\nFrom a file,0,1\n", encoding="utf-8")
    assert control("snapshot", "before")[0] == 0
    code, out, _ = control("seed", str(tmp_path / "opportunity.csv"))
    assert (code, json.loads(out)["rows"]["opportunity"]) == (0, 307)
    assert control("restore", "before")[0] == 0
    assert json.loads(control("health")[1])["rows"]["opportunity"] == 306
    user = json.loads(control("users")[1])[0]["user"]
    assert json.loads(control("user", f"{user}=Sales Reader")[1])["roles"] == "Sales Reader"
    code, _, said = control("switch", "actual_value_on_lost=maybe")
    assert code == 2
    assert "takes null, zero, keep" in said
