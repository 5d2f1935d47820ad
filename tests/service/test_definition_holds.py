"""The definition is the truth: what it says is accepted is accepted, and every answer fits it, read strictly."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import quote as encoded
from uuid import UUID

import jsonschema
import pytest
from starlette.testclient import TestClient

from connector.service.connector_definition.definition import SWAGGER_PATH
from tests.service.stage import Stage, unavailable

CALLBACK = "https://prod-1.westeurope.logic.azure.com/workflows/1/triggers/2?sig=x"
ERROR = {
    "type": "object",
    "required": ["error", "status", "title", "detail", "correlationId", "retryable"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "array"}},
        },
        "status": {"type": "integer"},
        "operationId": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
}


def nulls(value: Any, path: str = "") -> list[str]:
    """Return where a body has null."""
    if isinstance(value, dict):
        return [place for name, inner in value.items() for place in nulls(inner, f"{path}/{name}")]
    if isinstance(value, list):
        return [place for number, inner in enumerate(value) for place in nulls(inner, f"{path}/{number}")]
    return [path] if value is None else []


class Strict:
    """A client that holds every answer to the definition that the endpoint serves."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.definition = client.get(SWAGGER_PATH).json()
        self.checked: set[tuple[str, int]] = set()

    def ask(self, operation_id: str, path: str, body: object = None, **options: Any) -> Any:
        verb, operation = next(
            (verb, operation)
            for item in self.definition["paths"].values()
            for verb, operation in item.items()
            if operation.get("operationId") == operation_id
        )
        answer = self.client.request(verb.upper(), path, json=body, **options)
        described = operation["responses"].get(str(answer.status_code))
        assert described is not None, (operation_id, answer.status_code, answer.text)
        self.checked.add((operation_id, answer.status_code))
        if answer.status_code >= 400:
            self._check(answer.json(), ERROR)
        elif "schema" in described:
            self._check(answer.json(), described["schema"])
        if answer.content:
            assert nulls(answer.json()) == [], (operation_id, answer.status_code)
        return answer

    def _check(self, body: object, schema: Any) -> None:
        whole = schema | {"definitions": self.definition["definitions"]}
        jsonschema.Draft4Validator(whole, format_checker=jsonschema.FormatChecker()).validate(body)


def test_every_operation_answers_as_the_definition_says_whatever_comes_of_it(stage: Stage) -> None:
    with stage.client() as client:
        strict = Strict(client)
        open_, drafts, failing = stage.opportunity(1, 2), stage.opportunity(1), stage.opportunity(1)
        close = "/opportunities/{}/close"
        for _ in range(2):
            plan = strict.ask("PlanClose", f"/opportunities/{open_}/plan", {"outcome": "won"})
            strict.ask("GetOpportunity", f"/opportunities/{open_}")
            strict.ask("CloseOpportunity", close.format(open_), {"outcome": "won", "planDigest": plan.json()["digest"]})
        strict.ask("PlanClose", f"/opportunities/{open_}/plan", {"outcome": "lost"})
        strict.ask("PlanClose", f"/opportunities/{open_}/plan", {"outcome": "sold"})
        strict.ask("CloseOpportunity", close.format(open_), {"outcome": "lost"})
        strict.ask("CloseOpportunity", close.format(drafts), {"outcome": "won", "drafts": "leave"})
        strict.ask("CloseOpportunity", close.format(UUID(int=1)), {"outcome": "won"})
        strict.ask("CloseOpportunity", close.format(drafts), {"outcome": "won", "planDigest": "another"})
        stage.troubles.extend([unavailable] * 3)
        strict.ask("GetOpportunity", f"/opportunities/{failing}")
        accepted = strict.ask("CloseOpportunity", close.format(failing), {"outcome": "lost", "mode": "accept"})
        operation = accepted.json()["operationId"]
        strict.ask("GetOperation", f"/operations/{operation}")
        strict.ask("GetOperation", "/operations/none")
        strict.ask("ReopenOpportunity", f"/opportunities/{open_}/reopen", {})
        strict.ask("ReopenOpportunity", f"/opportunities/{open_}/reopen", {"closedUnder": ""})
        strict.ask("ListOperations", "/operations")
        strict.ask("ListOperations", "/operations?status=Done&top=")
        strict.ask("CancelOperation", f"/operations/{operation}/cancel")
        for query in ("", "?outcome=won", "?outcome=Lost&table=quote"):
            strict.ask("ListStatusReasons", f"/status-reasons{query}")
        strict.ask("GetCloseColumns", "/close-columns")
        strict.ask("TestConnection", "/connection")
        made = strict.ask("SubscribeOpportunityClosed", "/subscriptions", {"callbackUrl": CALLBACK, "outcome": ""})
        strict.ask("SubscribeOpportunityClosed", "/subscriptions", {"callbackUrl": "http://x"})
        strict.ask("UnsubscribeOpportunityClosed", made.headers["Location"].removeprefix("http://localhost:8080"))
    operations = {
        op["operationId"] for item in strict.definition["paths"].values() for op in item.values() if "operationId" in op
    }
    assert {name for name, _ in strict.checked} == operations
    assert {status for _, status in strict.checked} >= {200, 201, 202, 204, 400, 404, 409, 412, 503}


