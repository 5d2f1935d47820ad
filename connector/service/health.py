"""Whether the process lives, whether it can do its work, and which version it is; nobody signs in to ask.

Ready is an instance that can accept requests and work them off. Whether it can sign in is told beside that: when the
sign-in service is down, it is down for every instance, and accepting, polling and waiting go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from connector.errors import ConnectorError
from connector.ledger.operation_store import OperationStore
from connector.service.dependencies import Dependencies
from connector.service.operations.waiting import WaitKind
from connector.service.periodic_tasks import PeriodicTask, PeriodicTasks
from connector.service.service_options import ServiceOptions

FRESH = 10.0
"""Seconds for which a finding counts, so that probes cost nothing and nobody can make the endpoint ask."""
PROBE_SECONDS = 2.0
"""Seconds for which a probe waits for the store."""
SIGN_IN_EVERY, _NOT_READY = 20.0, 503
_SIGN_IN = "Signing in"
CONNECTIONS_EACH = 2
"""Connections of the store that an instance holds at most: one, and another to read what is long."""


def connections_state(counted: tuple[int, int] | None, instances: int) -> str:
    """Return whether the store's server has connections for so many instances, twice while a deployment goes on."""
    most, in_use = counted or (0, 0)
    needed = 2 * CONNECTIONS_EACH * instances
    if counted and most < needed:
        return f"{instances} instances may need {needed}, and the server has {most}"
    return f"{in_use} of {most} are taken" if counted and in_use > most - CONNECTIONS_EACH else "ok"


@dataclass(slots=True)
class HealthRoutes:
    """Answers probes: `working` says whether operations are worked off, `tasks` how each periodic task is.

    `sign_in` sees from time to time whether a token can be had.
    """

    options: ServiceOptions
    dependencies: Dependencies
    working: Callable[[], bool]
    tasks: Callable[[], Mapping[str, str]]
    sign_in: PeriodicTasks = field(init=False)
    _store: str = ""
    _connections: str = "ok"
    _looked: float = float("-inf")
    _probed: bool = False

    def __post_init__(self) -> None:
        check = PeriodicTask(_SIGN_IN, SIGN_IN_EVERY, self.dependencies.organizations.check)
        self.sign_in = PeriodicTasks((check,), self.dependencies.clock)

    def router(self) -> APIRouter:
        """Return the routes; they are no operations of the connector."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/healthz", self.alive, methods=["GET", "HEAD"])
        router.add_api_route("/readyz", self.ready, methods=["GET", "HEAD"])
        router.add_api_route("/version", self.tell_version, methods=["GET"])
        return router

    async def alive(self) -> JSONResponse:
        """Say that the process answers; nothing else is looked at."""
        return JSONResponse({"status": "alive"})

    async def ready(self) -> JSONResponse:
        """Say whether requests can be served: 503 names what cannot be used, without detail."""
        if not self._probed:  # where nobody probes, nobody signs in before the first request
            self._probed = True
            self.sign_in.start()
        needed = {"store": await self._store_state(), "work": "ok" if self.working() else "stopped"}
        tasks = {name: state for name, state in self.tasks().items() if state != "ok"}
        beside = {
            "sign_in": self.sign_in.states()[_SIGN_IN],
            "store_connections": self._connections,
            "tasks": tasks or "ok",
        }
        ready = all(state == "ok" for state in needed.values())
        degraded = any(state != "ok" for state in beside.values())
        status = "not ready" if not ready else "degraded" if degraded else "ready"
        body = {"status": status, "checks": {**needed, **beside}}
        return JSONResponse(body) if ready else JSONResponse(body, _NOT_READY, {"Retry-After": "10"})

    async def tell_version(self) -> JSONResponse:
        """Say which version this is."""
        return JSONResponse({"version": self.options.version})

    def _look(self) -> None:
        """Use the store. Raises LedgerError."""
        probe = OperationStore(self.dependencies.ledger).probe()
        self._connections = connections_state(probe, self.options.instances)

    async def _store_state(self) -> str:
        """Return how the store is; what is not ok is looked at again by every probe."""
        clock = self.dependencies.clock
        if self._store == "ok" and clock.monotonic() - self._looked < FRESH:
            return self._store
        try:
            await self.dependencies.waiting.within(PROBE_SECONDS, WaitKind.PROBE, self._look)
        except TimeoutError:
            self._store = "slow"
        except ConnectorError:
            self._store = "unavailable"
        else:
            self._store = "ok"
        self._looked = clock.monotonic()
        return self._store
