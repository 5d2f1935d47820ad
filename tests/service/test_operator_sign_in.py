"""Operators sign in at the page by browser, at the emulator's identity provider, and out again."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import Response as PlainResponse
from starlette.testclient import TestClient

from connector.clock import SystemClock, VirtualClock
from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.code_flow import CodeFlow
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import NotSent
from connector.handler import Request, Response
from connector.service.app import create_app
from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.session_cookies import SessionCookie
from connector.service.service_options import Access, Admission
from tests.service.stage import OPTIONS, Stage

URL = "https://localhost"
PAGE = "/operations-page"
SIGNED_IN = f"{PAGE}/signed-in"
BROWSER = {"accept": "text/html,application/xhtml+xml"}
OPERATOR = ("Operations.Manage",)


@dataclass
class Provider:
    """The emulator's identity provider, with one person who has these app roles."""

    emulator: EmbeddedEmulator
    trouble: Response | NotSent | None = None

    def visit(self, address: str) -> dict[str, str]:
        """Go to the sign-in page as a browser does, and return the form with which it sends the browser back."""
        page = self.http(Request("GET", address)).body.decode()
        assert f'action="{URL}{PAGE}/signed-in"' in page
        return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}

    def http(self, request: Request) -> Response:
        if isinstance(self.trouble, NotSent):
            raise self.trouble
        return self.trouble or self.emulator.emulator.handle(request)


@contextmanager
def served(stage: Stage, keys: Keys, roles: tuple[str, ...] = OPERATOR) -> Iterator[tuple[TestClient, Provider]]:
    tenant = local_tenant()
    tenant = replace(tenant, people=(replace(tenant.people[0], roles=roles),))
    emulator = open_embedded(":memory:", SystemClock(), EmulatorOptions(seeded=0, tenant=tenant), keys)
    provider = Provider(emulator)
    authority = emulator.authority
    registration = auth.Registration(emulator.client_id, lambda: authority, "")
    flow = CodeFlow(registration, lambda: emulator.client_secret, provider.http)
    admission = Admission(
        access=Access.APPLICATION,
        tenants={tenant.tenant_id: "https://org.crm4.dynamics.com"},
        audiences=frozenset({emulator.client_id}),
        clients=frozenset({"connector"}),
        authority=authority.rpartition("/")[0],
    )
    options = replace(OPTIONS, admission=admission, public_url=URL)
    app = create_app(options, replace(stage.dependencies(), operator_sign_in=flow))
    with TestClient(app, base_url=URL, client=("192.0.2.7", 50000), follow_redirects=False) as client:
        client.headers |= BROWSER
        yield client, provider
    emulator.close()


def answered(client: TestClient, provider: Provider) -> dict[str, str]:
    """Go from the page to the identity provider, as a browser does; return the form that comes back."""
    asked = client.get(PAGE)
    assert (asked.status_code, asked.headers["location"]) == (303, f"{PAGE}/sign-in")
    return provider.visit(client.get(asked.headers["location"]).headers["location"])


def sign_in(client: TestClient, provider: Provider) -> Any:
    return client.post(SIGNED_IN, data=answered(client, provider))


def test_an_operator_signs_in_sees_the_page_and_signs_out(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys) as (client, provider):
        done = sign_in(client, provider)
        assert (done.status_code, done.headers["location"]) == (303, PAGE)
        for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=3600"):
            assert part in done.headers["set-cookie"]
        page = client.get(PAGE)
        assert page.status_code == 200
        assert "Emulator Administrator, operator" in page.text
        form = {"token": re.findall(r'name="token" value="([0-9a-f]{64})"', page.text)[0]}
        assert client.post(f"{PAGE}/sign-out").status_code == 403, "another site cannot sign anybody out"
        out = client.post(f"{PAGE}/sign-out", data=form)
        assert (out.status_code, out.headers["location"]) == (303, f"{PAGE}/signed-out")
        assert "You have signed out." in client.get(f"{PAGE}/signed-out").text
        assert client.get(PAGE).status_code == 303


def test_the_sign_in_asks_with_pkce_state_and_nonce_and_keeps_what_it_must_in_the_browser_alone(
    stage: Stage, emulator_keys: Keys
) -> None:
    with served(stage, emulator_keys) as (client, _):
        answer = client.get(f"{PAGE}/sign-in?choose=1")
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        assert {"code_challenge", "state", "nonce"} <= set(query)
        assert query["response_mode"] == ["form_post"]
        assert query["prompt"] == ["select_account"]
        assert query["redirect_uri"] == [f"{URL}{PAGE}/signed-in"]
        kept = answer.headers["set-cookie"]
        assert query["state"][0] not in kept, "it is sealed"