EMPTY = dict.fromkeys(
    ("status", "closedOn", "actualRevenue", "description", "subject", "competitor", "winningQuote", "quoteStatus",
     "drafts", "columns", "quoteColumns", "planDigest", "idempotencyKey", "mode")
)  # fmt: skip


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_every_optional_field_may_be_left_empty(stage: Stage, empty: str | None) -> None:
    with stage.client() as client:
        path = f"/opportunities/{stage.opportunity(1)}/close"
        answer = client.post(path, json=dict.fromkeys(EMPTY, empty) | {"outcome": "won"})
    assert (answer.status_code, answer.json()["result"]) == (200, "closed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", " Won "),
        ("outcome", "\u200ewon\u200b"),
        ("closedOn", "\u202a2026-01-31\u202c"),
        ("actualRevenue", "12500.50\ufeff"),
        ("competitor", "\u200b\xa0"),
        ("status", "3"),
        ("status", 3),
        ("status", "won"),
        ("closedOn", "2026-01-31"),
        ("closedOn", "2026-01-31T13:45:00.1234567Z"),
        ("actualRevenue", "12500.50"),
        ("drafts", "Activate"),
        ("mode", "WAIT"),
    ],
)
def test_values_are_taken_as_flows_make_them(stage: Stage, field: str, value: object) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won", field: value})
        assert (answer.status_code, answer.json().get("result")) == (200, "closed"), answer.text
        seen = client.get(f"/opportunities/{opportunity}").json()
    if field == "closedOn":
        assert date.fromisoformat(seen["closedOn"]) == date(2026, 1, 31)


def addresses(id_: UUID, host: str) -> list[str]:
    return [
        f"{{{id_}}}",
        str(id_).upper(),
        f"urn:uuid:{id_}",
        f"%22{id_}%22",
        f"opportunities({id_})",
        f"%2Fopportunities({id_})",
        f"%E2%80%8E{id_}%E2%80%8B",
        f"https%3A%2F%2F{host}%2Fapi%2Fdata%2Fv9.2%2Fopportunities({id_})",
        f"https%3A%2F%2F{host}%2Fmain.aspx%3Fappid%3D1%26pagetype%3Dentityrecord%26etn%3Dopportunity%26id%3D{id_}",
    ]


