"""A close is declared once: each door offers the fields of the table, no more and no fewer."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import click
import pytest

from connector.bulk.input.column_map import FIELDS, REQUIRED
from connector.cli.intent_options import intent_options
from connector.closing.activity_columns import opportunity_close, quote_close
from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import (
    CLOSE_FIELDS,
    COLUMN_FIELDS,
    HOSTED_FIELDS,
    OFFERED_REOPEN_FIELDS,
    OPPORTUNITY_ID,
    PLAIN_FIELDS,
    REOPEN_FIELDS,
    DraftPolicy,
    Intent,
    Outcome,
    ReopenIntent,
)
from connector.closing.request import parse_request, request_values
from connector.ledger.intents import intent_from, intent_text
from connector.ledger.jobs import JobKind
from connector.service.mcp.tools import TOOLS
from connector.service.operations.operation_service import wish_values
from connector.service.schemas.request_models import CloseBody, PlanBody, ReopenBody
from tests.closing.small_organization import METADATA

ID = UUID("6f2c0000-0000-4000-8000-00000000abcd")
SAMPLES: dict[FieldKind, Any] = {
    FieldKind.RECORD_ID: UUID(int=7),
    FieldKind.RECORD_NAME: "Adventure Works",
    FieldKind.RECORD_IDS: frozenset({UUID(int=8)}),
    FieldKind.OUTCOME: Outcome.LOST,
    FieldKind.REASON: "Too dear",
    FieldKind.DAY: date(2026, 1, 31),
    FieldKind.AMOUNT: Decimal("12.50"),
    FieldKind.TEXT: "A text",
    FieldKind.DRAFTS: DraftPolicy.DELETE,
    FieldKind.FLAG: True,
    FieldKind.COLUMNS: {"new_score": 5, "new_name": "x", "new_sum": Decimal("1.5"), "new_flag": True},
}
"""A value of each kind that is no default."""
FULL = Intent(ID, key="k", **{field.key: SAMPLES[field.kind] for field in CLOSE_FIELDS})
OF_A_REQUEST = ["planDigest", "idempotencyKey", "mode"]
"""What a body has beside the fields: about the request, not about the close."""


def wire(fields_: tuple[CloseField, ...]) -> list[str]:
    return [field.wire_name for field in fields_]


def test_the_table_has_every_attribute_of_an_intent() -> None:
    for shape, table in ((Intent, CLOSE_FIELDS), (ReopenIntent, REOPEN_FIELDS)):
        attributes = {field.name for field in fields(shape)} - {"opportunity_id", "key"}
        assert attributes == {field.key for field in table}


def test_every_field_says_what_it_is() -> None:
    for field in (OPPORTUNITY_ID, *CLOSE_FIELDS, *REOPEN_FIELDS):
        assert field.label[0].isupper()
        assert field.sentence.endswith(".")
        assert not field.agent_text or field.agent_text.endswith(".")


def test_the_command_line_has_an_option_for_each_field() -> None:
    command = click.command()(intent_options(lambda: None))
    expected = [
        option
        for field in CLOSE_FIELDS
        for option in (["--won", "--lost"] if field.kind is FieldKind.OUTCOME else [field.option])
    ]
    assert [option.opts[0] for option in command.params] == expected
    for field, option in zip(CLOSE_FIELDS[1:], command.params[2:], strict=True):
        assert isinstance(option, click.Option)
        assert str(option.help).startswith(field.sentence)


def test_a_file_has_a_column_for_each_field() -> None:
    assert ("opportunityid", *(field.name for field in PLAIN_FIELDS)) == FIELDS
    assert REQUIRED == ("opportunityid", "outcome")
    assert set(request_values(FULL)) - {"opportunityid"} == {
        *(field.name for field in PLAIN_FIELDS),
        *(
            f"{field.table}.{name}"
            for field in COLUMN_FIELDS
            for name in ("new_score:int", "new_name", "new_sum:decimal", "new_flag:bool")
        ),
    }


@pytest.mark.parametrize("body", [CloseBody, PlanBody])
def test_the_endpoint_has_a_property_for_each_field(body: type[CloseBody | PlanBody]) -> None:
    properties = body.model_json_schema()["properties"]
    assert [name for name in properties if name not in OF_A_REQUEST] == wire(HOSTED_FIELDS)
    for field in HOSTED_FIELDS:
        shown = properties[field.wire_name]
        assert (shown.get("title", field.label), shown["description"]) == (field.label, field.text)


def test_the_endpoint_offers_what_narrows_the_way_back_but_not_what_comes_from_a_ledger() -> None:
    properties = ReopenBody.model_json_schema()["properties"]
    assert [name for name in properties if name not in OF_A_REQUEST] == wire(OFFERED_REOPEN_FIELDS)


def test_the_tools_for_agents_have_an_argument_for_each_field_that_is_for_agents() -> None:
    plan = TOOLS[0].input_schema["properties"]
    offered = tuple(field for field in CLOSE_FIELDS if field.for_agents)
    assert list(plan) == ["opportunityId", "opportunityKey", *wire(offered)]
    assert [plan[field.wire_name]["description"] for field in offered] == [field.agent_text for field in offered]


def test_every_value_survives_the_ledger_and_a_dead_letter() -> None:
    assert intent_from(intent_text(FULL), ID, JobKind.CLOSE, "") == FULL
    assert parse_request(request_values(FULL), "k") == FULL
    values = {field.key: SAMPLES[field.kind] for field in REOPEN_FIELDS} | {"open_status": 2}
    back = ReopenIntent(ID, "k", **values)
    assert intent_from(intent_text(back), ID, JobKind.REOPEN, "") == back


def test_every_value_of_a_body_of_the_endpoint_arrives() -> None:
    hosted = [field for field in PLAIN_FIELDS if field.hosted]
    values = {field.wire_name: SAMPLES[field.kind] for field in hosted}
    columns = {field.wire_name: {"new_score": 5} for field in COLUMN_FIELDS}
    intent = parse_request(wish_values(ID, CloseBody.model_validate({**values, **columns})), "k")
    assert [getattr(intent, field.key) for field in hosted] == [SAMPLES[field.kind] for field in hosted]
    assert [dict(getattr(intent, field.key)) for field in COLUMN_FIELDS] == [{"new_score": 5}] * len(COLUMN_FIELDS)


def test_a_field_with_a_column_of_the_close_activity_is_written_there() -> None:
    opportunity, quote = opportunity_close(FULL, METADATA), quote_close(FULL, "Closed", METADATA)
    bound = FieldKind.RECORD_NAME  # a lookup is bound under another name
    for field in PLAIN_FIELDS:
        assert field.kind is bound or not field.column or field.column in opportunity
        assert not field.quote_column or field.quote_column in quote
