"""The Web API of the emulated organization: takes a request of a known caller, gives its answer.

Who calls and whether they may call is decided before; so are limits, latency and faults. What is
answered here depends on the world, the request and the caller, and on nothing else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from urllib.parse import unquote

from connector.emulator.api.batch import Batch, ContentIdReferences, InnerRequest, read_batch
from connector.emulator.api.operation import ApiRequest, error_response
from connector.emulator.api.payload import not_understood
from connector.emulator.api.preferences import NONE, bypassing, check_headers, preferences
from connector.emulator.api.routing import Router
from connector.emulator.http.exchange import ApiResponse, OperationResult, split_url
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import NO_OPTIONS, ROOT, options
from connector.emulator.odata.values import fold
from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.callers import Caller
from connector.emulator.world.world import World
from connector.handler import Request, Response

LONGEST_URL = 32_768
LONGEST_INNER_URL = 65_536
"""Characters of a URL, alone and inside a batch (query overview, execute-batch-operations)."""

_CLOSE_ACTIONS = frozenset({"WinOpportunity", "LoseOpportunity", "CloseQuote", "WinQuote", "CloseOpportunity"})


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What the Web API tells of the organization besides its rows; `seed` decides boundaries and ids of answers."""

    tenant_id: str = "00000000-0000-0000-0000-000000000000"
    version: str = "9.2.26104.160"
    seed: int = 1


class Api:
    """Answers requests below `/api/data/v9.0`, `v9.1` and `v9.2`."""

    def __init__(self, world: World, api_options: ApiOptions | None = None) -> None:
        self._world = world
        self._options = api_options or ApiOptions()
        self._batch = Batch(world.store, random.Random(f"{self._options.seed}:batch"))
        self._made: Router | None = None
        world.store.db.create_function("fold", 1, fold, deterministic=True)

    def handle(self, request: Request, caller: Caller) -> ApiResponse:
        """Return the answer to `request` and the operations it was made of."""
        origin, path, query = split_url(request.url)
        match = ROOT.match(path)
        if match is None or unquote(path[match.end() :]).strip("/") != "$batch":
            response, result = self._one(origin, path, query, request, caller)
            return ApiResponse(response, (result,))
        root = origin + path[: match.end()].rstrip("/")
        return self._many(request, caller, root, query)

    # --- one operation ----------------------------------------------------------------------------------------------

    def _one(
        self, origin: str, path: str, query: str, request: Request, caller: Caller, longest: int = LONGEST_URL
    ) -> tuple[Response, OperationResult]:
        match = ROOT.match(path)
        root = origin + path[: match.end()].rstrip("/") if match else origin
        below = path[match.end() :] if match else path
        operation = ApiRequest(
            request.method, root, below, query, request.headers, request.body, caller, NONE, NO_OPTIONS, _no_reference
        )
        if match is None:
            return self._refused(operation, refuse("path.unknown", path.rstrip("/").rpartition("/")[2]))
        return self._executed(operation, longest)

    def _executed(
        self, operation: ApiRequest, longest: int, place: Callable[[], None] = lambda: None
    ) -> tuple[Response, OperationResult]:
        """Read headers and options, execute, and turn what is raised into the answer of a refusal.

        `place` says where a part of a batch is, and as whom it acts.
        """
        try:
            operation.preferences = preferences(operation.headers.get("prefer"))
            place()
            check_headers(operation.headers, operation.path)
            if len(operation.query) + len(operation.path) > longest:
                raise ODataError(f"The URL is longer than {longest} characters.")  # noqa: TRY301 - refused as all are
            operation.options = options(operation.query)
            operation.caller = bypassing(self._world.access, operation.caller, operation.headers)
            if operation.body:
                _check_json(operation)
            response = self._routing().answer(operation)
            if operation.method == "GET":
                self._world.note_read(operation.caller, operation.message, operation.table, operation.row_id)
        except (ODataError, Refused) as error:
            return self._refused(operation, self._refusal_of(error))
        return response, OperationResult(operation.message, operation.table, operation.row_id, "", response.status)

    def _refusal_of(self, error: ODataError | Refused) -> Refused:
        if isinstance(error, Refused):
            return error
        return refuse("query.not_understood", error, code=self._world.switches.query_error_code)

    def _refused(self, operation: ApiRequest, error: Refused) -> tuple[Response, OperationResult]:
        response = error_response(error, operation.preferences, error_names())
        return response, OperationResult(operation.message, operation.table, operation.row_id, error.rule, error.status)

    def _routing(self) -> Router:
        """Return what answers for the schema as it is now."""
        schema = self._world.schema
        if self._made is None or self._made.schema is not schema:
            self._made = Router(self._world, schema, self._options.version, self._options.tenant_id)
        return self._made

    # --- many operations --------------------------------------------------------------------------------------------

    def _many(self, request: Request, caller: Caller, root: str, query: str) -> ApiResponse:
        prefer = NONE
        try:
            prefer = preferences(request.header("prefer"))
            check_headers(request.headers)
            if request.method != "POST":
                raise refuse("path.wrong_verb", request.url)
            options(query).allow()
            strict = self._world.switches.batch_line_ends == "strict"
            items = read_batch(request.header("content-type"), request.body, strict=strict)
        except (ODataError, Refused) as failure:
            error = self._refusal_of(failure)
            response = error_response(error, prefer, error_names())
            return ApiResponse(response, (OperationResult("$batch", "", "", error.rule, error.status),))

        def execute(
            inner: InnerRequest,
            references: ContentIdReferences,
            together: bool,  # noqa: FBT001 - see batch.Execute
        ) -> tuple[Response, OperationResult]:
            return self._part(inner, references, root, caller, together=together)

        return self._batch.answer(items, execute, go_on=prefer.continue_on_error)

    def _part(
        self, inner: InnerRequest, references: ContentIdReferences, root: str, caller: Caller, *, together: bool
    ) -> tuple[Response, OperationResult]:
        path, _, query = inner.target.partition("?")
        operation = ApiRequest(
            inner.method, root, path, query, inner.headers, inner.body, caller, NONE, NO_OPTIONS, references.resolve
        )

        def place() -> None:
            operation.root, operation.path = _placed(path, root, references)
            operation.caller = self._acting(caller, inner.headers)
            name = operation.path.partition("?")[0]
            if together and name in _CLOSE_ACTIONS and self._world.switches.actions_in_change_set == "refuse":
                raise ODataError(f"The action '{name}' is not allowed in a change set.")

        return self._executed(operation, LONGEST_INNER_URL, place)

    def _acting(self, caller: Caller, headers: Mapping[str, str]) -> Caller:
        """Return whom a part of a batch acts as: impersonation headers may stand in each part."""
        object_id, user_id = headers.get("callerobjectid"), headers.get("mscrmcallerid")
        if object_id is None and user_id is None:
            return caller
        if object_id is not None:
            return self._world.impersonate(caller, object_id=object_id.strip().lower())
        return self._world.impersonate(caller, user_id=str(user_id).strip().lower())


