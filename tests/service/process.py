"""The endpoint as a process of its own, and the requests of its callers over a real connection."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Process:
    """A process that serves on `port` of this machine, with `state` for what it keeps."""

    popen: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Told:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Told(answer.status, names, answer.read())


def settings(folder: Path, **given: str) -> dict[str, str]:
    """Return the environment of a process that keeps everything in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))}
    return (
        kept
        | {
            "DATAVERSE_URL": f"emulator:{folder / 'organization.db'}",
            "CONNECTOR_STORE": str(folder / "jobs.db"),
            "CONNECTOR_SERVICE_REQUESTS_PER_MINUTE": "499",
            "CONNECTOR_LOG_LEVEL": "INFO",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        | given
    )


@contextmanager
def serving(folder: Path, **given: str) -> Iterator[Process]:
    """Serve in `folder` until the block ends, then kill whatever is left. The system chooses the port."""
    log = folder / f"log-{time.monotonic_ns()}"
    with log.open("ab") as written:
        command = [sys.executable, "-m", "connector", "serve", "--port", "0"]
        popen = subprocess.Popen(command, cwd=folder, env=settings(folder, **given), stdout=written, stderr=written)
    process = Process(popen, 0, log)

    def ready() -> bool:
        assert popen.poll() is None, log.read_text()
        told = re.search(r"Listening on http://127\.0\.0\.1:(\d+);", log.read_text())
        process.port = int(told[1]) if told else 0
        return bool(told) and process.ask("GET", "/readyz").status == 200

    try:
        until(ready)
        yield process
    finally:
        popen.kill()
        popen.wait()


def polled(process: Process, answer: Told) -> Told:
    """Ask after an accepted operation, as often as its answers say, until it has ended."""
    path = urlsplit(answer.headers.get("location", "")).path
    told, end = answer, time.monotonic() + 180
    while told.status in (202, 429) and time.monotonic() < end:
        time.sleep(float(told.headers["retry-after"]))
        told = process.ask("GET", path)
    return told


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is true; fails when that takes longer than anything should.

    It looks ever less often, so that what is asked for over a connection stays within what one connection may ask.
    """
    end, pause = time.monotonic() + seconds, 0.02
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.25)
