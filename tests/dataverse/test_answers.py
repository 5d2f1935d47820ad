from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dataverse.answers import error_from, json_object, retry_after, service_request_id
from connector.errors import (
    Broken,
    ConnectorError,
    Effect,
    Forbidden,
    Malformed,
    NotFound,
    Rejected,
    ServiceError,
    Stale,
    Throttled,
    TooLarge,
    Unanswered,
    Unauthorized,
)
from connector.handler import Response

FIXTURES = Path(__file__).parent.parent / "fixtures" / "dataverse"
RECORDED = {row["id"]: row for row in map(json.loads, (FIXTURES / "errors.jsonl").read_text().splitlines())}
SUBJECT = "Close quote, quote 22222222-2222-2222-2222-222222222222"
MISSING_PRIVILEGE = (
    "Principal user (Id=11111111-1111-1111-1111-111111111111, type=8, roleCount=6, privilegeCount=1491, "
    "accessMode='0 Read-Write'), is missing prvWriteQuote privilege (Id=33333333-3333-3333-3333-333333333333) on "
    "OTC=1084 for entity 'quote' (LocalizedName='Quote'). context.Caller=11111111-1111-1111-1111-111111111111."
)


def recorded(name: str) -> Response:
    row = RECORDED[name]
    body = row["body"] if isinstance(row["body"], str) else json.dumps(row["body"])
    return Response(row["status"], tuple(row["headers"].items()), body.encode())


def refusal(status: int, code: object = "", message: str = "", **annotations: str) -> Response:
    names = {f"@Microsoft.PowerApps.CDS.{name.replace('_', '.')}": text for name, text in annotations.items()}
    body = {"error": {"code": code, "message": message, **names}}
    return Response(status, (("Content-Type", "application/json"),), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("unknown-segment", NotFound, "0x8006088a"),
        ("unknown-select-property", Rejected, ""),
        ("wrong-verb-on-function", NotFound, ""),
        ("unknown-bind", Malformed, "0x80048d19"),
        ("plugin-error-annotated", Rejected, "0x80040265"),
        ("throttle-count", Throttled, "0x80072322"),
        ("throttle-time", Throttled, "0x80072321"),
        ("throttle-concurrency", Throttled, "0x80072326"),
        ("record-not-found", NotFound, "0x80040217"),
        ("etag-mismatch", Stale, "0x80060882"),
        ("upsert-prevented", Stale, "0x80040237"),
        ("if-match-star-missing", NotFound, "0x80040217"),
        ("unauthenticated", Unauthorized, ""),
    ],
)
def test_a_documented_error_has_its_kind_and_code(name: str, kind: type[ServiceError], code: str) -> None:
    error = error_from(recorded(name), SUBJECT)
    assert type(error) is kind
    assert error.code == code
    assert error.message.startswith(f"{SUBJECT}: ")
    assert error.message.endswith(".")


@pytest.mark.parametrize("facet", ["count", "time", "concurrency"])
def test_a_service_protection_limit_names_its_facet_and_its_numbers(facet: str) -> None:
    recorded_answer = recorded(f"throttle-{facet}")
    error = error_from(Response(429, (("Retry-After", "37"),), recorded_answer.body), SUBJECT)
    assert isinstance(error, Throttled)
    numbers = {"count": "(6000, 300)", "time": "(1,200,000, 300)", "concurrency": "(52)"}
    assert (error.facet, error.retry_after, error.effect, error.transient) == (facet, 37.0, Effect.NONE, True)
    assert numbers[facet] in error.message


def test_a_throttling_code_counts_whatever_the_status() -> None:
    assert isinstance(error_from(refusal(503, "-2147015902"), SUBJECT), Throttled)


def test_a_record_that_does_not_exist_carries_the_id_support_asks_for() -> None:
    error = error_from(recorded("record-not-found"), SUBJECT)
    assert error.request_id == "a1687769-7702-46fa-a6ee-4094ba20f706"
    assert "there is no systemuser " in error.message


