"""One operation as the Web API sees it, and the small ways to answer it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID, uuid5

from connector.emulator.api.preferences import Preferences
from connector.emulator.api.rows import Json
from connector.emulator.odata.functions import QueryContext
from connector.emulator.odata.path import Options
from connector.emulator.rules.rule import Refused
from connector.emulator.world.callers import Caller
from connector.handler import Response

JSON_TYPE = ("Content-Type", "application/json; odata.metadata=minimal")
VERSION = ("OData-Version", "4.0")


@dataclass(slots=True)
class ApiRequest:
    """One operation: a whole request, or a part of a batch.

    `root` is the service root it was sent to (`https://host/api/data/v9.2`), `path` what follows it, percent-encoded,
    `query` the raw query string. `references` resolves the Content-IDs of a change set. `message`, `table` and `row_id`
    are filled in as the operation is understood; they are what the journal says of it.
    """

    method: str
    root: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    caller: Caller
    preferences: Preferences
    options: Options
    references: Callable[[str], str]
    message: str = "Unknown"
    table: str = ""
    row_id: str = ""

    @property
    def origin(self) -> str:
        """Scheme and host."""
        return self.root[: self.root.index("/api/data/")]

    @property
    def url(self) -> str:
        """The address as it was asked for."""
        return f"{self.root}/{self.path}" + (f"?{self.query}" if self.query else "")

    def about(self, message: str, table: str = "", row_id: str = "") -> None:
        """Say what the operation turned out to be."""
        self.message, self.table, self.row_id = message, table, row_id

    def asker(self, now: datetime) -> QueryContext:
        """Return who asks, and when, for filters that refer to it."""
        caller = self.caller
        return QueryContext(now, caller.user_id, caller.business_unit_id, caller.utc_offset_minutes)

    def context(self, scope: str) -> str:
        """Return a context address."""
        return f"{self.root}/$metadata#{scope}"


def json_bytes(data: object) -> bytes:
    """Return compact JSON in UTF-8."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def ok(data: Json, *headers: tuple[str, str], status: int = HTTPStatus.OK) -> Response:
    """Return JSON."""
    return Response(status, (JSON_TYPE, VERSION, *headers), json_bytes(data))


def no_content(*headers: tuple[str, str]) -> Response:
    """Return 204."""
    return Response(HTTPStatus.NO_CONTENT, (VERSION, *headers))


def applied(preferences: Preferences, *names: str) -> tuple[tuple[str, str], ...]:
    """Return the Preference-Applied header for those of `names` that were asked for and honoured."""
    parts = []
    if "page" in names and preferences.page_size is not None:
        parts.append(f"odata.maxpagesize={preferences.page_size}")
    if "track" in names and preferences.track_changes:
        parts.append("odata.track-changes")
    if "return" in names and preferences.representation:
        parts.append("return=representation")
    if "annotations" in names and preferences.annotations:
        parts.append(f'odata.include-annotations="{preferences.annotations}"')
    return (("Preference-Applied", ", ".join(parts)),) if parts else ()


def error_response(refused: Refused, preferences: Preferences, names: Mapping[str, str]) -> Response:
    """Return the answer to a refused operation; `names` are the names of error codes, for the annotations."""
    error: Json = {"code": refused.code, "message": refused.message}
    if preferences.annotations:
        error |= {key: text for key, text in _details(refused, names).items() if preferences.wants(key[1:])}
    return ok({"error": error}, status=refused.status)


_PREFIX = "@Microsoft.PowerApps.CDS."
_SYSTEM_STEPS = UUID("3b0b8d44-6a1e-5b0c-9f5e-2d1c7a9e4f60")


def _details(refused: Refused, names: Mapping[str, str]) -> dict[str, str]:
    """Return the error annotations (compose-http-requests-handle-errors; the Api* keys as in captured answers).

    StepErrorDetails is a list of id and status; that sales errors carry it is known from Microsoft's own client.
    """
    failure = refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    details = {
        "OperationStatus": "0",
        "SubErrorCode": "-2146233088",
        "ApiExceptionSourceKey": "Plugin/Microsoft.Crm.Common.ObjectModel",
        "ApiStepKey": str(uuid5(_SYSTEM_STEPS, refused.rule)),
        "ApiDepthKey": "1",
        "ApiActivityIdKey": str(uuid5(_SYSTEM_STEPS, f"{refused.rule}:{refused.message}")),
        "ApiPluginSolutionNameKey": "System",
        "ApiStepSolutionNameKey": "System",
        "ApiExceptionCategory": "ServiceError" if failure else "ClientError",
        "ApiExceptionMessageName": names.get(refused.code, ""),
        "ApiExceptionHttpStatusCode": str(refused.status),
        **refused.details,
    }
    trace = details.pop("TraceText", "")
    step = {"Id": details["ApiStepKey"], "Status": refused.status}
    details["StepErrorDetails"] = json.dumps([step], separators=(",", ":"))
    return {
        **{f"{_PREFIX}ErrorDetails.{name}": text for name, text in details.items()},
        f"{_PREFIX}HelpLink": "http://go.microsoft.com/fwlink/?LinkID=398563&error=Microsoft.Crm.CrmException%3a"
        f"{refused.code.removeprefix('0x')}&client=platform",
        f"{_PREFIX}TraceText": trace,
        f"{_PREFIX}InnerError.Message": refused.message,
    }
