"""What the endpoint turns down: a status that the flow engine treats rightly, a stable code, a sentence to act on."""

from __future__ import annotations

import base64
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import responses
from types import MappingProxyType

from connector.closing.intent import HOSTED_FIELDS
from connector.errors import (
    Broken,
    ConnectorError,
    Forbidden,
    InputError,
    LedgerError,
    Malformed,
    NotFound,
    Rejected,
    ServiceError,
    SignInAgain,
    SignInError,
    Stale,
    Throttled,
    TransportError,
    Unauthorized,
    cause_of,
)
from connector.service.schemas.response_models import ErrorDetail

SIGN_IN_AGAIN = "Repair the connection: sign in to it again."
"""What a maker does when the user's sign-in no longer suffices."""
NO_STORE = (
    "The endpoint cannot use its store now. Send the same request again later: nothing is done twice. If it stays so, "
    "tell the administrator of the endpoint."
)
MALFORMED = "The request is malformed; nothing was changed."
"""What a refusal begins with that is about the request itself."""
RETRY_AFTER = 10
"""Seconds to wait where nobody said how long."""
_SETTING = re.compile(r"(?:^|(?<=\. ))[A-Z](?=[^.]*\b(?:DATAVERSE|CONNECTOR)_[A-Z])")
_OPTION = re.compile(r"--[a-z]+(?:-[a-z]+)*")
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure as it is told; the engine sends 408, 429 and 5xx again, everything else ends its action."""

    status: int
    code: str
    message: str
    details: tuple[ErrorDetail, ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    operation_id: str | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return (
            self.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
            or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        )

    def body(self, instance: str, correlation_id: str) -> dict[str, object]:
        """Return the body: the platform's `error` and the members of RFC 9457.

        The title is the name of the status, as the RFC has it for the type about:blank.
        """
        details = [{"code": d.code, "message": d.message, "target": d.target} for d in self.details]
        body = {
            "error": {"code": self.code, "message": self.message, "details": [_without_none(d) for d in details]},
            "type": "about:blank",
            "title": responses.get(self.status, "Failed"),
            "status": self.status,
            "detail": self.message,
            "instance": instance,
            "operationId": self.operation_id,
            "correlationId": correlation_id,
            "retryable": self.retryable,
        }
        return _without_none(body)


def _without_none(members: Mapping[str, object]) -> dict[str, object]:
    """Return what is there: a definition that names a type has no null."""
    return {name: value for name, value in members.items() if value is not None}


def frames_of(error: BaseException) -> str:
    """Return where it was raised, for a log; not its message, which may hold customer text."""
    return "".join(traceback.format_tb(error.__traceback__))


class RequestRefused(Exception):
    """Ends a request with a failure."""

    def __init__(self, failure: Problem) -> None:
        super().__init__(failure.code)
        self.failure = failure


def declined(status: int, code: str, message: str, details: Sequence[ErrorDetail] = ()) -> RequestRefused:
    """Return the exception for a failure of this status, code and sentence."""
    return RequestRefused(Problem(status, code, message, tuple(details)))


def busy(code: str, message: str, seconds: float, status: int = HTTPStatus.SERVICE_UNAVAILABLE) -> Problem:
    """Return a failure that passes: send it again after `seconds`."""
    return Problem(status, code, message, headers={"Retry-After": str(max(1, round(seconds + 0.499)))})


STATUS: tuple[tuple[type[ConnectorError], int, str], ...] = (
    (InputError, HTTPStatus.BAD_REQUEST, "invalid_request"),
    (Unauthorized, HTTPStatus.FORBIDDEN, "organization_sign_in_refused"),
    (Forbidden, HTTPStatus.FORBIDDEN, "organization_forbids"),
    (NotFound, HTTPStatus.NOT_FOUND, "not_found"),
    (Stale, HTTPStatus.PRECONDITION_FAILED, "changed_meanwhile"),
    (Malformed, HTTPStatus.BAD_REQUEST, "invalid_request"),
    (Rejected, HTTPStatus.CONFLICT, "organization_refused"),
    (Throttled, HTTPStatus.TOO_MANY_REQUESTS, "organization_busy"),
    (Broken, HTTPStatus.SERVICE_UNAVAILABLE, "organization_unavailable"),
    (TransportError, HTTPStatus.SERVICE_UNAVAILABLE, "organization_unreachable"),
)
"""What each kind of failure is for a caller; see table 3.5 of the README's error catalogue."""