def test_a_row_that_does_not_exist_is_named_though_the_request_was_about_another() -> None:
    said = "competitor With Id = 00000003-0000-4000-8000-000000000007 Does Not Exist"
    error = error_from(refusal(404, "0x80040217", said), SUBJECT)
    assert "there is no competitor 00000003-0000-4000-8000-000000000007" in error.message


_VALIDATING = "An error occurred while validating input parameters: Microsoft.Crm.CrmException: "


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        ("0x0", f"{_VALIDATING}Invalid property 'new_x' was found in entity 'x.quoteclose'.", "has no column new_x."),
        (
            "0x80048d19",
            "The property 'new_x' does not exist on type 'x.quoteclose'.",
            "has no column new_x (0x80048d19).",
        ),
        ("0x80048d19", "Cannot convert the literal 'Acme secret' to the expected type 'Edm.Decimal'.", "a value"),
        ("0x0", f"{_VALIDATING}Cannot convert the literal 'Acme secret'.", "a value"),
        (
            "0x80060888",
            "CRM do not support direct update of Entity Reference properties, Use ...",
            "a lookup was given",
        ),
    ],
)
def test_what_the_service_does_not_understand_is_named_without_its_value(code: str, said: str, told: str) -> None:
    error = error_from(refusal(400, code, said), SUBJECT)
    assert (type(error), error.effect, error.transient) == (Malformed, Effect.NONE, False)
    assert told in error.message
    assert "secret" not in str(error)


def test_of_repeated_request_ids_the_last_is_taken() -> None:
    assert service_request_id(Response(500, (("REQ_ID", "aaaa,bbbb"),))) == "bbbb"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "0x80072560", "application user"),
        (403, "0x80095ffc", "allowed applications"),
        (403, "0x80042f09", "role"),
        (403, "0x8004a110", "prvActOnBehalfOfAnotherUser"),
        (403, "0x8004a104", "administration mode"),
        (403, "0x8004f502", "column security profile"),
        (400, "0x80040516", "quotes"),
        (400, "0x80048cea", "currency"),
    ],
)
def test_a_known_refusal_says_what_to_do(status: int, code: str, words: str) -> None:
    error = error_from(refusal(status, code, "whatever"), SUBJECT)
    assert words in error.remedy
    assert isinstance(error, Forbidden) == (status == 403)
    assert (error.effect, error.transient) == (Effect.NONE, False)


def test_a_missing_privilege_is_named_with_its_table() -> None:
    error = error_from(refusal(403, "0x80040220", MISSING_PRIVILEGE), SUBJECT)
    assert "prvWriteQuote on quote" in error.message
    assert "security role" in error.remedy


@pytest.mark.parametrize(
    ("status", "code", "said", "sentence"),
    [
        (413, "0x80040265", "No.", "a rule of this organization (a plug-in) stopped it"),
        (400, "0x80040265", "The batch exceeds its size.", "a rule of this organization (a plug-in) stopped it"),
        (500, "0x80044151", "Execution Timeout Expired.", "the organization's database took too long"),
    ],
)
def test_what_a_plug_in_says_is_no_matter_of_how_much_is_asked_at_once(
    status: int, code: str, said: str, sentence: str
) -> None:
    source = {"ErrorDetails_ApiExceptionSourceKey": "Plugin/contoso.Sync, contoso"}
    error = error_from(refusal(status, code, said, **source), SUBJECT)
    assert sentence in error.message
    assert not isinstance(error, TooLarge)
    assert not error.timed_out


def test_a_right_that_is_missing_on_a_row_is_named() -> None:
    said = "SecLib::AccessCheckEx failed. ObjectTypeCode: 3, AccessRights: WriteAccess "
    assert (
        "the user lacks WriteAccess to this row (0x80048306)."
        in error_from(refusal(403, "0x80048306", said), "X").message
    )


def test_a_refused_token_names_the_tenant_that_the_organization_signs_in_with() -> None:
    challenge = (
        "Bearer authorization_uri=https://login.microsoftonline.com/contoso.example/oauth2/authorize, resource_id=x"
    )
    error = error_from(Response(401, (("WWW-Authenticate", challenge),)), SUBJECT)
    assert "contoso.example" in error.message
    assert "DATAVERSE_TENANT_ID" in error.remedy


