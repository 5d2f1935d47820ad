"""Signing in at the operations page by browser, and out again: authorization code with PKCE, then a session cookie."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from connector.errors import SignInError
from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.session_cookies import SessionCookie
from connector.service.auth.token_validator import forbidden, shown_name, unauthorized
from connector.service.dependencies import OperatorSignIn
from connector.service.operations.waiting import Waiter, WaitKind
from connector.service.problems import Problem, RequestRefused, of_error
from connector.service.service_options import Admission
from connector.service.templates.page_view import HEADERS, PAGE, render

SIGN_IN, SIGNED_IN, SIGNED_OUT = f"{PAGE}/sign-in", f"{PAGE}/signed-in", f"{PAGE}/signed-out"
SIGN_IN_SECONDS = 20.0
"""Seconds for which a browser waits for the sign-in service."""


@dataclass(frozen=True, slots=True)
class SignInRoutes:
    """The routes; `base` is the address of the endpoint, at which the registration lets people return."""

    sign_in: OperatorSignIn
    sessions: SessionCookie
    admission: Admission
    base: str
    waiting: Waiter

    def router(self) -> APIRouter:
        """Return the routes; nobody has signed in yet who asks for them."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route(SIGN_IN, self.begin, methods=["GET"])
        router.add_api_route(SIGNED_IN, self.finish, methods=["POST"])
        router.add_api_route(SIGNED_OUT, self.out, methods=["GET"])
        return router

    async def begin(self, request: Request) -> Response:
        """Send the browser to the sign-in service."""
        prompt = "select_account" if "choose" in request.query_params else ""
        try:
            flow = await self._ask(lambda: self.sign_in.begin(f"{self.base}{SIGNED_IN}", prompt))
        except RequestRefused as refused:
            return _failure_page(refused.failure)
        response = RedirectResponse(str(flow["auth_uri"]), HTTPStatus.FOUND)
        self.sessions.keep_flow(response, flow)
        return response

    async def finish(self, request: Request) -> Response:
        """Take the browser back, with the answer of the sign-in service."""
        flow = self.sessions.flow(request.headers.get("cookie", ""))
        form = parse_qs((await request.body()).decode("latin-1"))
        answer = {name: values[0] for name, values in form.items()}
        try:
            if not flow or not hmac.compare_digest(str(flow.get("state")).encode(), answer.get("state", "").encode()):
                raise unauthorized("sign_in_outdated", "This sign-in was begun in another browser, or too long ago.")
            claims = await self._ask(lambda: self.sign_in.finish(flow, answer))
            caller = person_of(claims, self.admission)
        except RequestRefused as refused:
            return _failure_page(refused.failure)
        response = RedirectResponse(PAGE, HTTPStatus.SEE_OTHER)
        self.sessions.begin(response, caller)
        return response

    async def out(self) -> Response:
        """Show that nobody is signed in any more."""
        return HTMLResponse(render("signed_out.html", notice="You have signed out.", choose=True), headers=HEADERS)

    async def _ask(self, ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            return await self.waiting.within(SIGN_IN_SECONDS, WaitKind.SIGN_IN, ask)
        except SignInError as error:
            raise RequestRefused(of_error(error)) from error
        except TimeoutError:
            sentence = "The sign-in service does not answer in time. Try again in a minute."
            raise RequestRefused(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "sign_in_unavailable", sentence)) from None


def person_of(claims: Mapping[str, Any], admission: Admission) -> Caller:
    """Return the person of a checked ID token, if admitted. Raises RequestRefused (401, 403)."""
    tenant, subject = str(claims.get("tid", "")).lower(), str(claims.get("oid", "")).lower()
    if tenant not in admission.tenants:
        raise forbidden("tenant_not_admitted", "This endpoint does not serve the tenant that you have signed in to.")
    if claims.get("iss") != f"{admission.authority}/{tenant}/v2.0" or not subject:
        raise unauthorized("token_issuer", "The issuer of the ID token does not belong to its tenant.")
    roles = claims.get("roles")
    operator = isinstance(roles, list) and admission.operator_role in roles
    return Caller(CallerKind.USER, tenant, subject, str(claims.get("aud", "")), operator, name=shown_name(claims))


def asking_to_sign_in(refused: RequestRefused, headers: Mapping[str, str]) -> RequestRefused:
    """Return what a browser is told whom nobody has signed in: where to do that; to others the refusal itself."""
    if refused.failure.status != HTTPStatus.UNAUTHORIZED or "authorization" in headers:
        return refused
    if "hx-request" in headers:  # a page whose session has ended renews its list
        return RequestRefused(replace(refused.failure, headers={"HX-Redirect": PAGE}))
    if "text/html" not in headers.get("accept", ""):
        return refused
    return RequestRefused(replace(refused.failure, status=HTTPStatus.SEE_OTHER.value, headers={"Location": SIGN_IN}))


def front_door() -> APIRouter:
    """Return the route `/`, which leads people to the page; programs find the definition named there."""
    router = APIRouter(include_in_schema=False)
    links = {"page": PAGE, "definition": "/connector/apiDefinition.swagger.json", "mcp": "/mcp", "health": "/readyz"}

    async def show(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(PAGE, HTTPStatus.SEE_OTHER)
        return JSONResponse({"name": "Opportunity Close", **links})

    router.add_api_route("/", show, methods=["GET", "HEAD"])
    return router


def _failure_page(failure: Problem) -> Response:
    page = render("signed_out.html", notice=failure.message, choose=True)
    return HTMLResponse(page, failure.status, {**HEADERS, **failure.headers})