def of_error(error: ConnectorError) -> Problem:
    """Return a failure of the connector as a caller is told it.

    The organization's own words are left out: they may hold what this caller must not see.
    """
    error = cause_of(error) or error
    if isinstance(error, SignInError):
        return _sign_in(error)
    if isinstance(error, LedgerError):  # its own words, on files and disks, are for the log
        return busy("store_unavailable", NO_STORE, RETRY_AFTER)
    status, code = next(
        ((status, code) for kind, status, code in STATUS if isinstance(error, kind)),
        (HTTPStatus.SERVICE_UNAVAILABLE, "failed"),
    )
    fields = error.fields if isinstance(error, InputError) else ()
    failure = Problem(status, code, labelled(str(error), fields), (*about(fields), *_ids(error)))
    seconds = error.retry_after if isinstance(error, Throttled) else RETRY_AFTER
    return replace(failure, headers=busy("", "", seconds).headers) if failure.retryable else failure


def about(fields: Sequence[str]) -> tuple[ErrorDetail, ...]:
    """Return a detail for each field of the request that a refusal is about, by its name there."""
    field_of = {field.name: field for field in HOSTED_FIELDS}
    named = [field_of[name] for name in fields if name in field_of]
    return tuple(ErrorDetail(code="field", message=field.label, target=field.wire_name) for field in named)


def labelled(message: str, fields: Sequence[str]) -> str:
    """Return a sentence behind the labels that a maker sees of the fields that it is about."""
    labels = ", ".join(detail.message for detail in about(fields))
    for name in fields:
        message = message.removeprefix(f"{name}: ")  # the label says it
    return with_labels(f"{labels}: {message}" if labels else message)


def with_labels(sentence: str) -> str:
    """Return sentences with fields' labels for the command line's options; those on settings say for whom they are."""
    labels = {field.option: field.label for field in HOSTED_FIELDS}
    sentence = _SETTING.sub(lambda first: f"For whoever runs the endpoint: {first[0].lower()}", sentence)
    return _OPTION.sub(lambda option: labels.get(option[0], option[0]), sentence)


def _sign_in(error: SignInError) -> Problem:
    if error.transient:
        return busy("sign_in_unavailable", with_labels(str(error)), RETRY_AFTER)
    if isinstance(error, SignInAgain):
        return Problem(
            HTTPStatus.UNAUTHORIZED,
            "sign_in_again",
            f"{error.message} {SIGN_IN_AGAIN}",
            headers=challenge(error.claims),
        )
    return Problem(HTTPStatus.FORBIDDEN, "organization_sign_in_failed", with_labels(str(error)))


def challenge(claims: str = "") -> dict[str, str]:
    """Return the header that asks for a new sign-in, with the claims (JSON text) that it must have, where known.

    Form: "Claims challenges, claims requests and client capabilities" (Microsoft identity platform).
    """
    claims_part = f', claims="{base64.b64encode(claims.encode()).decode()}"' if claims else ""
    return {"WWW-Authenticate": f'Bearer realm="", error="insufficient_claims"{claims_part}'}


def _ids(error: ConnectorError) -> tuple[ErrorDetail, ...]:
    if not isinstance(error, ServiceError):
        return ()
    ids = (("organization_code", error.code), ("organization_request", error.request_id))
    return tuple(ErrorDetail(code=code, message=text, target=None) for code, text in ids if text)