def test_an_opportunity_is_named_by_its_id_or_by_any_of_its_addresses(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        for address in addresses(opportunity, stage.embedded.url.removeprefix("https://")):
            answer = client.get(f"/opportunities/{address}")
            assert answer.status_code == 200, address
            assert answer.json()["opportunityId"] == str(opportunity)
            assert client.post(f"/opportunities/{address}/plan", json={"outcome": "won"}).status_code == 200
        other = client.get(f"/opportunities/accounts({opportunity})")
    assert other.status_code == 400
    assert "accounts" in other.json()["error"]["message"]


@pytest.mark.parametrize("field", ["", "winningQuote", "winning_quote", "competitor"])
def test_the_address_of_another_organization_is_refused_since_a_copy_has_the_same_ids(stage: Stage, field: str) -> None:
    opportunity = stage.opportunity(2)
    quote, elsewhere = UUID(int=opportunity.int + 1), "https://copy.crm4.dynamics.com/main.aspx?etn={}&id={}"
    tables = {"": ("opportunity", opportunity), "competitor": ("competitor", UUID(int=5))}
    address = elsewhere.format(*tables.get(field, ("quote", quote)))
    path = encoded(address, safe="") if not field else str(opportunity)
    body = {"outcome": "lost", "description": address} | ({field: address} if field else {})
    with stage.client() as client:
        answers = [client.post(f"/opportunities/{path}/{verb}", json=body) for verb in ("close", "plan")]
        answers += [] if field else [client.get(f"/opportunities/{path}"), client.post(f"/opportunities/{path}/reopen")]
        for answer in answers:
            message = answer.json()["error"]["message"]
            assert (answer.status_code, "nothing was changed" in message) == (400, True), message
            assert "is of copy.crm4.dynamics.com, and this connection is to org.emulator.invalid" in message
        assert client.post(f"/opportunities/{opportunity}/plan", json={**body, field: ""} if field else body).json()
    assert stage.state(opportunity)[0] == 0


@pytest.mark.parametrize(
    "path", ["opportunities//close", "opportunities//plan", "opportunities/", "operations//cancel"]
)
def test_an_empty_part_of_an_address_is_told(stage: Stage, path: str) -> None:
    with stage.client() as client:
        answer = client.post(f"/{path}", json={"outcome": "won"})
    message = answer.json()["error"]["message"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_path")
    assert message.startswith("A part of this address is empty, so nothing was changed. Say which opportunity")
    assert "triggerOutputs()?['body/opportunityid']" in message


def test_an_amount_has_its_currency(stage: Stage) -> None:
    opportunity = stage.opportunity()
    world = stage.embedded.emulator.organization
    with stage.embedded.emulator.lock, world.store.transaction():
        (currency,) = world.store.rows(
            "SELECT transactioncurrencyid FROM transactioncurrency WHERE isocurrencycode = 'EUR'"
        )
        world.store.execute(
            "UPDATE opportunity SET estimatedvalue = 100, transactioncurrencyid = ? WHERE opportunityid = ?",
            (*currency, str(opportunity)),
        )
    with stage.client() as client:
        seen = client.get(f"/opportunities/{opportunity}").json()
    assert (seen["estimatedValue"], seen["currency"]) == (100.0, "EUR")


@pytest.mark.parametrize(
    ("body", "label", "rest"),
    [
        (
            {"outcome": "won", "closedOn": 46356},
            "Close Date",
            "DateTime Format of the action that reads it to ISO 8601",
        ),
        ({"outcome": "won", "closedOn": "46356.5"}, "Close Date", "formatDateTime"),
        ({}, "Outcome: it is missing; say won or lost", "nothing was changed"),
        ({"outcome": "won", "closedOn": 0}, "Close Date", "formatDateTime(utcNow(), 'yyyy-MM-dd')"),
        ({"outcome": "won", "closedOn": 1769817600}, "Close Date", "formatDateTime"),
        ({"outcome": "sold"}, "Outcome", "won or lost"),
        ({}, "Outcome", "missing"),
        ({"outcome": ""}, "Outcome", "missing"),
        ({"outcome": "won", "actualRevenue": "12.500,00"}, "Actual Revenue", "float("),
        ({"outcome": "won", "competitor": "https://a/main.aspx?etn=quote"}, "Competitor", "triggerOutputs()"),
        ({"outcome": "won", "competitor": "Nobody"}, "no competitor 'Nobody'", "give the competitor's id"),
        ({"outcome": "lost", "competitor": str(UUID(int=5))}, "Competitor: there is no", "Correct that"),
        ({"outcome": "won", "colour": "red"}, "closedOn", "no field of this name"),
        ({"outcome": "lost", "competitor": ["x"]}, "Competitor", "is a list"),
        ({"outcome": "won", "winningQuote": {"id": "x"}}, "Winning Quote", "triggerOutputs()"),
        ({"outcome": "won", "description": 5}, "Description", "string("),
        ({"outcome": "won", "columns": "{}"}, "Close Columns", "json("),
        ({"outcome": "won", "columns": {"a b": 1}}, "Close Columns", "'a b'"),
        (
            {"outcome": "won", "quoteColumns": {"new_x": {"Value": 1}}},
            "Quote Close Columns",
            "value of new_x is neither",
        ),
        ({"outcome": "won", "idempotencyKey": ["k"]}, "Idempotency Key", "string("),
        ({"outcome": "won", "planDigest": "x" * 129}, "Plan Digest", "more than 128 characters"),
        ({"outcome": "won", "mode": "async"}, "Mode", "'wait' or 'accept'"),
    ],
)
def test_what_is_wrong_is_said_by_label_with_what_is_accepted_and_nothing_is_changed(
    stage: Stage, body: dict[str, object], label: str, rest: str
) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json=body)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, label in message, rest in message) == (400, True, True), message
    assert stage.state(opportunity)[0] == 0


def test_the_same_values_in_another_spelling_are_the_same_request(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    path, key = f"/opportunities/{opportunity}/close", {"Idempotency-Key": "k"}
    spellings: list[dict[str, object]] = [
        {"outcome": "won", "actualRevenue": 100, "status": 3, "columns": {}},
        {"outcome": "Won", "actualRevenue": 100.0, "status": "3", "description": ""},
        {"outcome": " won", "actualRevenue": "100.00", "status": " 3 ", "mode": "wait"},
    ]
    with stage.client() as client:
        answers = [client.post(path, json=body, headers=key) for body in spellings]
        other = client.post(path, json={"outcome": "won", "actualRevenue": 101}, headers=key)
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"minimumRevenue": "12,5"}, "Minimum Revenue: it is not a number"),
        ({"callbackUrl": ""}, "Callback URL: it is missing"),
        (
            {"colour": "red"},
            "colour: there is no field of this name; the fields are callbackUrl, outcome, minimumRevenue",
        ),
    ],
)
def test_what_is_wrong_with_a_subscription_is_said_by_its_own_labels(
    stage: Stage, body: dict[str, object], said: str
) -> None:
    callback = {"callbackUrl": "https://prod-1.westeurope.logic.azure.com/x"}
    with stage.client() as client:
        answer = client.post("/subscriptions", json=callback | body)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True), answer.text


def test_the_number_of_an_order_is_an_idempotency_key(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answers = [
            client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won", "idempotencyKey": key})
            for key in (4711, "4711")
        ]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"]
