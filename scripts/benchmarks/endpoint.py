"""Measures what the endpoint costs: CPU per accepted request beside a bare FastAPI app, and many operations at once.

    python scripts/benchmarks/endpoint.py [REQUESTS]

Everything runs in this process against an emulated organization in memory; the accepted operations are worked off
afterwards, so that only accepting them is measured.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from connector.service.app import create_app
from tests.service.flow_engine import call
from tests.service.stage import OPTIONS, Stage


def main(requests: int) -> None:
    """Print the figures."""
    bare = FastAPI()
    bare.add_api_route("/opportunities/{id}/close", _nothing, methods=["POST"])
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        options = replace(OPTIONS, workers=0, requests_per_minute=10**9, queue=10**9)
        app = create_app(options, stage.around())
        paths = [f"/opportunities/{stage.opportunity()}/close" for _ in range(requests)]
        body = {"outcome": "won", "mode": "accept"}
        bare_cpu, bare_times = _measured(bare, paths, body)
        own_cpu, own_times = _measured(app, paths, body)
        stage.close()
    _say("bare FastAPI", bare_cpu, bare_times)
    _say("accepted by the endpoint", own_cpu, own_times)
    sys.stdout.write(f"overhead: {(own_cpu - bare_cpu) * 1000:.2f} ms CPU per accepted request\n")


def _measured(app: FastAPI, paths: list[str], body: Mapping[str, object]) -> tuple[float, list[float]]:
    """Return the CPU seconds per request and the seconds of each."""

    async def run() -> list[float]:
        times = []
        for path in paths:
            began = time.perf_counter()
            answer = await call(app, "POST", path, {}, body)
            times.append(time.perf_counter() - began)
            if answer.status not in {200, 202}:
                raise SystemExit(f"{path} was answered with {answer.status}: {answer.body!r}")
        return times

    began = time.process_time()
    times = asyncio.run(run())
    return (time.process_time() - began) / len(paths), times


async def _nothing(id: str, body: dict[str, str]) -> dict[str, str]:  # noqa: A002 - the name in the path
    return {"id": id, **body}


def _say(what: str, cpu: float, times: list[float]) -> None:
    p99 = statistics.quantiles(times, n=100)[98]
    median = statistics.median(times)
    sys.stdout.write(f"{what}: {cpu * 1000:.2f} ms CPU, median {median * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
