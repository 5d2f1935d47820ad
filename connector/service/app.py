"""Makes the endpoint: the app with its routes, the border around it, and the workers beside it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connector.errors import ConnectorError
from connector.ledger.operations import Operations
from connector.service.auth.caller import Caller
from connector.service.auth.callers import Callers
from connector.service.auth.keys import SigningKeys
from connector.service.auth.limits import RateLimit
from connector.service.auth.tokens import Tokens
from connector.service.border import Border, Identify
from connector.service.chores import Chore, Chores
from connector.service.connector_definition import definition
from connector.service.connector_definition.properties import Deployment
from connector.service.failures import TITLES, Declined, Failure, of_error
from connector.service.health import Health
from connector.service.mcp import mount as mcp
from connector.service.operations.crew import Crew
from connector.service.operations.operations import Desk
from connector.service.operations.work import Stopping, Work
from connector.service.options import ServiceOptions
from connector.service.reach import Surroundings
from connector.service.routes.closing_routes import OperationRoutes
from connector.service.routes.reading_routes import ReadingRoutes
from connector.service.schemas.views import ErrorDetail
from connector.service.telemetry import UNFINISHED
from connector.service.templates.page import OperationsPage
from connector.service.webhooks.notifications import Notices
from connector.service.webhooks.trigger import Trigger

FORGETTING = 600.0
"""Seconds between looks for operations that have expired."""
FORGOTTEN_AT_ONCE = 200
_CODES = {404: "no_such_path", 405: "no_such_method", 415: "not_json"}
_CHECKS = {400: "the body cannot be read; send JSON in UTF-8, nested no deeper than the fields ask for"}
_UNPROCESSABLE = 422
_NO_OBJECT = "Send a JSON object, with Content-Type: application/json"
_BODY_SENTENCES = {
    "json_invalid": "It is not JSON; look for a missing quote, comma or bracket",
    "missing": _NO_OBJECT,
    "model_attributes_type": _NO_OBJECT,
}
"""What is told of a body that is none; of its fields, the sentences of pydantic."""


def create_app(options: ServiceOptions, around: Surroundings) -> FastAPI:
    """Return the endpoint as an ASGI app; its workers run from its start to its shutdown."""
    desk = Desk(around.ledger, options, around.audit, around.clock, around.entropy, around.reach.stopped)
    trigger = Trigger(options, around)
    crew = _crew(desk, options, around, trigger.notices)
    app = FastAPI(
        title="Opportunity Close",
        version=options.version or "0",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(options, around),
        redirect_slashes=False,
    )
    working = (lambda: crew.alive) if options.workers else (lambda: True)
    operations = Operations(around.ledger)
    around.telemetry.watch(UNFINISHED, operations.unfinished)
    parts = (
        OperationRoutes(desk, options, around.waiting, around.clock, crew.wake).router(),
        OperationsPage(desk, around.waiting, around.clock, options.secret, crew.wake).router(),
        ReadingRoutes(around.reach, options, around.waiting, around.clock).router(),
        Health(operations, around.reach.check, working, around.waiting, around.clock, options.version).router(),
        trigger.router(),
        definition.router(_deployment(options)),
    )
    for part in parts:  # the routes themselves: the definition is projected from what the app lists
        app.router.routes.extend(part.routes)
    _answer_failures(app)
    app.add_middleware(
        Border,
        identify=_identify(options, around),
        limit=RateLimit(options.requests_per_minute, around.clock),
        body_limit=options.body_limit,
        body_seconds=options.body_seconds,
        telemetry=around.telemetry,
        clock=around.clock,
    )
    app.state.crew, app.state.trigger = crew, trigger
    forgetting = Chore("Forgetting what has expired", FORGETTING, lambda: _forget(operations))
    app.state.chores = Chores((*trigger.chores(), forgetting), around.clock)
    app.state.tools = mcp.mount(app, hosts=_hosts(options), version=options.version)
    return app


def _forget(operations: Operations) -> None:
    """Delete the operations whose answers need not be kept any longer, a few at a time."""
    while operations.delete_expired(FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
        pass


def work_of(
    desk: Desk, options: ServiceOptions, around: Surroundings, notices: Notices, stopping: threading.Event
) -> Work:
    """Return how operations are worked off in this process; its pauses end when it is `stopping`."""

    def pause(seconds: float) -> None:
        if stopping.wait(seconds):
            raise Stopping

    return Work(
        desk=desk,
        options=options,
        organization_for=around.reach.organization,
        audit=around.audit,
        clock=around.clock,
        announce=notices.announce_own,
        telemetry=around.telemetry,
        tell=around.waiting.tell,
        pause=pause,
        chance=around.chance,
    )


def _crew(desk: Desk, options: ServiceOptions, around: Surroundings, notices: Notices) -> Crew:
    stopping = threading.Event()
    work = work_of(desk, options, around, notices, stopping)
    return Crew(around.ledger, work, max(1, options.workers), around.who, stopping)


def _lifespan(options: ServiceOptions, around: Surroundings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if options.workers:
            app.state.crew.start()
            app.state.chores.start()
        async with app.state.tools():
            yield
        await around.waiting.apart(app.state.chores.stop)
        await around.waiting.apart(app.state.crew.stop)

    return lifespan


def _hosts(options: ServiceOptions) -> list[str]:
    return [urlsplit(options.public_url).netloc] if options.public_url else ["localhost:*", "127.0.0.1:*", "[::1]:*"]


def _deployment(options: ServiceOptions) -> Deployment:
    """Return the deployment as its connector describes it."""
    admission = options.admission
    host = urlsplit(options.public_url).netloc or "localhost"
    tenants = list(admission.tenants)
    uris = sorted(admission.audiences, key=lambda audience: not audience.startswith("api://"))
    return Deployment(
        host=host,
        audience=uris[0] if uris else f"api://{host}",
        client_id=min(admission.clients, default="00000000-0000-0000-0000-000000000000"),
        tenant=tenants[0] if len(tenants) == 1 else "organizations",
        scope=admission.scope,
        authority=admission.authority,
    )


def _identify(options: ServiceOptions, around: Surroundings) -> Identify:
    admission = options.admission
    keys = SigningKeys(around.http, admission.authority, around.clock)
    callers = Callers(admission, Tokens(admission, keys, around.clock).caller)

    async def identify(headers: Mapping[str, str], peer: str) -> Caller:
        if callers.asks_afar(headers):
            return await around.waiting.apart(lambda: callers.identify(headers, peer))
        return callers.identify(headers, peer)

    return identify


def _answer_failures(app: FastAPI) -> None:
    async def of_declined(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Declined)
        return _failed(request, error.failure)

    async def of_connector(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ConnectorError)
        return _failed(request, of_error(error))

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _failed(request, _malformed(error))

    async def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = 400 if error.status_code == _UNPROCESSABLE else error.status_code
        code = _CODES.get(status, "invalid_request")
        sentence = f"{TITLES.get(status, 'Failed')}: {_CHECKS.get(status, 'check the method and the address')}."
        return _failed(request, Failure(status, code, sentence, headers=dict(error.headers or {})))

    app.add_exception_handler(Declined, of_declined)
    app.add_exception_handler(ConnectorError, of_connector)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)


def _failed(request: Request, failure: Failure) -> JSONResponse:
    path = "" if request.url.path.startswith(("/operations/", "/subscriptions/")) else request.url.path
    return JSONResponse(failure.body(path, request.state.correlation_id), failure.status, dict(failure.headers))


def _malformed(error: RequestValidationError) -> Failure:
    """Return every field that is wrong, by name; never what was sent."""
    details = [_detail(str(problem["type"]), problem["loc"], str(problem["msg"])) for problem in error.errors()]
    named = "; ".join(f"{detail.target}: {detail.message}" for detail in details)
    return Failure(400, "invalid_request", f"The request is malformed. {named}.", tuple(details))


def _detail(code: str, loc: Sequence[object], message: str) -> ErrorDetail:
    place = [str(part) for part in loc]
    whole = place == ["body"] or code == "json_invalid"  # for this the place is a number of characters
    if whole:
        return ErrorDetail(code=code, message=_BODY_SENTENCES.get(code, message), target="body")
    return ErrorDetail(code=code, message=message, target="/".join(place[1:] or place))
