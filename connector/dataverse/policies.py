"""Handlers around a Handler: authorize, retry, log.

The order, outside in, is log, retry, pace, authorize, transport: each attempt is paced and carries a fresh token.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from connector.clock import Clock
from connector.dataverse.answers import retry_after, service_request_id
from connector.dataverse.error_bodies import error_body, sender_of
from connector.dataverse.sign_in.authority import Challenge, origin_of, parse_challenge
from connector.errors import ConnectorError, Effect, NotSent, Rejected, SignInError, Unanswered, Unauthorized
from connector.handler import Handler, Request, Response

_log = logging.getLogger("connector.http")

CLIENT_REQUEST_ID = "x-ms-client-request-id"
CORRELATION_ID = "x-ms-correlation-request-id"
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
_PASSING_TROUBLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
LONG_PAUSE = 5.0
"""Seconds from which a wait is announced: a shorter one is over before the message is read."""


class TokenSource(Protocol):
    """Where bearer tokens come from; safe to share between threads."""

    def token(self) -> str:
        """Return a token that is valid for a while. Raises SignInError."""

    def renew(self, rejected: str, claims: str = "") -> str:
        """Return a token in place of `rejected`; `claims` is what a claims challenge asked for, as JSON text.

        Raises SignInError.
        """


def authorize(handler: Handler, tokens: TokenSource, base_url: str) -> Handler:
    """Put a bearer token on each request, and get another one once when the organization turns it down.

    A token goes to the origin of `base_url` and nowhere else, whatever a next link or Location says. The handler
    raises SignInError for another origin (before anything is sent), Unauthorized when the second token is turned down
    too, and Rejected for a redirect, which is never followed.
    """
    home = origin_of(base_url)
    if not home.startswith("https://"):
        raise SignInError(f"A token is sent over https only, not to {base_url}.", remedy="Check DATAVERSE_URL.")

    def authorized(request: Request) -> Response:
        target = origin_of(request.url)
        if target != home:
            raise SignInError(
                f"A request leads to {target or 'no host'}, not to {home}: neither it nor a token was sent.",
                remedy="Check that DATAVERSE_URL is the organization's own address.",
            )
        token = tokens.token()
        response = handler(_bearing(request, token))
        if response.status == HTTPStatus.UNAUTHORIZED:
            token = tokens.renew(token, parse_challenge(response).claims)
            response = handler(_bearing(request, token))
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise _unauthorized(response, parse_challenge(response))
        if response.status in _REDIRECTS:
            raise _redirected(response, home)
        if response.status == HTTPStatus.OK and _PAGE.match(response.body):
            raise _page(request, response)
        return response

    return authorized


def _bearing(request: Request, token: str) -> Request:
    return replace(request, headers={**request.headers, "authorization": f"Bearer {token}"})


def _unauthorized(response: Response, challenge: Challenge) -> Unauthorized:
    why = f" ({challenge.error})" if challenge.error else ""
    return Unauthorized(
        f"The organization refused two tokens, one of them new{why}.",
        status=response.status,
        detail=error_body(response).detail,
        request_id=service_request_id(response),
        remedy="Check that DATAVERSE_TENANT_ID is the organization's tenant, that this machine's clock is right, "
        "and that the application user is enabled.",
    )


_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)


def _page(request: Request, response: Response) -> ConnectorError:
    """Return the failure of a success that is a page for people: the organization answers in JSON and multipart."""
    sender = sender_of(response)
    sentence = f"A web page came instead of an answer of the organization{f': {sender}' if sender else ''}."
    remedy = "A proxy or a sign-in page steps in: check DATAVERSE_URL, DATAVERSE_PROXY and NO_PROXY."
    if reads_only(request):
        return Rejected(sentence, status=response.status, remedy=remedy)
    return Unanswered(sentence, remedy=f"{remedy} The request may have been carried out: look again.")


def _redirected(response: Response, home: str) -> Rejected:
    target = origin_of(response.header("location") or "") or "another address"
    return Rejected(
        f"The organization sent the request on to {target}; redirects are not followed.",
        status=response.status,
        request_id=service_request_id(response),
        remedy=f"Check that DATAVERSE_URL ({home}) is the organization's own address, and that no proxy steps in.",
    )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on: `told` bounds the seconds spent waiting because the service said so (429, Retry-After).

    Without such word there are `tries` attempts; the wait before the n-th is drawn from the upper half of
    `first` * 2**n seconds, at most `longest`.
    """

    told: float = 900.0
    tries: int = 5
    first: float = 0.5
    longest: float = 30.0

    def backoff(self, failures: int, chance: random.Random) -> float:
        """Return the seconds to wait after that many failures in a row (from 1)."""
        ceiling = min(self.longest, self.first * 2.0 ** (failures - 1))
        return ceiling * (0.5 + chance.random() / 2)


