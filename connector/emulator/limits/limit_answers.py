"""The answers of planned failures and of limits, word for word where known, and the headers of every answer."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.client import responses

from connector.clock import Clock
from connector.emulator.http.exchange import html_response, json_response
from connector.emulator.limits.faults import Fault
from connector.emulator.limits.protection import Protection, Throttle
from connector.emulator.rules.rule import Refused, refuse
from connector.handler import Request, Response

JSON_TYPE = ("Content-Type", "application/json; odata.metadata=minimal")

_FAILURES: Mapping[int, tuple[str, str]] = {
    HTTPStatus.INTERNAL_SERVER_ERROR: ("0x80040216", "An unexpected error occurred."),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "0x8004a001",
        "The server is busy and the request was not completed. Try again later.",
    ),
}


def operation_refusal(fault: Fault, schema_name: str, record_id: str) -> Refused:
    """Return what an operation fault raises inside the operation."""
    values: Mapping[str, tuple[str, ...]] = {
        "lock_timeout": (schema_name, record_id),
        "plugin_abort": (fault.text,),
        "plugin_reverts_quote": (fault.text,),
    }
    name = "plugin" if fault.do in ("plugin_abort", "plugin_reverts_quote") else fault.do
    return refuse(f"fault.{name}", *values.get(fault.do, ()))


def throttled(verdict: Throttle) -> Response:
    """Return the 429 of a service protection limit."""
    return _error(
        HTTPStatus.TOO_MANY_REQUESTS, verdict.code, verdict.message, (("Retry-After", str(verdict.retry_after)),)
    )


def refused(error: Refused) -> Response:
    """Return the error answer of a refusal that comes before the Web API looks at the request."""
    return _error(error.status, error.code, error.message)


def failure(fault: Fault) -> Response:
    """Return the answer of a planned `status` fault (of a reset too, where the client does not see it)."""
    status, name = fault.status, responses.get(fault.status, "Error")
    if fault.form == "html":
        page = (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
            f"<HTML><HEAD><TITLE>{name}</TITLE></HEAD>\r\n<BODY><h2>{name}</h2>\r\n<hr><p>HTTP Error {status}. The "
            "service is unavailable.</p>\r\n</BODY></HTML>\r\n"
        )
        return html_response(status, page)
    if fault.form == "empty":
        return Response(status)
    if fault.form == "message":
        return json_response(status, {"Message": "An error has occurred."})
    code, message = _FAILURES.get(status, _FAILURES[HTTPStatus.INTERNAL_SERVER_ERROR])
    return _error(status, code, message)


def token_failure(fault: Fault) -> Response:
    """Return the answer of a planned failure of the identity provider."""
    if fault.do == "throttle":
        text = "AADSTS90055: The server is too busy. Try again later."
        body = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90055]}
        return json_response(
            HTTPStatus.TOO_MANY_REQUESTS, body, (("Retry-After", str(max(1, math.ceil(fault.seconds)))),)
        )
    if fault.form == "json" and fault.do == "status":
        text = "AADSTS90033: A transient error has occurred. Please try again."
        data = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90033]}
        return json_response(fault.status, data)
    return failure(fault)


def _error(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False).encode()
    return Response(status, (JSON_TYPE, ("OData-Version", "4.0"), *headers), body)


_FIXED = (("Strict-Transport-Security", "max-age=31536000; includeSubDomains"), ("CRM.ServiceId", "CRMAppPool"))
_EVER = timedelta(days=50 * 365)


class CommonHeaders:
    """Adds ids, limits and cookies to answers. Ids come from the seed."""

    def __init__(self, protection: Protection, clock: Clock, seed: int) -> None:
        self._protection = protection
        self._clock = clock
        self._seed = seed
        self._random = random.Random(f"{seed}:headers")
        self._second = 0
        self._dates = ("", "")

    def forget(self) -> None:
        """Start the ids anew."""
        self._random.seed(f"{self._seed}:headers")

    def dress(self, response: Response, request: Request, user: str | None, server: int) -> Response:
        """Return `response` with the common headers; those about limits only when the user is known."""
        date, ever = self._now()
        request_id, activity_id = self._guid(), self._guid()
        present = {name.lower() for name, _ in response.headers}
        headers = [*response.headers]
        if "cache-control" not in present:
            headers.append(("Cache-Control", "no-cache"))
        if "odata-version" not in present:
            headers.append(("OData-Version", "4.0"))
        headers += [
            ("Expires", "-1"),
            ("Date", date),
            ("REQ_ID", f"{request_id},{request_id}"),
            ("x-ms-service-request-id", f"{request_id},{request_id}"),
            ("AuthActivityId", activity_id),
            *_FIXED,
        ]
        if user is not None:
            headers += self._limits(user, server)
        headers.append(("Set-Cookie", f"ARRAffinity={self._protection.cookie(server)}; path=/; secure; HttpOnly"))
        if "ReqClientId=" not in (request.header("cookie") or ""):
            cookie = f"ReqClientId={self._guid()}; expires={ever}; path=/; secure; HttpOnly"
            headers.append(("Set-Cookie", cookie))
        return Response(response.status, tuple(headers), response.body)

    def date(self) -> tuple[str, str]:
        """Return the emulator's time as a Date header."""
        return ("Date", self._now()[0])

    def _limits(self, user: str, server: int) -> list[tuple[str, str]]:
        left = self._protection.remaining(user, server, self._clock.monotonic())
        return [
            ("x-ms-dop-hint", str(self._protection.limits.dop_hint)),
            ("x-ms-ratelimit-time-remaining-xrm-requests", f"{left.seconds:,.2f}"),
            ("x-ms-ratelimit-burst-remaining-xrm-requests", str(left.requests)),
        ]

    def _now(self) -> tuple[str, str]:
        moment = self._clock.now()
        second = int(moment.timestamp())
        if second != self._second:
            self._second = second
            self._dates = (format_datetime(moment, usegmt=True), format_datetime(moment + _EVER, usegmt=True))
        return self._dates

    def _guid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