def _no_reference(written: str) -> str:
    raise refuse("batch.content_id", written)


def _check_json(operation: ApiRequest) -> None:
    content_type = operation.headers.get("content-type")
    if content_type is not None and content_type.partition(";")[0].strip().lower() != "application/json":
        raise not_understood(
            operation.path.partition("(")[0],
            f"A supported MIME type could not be found that matches the content type of the request: '{content_type}'.",
        )


def _placed(target: str, root: str, references: ContentIdReferences) -> tuple[str, str]:
    """Return service root and path of a part's target: absolute, an absolute path, relative to the root, or `$1`."""
    if target.startswith("$") and target[1:2].isdigit():
        target = references.resolve(target[1:])
    origin = root[: root.index("/api/data/")]
    if "://" in target:
        other, target, _ = split_url(target)
        if other.lower() != origin.lower():
            raise ODataError(f"The request URI '{other}{target}' is not below the service root '{root}/'.")
    match = ROOT.match(target)
    if match is not None:
        return origin + target[: match.end()].rstrip("/"), target[match.end() :]
    if target.startswith("/"):
        raise refuse("path.unknown", target.rpartition("/")[2])
    return root, target


@cache
def error_names() -> Mapping[str, str]:
    """Return the names of the error codes that rules use, by code in lower case."""
    text = (resources.files("connector.emulator") / "data" / "error_names.json").read_text("utf-8")
    names: dict[str, str] = json.loads(text)
    return names
