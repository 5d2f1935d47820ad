"""What surrounds the demo: an emulator in its own process, and a reader that uses the standard library alone."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from connector.errors import ConnectorError

START_TIMEOUT = 60.0
"""Seconds that an emulator may take to start: a slow machine makes keys and certificates in a few."""


@dataclass(frozen=True, slots=True)
class RunningEmulator:
    """What the emulator says of itself when it is ready."""

    url: str
    authority: str
    client_id: str
    client_secret: str
    ca_file: Path
    env_file: Path


@contextmanager
def running_emulator(folder: Path, scenario: str) -> Iterator[RunningEmulator]:
    """Run an emulator of a scenario in a process of its own, all its files in `folder`; stopped at the end.

    Raises ConnectorError when it does not start.
    """
    ready_file, env_file = folder / "ready.json", folder / "emulator.env"
    command = [sys.executable, "-m", "connector", "emulator", "--db", str(folder / "demo.db"), "--port", "0"]
    command += ["--scenario", scenario]
    command += ["--ready-file", str(ready_file), "--env-file", str(env_file)]
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        ready = _wait_until_ready(process, ready_file, folder / "emulator.log")
        yield RunningEmulator(
            ready["url"],
            ready["authority"],
            ready["client_id"],
            ready["client_secret"],
            Path(ready["ca_file"]),
            env_file,
        )
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if ready_file.exists():
            ready: dict[str, str] = json.loads(ready_file.read_text(encoding="utf-8"))
            return ready
        time.sleep(0.05)
    output = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
    raise ConnectorError(
        f"The emulator did not start: {output or 'it said nothing'}.", remedy="Run `connector emulator`."
    )


class IndependentReader:
    """Reads an organization over HTTP with nothing but the standard library. Raises OSError when it cannot."""

    def __init__(self, ready: RunningEmulator) -> None:
        self._url = ready.url
        tls = ssl.create_default_context(cafile=str(ready.ca_file))
        # Straight to the emulator, whatever proxy the environment names for the world outside.
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        form = {
            "grant_type": "client_credentials",
            "client_id": ready.client_id,
            "client_secret": ready.client_secret,
            "scope": f"{ready.url}/.default",
        }
        request = Request(f"{ready.authority}/oauth2/v2.0/token", urlencode(form).encode(), method="POST")
        self._token = self._answer(request)["access_token"]

    def rows(self, entity_set: str, select: str, where: str = "") -> list[dict[str, Any]]:
        """Return all rows of an entity set that satisfy the filter."""
        query = f"?$select={select}" + (f"&$filter={quote(where)}" if where else "")
        link: str | None = f"{self._url}/api/data/v9.2/{entity_set}{query}"
        rows: list[dict[str, Any]] = []
        while link:
            page = self._answer(Request(link, headers={"Authorization": f"Bearer {self._token}"}))
            rows += page["value"]
            link = page.get("@odata.nextLink")
        return rows

    def _answer(self, request: Request) -> dict[str, Any]:
        with self._opener.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
