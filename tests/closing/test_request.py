from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.model import DraftPolicy, Outcome
from connector.closing.request import parse_request
from connector.errors import InputError

ID = "6f2c0000-0000-4000-8000-00000000abcd"


def request(**values: object) -> dict[str, object]:
    return {"opportunityid": ID, "outcome": "won", **values}


@pytest.mark.parametrize(
    "text", [ID, ID.upper(), f"{{{ID}}}", f"({ID})", f"  {ID} ", ID.replace("-", ""), UUID(ID)], ids=str
)
def test_an_id_is_taken_in_any_dress(text: object) -> None:
    assert parse_request(request(opportunityid=text)).opportunity_id == UUID(ID)


def test_a_row_of_text_becomes_an_intent() -> None:
    row = request(
        outcome=" Lost ",
        status="4",
        quote_status="Canceled",
        closed_on="2026-01-31",
        actual_revenue="12500.50",
        subject="Lost",
        description="",
        competitor=f"{{{ID}}}",
        drafts="Delete",
    )
    row |= {"opportunityclose.new_score:int": "5", "quoteclose.description": "Too dear", "quoteclose.new_x": None}
    intent = parse_request(row, "job-1")
    assert (intent.key, intent.outcome, intent.status, intent.quote_status) == ("job-1", Outcome.LOST, "4", "Canceled")
    assert (intent.closed_on, intent.actual_revenue) == (date(2026, 1, 31), Decimal("12500.50"))
    assert (intent.subject, intent.description, intent.competitor_id) == ("Lost", None, UUID(ID))
    assert intent.drafts is DraftPolicy.DELETE
    assert dict(intent.opportunity_columns) == {"new_score": 5}
    assert dict(intent.quote_columns) == {"description": "Too dear"}


def test_typed_values_of_json_and_spreadsheets_are_taken_as_they_are() -> None:
    row = request(status=3.0, closed_on=datetime(2026, 1, 31), actual_revenue=12.5)
    intent = parse_request(row | {"opportunityclose.new_flag": True})
    assert (intent.status, intent.closed_on, intent.actual_revenue) == (3, date(2026, 1, 31), Decimal("12.5"))
    assert dict(intent.opportunity_columns) == {"new_flag": True}


def test_blank_and_absent_mean_the_same() -> None:
    blank = request(status="", closed_on=" ", actual_revenue=None, drafts="")
    assert parse_request(blank) == parse_request(request())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        *(
            ({"opportunityid": text}, f"opportunityid: '{text}' is not the id of a record")
            for text in (f"{{{ID}", f"{ID}}}", f"({ID}", f"{{{ID})", f"{{({ID})}}")
        ),
        ({"opportunityid": "12"}, "opportunityid: '12' is not the id of a record"),
        ({"outcome": "maybe"}, "outcome: 'maybe' is not an outcome; say won or lost"),
        ({"outcome": ""}, "outcome is missing"),
        ({"status": True}, "status: true is not a status reason"),
        ({"status": -1}, "status: -1 is not a status reason"),
        ({"closed_on": "31.1.2026"}, "closed_on: '31.1.2026' is not a date; write year-month-day, as 2026-01-31"),
        ({"closed_on": "2026-02-30"}, "closed_on: '2026-02-30' is not a date"),
        ({"closed_on": "0206-01-31"}, "closed_on: '0206-01-31' is before 1753-01-01"),
        ({"closed_on": "2026-01-31T00:00:00Z"}, "closed_on: '2026-01-31T00:00:00Z' is not a date"),
        ({"actual_revenue": "12,5"}, "actual_revenue: '12,5' is not an amount; write it with a point"),
        ({"actual_revenue": "NaN"}, "actual_revenue: 'NaN' is not an amount"),
        ({"actual_revenue": "1e13"}, "actual_revenue: '1e13' is larger"),
        ({"subject": "x" * 201}, "subject: it has 201 characters; at most 200 are allowed"),
        ({"subject": "😀" * 101}, "subject: it has 202 characters; at most 200 are allowed"),
        ({"drafts": "burn"}, "drafts: 'burn' is no policy for drafts; say one of activate, delete, direct, leave"),
        (
            {"winning_quote": "https://o.crm.dynamics.com/"},
            "winning_quote: 'https://o.crm.dynamics.com/' is not the id",
        ),
        (
            {"competitor": "https://o.crm.dynamics.com/main.aspx?etn=quote&id=1"},
            "competitor: the address is one of quote, not of competitor",
        ),
        ({"opportunity id": 1, "when": 2}, "unknown: opportunity id, when; the fields are opportunityid, outcome"),
        (
            {"opportunityclose.actualend": "x"},
            "opportunityclose.actualend is not an extra column. Use the field closed",
        ),
        ({"quoteclose.activityid": ID}, "quoteclose.activityid is set by the connector"),
        ({"opportunityclose.a b": "x"}, "opportunityclose.a b is not the name of a column"),
        ({"opportunityclose.new_x:int": "five"}, "opportunityclose.new_x:int: 'five' is not of type int"),
        ({"opportunityclose.new_x": [1]}, "opportunityclose.new_x: [1] is no text"),
        ({"opportunityclose.new_x@odata.bind": "https://evil.example/x"}, "is no row; write table(id)"),
    ],
)
def test_what_is_wrong_gets_a_sentence_that_names_the_field(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_request(request() | values)
    assert sentence in str(caught.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_request({"opportunityid": "?", "closed_on": "soon"})
    assert all(field in str(caught.value) for field in ("opportunityid", "outcome", "closed_on"))


Anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@given(st.dictionaries(st.sampled_from(["status", "closed_on", "actual_revenue", "drafts", "quoteclose.x"]), Anything))
def test_nothing_but_an_input_error_ever_comes_of_bad_input(values: dict[str, object]) -> None:
    with suppress(InputError):
        parse_request(request() | values)
