"""Policies around a handler: tokens, what is sent again and when, and what a log may say."""

from __future__ import annotations

import base64
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.dataverse.answers import retry_after
from connector.dataverse.policies import RetryPolicy, authorize, describe, log, reads_only, retry
from connector.dataverse.sign_in.authority import parse_challenge
from connector.errors import ConnectorError, Effect, NotSent, Rejected, SignInError, Unanswered, Unauthorized
from connector.handler import Handler, Request, Response

ORG = "https://contoso.crm4.dynamics.com"
READ = Request("GET", f"{ORG}/api/data/v9.2/quotes?$filter=name%20eq%20'Smith'", {"x-ms-client-request-id": "first"})
WRITE = Request("POST", f"{ORG}/api/data/v9.2/WinOpportunity", {"x-ms-client-request-id": "first"}, b"{}")
OK = Response(200, (), b"{}")
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'

Step = Response | ConnectorError


@dataclass
class Script:
    """A handler that gives one answer after the other, and remembers what it was asked."""

    steps: list[Step]
    asked: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        step = self.steps.pop(0)
        if isinstance(step, ConnectorError):
            raise step
        return step

    def tokens(self) -> list[str | None]:
        return [request.header("authorization") for request in self.asked]


@dataclass
class Numbered:
    """A token source that numbers its tokens, and remembers which were turned down and for what claims."""

    given: int = 1
    renewals: list[tuple[str, str]] = field(default_factory=list)

    def token(self) -> str:
        return f"token-{self.given}"

    def renew(self, rejected: str, claims: str = "") -> str:
        self.renewals.append((rejected, claims))
        self.given += 1
        return self.token()


def status(code: int, *headers: tuple[str, str]) -> Response:
    return Response(code, headers)


# -- authorize --------------------------------------------------------------------------------------------------------


def test_a_request_carries_a_token_to_the_organization() -> None:
    script = Script([OK])
    assert authorize(script, Numbered(), ORG)(READ) is OK
    assert script.tokens() == ["Bearer token-1"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://contoso.crm4.dynamics.com.evil.example/api",
        "https://contoso.crm4.dynamics.com@evil.example/api",
        "https://contoso.crm4.dynamics.com:8443/api",
        "http://contoso.crm4.dynamics.com/api",
        "https://other.crm4.dynamics.com/api",
        "//evil.example/api",
        "/api/data",
    ],
)
def test_neither_token_nor_request_leaves_for_another_origin(elsewhere: str) -> None:
    script = Script([OK])
    with pytest.raises(SignInError, match="neither it nor a token was sent"):
        authorize(script, Numbered(), ORG)(Request("GET", elsewhere))
    assert script.asked == []


def test_an_organization_without_https_gets_no_token() -> None:
    with pytest.raises(SignInError, match="https only"):
        authorize(Script([OK]), Numbered(), "http://contoso.crm4.dynamics.com")


def test_a_token_turned_down_is_replaced_once() -> None:
    script, tokens = Script([status(401), OK]), Numbered()
    assert authorize(script, tokens, ORG)(WRITE) is OK
    assert script.tokens() == ["Bearer token-1", "Bearer token-2"]
    assert tokens.renewals == [("token-1", "")]


def test_a_claims_challenge_is_answered_with_its_claims() -> None:
    encoded = base64.b64encode(CLAIMS.encode()).decode()
    challenge = f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'
    tokens = Numbered()
    assert authorize(Script([status(401, ("WWW-Authenticate", challenge)), OK]), tokens, ORG)(READ) is OK
    assert tokens.renewals == [("token-1", CLAIMS)]


def test_two_tokens_turned_down_are_enough() -> None:
    script = Script([status(401), status(401, ("REQ_ID", "abc"))])
    with pytest.raises(Unauthorized, match="DATAVERSE_TENANT_ID") as failure:
        authorize(script, Numbered(), ORG)(READ)
    assert failure.value.request_id == "abc"
    assert len(script.asked) == 2


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_where_it_led(code: int) -> None:
    script = Script([status(code, ("Location", "https://evil.example/login?secret=1"))])
    with pytest.raises(Rejected, match=r"https://evil\.example:443") as failure:
        authorize(script, Numbered(), ORG)(READ)
    assert "secret" not in str(failure.value)
    assert len(script.asked) == 1


