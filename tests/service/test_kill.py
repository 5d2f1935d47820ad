"""The process is killed in the middle, as by kill -9, and started again: what was accepted is finished, once."""

# ruff: noqa: S603, S608 - our own program, our own words

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = 60


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))
    }
    environment |= {
        "DATAVERSE_URL": f"emulator:{folder / 'organization.db'}",
        "CONNECTOR_STORE": str(folder / "jobs.db"),
        "CONNECTOR_SERVICE_AUDIT": str(folder / "audit.jsonl"),
        "CONNECTOR_SERVICE_REQUESTS_PER_MINUTE": "499",
        "CONNECTOR_SERVICE_WORKERS": "1",  # slower than the requests come, so that work is left at the kill
        "CONNECTOR_LOG_LEVEL": "INFO",
    }
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "connector", "serve", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                if asked(port, "GET", "/readyz")[0] == 200:
                    break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def asked(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        content = None if body is None else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, content, {"Content-Type": "application/json", **names})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def rows(file: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def test_what_was_accepted_is_finished_exactly_once_after_kill_9(tmp_path: Path) -> None:
    port, locations = free_port(), {}
    with serving(tmp_path, port) as process:
        found = rows(
            tmp_path / "organization.db",
            f"SELECT o.opportunityid FROM opportunity o WHERE o.statecode = 0 AND EXISTS (SELECT 1 FROM quote q WHERE"
            f" q.opportunityid = o.opportunityid AND q.statecode IN (0, 1)) ORDER BY 1 LIMIT {OPERATIONS}",
        )
        opportunities = [str(id_) for (id_,) in found]
        for number, opportunity in enumerate(opportunities):
            path = f"/opportunities/{opportunity}/close"
            status, headers, _ = asked(
                port, "POST", path, {"outcome": "won", "mode": "accept"}, Idempotency_Key=f"k{number}"
            )
            assert status in {200, 202}
            locations[opportunity] = headers.get("location", "")
        process.send_signal(signal.SIGKILL)
        process.wait()
    unfinished = rows(tmp_path / "jobs.db", "SELECT COUNT(*) FROM job WHERE state = 'ready'")[0][0]
    assert unfinished, "it was faster than the kill"

    with serving(tmp_path, port):
        for opportunity in opportunities:
            path = urlsplit(locations[opportunity]).path
            for _ in range(600):
                status, _, body = asked(port, "GET", path)
                if status != 202:
                    break
                time.sleep(0.1)
            assert status == 200, body
            assert json.loads(body)["result"] == "closed", body
            assert json.loads(body)["changed"] is True, body

    organization = tmp_path / "organization.db"
    ids = ", ".join(f"'{opportunity}'" for opportunity in opportunities)
    closes = rows(organization, f"SELECT opportunityid FROM opportunityclose WHERE opportunityid IN ({ids})")
    assert Counter(id_ for (id_,) in closes) == Counter(opportunities)
    still_open = rows(
        organization, f"SELECT COUNT(*) FROM quote WHERE statecode IN (0, 1) AND opportunityid IN ({ids})"
    )
    assert still_open == [(0,)]
    doubles = rows(organization, "SELECT quoteid FROM quoteclose WHERE quoteid IN (SELECT quoteid FROM quote WHERE"
                   f" opportunityid IN ({ids})) GROUP BY quoteid HAVING COUNT(*) > 1")  # fmt: skip
    assert doubles == []

    log = (tmp_path / "log").read_text()
    assert "/opportunities/{id}/close" in log
    signatures = [location.rpartition(".")[2] for location in locations.values() if location]
    assert not [signature for signature in signatures if signature in log]
    assert "QUO-" not in log
