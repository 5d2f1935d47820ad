"""The same operations as tools for agents: MCP over stateless streamable HTTP, answered in JSON.

A tool is asked of the app itself, as an HTTP request that never leaves the process, with the headers of the agent's
own request: sign-in, limits, idempotency and audit are those of the operation, not a second copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from anyio import TASK_STATUS_IGNORED, Event, Lock, create_task_group, to_thread
from anyio.abc import TaskGroup, TaskStatus
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from connector.service.problems import Problem, RequestRefused

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"


_SET_HOST = "Set CONNECTOR_SERVICE_PUBLIC_URL to the address that agents use, and let the gateway pass the host on."
METADATA_PATH = "/.well-known/oauth-protected-resource"


def mount(app: FastAPI, *, hosts: Sequence[str], version: str) -> Callable[[], AbstractAsyncContextManager[None]]:
    """Serve the tools of `app` at `/mcp`; the app's lifespan must run within the context that is returned.

    The middleware identifies the caller, here as with every other path, and again for each tool.
    `hosts` are the host names, with port where it is not 443, by which the endpoint may be addressed: any other is
    refused with 421 (a page that rebinds its name cannot reach it).
    """
    endpoint = _ToolEndpoint(app, tuple(hosts), version)
    app.router.routes.append(Route(PATH, endpoint=endpoint, methods=["POST"], include_in_schema=False))
    return endpoint.running


def _refused(status: int, code: str, message: str) -> RequestRefused:
    return RequestRefused(Problem(status, code, message, headers={"Content-Type": "application/problem+json"}))


class _ToolEndpoint:
    """An ASGI app that hands a request to the protocol's own sessions, which are made when the first one comes."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], version: str) -> None:
        self._app = app
        self._hosts = hosts
        self._version = version
        self._group: TaskGroup | None = None
        self._sessions: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the context lasts; it may be entered again after it has ended."""
        self._making, self._over = Lock(), Event()
        async with create_task_group() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = self._sessions = None
                self._over.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check(scope)
        if self._group is None:
            await Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "5"})(
                scope, receive, send
            )
            return
        async with self._making:
            sessions = self._sessions or await self._group.start(self._serve)
        await sessions.handle_request(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise RequestRefused (421, 403, 415) for what the protocol's own library would refuse without a reason."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not self._is_own(host):
            raise _refused(421, "wrong_host", f"Agents reach this endpoint as {self._hosts[0]} only. {_SET_HOST}")
        if origin and not self._is_own(origin.partition("://")[2]):
            raise _refused(403, "wrong_origin", f"A page of another site may not call the tools. {_SET_HOST}")
        if not headers.get("content-type", "").lower().startswith("application/json"):
            raise _refused(415, "not_json", "Send JSON, with Content-Type: application/json.")

    def _is_own(self, host: str) -> bool:
        return any(host == own or (own.endswith(":*") and host.startswith(own[:-1])) for own in self._hosts)

    async def _serve(self, *, task_status: TaskStatus[StreamableHTTPSessionManager] = TASK_STATUS_IGNORED) -> None:
        """Make the sessions and keep them until the end: their tasks belong to this one, not to a request's."""
        made = await to_thread.run_sync(self._make)
        async with made.run():
            self._sessions = made
            task_status.started(made)
            await self._over.wait()

    def _make(self) -> StreamableHTTPSessionManager:
        from connector.service.mcp.tool_server import sessions

        return sessions(self._app, self._version)
