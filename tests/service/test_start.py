"""The start is light: what only some callers need comes in when the first of them calls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.service.process import ROOT, settings
from tests.service.stage import Stage

READY = """
import sys
from starlette.testclient import TestClient  # the tests' own, before the counting begins
before = set(sys.modules)
from connector.assembly.endpoint import open_endpoint
from connector.service.app import create_app
from connector.settings.environment import load
endpoint = open_endpoint(load())
app = create_app(endpoint.options, endpoint.dependencies)
with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 1)) as client:
    assert 200 in (client.get("/readyz").status_code for _ in range(100)), "each waits two seconds for the store"
    print(" ".join(sorted(set(sys.modules) - before)))
endpoint.close()
"""
LATER = {"mcp", "mcp_types", "sse_starlette", "opentelemetry.sdk", "procrastinate", "psycopg", "rich", "click"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def test_being_ready_takes_nothing_that_only_some_need(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment |= {"DATAVERSE_URL": f"emulator:{tmp_path / 'organization.db'}"}
    done = subprocess.run(
        [sys.executable, "-c", READY], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    brought = set(done.stdout.split())
    assert "fastapi" in brought
    assert brought & LATER == set()


def test_a_port_that_is_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        command = [sys.executable, "-m", "connector", "serve", "--port", str(port)]
        run = subprocess.Popen(command, cwd=tmp_path, env=settings(tmp_path), stderr=subprocess.PIPE, text=True)
        _, said = run.communicate(timeout=90)
    assert run.returncode not in (0, 1)
    sentence, remedy = said.splitlines()
    assert sentence.startswith(f"Error: The endpoint cannot listen on 127.0.0.1, port {port}: ")
    assert remedy == "Stop what listens there, or give another --port (0 picks a free one) or --host."


def test_agents_that_call_first_and_at_once_are_all_answered(stage: Stage) -> None:
    answers: list[int] = []
    with stage.client() as client:
        together = threading.Barrier(6)

        def ask() -> None:
            together.wait(60)
            headers = {"accept": "application/json, text/event-stream"}
            answers.append(client.post("/mcp", json=PING, headers=headers).status_code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 6


def test_an_endpoint_may_be_started_again_in_the_same_process(stage: Stage) -> None:
    for _ in range(2):
        with stage.client() as client:
            assert client.post("/mcp", json=PING, headers={"accept": "application/json"}).status_code == 200