# -- challenges -------------------------------------------------------------------------------------------------------

TENANT = "11111111-2222-3333-4444-555555555555"
SIGN_IN = f"https://login.microsoftonline.com/{TENANT}"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer authorization_uri={SIGN_IN}/oauth2/authorize, resource_id={ORG}/",
        f'bearer AUTHORIZATION_URI="{SIGN_IN}/oauth2/authorize",resource_id="{ORG}/"',
        f"Bearer resource_id={ORG}/,authorization_uri={SIGN_IN}/oauth2/v2.0/authorize",
        f'Negotiate, Bearer authorization_uri="{SIGN_IN}"',
    ],
)
def test_a_challenge_is_read_in_every_form_it_comes(value: str) -> None:
    challenge = parse_challenge(status(401, ("www-AUTHENTICATE", value)))
    assert (challenge.authority, challenge.tenant) == (SIGN_IN, TENANT)


def test_a_challenge_may_come_in_several_headers() -> None:
    bearer = ("WWW-Authenticate", f"Bearer authorization_uri={SIGN_IN}/oauth2/authorize")
    assert parse_challenge(status(401, ("WWW-Authenticate", "Negotiate"), bearer)).authority == SIGN_IN


@pytest.mark.parametrize(
    "uri",
    [
        "http://login.microsoftonline.com/x",
        "https://login.microsoftonline.com",
        "https:///x",
        "ftp://a/b",
        "https://a/%2e",
    ],
)
def test_an_address_that_is_no_authority_is_not_taken_for_one(uri: str) -> None:
    assert parse_challenge(status(401, ("WWW-Authenticate", f"Bearer authorization_uri={uri}"))).authority == ""


@given(claims=st.dictionaries(st.text(), st.none() | st.text() | st.lists(st.text())), url_safe=st.booleans())
def test_claims_come_back_whole_from_base64_of_any_kind(claims: dict[str, object], *, url_safe: bool) -> None:
    text = json.dumps(claims)
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    encoded = encode(text.encode()).decode()
    value = f'Bearer error="insufficient_claims", claims="{encoded.rstrip("=") if url_safe else encoded}"'
    assert parse_challenge(status(401, ("WWW-Authenticate", value))).claims == text


@given(st.text())
def test_no_challenge_makes_reading_fail(value: str) -> None:
    challenge = parse_challenge(status(401, ("WWW-Authenticate", value)))
    assert challenge.authority == "" or challenge.authority.startswith("https://")


# -- retry ------------------------------------------------------------------------------------------------------------


RETRY_POLICY = RetryPolicy()


def retrying(script: Handler, clock: VirtualClock, policy: RetryPolicy = RETRY_POLICY) -> Handler:
    chance = random.Random(7)
    return retry(script, sleep=clock.sleep, chance=chance, policy=policy)


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["a read", "a write"])
def test_what_was_throttled_is_sent_again_when_its_time_has_come(request_: Request) -> None:
    clock, script = VirtualClock(), Script([status(429, ("Retry-After", "363")), OK])
    assert retrying(script, clock)(request_) is OK
    assert 363 <= clock.monotonic() <= 365


def test_a_write_that_was_never_sent_is_sent_again() -> None:
    script = Script([NotSent("refused"), NotSent("refused"), OK])
    assert retrying(script, VirtualClock())(WRITE) is OK


def test_a_failure_that_time_cannot_mend_is_not_tried_again() -> None:
    lasting = NotSent("not trusted")
    lasting.transient = False
    script = Script([lasting, OK])
    with pytest.raises(NotSent):
        retrying(script, VirtualClock())(READ)
    assert len(script.asked) == 1


