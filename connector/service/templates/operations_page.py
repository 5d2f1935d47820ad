"""The operations page: what runs, what is being waited for, what failed and what to do, with retry and cancel.

Rendered here, without scripts: it reads on a phone, follows the dark mode of the device, and renews itself. A form
carries a token made of the caller and the day, so that no other site can press its buttons.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
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

if TYPE_CHECKING:
    from jinja2 import Environment

PATH = "/operations-page"
SHOWN = 50
_RENEWED = 5
_AGAIN = frozenset({ItemStatus.FAILED, ItemStatus.REFUSED})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation on the page; `action` is what can be done to it: cancel, retry or nothing."""

    seen: OperationView
    action: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """A bulk job on the page."""

    name: str
    state: str
    sentence: str
    done: int
    total: int
    counts: str


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
        response = await self._pressed(request, lambda caller: self._service.retry(operation, caller))
        self._wake()
        return response

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
        return RedirectResponse(PATH, HTTPStatus.SEE_OTHER)

    def _check(self, token: str, caller: Caller) -> None:
        """Raise RequestRefused (403) when the button was on another site's page, or on one of yesterday."""
        if not hmac.compare_digest(token.encode(), self._token(caller).encode()):
            raise declined(403, "page_outdated", "The page was outdated, and is loaded anew. Press the button again.")

    def _token(self, caller: Caller) -> str:
        day = self._clock.now().date().isoformat()
        return hmac.new(self._secret, f"{caller.owner}\0{day}".encode(), hashlib.sha256).hexdigest()

    def _page(self, caller: Caller, notice: str = "") -> str:
        jobs = self._service.jobs(caller, SHOWN)
        return (
            _templates()
            .get_template("operations.html")
            .render(
                path=PATH,
                renewed=_RENEWED,
                now=self._clock.now(),
                notice=notice,
                token=self._token(caller),
                rows=[self._row(operation) for operation in self._service.newest(caller, SHOWN)],
                jobs=[_job_row(job, self._service.ledger.counts(job.name)) for job in jobs],
            )
        )

    def _row(self, operation: StoredOperation) -> OperationRow:
        seen = view(operation, self._service.waiting_until(operation))
        if seen.status in (OperationStatus.QUEUED, OperationStatus.WAITING):
            return OperationRow(seen, "cancel")
        again = operation.record.status in _AGAIN and stands(operation)
        return OperationRow(seen, "retry" if again else "")


@functools.cache
def _templates() -> Environment:
    """Return the templates; whatever is put into one is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("connector.service.templates", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["moment"] = _moment
    return templates


def _job_row(job: Job, counts: Counts) -> JobRow:
    named = {word: count for word, count in counts.data().items() if count and word != "total"}
    return JobRow(
        name=job.name,
        state=job.state.value,
        sentence=job.desired_state.sentence if counts.open else job.state.sentence,
        done=counts.total - counts.open,
        total=counts.total,
        counts=", ".join(f"{count} {word.replace('_', ' ')}" for word, count in named.items()),
    )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
