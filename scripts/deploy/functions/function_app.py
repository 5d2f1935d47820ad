# ruff: noqa: INP001 - the host loads this file by itself, it is part of no package
"""The endpoint as an Azure Function app: the same ASGI app, anonymous to the host because it checks callers itself.

Settings come from the application settings, as everywhere; the store must be PostgreSQL, since instances share nothing
else. The timer wakes an instance so that accepted operations and notifications go on while nobody calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import azure.functions as func

from connector.assembly.endpoint import open_endpoint
from connector.service.app import create_app
from connector.settings.environment import load

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class StartedOnce:
    """An ASGI app whose lifespan runs once: first requests that come together make the host start it several times."""

    def __init__(self, app: Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._first: asyncio.Future[Message] | None = None
        self._ended = asyncio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass everything on but a second start, which gets the answer of the first."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
        elif self._first is None:
            await self._begin(scope, receive, send)
        else:
            await send(await asyncio.shield(self._first))
            await self._ended.wait()

    async def _begin(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        first = self._first = asyncio.get_running_loop().create_future()

        async def told(message: Message) -> None:
            if not first.done():
                first.set_result(message)
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            self._ended.set()


_endpoint = open_endpoint(load())

app = func.AsgiFunctionApp(
    app=StartedOnce(create_app(_endpoint.options, _endpoint.dependencies)),
    http_auth_level=func.AuthLevel.ANONYMOUS,
    function_name="endpoint",
)


@app.function_name(name="wake")
@app.timer_trigger(schedule="0 * * * * *", arg_name="timer", run_on_startup=False)
async def wake(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host passes it
    """Start the endpoint's workers if no request has done so yet."""
    if not app.startup_task_done:
        app.startup_task_done = await app.middleware.notify_startup()
