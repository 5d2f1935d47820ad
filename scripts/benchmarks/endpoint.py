"""What the endpoint costs: CPU per accepted request beside a bare FastAPI app, and how it bears a load.

Accepting is measured in this process, without its workers, so that nothing else is in the figure. The load comes from
this process over plain HTTP to an endpoint, and to a bare app, each in a process of its own; the organization is the
emulator in another one. Callers sign in with an API key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from fastapi import FastAPI

from connector.service.app import create_app
from scripts.benchmarks.endpoint_load import Load, loaded, post
from scripts.benchmarks.jobs import BYTECODE
from scripts.benchmarks.served import Served, cpu_seconds, memory_mb
from tests.service.flow_engine import call
from tests.service.stage import OPTIONS, Stage

KEY = "a key of the benchmark's own"
BODY = {"outcome": "won"}
_TENANT = "11111111-1111-4111-8111-111111111111"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Process:
    """A server under load."""

    pid: int
    url: str
    ready_after: float
    """Seconds from its start to the first answer that says it is ready."""
    ready_cpu: float
    """Seconds of processor time in that."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Operations done one after another, with what they did to the endpoint's memory."""

    loads: Sequence[Load]
    megabytes: Mapping[int, float]
    """Resident memory after so many operations."""


def accepting(requests: int) -> tuple[float, float]:
    """Return the CPU seconds for each accepted request: of the endpoint, and of a bare app with the same body."""
    bare = bare_app()
    logging.getLogger("connector").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        options = replace(OPTIONS, workers=0, requests_per_minute=10**9, queue=10**9)
        app = create_app(options, stage.dependencies())
        paths = [path_of(stage.opportunity()) for _ in range(requests)]
        body = BODY | {"mode": "accept"}
        asyncio.run(_asked(bare, paths[: requests // 10], body))  # what is made at the first request is not in it
        asyncio.run(_asked(app, paths[: requests // 10], body))
        theirs = _cpu_of(bare, paths[requests // 10 :], body)
        ours = _cpu_of(app, paths[requests // 10 :], body)
        stage.close()
    return ours, theirs


def bare_app() -> FastAPI:
    """Return an app that takes the same request and does nothing."""
    bare = FastAPI(openapi_url=None)
    bare.add_api_route("/opportunities/{id}/close", _nothing, methods=["POST"])
    bare.add_api_route("/readyz", _ready, methods=["GET"])
    return bare


@contextmanager
def endpoint(organization: Served, folder: Path) -> Iterator[Process]:
    """Serve an endpoint on the organization."""
    with _serving("endpoint", _settings(organization, folder), folder) as process:
        yield process


@contextmanager
def started(organization: Served, folder: Path) -> Iterator[Process]:
    """Serve it by the command itself, with its bytecode."""
    bytecode = {"PYTHONPYCACHEPREFIX": str(BYTECODE), "PYTHONDONTWRITEBYTECODE": ""}
    with _serving("serve", _settings(organization, folder) | bytecode, folder) as process:
        yield process


def _settings(organization: Served, folder: Path) -> dict[str, str]:
    return {
        **organization.environment(),
        "CONNECTOR_STORE": str(folder / "jobs.db"),
        "CONNECTOR_SERVICE_ACCESS": "by_caller",
        "CONNECTOR_SERVICE_TENANTS": _TENANT,
        "CONNECTOR_SERVICE_AUDIENCES": "api://close",
        "CONNECTOR_SERVICE_CLIENTS": _TENANT,
        "CONNECTOR_SERVICE_PUBLIC_URL": "https://close.contoso.com",
        "CONNECTOR_SERVICE_API_KEYS": f"bench:{hashlib.sha256(KEY.encode()).hexdigest()}",
    }


@contextmanager
def bare(folder: Path) -> Iterator[Process]:
    """Serve the bare app."""
    with _serving("bare", {}, folder) as process:
        yield process


def at_once(process: Process, opportunities: Sequence[UUID]) -> Load:
    """Ask for all of them at the same moment, each over a connection of its own, and wait for every answer."""
    requests = [post(process.url + path_of(one), BODY, KEY, f"once-{one}") for one in opportunities]
    return asyncio.run(loaded(process.url, requests, connections=len(requests)))


def one_after_another(
    process: Process, opportunities: Sequence[UUID], connections: int, looks: Sequence[int]
) -> Growth:
    """Close all of them over a few connections, and look at the memory after so many operations."""
    loads, memory, begin = [], {}, 0
    for look in looks:
        requests = [post(process.url + path_of(one), BODY, KEY, f"one-{one}") for one in opportunities[begin:look]]
        loads.append(asyncio.run(loaded(process.url, requests, connections)))
        memory[look], begin = memory_mb(process.pid), look
    return Growth(loads, memory)


def accepted_under_load(process: Process, opportunities: Sequence[UUID], connections: int) -> tuple[Load, float]:
    """Ask for all of them without waiting for their ends; also returns the CPU seconds the server used for each."""
    body = BODY | {"mode": "accept"}
    requests = [post(process.url + path_of(one), body, KEY, f"acc-{one}") for one in opportunities]
    began = cpu_seconds(process.pid)
    load = asyncio.run(loaded(process.url, requests, connections))
    return load, (cpu_seconds(process.pid) - began) / len(requests)


def path_of(opportunity: object) -> str:
    """Return the path at which an opportunity is closed."""
    return f"/opportunities/{opportunity}/close"


@contextmanager
def _serving(what: str, own: Mapping[str, str], folder: Path) -> Iterator[Process]:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))}
    served = ("connector", "serve", "--port") if what == "serve" else ("scripts.benchmarks.endpoint_served", what)
    command = [sys.executable, "-m", *served, str(port)]
    with (folder / f"{what}.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=clean | dict(own), stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        while not _is_ready(url):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                said = (folder / f"{what}.log").read_text()
                raise RuntimeError(f"The {what} did not start:\n{said}")
            time.sleep(0.005)
        yield Process(process.pid, url, time.perf_counter() - began, cpu_seconds(process.pid))
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


async def _asked(app: FastAPI, paths: Sequence[str], body: Mapping[str, object]) -> None:
    for path in paths:
        answer = await call(app, "POST", path, {}, body)
        if answer.status not in {200, 202}:
            raise RuntimeError(f"{path} was answered with {answer.status}: {answer.body!r}")


def _cpu_of(app: FastAPI, paths: Sequence[str], body: Mapping[str, object]) -> float:
    began = time.process_time()
    asyncio.run(_asked(app, paths, body))
    return (time.process_time() - began) / len(paths)


async def _nothing(id: str, body: dict[str, str]) -> dict[str, str]:  # noqa: A002 - the name in the path
    return {"id": id, **body}


async def _ready() -> dict[str, str]:
    return {"status": "ready"}


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many of 100 are below."""
    return statistics.quantiles(values, n=100)[percent - 1]
