"""Whether the process lives, whether it can do its work, and which version it is; nobody signs in to ask."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from connector.clock import Clock
from connector.errors import ConnectorError
from connector.ledger.operation_store import OperationStore
from connector.service.operations.waiting import Waiter

FRESH = 10.0
"""Seconds for which a finding counts, so that probes cost nothing and nobody can make the endpoint ask."""


class HealthRoutes:
    """Answers probes. `check` raises ConnectorError while no token can be had; `working` says whether work goes on."""

    def __init__(
        self,
        operations: OperationStore,
        check: Callable[[], None],
        working: Callable[[], bool],
        waiting: Waiter,
        clock: Clock,
        version: str,
    ) -> None:
        self._operations = operations
        self._check = check
        self._working = working
        self._waiting = waiting
        self._clock = clock
        self._version = version
        self._found: dict[str, str] = {}
        self._found_at = float("-inf")
        self._lock = threading.Lock()

    def router(self) -> APIRouter:
        """Return the routes; they are no operations of the connector."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/healthz", self.alive, methods=["GET", "HEAD"])
        router.add_api_route("/readyz", self.ready, methods=["GET", "HEAD"])
        router.add_api_route("/version", self.version, methods=["GET"])
        return router

    async def alive(self) -> JSONResponse:
        """Say that the process answers; nothing else is looked at."""
        return JSONResponse({"status": "alive"})

    async def ready(self) -> JSONResponse:
        """Say whether requests can be served: 503 names what cannot be used, without detail."""
        found = await self._waiting.apart(self._look)
        ready = all(state == "ok" for state in found.values())
        body = {"status": "ready" if ready else "not ready", "checks": found}
        return JSONResponse(body, 200 if ready else 503, {} if ready else {"Retry-After": "10"})

    async def version(self) -> JSONResponse:
        """Say which version this is."""
        return JSONResponse({"version": self._version})

    def _look(self) -> dict[str, str]:
        with self._lock:
            if self._clock.monotonic() - self._found_at >= FRESH:
                self._found = {
                    "store": _state(self._operations.unfinished),
                    "sign_in": _state(self._check),
                    "work": "ok" if self._working() else "stopped",
                }
                self._found_at = self._clock.monotonic()
            return dict(self._found)


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except ConnectorError as error:
        return type(error).__name__
    return "ok"