def test_a_plug_in_keeps_its_text_for_the_person_and_out_of_the_message() -> None:
    secret = "Contoso's deal of 1 million needs the CFO's approval"
    error = error_from(refusal(400, "0x80040265", secret), SUBJECT)
    assert error.detail == secret
    assert secret not in str(error)
    assert (error.effect, error.transient) == (Effect.NONE, False)


def test_a_plug_in_in_which_the_service_itself_refused_is_named() -> None:
    source = {"@Microsoft.PowerApps.CDS.ErrorDetails.ApiExceptionSourceKey": "Plugin/contoso.Sync, contoso"}
    said = {"code": "0x80040217", "message": f"account With Id = {UUID(int=1)} Does Not Exist", **source}
    error = error_from(Response(404, (), json.dumps({"error": said}).encode()), SUBJECT)
    assert error.message.endswith(f"there is no account {UUID(int=1)} (0x80040217), in the plug-in contoso.Sync.")


@pytest.mark.parametrize(("status", "code"), [(10012, "0x80040265"), (10012, ""), (412, "0x80040333")])
def test_what_an_organizations_own_numbers_and_duplicates_end_is_a_refusal(status: int, code: str) -> None:
    error = error_from(refusal(status, code, "No."), SUBJECT)
    assert (type(error), error.effect, error.transient) == (Rejected, Effect.NONE, False)


@pytest.mark.parametrize(
    ("status", "code", "message", "effect", "transient"),
    [
        (
            500,
            "0x80044150",
            "CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205",
            Effect.NONE,
            True,
        ),
        (500, "-2147204784", "Generic SQL error.", Effect.UNKNOWN, True),
        (500, "0x80044151", "SQL timeout expired.", Effect.UNKNOWN, True),
        (500, "0x80044339", "Cannot obtain lock on resource", Effect.NONE, True),
        (400, "0x80048105", "More than one concurrent GrantInheritedAccess requests", Effect.NONE, True),
        (503, "0x8004A001", "The server is busy and the request was not completed.", Effect.NONE, True),
        (429, "0x80072324", "Too many concurrent requests detected.", Effect.NONE, True),
        (500, "0x80040255", "Transaction Aborted.", Effect.NONE, True),
        (500, "0x80040251", "There is no active transaction.", Effect.NONE, False),
        (500, "0x80040216", "An unexpected error occurred.", Effect.UNKNOWN, True),
        (400, "0x80040216", "The target state is invalid.", Effect.NONE, False),
        (500, "0x80040224", "An unexpected error occurred from ISV code.", Effect.NONE, False),
        (500, "0x80081111", "The plug-in took too long.", Effect.NONE, False),
        (400, "0x80040265", "a plug-in that writes of a deadlock", Effect.NONE, False),
        (502, "", "", Effect.UNKNOWN, True),
        (504, "", "", Effect.UNKNOWN, True),
        (408, "", "", Effect.UNKNOWN, True),
        (405, "", "", Effect.NONE, False),
        (412, "0x80060882", "", Effect.NONE, False),
    ],
)
def test_every_failure_says_whether_it_may_have_happened(
    status: int, code: str, message: str, effect: Effect, *, transient: bool
) -> None:
    error = error_from(refusal(status, code, message), SUBJECT)
    assert (error.effect, error.transient) == (effect, transient)


@pytest.mark.parametrize("code", ["0x80040217", "0X80040217", "-2147220969", -2147220969, "2147746327"])
def test_a_code_is_read_in_every_spelling(code: object) -> None:
    assert error_from(refusal(400, code), SUBJECT).code == "0x80040217"


@pytest.mark.parametrize("code", ["0x0", "0", "", "none", None, [], {}, "0x"])
def test_what_is_no_code_is_none(code: object) -> None:
    assert error_from(refusal(400, code), SUBJECT).code == ""


