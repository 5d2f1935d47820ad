"""The operations page: what runs, what is being waited for, what failed and what to do, with retry and cancel.

Rendered here, without scripts: it reads on a phone, follows the dark mode of the device, and renews itself. A form
carries a token made of the caller and the day, so that no other site can press its buttons.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from connector.clock import Clock
from connector.ledger.jobs import Counts, ItemStatus, Job
from connector.ledger.operation_store import StoredOperation
from connector.service.auth.caller import Caller
from connector.service.operations.operation_results import stands, view
from connector.service.operations.operation_service import OperationService
from connector.service.operations.waiting import Waiter
from connector.service.problems import RequestRefused, declined
from connector.service.routes.operation_routes import caller_of
from connector.service.schemas.response_models import OperationStatus, OperationView
from connector.service.templates.page_style import STYLE

PATH = "/operations-page"
SHOWN = 50
_RENEWED = 5
_AGAIN = frozenset({ItemStatus.FAILED, ItemStatus.REFUSED})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
}


class OperationsPage:
    """The page and its two buttons; `wake` tells the workers that there is something to do."""

    def __init__(
        self, service: OperationService, waiting: Waiter, clock: Clock, secret: bytes, wake: Callable[[], None]
    ) -> None:
        self._service = service
        self._waiting = waiting
        self._clock = clock
        self._secret = hashlib.sha256(b"page\0" + secret).digest()
        self._wake = wake

    def router(self) -> APIRouter:
        """Return the routes; they are no operations of the connector."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route(PATH, self.show, methods=["GET"])
        router.add_api_route(f"{PATH}/{{operation}}/cancel", self.cancel, methods=["POST"])
        router.add_api_route(f"{PATH}/{{operation}}/retry", self.retry, methods=["POST"])
        return router

    async def show(self, request: Request) -> HTMLResponse:
        """Show the caller's operations; for an operator everybody's, and the bulk jobs."""
        caller = caller_of(request)
        return HTMLResponse(await self._waiting.apart(lambda: self._page(caller)), headers=_HEADERS)

    async def cancel(self, request: Request, operation: str) -> Response:
        """Cancel an operation, and show the page again."""
        return await self._pressed(request, lambda caller: self._service.cancel(operation, caller))

    async def retry(self, request: Request, operation: str) -> Response:
        """Try a failed operation again, and show the page again."""
        answer = await self._pressed(request, lambda caller: self._service.retry(operation, caller))
        self._wake()
        return answer

    async def _pressed(self, request: Request, act: Callable[[Caller], object]) -> Response:
        """Do what a button says and show the page again; what is declined is said above it, with its status."""
        caller, form = caller_of(request), parse_qs((await request.body()).decode("latin-1"))
        try:
            self._check(form.get("token", [""])[0], caller)
            await self._waiting.apart(lambda: act(caller))
        except RequestRefused as error:
            failure = error.failure
            page = await self._waiting.apart(lambda: self._page(caller, failure.message))
            return HTMLResponse(page, failure.status, _HEADERS)
        return RedirectResponse(PATH, 303)

    def _check(self, given: str, caller: Caller) -> None:
        """Raise RequestRefused (403) when the button was on another site's page, or on one of yesterday."""
        if not hmac.compare_digest(given.encode(), self._token(caller).encode()):
            raise declined(403, "page_outdated", "The page was outdated, and is loaded anew. Press the button again.")

    def _token(self, caller: Caller) -> str:
        day = self._clock.now().date().isoformat()
        return hmac.new(self._secret, f"{caller.owner}\0{day}".encode(), hashlib.sha256).hexdigest()

    def _page(self, caller: Caller, notice: str = "") -> str:
        token = self._token(caller)
        found = self._service.newest(caller, SHOWN)
        cards = [_operation(one, view(one, self._service.waiting_until(one)), token) for one in found]
        jobs = [_job(job, self._service.ledger.counts(job.name)) for job in self._service.ledger.jobs()[:SHOWN]]
        return _document(self._clock.now(), notice, cards, jobs if caller.operator else [])


def _document(now: datetime, notice: str, operations: Sequence[str], jobs: Sequence[str]) -> str:
    shown = "".join(operations) or "<p>No operation has been asked for yet.</p>"
    said = f"<p class=notice role=alert>{escape(notice)}</p>" if notice else ""
    bulk = f"<h2>Bulk jobs</h2>{''.join(jobs)}" if jobs else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<meta name=color-scheme content="light dark">'
        f'<meta http-equiv=refresh content="{_RENEWED};url={PATH}">'
        f"<title>Operations</title><style>{STYLE}</style></head>"
        f"<body><main><h1>Operations</h1><p class=quiet>As of {_moment(now)}, renewed every {_RENEWED} seconds.</p>"
        f"{said}{shown}{bulk}</main></body></html>"
    )


def _operation(operation: StoredOperation, seen: OperationView, token: str) -> str:
    until = _moment(seen.waiting_until)
    wait = f"<p>Waits for the organization until <b>{until}</b>.</p>" if until else ""
    run = f"<dt>Flow run</dt><dd>{escape(seen.run_id)}</dd>" if seen.run_id else ""
    ended = f"<dt>Ended</dt><dd>{_moment(seen.finished_at)}</dd>" if seen.finished_at else ""
    return (
        f"<article class={seen.status.value}><h3>{seen.kind.capitalize()} <code>{seen.opportunity_id}</code></h3>"
        f"<p><span class=badge>{seen.status.value}</span> {escape(seen.message)}</p>{wait}"
        f"<dl><dt>Operation</dt><dd><code>{escape(seen.operation_id)}</code></dd>{run}"
        f"<dt>Accepted</dt><dd>{_moment(seen.accepted_at)}</dd>{ended}</dl>{_buttons(operation, seen, token)}</article>"
    )


def _buttons(operation: StoredOperation, seen: OperationView, token: str) -> str:
    if seen.status in (OperationStatus.QUEUED, OperationStatus.WAITING):
        return _button("cancel", "Cancel", seen.operation_id, token)
    if operation.record.status in _AGAIN and stands(operation):
        return _button("retry", "Try again", seen.operation_id, token)
    return ""


def _button(action: str, label: str, operation_id: str, token: str) -> str:
    return (
        f'<form method=post action="{PATH}/{escape(operation_id)}/{action}">'
        f"<input type=hidden name=token value={token}><button>{label}</button></form>"
    )


def _job(job: Job, counts: Counts) -> str:
    done = counts.total - counts.open
    words: Mapping[str, int] = {word: count for word, count in counts.data().items() if count and word != "total"}
    told = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in words.items())
    return (
        f"<article class=job><h3>{escape(job.name)}</h3>"
        f"<p><span class=badge>{job.state.value}</span>"
        f" {job.desired_state.sentence if counts.open else job.state.sentence}</p>"
        f"<progress max={max(counts.total, 1)} value={done}></progress>"
        f"<p>{done} of {counts.total}: {told}.</p></article>"
    )


def _moment(moment: datetime | None) -> str:
    return f"<time>{moment:%Y-%m-%d %H:%M:%S} UTC</time>" if moment else ""
