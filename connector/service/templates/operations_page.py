"""The operations page: what runs, waits or failed and why, with filters and buttons, and the failures of bulk jobs.

Rendered here and whole without scripts; with them it renews the list in place (htmx) and tells the viewer's own time. A
form carries a token made of the caller and the day, so that no other site can press its buttons.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib import resources
from itertools import islice
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from connector.errors import ConnectorError
from connector.ledger.jobs import NOT_DONE, Record
from connector.ledger.operation_store import MOST_SEARCHED, StoredOperation
from connector.service.auth.caller import Caller
from connector.service.auth.session_cookies import SessionCookie
from connector.service.dependencies import Dependencies
from connector.service.operations.operation_results import failure_for_operators, message_for_operators, stands, view
from connector.service.operations.operation_service import MOST_RETRIED, OperationService
from connector.service.operations.waiting import STORE_SECONDS
from connector.service.problems import RETRY_AFTER, RequestRefused, busy, declined
from connector.service.routes.operation_routes import caller_of
from connector.service.routes.sign_in_routes import SIGNED_OUT
from connector.service.schemas.response_models import OperationStatus
from connector.service.service_options import ServiceOptions
from connector.service.templates.page_view import (
    HEADERS,
    PAGE,
    SHOWN,
    SIGNS,
    PageCounts,
    PageQuery,
    job_row,
    record_link,
    render,
)

SCRIPTS = {f"{PAGE}/script": "page.js", f"{PAGE}/htmx": "htmx.min.js"}
"""The scripts of the page, which anybody may read. htmx is bundled with its licence, `htmx.LICENSE`."""
Form = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class OperationsPage:
    """The page and its buttons; `wake` tells the workers that there is something to do."""

    service: OperationService
    options: ServiceOptions
    dependencies: Dependencies
    wake: Callable[[], None]
    sessions: SessionCookie

    def router(self) -> APIRouter:
        """Return the routes; they are no operations of the connector."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route(PAGE, self.show, methods=["GET"])
        router.add_api_route(f"{PAGE}/job", self.job, methods=["GET"])
        router.add_api_route(f"{PAGE}/sign-out", self.sign_out, methods=["POST"])
        router.add_api_route(f"{PAGE}/retry", self.retry_many, methods=["POST"])
        router.add_api_route(f"{PAGE}/{{operation}}/cancel", self.cancel, methods=["POST"])
        router.add_api_route(f"{PAGE}/{{operation}}/retry", self.retry, methods=["POST"])
        for path in SCRIPTS:
            router.add_api_route(path, script, methods=["GET"])
        return router

    async def show(self, request: Request) -> Response:
        """Show the caller's operations; for an operator everybody's, and the bulk jobs. 204: as `seen` says it is."""
        caller, query = caller_of(request), PageQuery.read(request.url.query)
        page, digest = await self.dependencies.waiting.apart(lambda: self._page(caller, query))
        if request.query_params.get("seen") == digest:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return HTMLResponse(page, headers=HEADERS)

    async def job(self, request: Request) -> Response:
        """Show the rows of a bulk job that failed or were refused."""
        caller = caller_of(request)
        name, cause, after = (request.query_params.get(field, "") for field in ("name", "cause", "after"))
        first = int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else 0
        return HTMLResponse(
            await self.dependencies.waiting.apart(lambda: self._job(caller, name, cause, first)), headers=HEADERS
        )

    async def sign_out(self, request: Request) -> Response:
        """End the browser's session."""
        self._check(await _form(request), caller_of(request))
        response = RedirectResponse(SIGNED_OUT, HTTPStatus.SEE_OTHER)
        self.sessions.end(response)
        return response

    async def cancel(self, request: Request, operation: str) -> Response:
        """Cancel an operation, and show the page again."""
        return await self._pressed(request, lambda caller: self.service.cancel(operation, caller))

    async def retry(self, request: Request, operation: str) -> Response:
        """Try a failed operation again, and show the page again."""
        response = await self._pressed(request, lambda caller: self.service.retry(operation, caller))
        self.wake()
        return response

    async def retry_many(self, request: Request) -> Response:
        """Ask whether so many operations are meant; when that was answered with their number, try them again."""
        caller, form = caller_of(request), await _form(request)
        query = PageQuery.read(_one(form, "back"))
        try:
            self._check(form, caller)
            page = await self.dependencies.waiting.apart(lambda: self._retried(caller, form, query))
        except RequestRefused as refused:
            return await self._refused(refused, caller, query)
        self.wake()
        return HTMLResponse(page, headers=HEADERS) if page else RedirectResponse(query.at(), HTTPStatus.SEE_OTHER)

    def _retried(self, caller: Caller, form: Form, query: PageQuery) -> str:
        """Return the page that asks back, or nothing when the answer was given and the operations are tried again."""
        chosen = self.service.failed(caller, query.filter, None if _one(form, "all") else form.get("operation", []))
        if not chosen:
            sentence = "No operation was chosen that has failed, so none is tried again."
            raise declined(HTTPStatus.CONFLICT, "not_failed", sentence)
        if _one(form, "count") == str(len(chosen)):
            ends = self.dependencies.clock.monotonic() + STORE_SECONDS / 2
            for tried, operation in enumerate(chosen):
                if self.dependencies.clock.monotonic() > ends:
                    sentence = f"The store is slow: {tried} of {len(chosen)} are tried again. Press once more."
                    raise RequestRefused(busy("store_slow", sentence, RETRY_AFTER))
                self.service.retry(operation.job.name, caller)
            return ""
        return render(
            "confirm.html", caller=caller, token=self._token(caller), query=query, most=MOST_RETRIED, chosen=chosen,
            every=bool(_one(form, "all")), changed=bool(_one(form, "count")),
        )  # fmt: skip

    async def _pressed(self, request: Request, act: Callable[[Caller], object]) -> Response:
        """Do what a button says and show the page again; what is declined is said above it, with its status."""
        caller, form = caller_of(request), await _form(request)
        query = PageQuery.read(_one(form, "back"))
        try:
            self._check(form, caller)
            await self.dependencies.waiting.apart(lambda: act(caller))
        except RequestRefused as refused:
            return await self._refused(refused, caller, query)
        return RedirectResponse(query.at(page=query.page), HTTPStatus.SEE_OTHER)

    async def _refused(self, refused: RequestRefused, caller: Caller, query: PageQuery) -> Response:
        failure = refused.failure
        page, _ = await self.dependencies.waiting.apart(lambda: self._page(caller, query, failure.message))
        return HTMLResponse(page, failure.status, HEADERS)

    def _check(self, form: Form, caller: Caller) -> None:
        """Raise RequestRefused (403) when the button was on another site's page, or on one of yesterday."""
        if not hmac.compare_digest(_one(form, "token").encode(), self._token(caller).encode()):
            sentence = "The page is out of date and is loaded again. Press the button again."
            raise declined(HTTPStatus.FORBIDDEN, "page_outdated", sentence)

    def _token(self, caller: Caller) -> str:
        day = self.dependencies.clock.now().date().isoformat()
        secret = hashlib.sha256(b"page\0" + self.options.secret).digest()
        return hmac.new(secret, f"{caller.owner}\0{day}".encode(), hashlib.sha256).hexdigest()

    def _page(self, caller: Caller, query: PageQuery, notice: str = "") -> tuple[str, str]:
        """Return the page, and a digest of what may change on it."""
        counts = self._counts(caller, query)
        query = replace(query, page=min(query.page, max(1, -(-counts.total // SHOWN))))  # rows may be fewer by now
        chosen = self.service.visible(caller, query.filter)
        operations = self.service.operations.newest(SHOWN, chosen, (query.page - 1) * SHOWN)
        organization = self._organization(caller)
        values = {
            "query": query, "token": self._token(caller), "caller": caller, "counts": counts, "shown": SHOWN,
            "searched": MOST_SEARCHED,
            "rows": [self._row(operation, organization) for operation in operations],
            "jobs": [job_row(self.service.ledger, job) for job in self.service.jobs(caller, SHOWN)],
        }  # fmt: skip
        news = render("operations_list.html", **values)
        digest = hashlib.sha256(news.encode()).hexdigest()[:16]
        more = {"notice": notice, "digest": digest, "now": self.dependencies.clock.now(), "states": OperationStatus}
        return render("operations.html", **values, **more), digest

    def _counts(self, caller: Caller, query: PageQuery) -> PageCounts:
        whole = self.service.visible(caller, PageQuery(text=query.text, day=query.day, zone=query.zone).filter)
        unsearched = 0
        if whole.text and not whole.id:
            unsearched = sum(tally.count for tally in self.service.operations.count(replace(whole, text="")))
        counts = self.service.operations.count(whole)
        return PageCounts.of(counts, query, max(0, unsearched - MOST_SEARCHED))

    def _row(self, operation: StoredOperation, organization: str) -> dict[str, object]:
        """Return an operation as the page shows it; `action` is what can be done to it: cancel, retry or nothing."""
        shown, record = view(operation, self.service.waiting_until(operation)), operation.record
        shown = shown.model_copy(update={"message": message_for_operators(operation)})
        action = "retry" if record.status in NOT_DONE and stands(operation) else ""
        if shown.status in (OperationStatus.QUEUED, OperationStatus.WAITING):
            action = "cancel"
        by = self.service.caller_of(operation)
        return {
            "seen": shown, "sign": SIGNS[shown.status.value], "name": str((record.report or {}).get("name", "")),
            "caller": by.name or by.object_id, "cause": record.reason if record.status in NOT_DONE else "",
            "link": record_link(organization, record.opportunity_id), "action": action,
        }  # fmt: skip

    def _job(self, caller: Caller, name: str, cause: str, after: int) -> str:
        job = next((job for job in self.service.jobs(caller) if job.name == name), None)
        if job is None:
            raise declined(HTTPStatus.NOT_FOUND, "job_unknown", "There is no such bulk job, or you may not see it.")
        organization = job.organization or self._organization(caller)
        row = job_row(self.service.ledger, job)
        cause = cause if cause in dict(row["causes"]) else ""
        failed = self.service.ledger.records(name, NOT_DONE, after, cause)
        rows = [_failed(record, organization) for record in islice(failed, SHOWN + 1)]
        return render(
            "job.html", caller=caller, token=self._token(caller), job=row, rows=rows[:SHOWN], more=len(rows) > SHOWN,
            after=after, cause=cause,
        )  # fmt: skip

    def _organization(self, caller: Caller) -> str:
        try:
            return self.dependencies.organizations.address(caller)
        except ConnectorError:
            return ""


async def script(request: Request) -> Response:
    """Return a script of the page."""
    file = resources.files("connector.service.templates").joinpath(SCRIPTS[request.url.path])
    return Response(file.read_bytes(), media_type="text/javascript")


def _failed(record: Record, organization: str) -> dict[str, object]:
    """Return a row of a bulk job that failed or was refused as the page shows it."""
    sentence = failure_for_operators(record.report or {}) or record.status.sentence
    return {
        "number": record.row, "opportunity_id": record.opportunity_id, "status": record.status.value,
        "cause": record.reason, "message": sentence, "link": record_link(organization, record.opportunity_id),
    }  # fmt: skip


async def _form(request: Request) -> Form:
    return parse_qs((await request.body()).decode("latin-1"))


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0]