def reads_only(request: Request) -> bool:
    """Return whether `request` changes nothing: a GET, or a batch of GETs.

    A batch whose text has any line that begins like a changing request counts as a write: the safe side.
    """
    if request.method in ("GET", "HEAD"):
        return True
    is_batch = request.method == "POST" and urlsplit(request.url).path.endswith("/$batch")
    return is_batch and _READ_LINE.search(request.body) is not None and _WRITE_LINE.search(request.body) is None


_READ_LINE = re.compile(rb"^GET ", re.MULTILINE)
_WRITE_LINE = re.compile(rb"^\s*(POST|PATCH|PUT|DELETE|MERGE)\b", re.MULTILINE | re.IGNORECASE)


def anything(_request: Request) -> bool:
    """Say of every request that it may be repeated: true of the sign-in service, where asking twice is harmless."""
    return True


def retry(
    handler: Handler,
    *,
    sleep: Callable[[float], None],
    chance: random.Random,
    policy: RetryPolicy,
    repeatable: Callable[[Request], bool] = reads_only,
) -> Handler:
    """Send again what certainly did not happen (429, no connection), and what is `repeatable` on any passing trouble.

    A write that may have happened is never sent again: its failure, or its 5xx response, is handed back. So is the
    last response when the policy allows no more. Each further attempt has a `x-ms-client-request-id` of its own.
    """

    def retried(request: Request) -> Response:
        waited, failures, attempt = 0.0, 0, request
        while True:
            response: Response | None = None
            trouble: ConnectorError | None = None
            try:
                response = handler(attempt)
            except (NotSent, Unanswered) as error:
                trouble = error
            if not _again(request, response, trouble, repeatable):
                return _outcome(request, response, trouble, repeatable)
            pause_told = retry_after(response) if response else None
            failures += pause_told is None
            pause = policy.backoff(failures, chance) if pause_told is None else pause_told + chance.random()
            if failures >= policy.tries or (pause_told is not None and waited + pause_told > policy.told):
                return _outcome(request, response, trouble, repeatable)
            waited += pause
            level = logging.WARNING if pause >= LONG_PAUSE else logging.INFO
            why = _reason(response, trouble)
            _log.log(level, "Waiting %.1f s to send %s again, because of %s", pause, describe(request), why)
            sleep(pause)
            attempt = _renamed(request, chance)

    return retried


def _again(
    request: Request, response: Response | None, trouble: ConnectorError | None, repeatable: Callable[[Request], bool]
) -> bool:
    """Return whether what happened allows the same request to be sent again."""
    if response is not None and response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    if isinstance(trouble, NotSent):
        return trouble.transient
    passing = trouble is not None or (response is not None and response.status in _PASSING_TROUBLE)
    return passing and repeatable(request)


def _outcome(
    request: Request, response: Response | None, trouble: ConnectorError | None, repeatable: Callable[[Request], bool]
) -> Response:
    if response is not None:
        return response
    if isinstance(trouble, Unanswered) and repeatable(request):
        trouble.effect = Effect.NONE
        trouble.remedy = "Try again; check your network and proxy. DATAVERSE_READ_TIMEOUT sets how long to wait."
    raise trouble or AssertionError("a handler returned neither response nor failure")


def _reason(response: Response | None, trouble: ConnectorError | None) -> str:
    return f"status {response.status}" if response is not None else type(trouble).__name__


def _renamed(request: Request, chance: random.Random) -> Request:
    fresh = str(UUID(int=chance.getrandbits(128), version=4))
    return replace(request, headers={**request.headers, CLIENT_REQUEST_ID: fresh})


def log(handler: Handler, *, clock: Clock) -> Handler:
    """Write one line per request: what, status, duration and the ids that support asks for.

    Never a body, a token, a query value or a quoted key, since those may hold customer text.
    """

    def logged(request: Request) -> Response:
        if not _log.isEnabledFor(logging.INFO):  # to describe a request with hundreds of ids takes time
            return handler(request)
        began = clock.monotonic()
        try:
            response = handler(request)
        except ConnectorError as error:
            _log.info("%s failed=%s %s", describe(request), type(error).__name__, _since(began, clock, request))
            raise
        service_id = _plain(service_request_id(response)) or "-"
        line = "%s status=%d request=%s %s"
        _log.info(line, describe(request), response.status, service_id, _since(began, clock, request))
        return response

    return logged


def _since(began: float, clock: Clock, request: Request) -> str:
    milliseconds = (clock.monotonic() - began) * 1000
    client, correlation = (request.header(name) or "-" for name in (CLIENT_REQUEST_ID, CORRELATION_ID))
    return f"ms={milliseconds:.0f} client={_plain(client)} correlation={_plain(correlation)}"


def describe(request: Request) -> str:
    """Return the method, path and names of the query options of `request`, fit for a log."""
    parts = urlsplit(request.url)
    path = re.sub(r"('|%27).*?('|%27|$)", "'*'", parts.path, flags=re.IGNORECASE)
    names = ",".join(sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}))
    return f"{request.method} {path}" + (f" ?{_plain(names)}" if names else "")


def _plain(text: str) -> str:
    """Return `text` without anything that could break a log line or be more than an id."""
    return re.sub(r"[^\w$@.,:-]", "", text)[:200]
