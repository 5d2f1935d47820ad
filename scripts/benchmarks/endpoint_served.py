"""What the benchmark of the endpoint puts under load: `python -m scripts.benchmarks.endpoint_served WHAT PORT`.

It is `connector serve` without its bound on the requests of one connection, which a load from one place would meet.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from connector.assembly.endpoint import open_endpoint
from connector.service.app import create_app
from connector.settings.environment import load
from scripts.benchmarks.endpoint import bare_app


def main(what: str, port: int) -> None:
    """Serve until terminated."""
    app = bare_app() if what == "bare" else _endpoint()
    uvicorn.run(
        app, host="127.0.0.1", port=port, access_log=False, server_header=False, log_level="warning",
        timeout_graceful_shutdown=20,
    )  # fmt: skip


def _endpoint() -> FastAPI:
    made = open_endpoint(load(os.environ, None))
    return create_app(replace(made.options, requests_per_minute=10**9, queue=10**6), made.dependencies)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