def test_an_empty_code_is_told_by_the_name_of_the_exception() -> None:
    answer = refusal(412, "", "?", ErrorDetails_ApiExceptionMessageName="DuplicateRecord")
    assert error_from(answer, SUBJECT).code == "0x80040237"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"Message":"No HTTP resource was found"}', "No HTTP resource was found"),
        (b"<html><head><TITLE>Service Unavailable</TITLE></head></html>", "Service Unavailable"),
        (b"", ""),
        (b'\xef\xbb\xbf{"error":{"code":"0x80040203","message":"bad"}}', "bad"),
        (b'{"error":{"code":"0x80040203","message":"cut he', "cut he"),
        (b'{"error":"text"}', "text"),
        (b'{"error":null}', ""),
        (b'{"error":{"message":"<h1>Stop</h1><p>5 < 7 &amp; so on<br>by <b>Ana</b>"}}', "Stop 5 < 7 & so on by Ana"),
        (b'{"error":{"message":"if a < b > c"}}', "if a < b > c"),
        (b'{"error":{"message":"%s"}}' % (b"x" * 5000), "x" * 3999 + "…"),
        (b"upstream connect error", "upstream connect error"),
    ],
)
def test_a_body_of_any_shape_gives_its_text(body: bytes, detail: str) -> None:
    assert error_from(Response(400, (), body), SUBJECT).detail == detail


def test_a_body_that_was_cut_short_still_gives_its_code() -> None:
    assert error_from(Response(400, (), b'{"error":{"code":"0x80040516","mess'), SUBJECT).code == "0x80040516"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "427"}, 427.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "²"}, None),
        ({}, None),
        ({"Retry-After": "99999999999"}, 86_400.0),
        ({"Retry-After": "9" * 5000}, 86_400.0),
        ({"Retry-After": "Fri, 28 Nov 99999999999 20:00:00 GMT", "Date": "Fri, 28 Nov 2026 20:00:00 GMT"}, None),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359", "Date": "Fri, 28 Nov 2026 20:00:00 GMT"}, None),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "Fri, 28 Nov 2026 20:00:00 GMT"}, 86_400.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(Response(429, tuple(headers.items()))) == seconds


headers_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(["Retry-After", "Date", "REQ_ID", "WWW-Authenticate", "Content-Type", "x-ms-dop-hint"]),
        st.text(),
    ),
    max_size=4,
).map(tuple)
json_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "message", "Message"]) | st.text(), inner)
    ),
).map(lambda value: json.dumps(value).encode())
bodies = st.binary() | json_of_any_kind


@given(status=st.integers(300, 599), headers=headers_of_any_kind, body=bodies)
def test_no_answer_breaks_the_reading_of_errors(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    error = error_from(Response(status, headers, body), SUBJECT)
    assert isinstance(error, ServiceError)
    assert error.message.startswith(SUBJECT)


@given(status=st.integers(100, 599), body=bodies)
def test_a_json_answer_is_an_object_or_a_failure(status: int, body: bytes) -> None:
    try:
        assert isinstance(json_object(Response(status, (), body), SUBJECT), dict)
    except ConnectorError as error:
        assert error.message.startswith(SUBJECT)


@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", b'{"value":[', b"[]", b"", b'{"a":1e99999999999999999999999}', b"[" * 99_999]
)
def test_a_success_that_cannot_be_read_is_no_answer(body: bytes) -> None:
    with pytest.raises(Unanswered, match="not one that the Dataverse Web API sends"):
        json_object(Response(200, (), body), SUBJECT)


def test_a_service_failure_is_unknown_until_looked_at() -> None:
    error = error_from(Response(503, (), b"<html>Service Unavailable</html>"), SUBJECT)
    assert type(error) is Broken
    assert error.effect is Effect.UNKNOWN


def test_half_of_a_character_where_a_text_was_cut_is_shown_as_such() -> None:
    body = b'{"error":{"code":"0x80040265","message":"No deal \\ud83d"},"name":"\\ud83d\\ude00 \\udc00"}'
    assert error_from(Response(400, (), body), SUBJECT).detail == "No deal \ufffd"
    assert json_object(Response(200, (), body), SUBJECT)["name"] == "\U0001f600 \ufffd"