def test_a_person_without_the_role_sees_what_is_their_own_alone(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys, roles=()) as (client, provider):
        sign_in(client, provider)
        page = client.get(PAGE).text
    assert "Emulator Administrator" in page
    assert "operator" not in page.partition("<main")[0].partition("<header")[2]


def test_an_answer_that_belongs_to_no_sign_in_of_this_browser_signs_nobody_in(
    stage: Stage, emulator_keys: Keys
) -> None:
    with served(stage, emulator_keys) as (client, provider):
        form = answered(client, provider)
        for wrong in ({**form, "state": "x"}, {}, {"code": "1", "state": "\u00e9"}):
            answer = client.post(SIGNED_IN, data=wrong)
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            assert "begun in another browser" in answer.text
        refused = client.post(SIGNED_IN, data={**form, "code": "x"})
        assert (refused.status_code, client.get(PAGE).status_code) == (403, 303)
        assert "AADSTS70008" in html.unescape(refused.text)
        client.cookies.clear()
        assert client.post(SIGNED_IN, data=form).status_code == 401, "a form from elsewhere signs nobody in"


def test_while_the_sign_in_service_is_down_the_browser_is_shown_that(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys) as (client, provider):
        form = answered(client, provider)
        for trouble in (Response(503, (), b"<html>"), Response(200, (), b"null"), NotSent("Nothing was sent.")):
            provider.trouble = trouble
            answer = client.post(SIGNED_IN, data=form)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
        provider.trouble = None
    with served(stage, emulator_keys) as (client, provider):
        provider.trouble = NotSent("Nothing was sent.")
        answer = client.get(f"{PAGE}/sign-in")
        assert (answer.status_code, "could not be asked" in answer.text) == (503, True)


@pytest.mark.parametrize("cookie", ["rubbish", "AAAA", "%00", "A" * 4000])
def test_a_made_up_cookie_is_none(stage: Stage, emulator_keys: Keys, cookie: str) -> None:
    with served(stage, emulator_keys) as (client, _):
        headers = {"cookie": f"__Host-session={cookie}"}
        assert client.get(PAGE, headers=headers).status_code == 303
        assert (
            client.post(SIGNED_IN, data={"state": "1"}, headers={"cookie": f"__Host-sign-in={cookie}"}).status_code
            == 401
        )


def test_a_session_is_believed_at_the_page_alone_and_no_longer_than_an_hour(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys) as (client, provider):
        sign_in(client, provider)
        assert client.get("/operations").status_code == 401
        assert client.post(f"/opportunities/{stage.opportunity()}/close", json={"outcome": "won"}).status_code == 401


def test_a_session_ends_after_an_hour() -> None:
    clock = VirtualClock()
    sessions = SessionCookie(b"s" * 32, clock, bytes)
    response = PlainResponse()
    sessions.begin(response, Caller(CallerKind.USER, "tenant", "person", "page", operator=True, assertion="secret"))
    cookies = response.headers["set-cookie"].partition(";")[0]
    kept = sessions.caller(cookies)
    assert kept == Caller(CallerKind.USER, "tenant", "person", "page", operator=True)
    assert kept.assertion == ""
    clock.sleep(3601)
    assert sessions.caller(cookies) is None


def test_a_session_that_another_version_made_is_none() -> None:
    sessions = SessionCookie(b"s" * 32, VirtualClock(), bytes)
    response = PlainResponse()
    sessions._keep(response, "__Host-session", {"kind": "user", "what_was_kept_once": 1}, 60)
    assert sessions.caller(response.headers["set-cookie"].partition(";")[0]) is None


def test_a_list_that_is_renewed_after_the_session_leads_to_the_sign_in(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys) as (client, _):
        answer = client.get(PAGE, headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, PAGE)


def test_programs_are_told_that_they_are_not_signed_in(stage: Stage, emulator_keys: Keys) -> None:
    with served(stage, emulator_keys) as (client, _):
        assert client.get(PAGE, headers={"accept": "*/*"}).status_code == 401
        assert client.get(PAGE, headers={"authorization": "Bearer x"}).status_code == 401