@pytest.mark.parametrize("trouble", [status(502), status(503), status(504), Unanswered("lost")], ids=repr)
def test_a_read_is_repeated_after_passing_trouble_and_a_write_never(trouble: Step) -> None:
    assert retrying(Script([trouble, OK]), VirtualClock())(READ) is OK
    script = Script([trouble, OK])
    if isinstance(trouble, Response):
        assert retrying(script, VirtualClock())(WRITE) is trouble
    else:
        with pytest.raises(Unanswered):
            retrying(script, VirtualClock())(WRITE)
    assert len(script.asked) == 1


@pytest.mark.parametrize("code", [200, 204, 400, 401, 403, 404, 412, 500, 501])
def test_any_other_answer_is_handed_on(code: int) -> None:
    script = Script([status(code)])
    assert retrying(script, VirtualClock())(READ).status == code


def test_a_wait_longer_than_the_policy_allows_is_not_begun() -> None:
    clock, script = VirtualClock(), Script([status(429, ("Retry-After", "3,600"))])
    assert retrying(script, clock, RetryPolicy(told=900))(WRITE).status == 429
    assert clock.monotonic() == 0


def test_being_told_to_wait_again_and_again_ends_with_the_last_answer() -> None:
    clock, script = VirtualClock(), Script([status(429, ("Retry-After", "300"))] * 9)
    assert retrying(script, clock, RetryPolicy(told=900))(WRITE).status == 429
    assert clock.monotonic() <= 900


def test_tries_without_word_of_when_are_few_and_further_and_further_apart() -> None:
    clock, moments = VirtualClock(), list[float]()

    def failing(_request: Request) -> Response:
        moments.append(clock.monotonic())
        raise NotSent("unknown host")

    with pytest.raises(NotSent):
        retrying(failing, clock, RetryPolicy(tries=5, first=1, longest=4))(READ)
    waits = [after - before for before, after in pairwise(moments)]
    assert len(moments) == 5
    assert [0.5 <= waits[0] <= 1, 1 <= waits[1] <= 2, 2 <= waits[2] <= 4, 2 <= waits[3] <= 4] == [True] * 4


def test_each_attempt_has_an_id_of_its_own() -> None:
    script = Script([status(429, ("Retry-After", "1")), status(429, ("Retry-After", "1")), OK])
    retrying(script, VirtualClock())(WRITE)
    ids = [request.header("x-ms-client-request-id") for request in script.asked]
    assert ids[0] == "first"
    assert len(set(ids)) == 3


@given(st.lists(st.sampled_from([429, 502, 503, 504, 500, 404, 200]), min_size=1, max_size=12), st.randoms())
def test_a_write_is_sent_again_only_after_what_certainly_did_not_happen(
    codes: list[int], chance: random.Random
) -> None:
    script = Script([*(status(code, ("Retry-After", "1")) for code in codes), OK, OK])
    handler = retry(script, sleep=VirtualClock().sleep, chance=chance, policy=RetryPolicy())
    handler(WRITE)
    assert all(code == 429 for code in codes[: len(script.asked) - 1])


def batch(*lines: str) -> Request:
    body = "\r\n".join(["--b", "Content-Type: application/http", "", *lines, "--b--"])
    return Request("POST", f"{ORG}/api/data/v9.2/$batch", {}, body.encode())


def test_a_batch_of_reads_is_a_read() -> None:
    assert reads_only(batch("GET /api/data/v9.2/quotes HTTP/1.1", "", "--b", "", "GET /x HTTP/1.1"))


@pytest.mark.parametrize(
    "other",
    [batch("GET /a HTTP/1.1", "POST /b HTTP/1.1"), batch("patch /b HTTP/1.1"), batch(), WRITE, Request("DELETE", ORG)],
)
def test_anything_else_is_a_write(other: Request) -> None:
    assert not reads_only(other)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("17", "", 17),
        (" 363 ", "", 363),
        ("1,200", "", 1200),
        ("Thu, 01 Jan 2026 00:05:00 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", 300),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:05:00 GMT", 0),
        ("soon", "", None),
        ("-5", "", None),
        ("", "", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, date: str, seconds: float | None) -> None:
    assert retry_after(status(429, ("Retry-After", value), ("Date", date))) == seconds


