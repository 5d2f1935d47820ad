"""How each kind of value is read, and the sentence for what cannot be."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import DraftPolicy, Outcome, RevenueSource
from connector.closing.record_keys import address_in, is_of
from connector.closing.request import column_value, parse_request, plain_value, read_value
from connector.errors import InputError

ID = UUID("6f2c0000-0000-4000-8000-00000000abcd")
NOT_AN_AMOUNT = "is not an amount; write it with a point and no separators, as 12500.00"


def field(kind: FieldKind, limit: int | None = None) -> CloseField:
    return CloseField("x", kind, "X", "It.", limit=limit, table="opportunity")


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (FieldKind.RECORD_ID, f" {{{ID}}} ", ID),
        (FieldKind.RECORD_ID, f"urn:uuid:{ID}", ID),
        (FieldKind.RECORD_ID, f"guid'{ID}'", ID),
        (FieldKind.RECORD_ID, f'"{ID}"', ID),
        (FieldKind.REASON, 2**31 - 1, 2**31 - 1),
        (FieldKind.RECORD_IDS, [str(ID), ID], frozenset({ID})),
        (FieldKind.RECORD_IDS, (ID,), frozenset({ID})),
        (FieldKind.RECORD_IDS, frozenset({ID}), frozenset({ID})),
        (FieldKind.RECORD_NAME, ID, ID),
        (FieldKind.RECORD_NAME, str(ID), ID),
        (FieldKind.RECORD_NAME, " Contoso  Ltd ", "Contoso Ltd"),
        (FieldKind.RECORD_ID, f"https://o.crm.dynamics.com/main.aspx?etn=opportunity&id={ID}", ID),
        (FieldKind.RECORD_ID, f"https://o.api.crm.dynamics.com/api/data/v9.2/opportunities({ID})", ID),
        (FieldKind.OUTCOME, " WON ", Outcome.WON),
        (FieldKind.REASON, 1, 1),
        (FieldKind.REASON, 3.0, 3),
        (FieldKind.REASON, " On Hold ", "On Hold"),
        (FieldKind.DAY, "1753-01-01", date(1753, 1, 1)),
        (FieldKind.DAY, " 2026-01-31 ", date(2026, 1, 31)),
        (FieldKind.DAY, datetime(2026, 1, 31), date(2026, 1, 31)),
        (FieldKind.DAY, date(2026, 1, 31), date(2026, 1, 31)),
        (FieldKind.AMOUNT, " 12.50 ", Decimal("12.50")),
        (FieldKind.AMOUNT, 1, Decimal(1)),
        (FieldKind.AMOUNT, " Quote ", RevenueSource.QUOTE),
        (FieldKind.AMOUNT, "1000000000000", Decimal(10) ** 12),
        (FieldKind.AMOUNT, "-1000000000000", -(Decimal(10) ** 12)),
        (FieldKind.TEXT, " x ", " x "),
        (FieldKind.DRAFTS, " Leave ", DraftPolicy.LEAVE),
    ],
)
def test_a_value_is_read(kind: FieldKind, value: object, read: object) -> None:
    assert read_value(field(kind), value) == read


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (FieldKind.RECORD_ID, f"'{ID}", f'"\'{ID}" is not the id of a record; give a GUID, with or without braces'),
        (
            FieldKind.RECORD_ID,
            f"guid{ID}",
            f"'guid{ID}' is not the id of a record; give a GUID, with or without braces",
        ),
        (FieldKind.REASON, 2**31, f"{2**31} is not a status reason; give its number or its label"),
        (FieldKind.RECORD_ID, "x", "'x' is not the id of a record; give a GUID, with or without braces"),
        (FieldKind.RECORD_ID, f"{{{ID}", f"'{{{ID}' is not the id of a record; give a GUID, with or without braces"),
        (FieldKind.RECORD_IDS, "x", "'x' is not a list of ids"),
        (FieldKind.FLAG, "maybe", "'maybe' is neither yes nor no"),
        (FieldKind.OUTCOME, ["won", None], '["won", null] is not an outcome; say won or lost'),
        (FieldKind.OUTCOME, "w" * 200_000, f"'{'w' * 99}… is not an outcome; say won or lost"),
        (FieldKind.OUTCOME, "draw", "'draw' is not an outcome; say won or lost"),
        (FieldKind.REASON, 0, "0 is not a status reason; give its number or its label"),
        (FieldKind.REASON, True, "true is not a status reason; give its number or its label"),
        (FieldKind.REASON, 1.5, "1.5 is not a status reason; give its number or its label"),
        (FieldKind.REASON, [], "[] is not a status reason; give its number or its label"),
        (FieldKind.DAY, "1752-12-31", "'1752-12-31' is before 1753-01-01, the first day that the column holds"),
        (FieldKind.DAY, "31.1.2026", "'31.1.2026' is not a date; write year-month-day, as 2026-01-31"),
        (FieldKind.DAY, "20260131", "'20260131' is not a date; write year-month-day, as 2026-01-31"),
        (FieldKind.DAY, "2026-02-30", "'2026-02-30' is not a date; write year-month-day, as 2026-01-31"),
        (
            FieldKind.DAY,
            datetime(2026, 1, 31, 9),
            "'2026-01-31 09:00:00' is not a date; write year-month-day, as 2026-01-31",
        ),
        (FieldKind.AMOUNT, "1,5", f"'1,5' {NOT_AN_AMOUNT}"),
        (FieldKind.AMOUNT, "1_000", f"'1_000' {NOT_AN_AMOUNT}"),
        (FieldKind.AMOUNT, True, f"true {NOT_AN_AMOUNT}"),
        (FieldKind.AMOUNT, "Infinity", f"'Infinity' {NOT_AN_AMOUNT}"),
        (FieldKind.AMOUNT, "1e-99999999", f"'1e-99999999' {NOT_AN_AMOUNT}"),
        (FieldKind.AMOUNT, 10**12 + 1, f"{10**12 + 1} is larger than the 1,000,000,000,000 that the column holds"),
        (FieldKind.TEXT, 5, "5 is not text"),
        (FieldKind.DRAFTS, "burn", "'burn' is no policy for drafts; say one of activate, delete, direct, leave"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(kind: FieldKind, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_value(field(kind), value)


def test_a_text_may_be_as_long_as_its_column() -> None:
    assert read_value(field(FieldKind.TEXT, 2000), "x" * 2000)
    assert read_value(field(FieldKind.REASON, 3), 12345) == 12345
    with pytest.raises(ValueError, match=r"^it has 2,001 characters; at most 2,000 are allowed$"):
        read_value(field(FieldKind.TEXT, 2000), "x" * 2001)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (ID, str(ID)),
        (date(2026, 1, 31), "2026-01-31"),
        (Decimal("12.50"), "12.50"),
        (frozenset({UUID(int=2), UUID(int=1)}), [str(UUID(int=1)), str(UUID(int=2))]),
        ("x", "x"),
        (5, 5),
        (None, None),
    ],
)
def test_a_value_as_json_has_it(value: object, plain: object) -> None:
    assert plain_value(value) == plain


@pytest.mark.parametrize(
    ("name", "kind", "value", "read"),
    [
        ("new_x", "text", " x ", " x "),
        ("new_x", "int", "-5", -5),
        ("new_x", "decimal", "1.50", Decimal("1.50")),
        ("new_x", "bool", " YES ", True),
        ("new_x", "bool", "true", True),
        ("new_x", "bool", "1", True),
        ("new_x", "bool", "false", False),
        ("new_x", "bool", "No", False),
        ("new_x", "bool", "0", False),
        ("new_x", "int", 1.5, 1.5),
        ("new_x", "text", True, True),
        ("new_x@odata.bind", "text", f"competitors({ID})", f"competitors({ID})"),
        ("new_x@odata.bind", "text", f" /competitors({ID}) ", f" /competitors({ID}) "),
    ],
)
def test_an_extra_column_is_read_by_its_type(name: str, kind: str, value: object, read: object) -> None:
    got = column_value(f"opportunityclose.{name}", name, kind, value)
    assert (got, type(got)) == (read, type(read))


@pytest.mark.parametrize(
    ("name", "kind", "value", "sentence"),
    [
        ("new_x", "int", "1.5", "t.new_x: '1.5' is not of type int"),
        ("new_x", "decimal", "1,5", "t.new_x: '1,5' is not of type decimal"),
        ("new_x", "bool", "maybe", "t.new_x: 'maybe' is not of type bool"),
        ("new_x", "text", float("nan"), "t.new_x: NaN is not a number"),
        ("new_x", "text", [], "t.new_x: [] is no text, number, true or false"),
        (
            "new_x@odata.bind",
            "text",
            "competitors(x)",
            "t.new_x@odata.bind: 'competitors(x)' is no row; write table(id), as competitors(0f3c…)",
        ),
    ],
)
def test_an_extra_column_that_cannot_be_read_is_named(name: str, kind: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        column_value(f"t.{name}", name, kind, value)


def test_one_sentence_names_every_field_that_is_wrong() -> None:
    with pytest.raises(InputError) as error:
        parse_request(
            {"outcome": "draw", "opportunityclose.new x": "1", "opportunityclose.new_y:int": "z", "wat": 1, "huh": 2}
        )
    assert str(error.value).splitlines()[0] == (
        "opportunityid is missing; outcome: 'draw' is not an outcome; say won or lost; "
        "opportunityclose.new x is not the name of a column; opportunityclose.new_y:int: 'z' is not of type int; "
        "unknown: wat, huh; the fields are opportunityid, outcome, status, closed_on, actual_revenue, description, "
        "subject, competitor, winning_quote, quote_status, drafts, order, as_user, and extra columns begin with "
        "opportunityclose. or quoteclose.."
    )


def test_a_column_with_a_field_of_its_own_is_named_among_the_problems() -> None:
    with pytest.raises(InputError) as error:
        parse_request({"opportunityid": str(ID), "outcome": "draw", "opportunityclose.actualrevenue": "1"})
    assert str(error.value).startswith("outcome: 'draw' is not an outcome; say won or lost; ")
    assert ".." not in str(error.value)


@pytest.mark.parametrize(
    ("address", "table", "fits"),
    [
        ("main.aspx?etn=opportunity&id=", "opportunity", True),
        ("main.aspx?pagetype=entityrecord&id=", "opportunity", True),
        ("main.aspx?etc=3&id=", "opportunity", True),
        ("main.aspx?etc=1084&id=", "quote", True),
        ("main.aspx?etc=123&id=", "competitor", True),
        ("main.aspx?etc=8&id=", "systemuser", True),
        ("main.aspx?etc=3&id=", "quote", False),
        ("main.aspx?etc=4711&id=", "opportunity", False),
        ("main.aspx#typename=opportunity&id=", "opportunity", True),
        ("main.aspx?ETN=Opportunity&RecordId=", "opportunity", True),
        ("main.aspx?etc=3&extraqs=%3fid%3d", "opportunity", True),
        ("api/data/v9.2/opportunities", "opportunity", True),
        ("api/data/v9.2/quotes", "quote", True),
        ("api/data/v9.2/quotes", "opportunity", False),
        ("main.aspx?etn=quote&id=", "opportunity", False),
    ],
)
def test_an_address_names_a_table_by_itself_its_set_or_not_at_all(address: str, table: str, *, fits: bool) -> None:
    whole = f"https://o.crm.dynamics.com/{address}{ID if address.endswith(('=', '%3d')) else f'({ID})'}"
    found_address = address_in(whole)
    assert found_address is not None
    assert (found_address.host, found_address.id) == ("o.crm.dynamics.com", str(ID))
    assert is_of(found_address, table) is fits


def test_an_address_with_a_broken_host_is_none() -> None:
    assert address_in(f"https://[o.crm.dynamics.com/main.aspx?etn=quote&id={ID}") is None
