"""Makes the endpoint: the app with its routes, the middleware around it, and the workers beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from http.client import responses
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connector.closing.field import FieldKind
from connector.errors import ConnectorError, LedgerError
from connector.ledger.audit import AuditLog
from connector.ledger.operation_store import OperationStore
from connector.service.auth.authenticator import Authenticator
from connector.service.auth.caller import Caller
from connector.service.auth.session_cookies import SessionCookie
from connector.service.auth.token_validator import (
    KEYS_SECONDS,
    KeyNotCached,
    SigningKeys,
    TokenValidator,
    keys_unavailable,
)
from connector.service.connector_definition import definition
from connector.service.connector_definition.definition import Deployment
from connector.service.dependencies import Dependencies
from connector.service.health import HealthRoutes
from connector.service.mcp import mount as mcp
from connector.service.middleware import Identify, RateLimit, RequestMiddleware
from connector.service.operations.operation_runner import OperationRunner, Stopping
from connector.service.operations.operation_service import OperationService
from connector.service.operations.status_links import StatusLinks
from connector.service.operations.waiting import WaitKind
from connector.service.operations.worker_pool import OperationWorkerPool
from connector.service.periodic_tasks import PeriodicTask, PeriodicTasks
from connector.service.problems import MALFORMED, Problem, RequestRefused, of_error
from connector.service.routes.operation_routes import OperationRoutes
from connector.service.routes.reading_routes import ReadingRoutes
from connector.service.routes.sign_in_routes import SignInRoutes, asking_to_sign_in, front_door
from connector.service.schemas.field_values import EXAMPLES
from connector.service.schemas.response_models import ErrorDetail
from connector.service.service_options import ServiceOptions
from connector.service.telemetry import UNFINISHED
from connector.service.templates.operations_page import OperationsPage
from connector.service.templates.page_view import PAGE, failure_response
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.trigger import ClosedTrigger

_log = logging.getLogger("connector.service")

FORGETTING = 600.0
"""Seconds between looks for operations that have expired."""
FORGOTTEN_AT_ONCE = 200
_CODES: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "no_such_path",
    HTTPStatus.METHOD_NOT_ALLOWED: "no_such_method",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not_json",
}
_SENTENCES: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "The body cannot be read. Send JSON in UTF-8, nested no deeper than the fields ask for.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address. Check the path.",
}
_NO_PART = (
    "A part of this address is empty, so nothing was changed. Say which opportunity, operation or subscription is "
    f"meant. {EXAMPLES[FieldKind.RECORD_ID].replace('TABLE', 'opportunity')}."
)
_UNPROCESSABLE = 422
_NO_OBJECT = "body: Send a JSON object, with Content-Type: application/json"
_NO_JSON = "body: It is not JSON; look for a missing quote, comma or bracket"
_FIELD_SENTENCES = {
    "missing": "it is missing; say {accepted}",
    "string_type": "it is not text",
    "string_too_long": "it has more than {max_length} characters",
    "too_long": "it has more than {max_length} columns",
    "decimal": "it is not a number; write it with a point and no separators, as 12500.00",
    "int": "it is not a whole number, as 50",
}
"""The sentence for what is wrong with a field, by the code or its first word; for the rest, those of pydantic."""


def create_app(options: ServiceOptions, dependencies: Dependencies) -> FastAPI:
    """Return the endpoint as an ASGI app; its workers run from its start to its shutdown."""
    service = OperationService(options, dependencies)
    links = StatusLinks(options.secret, options.public_url, options.gateway_hosts)
    trigger = ClosedTrigger(options, dependencies, links)
    pool = _worker_pool(service, options, dependencies, trigger.notifier)
    app = FastAPI(
        title="Opportunity Close",
        version=options.version or "0",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(options),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # it would tell paths
    )
    operations, audit = OperationStore(dependencies.ledger), dependencies.ledger.audit
    dependencies.telemetry.watch(UNFINISHED, operations.unfinished)
    app.state.pool, app.state.trigger = pool, trigger
    audit.told = dependencies.telemetry.audited
    forgetting = PeriodicTask(
        "Forgetting what has expired", FORGETTING, lambda: _forget(operations, audit, options.log_days)
    )
    app.state.periodic_tasks = PeriodicTasks((*trigger.periodic_tasks(), forgetting), dependencies.clock)
    working = (lambda: pool.alive) if options.workers else (lambda: True)
    health = HealthRoutes(options, dependencies, working, app.state.periodic_tasks.states)
    app.state.health = health
    sessions = SessionCookie(options.secret, dependencies.clock, dependencies.entropy)
    for router in (*_routers(options, dependencies, service, pool, trigger, sessions, links), health.router()):
        app.router.routes.extend(router.routes)  # the routes themselves: the definition is made of what the app lists
    _answer_failures(app)
    _guard(app, options, dependencies, sessions)
    app.state.tools = mcp.mount(app, hosts=_hosts(options), version=options.version)
    return app


def _guard(app: FastAPI, options: ServiceOptions, dependencies: Dependencies, sessions: SessionCookie) -> None:
    keys = app.state.keys = SigningKeys(dependencies.keys_http, options.admission.authority, dependencies.clock)
    app.add_middleware(
        RequestMiddleware,
        identify=_identify(options, dependencies, keys, sessions),
        limit=RateLimit(options.requests_per_minute, dependencies.clock),
        body_limit=options.body_limit,
        metadata=f"{options.public_url}{mcp.METADATA_PATH}{mcp.PATH}" if options.public_url else "",
        body_seconds=options.body_seconds,
        telemetry=dependencies.telemetry,
        clock=dependencies.clock,
    )


def _routers(
    options: ServiceOptions,
    dependencies: Dependencies,
    service: OperationService,
    pool: OperationWorkerPool,
    trigger: ClosedTrigger,
    sessions: SessionCookie,
    links: StatusLinks,
) -> Iterator[APIRouter]:
    """Return the routes of the endpoint, one router for each subject."""
    waiting, clock = dependencies.waiting, dependencies.clock
    waiting.look = service.operations.ended
    reading = ReadingRoutes(dependencies.organizations, options, waiting, clock)
    yield OperationRoutes(service, options.deadline, links, waiting, clock, pool.wake, reading.identified).router()
    yield OperationsPage(service, options, dependencies, pool.wake, sessions).router()
    if sign_in := dependencies.operator_sign_in:
        yield SignInRoutes(sign_in, sessions, options.admission, options.public_url.rstrip("/"), waiting).router()
    yield front_door()
    yield reading.router()
    yield trigger.router()
    yield _metadata_router(options)
    yield definition.router(_deployment(options))


def _metadata_router(options: ServiceOptions) -> APIRouter:
    """Return the routes by which agents find out where to sign in (RFC 9728); nobody signs in to ask."""
    router, deployment = APIRouter(include_in_schema=False), _deployment(options)
    authority = f"{deployment.authority}/{deployment.tenant}/v2.0"
    document = {
        "resource": f"https://{deployment.host}{mcp.PATH}",
        "authorization_servers": [authority],
        "scopes_supported": [deployment.full_scope],
        "bearer_methods_supported": ["header"],
    }
    for path in (mcp.METADATA_PATH, f"{mcp.METADATA_PATH}{mcp.PATH}"):
        router.add_api_route(path, lambda: JSONResponse(document), methods=["GET"])
    return router


def _forget(operations: OperationStore, audit: AuditLog, log_days: float) -> None:
    """Delete operations and entries of the audit log that need not be kept any longer, a few at a time."""
    audit.forget(log_days)
    while operations.delete_expired(FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
        pass


def _worker_pool(
    service: OperationService, options: ServiceOptions, dependencies: Dependencies, notifier: Notifier
) -> OperationWorkerPool:
    """Return how operations are worked off in this process; their pauses end when it is stopping."""
    stopping = threading.Event()

    def pause(seconds: float) -> None:
        if stopping.wait(seconds):
            raise Stopping

    work = OperationRunner(service, options, dependencies, pause, notifier.announce_own)
    size = max(1, options.workers)
    share = size if len(options.admission.tenants) <= 1 else max(1, size // 2)
    return OperationWorkerPool(dependencies.ledger, work, size, share, dependencies.who, stopping)


def _lifespan(options: ServiceOptions) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if options.workers:
            app.state.pool.start()
            app.state.periodic_tasks.start()
        async with app.state.tools():
            yield
        app.state.health.sign_in.stop()
        await to_thread.run_sync(app.state.periodic_tasks.stop)
        await to_thread.run_sync(app.state.pool.stop)

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


def _identify(
    options: ServiceOptions, dependencies: Dependencies, keys: SigningKeys, sessions: SessionCookie
) -> Identify:
    """Return how callers are identified; at the page, a person who has signed in there by browser as well."""
    admission = options.admission
    authenticator = Authenticator(admission, TokenValidator(admission, keys, dependencies.clock).caller)

    async def identify(headers: Mapping[str, str], peer: str, path: str) -> Caller:
        if dependencies.operator_sign_in is None or (path != PAGE and not path.startswith(f"{PAGE}/")):
            return await by_headers(headers, peer)
        person = sessions.caller(headers.get("cookie", ""))
        if person is not None and person.tenant_id in admission.tenants:
            return person
        try:
            return await by_headers(headers, peer)
        except RequestRefused as refused:
            raise asking_to_sign_in(refused, headers) from None

    async def by_headers(headers: Mapping[str, str], peer: str) -> Caller:
        try:
            return authenticator.identify(headers, peer)
        except KeyNotCached as missing:
            tenant = missing.tenant_id
        try:
            await dependencies.waiting.within(KEYS_SECONDS, WaitKind.SIGN_IN, lambda: keys.fetch(tenant))
            return authenticator.identify(headers, peer)
        except (KeyNotCached, TimeoutError):
            raise RequestRefused(keys_unavailable()) from None

    return identify


def _answer_failures(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> Response:
        return _failed(request, _problem(request, error))

    for kind in (RequestRefused, ConnectorError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def _problem(request: Request, error: Exception) -> Problem:
    if isinstance(error, RequestRefused):
        return error.failure
    if isinstance(error, RequestValidationError):
        return _malformed(request, error)
    if isinstance(error, LedgerError):
        _log.error("%s: %s", request.state.correlation_id, error)
    if isinstance(error, ConnectorError):
        return of_error(error)
    assert isinstance(error, HTTPException)
    status = HTTPStatus.BAD_REQUEST if error.status_code == _UNPROCESSABLE else error.status_code
    code = _CODES.get(status, "invalid_request")
    sentence = _SENTENCES.get(status, f"{responses.get(status, 'Failed')}: check the method and the address.")
    if status == HTTPStatus.NOT_FOUND and "" in request.url.path.split("/")[2:]:
        sentence = _NO_PART
    return Problem(status, code, sentence, headers=dict(error.headers or {}))


def _failed(request: Request, failure: Problem) -> Response:
    path, accept = request.url.path, request.headers.get("accept", "")
    instance = "" if path.startswith(("/operations/", "/subscriptions/")) else path
    return failure_response(failure, path, accept, instance, request.state.correlation_id)


def _malformed(request: Request, error: RequestValidationError) -> Problem:
    """Return every field that is wrong, by the label a maker sees, for agents by its name; never what was sent."""
    route = request.scope["route"]
    fields = route.body_field.field_info.annotation.model_fields if route.body_field else {}
    labels = {field.alias or name: str(field.title) for name, field in fields.items()}
    needs = route.dependant
    beside = {p.alias: p.field_info.title for p in (*needs.path_params, *needs.query_params, *needs.header_params)}
    door = getattr(request.state, "door", "")
    details = [_detail(each, labels if each["loc"][0] == "body" else beside, door) for each in error.errors()]
    named = "; ".join(detail.message for detail in details)
    return Problem(HTTPStatus.BAD_REQUEST, "invalid_request", f"{MALFORMED} {named}.", tuple(details))


def _detail(problem: Mapping[str, Any], labels: Mapping[str, str], door: str) -> ErrorDetail:
    """Return what is wrong with a field; an agent knows its name and sends no expressions of a flow."""
    code, place, facts = str(problem["type"]), [str(part) for part in problem["loc"]], problem.get("ctx", {})
    message = str(problem["msg"]).replace("Input should be", "it must be")
    if place == ["body"] or code == "json_invalid":  # for this the place is a number of characters
        return ErrorDetail(code=code, message=_NO_JSON if code == "json_invalid" else _NO_OBJECT, target="body")
    if code == "extra_forbidden":
        message = f"there is no field of this name; the fields are {', '.join(labels)}"
    target = "/".join(place[1:] or place)
    code = "string_too_long" if code == "too_long" and isinstance(problem["input"], str) else code
    if sentence := _FIELD_SENTENCES.get(code) or _FIELD_SENTENCES.get(code.partition("_")[0]):
        is_outcome = code == "missing" and target == "outcome"
        message = sentence.format_map({"accepted": "won or lost" if is_outcome else "what it is", **facts})
    label = labels.get(place[-1], target)
    example = facts.get("example") or (EXAMPLES[FieldKind.TEXT] if code == "string_type" else "")
    if door == "mcp":
        label = "opportunityId" if place[0] == "path" else target
    elif example:
        message = f"{message}. {example}"
    return ErrorDetail(code=code, message=f"{label}: {message}", target=target)