@given(st.text(), st.text())
def test_no_retry_after_makes_reading_fail(value: str, date: str) -> None:
    found = retry_after(status(429, ("Retry-After", value), ("Date", date)))
    assert found is None or found >= 0


# -- log --------------------------------------------------------------------------------------------------------------


def lines(handler: Handler, request: Request, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.DEBUG, "connector.http"):
        log(handler, clock=VirtualClock())(request)
    return caplog.text


def test_a_line_holds_the_ids_that_support_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("GET", f"{ORG}/x", {"x-ms-client-request-id": "c-1", "x-ms-correlation-request-id": "o-2"})
    line = lines(Script([status(200, ("REQ_ID", "s-3"))]), request, caplog)
    assert all(part in line for part in ("GET /x", "status=200", "request=s-3", "client=c-1", "correlation=o-2", "ms="))


SECRETS: dict[str, Callable[[str], Request]] = {
    "a query value": lambda text: Request("GET", f"{ORG}/quotes?$filter=name%20eq%20'{text}'"),
    "a key": lambda text: Request("GET", f"{ORG}/accounts(name='{text}')"),
    "an encoded key": lambda text: Request("GET", f"{ORG}/accounts(name=%27{text}%27)"),
    "a body": lambda text: Request("POST", f"{ORG}/quotes", {}, text.encode()),
    "a token": lambda text: Request("GET", f"{ORG}/quotes", {"authorization": f"Bearer {text}"}),
}


@pytest.mark.parametrize("where", SECRETS)
def test_no_customer_text_or_token_reaches_the_log(where: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = Response(400, (("x-detail", "Smithers"),), b"Smithers")
    assert "Smithers" not in lines(Script([answer]), SECRETS[where]("Smithers"), caplog)


def test_a_failure_is_a_line_too_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unanswered):
        lines(Script([Unanswered("lost")]), WRITE, caplog)
    assert "failed=Unanswered" in caplog.text


def test_an_id_cannot_break_a_line(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("GET", f"{ORG}/x", {"x-ms-client-request-id": "a\nWARNING forged"})
    assert len(lines(Script([OK]), request, caplog).splitlines()) == 1


def test_a_request_is_described_by_its_path_and_the_names_of_its_options() -> None:
    assert describe(READ) == "GET /api/data/v9.2/quotes ?$filter"


LOGIN_PAGE = Response(
    200,
    (("Content-Type", "text/html"), ("Server", "BlueCoat"), ("Via", "1.1 proxy7")),
    b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>...</body></html>",
)


def test_a_login_page_instead_of_an_answer_names_its_sender_and_ends_a_read_at_once() -> None:
    script, clock = Script([LOGIN_PAGE]), VirtualClock()
    handler = retrying(authorize(script, Numbered(), ORG), clock)
    with pytest.raises(
        Rejected, match=r"'Sign in to the network', Server is 'BlueCoat', Via is '1[.]1 proxy7'"
    ) as raised:
        handler(READ)
    assert raised.value.effect is Effect.NONE
    assert not raised.value.transient
    assert len(script.asked) == 1


def test_a_login_page_after_a_write_leaves_open_whether_it_happened() -> None:
    with pytest.raises(Unanswered, match="proxy7") as raised:
        authorize(Script([LOGIN_PAGE]), Numbered(), ORG)(WRITE)
    assert raised.value.effect is Effect.UNKNOWN


def test_what_the_organization_says_of_a_token_is_kept() -> None:
    words = Response(401, (), b'{"error":{"code":"0x80041d1f","message":"The environment is being moved."}}')
    with pytest.raises(Unauthorized) as raised:
        authorize(Script([words, words]), Numbered(), ORG)(READ)
    assert raised.value.detail == "The environment is being moved."
