"""What a close gives for own columns is read as the column's kind, or refused with the kind, before any write."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from connector.closing.close_columns import columns_left_empty, resolve_columns, rows_of_intent
from connector.closing.model import (
    ColumnDefinition,
    ColumnValue,
    Intent,
    LookupDefinition,
    OrganizationMetadata,
    Outcome,
    TableDefinition,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest, all_needs
from connector.errors import InputError
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID

ID = "0c000000-0000-4000-8000-00000000000a"
NAME = ColumnDefinition("String", length=5)
COUNT = ColumnDefinition("Integer")
BIG = ColumnDefinition("BigInt")
PRICE = ColumnDefinition("Money")
SHARE = ColumnDefinition("Decimal")
WON_BACK = ColumnDefinition("Boolean")
WHY = ColumnDefinition("Picklist", options={1: ("Price", "Preis"), 2: ("Other",), 3: ("other",), 4: ()})
TAGS = ColumnDefinition("MultiSelectPicklist", options={1: ("Red, hot",), 2: ("Blue", "Blau")})
WAYS = TableDefinition(
    {
        "new_partner": ColumnDefinition("Customer"),
        "new_owner": ColumnDefinition("Lookup", creatable=False),
        "new_fixed": ColumnDefinition("String", creatable=False),
        "new_partnernote": ColumnDefinition("String"),
    },
    (
        LookupDefinition("new_Partner_account", "new_partner", "account", "accounts"),
        LookupDefinition("new_Partner_contact", "new_partner", "contact", "contacts"),
        LookupDefinition("new_Owner", "new_owner", "systemuser", "systemusers"),
        LookupDefinition("new_Any", "new_any", "thing"),
    ),
)
"""A lookup to two tables, one that cannot be set, one whose table's set is not known."""


def resolved(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    """Return what is written to the column of the close activity."""
    return written(TableDefinition({"new_it": column}), "new_it", value)["new_it"]


def written(
    table: TableDefinition, name: str, value: ColumnValue, metadata: OrganizationMetadata = METADATA
) -> dict[str, ColumnValue]:
    """Return the columns of the close activity as the service takes them."""
    metadata = replace(metadata, tables={"opportunityclose": table})
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, opportunity_columns={name: value})
    return dict(resolve_columns(intent, metadata).opportunity_columns)


@pytest.mark.parametrize(
    ("column", "value", "form"),
    [
        (ColumnDefinition("DateTime", date_only=True), " 2026-01-31 ", "2026-01-31"),
        (ColumnDefinition("DateTime"), "2026-01-31", "2026-01-31"),
        (ColumnDefinition("DateTime"), "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        (ColumnDefinition("Uniqueidentifier"), ID.upper(), ID),
        (ColumnDefinition("Status"), 3, 3),
        (ColumnDefinition("Double"), "0.25", Decimal("0.25")),
        (ColumnDefinition("Memo", length=20), "One\nTwo", "One\nTwo"),
        (TAGS, "1", "1"),
        (TAGS, 2, "2"),
        (TAGS, "2, 1,2", "2,1"),
        (TAGS, "blue; Red, hot", "2,1"),
        (TAGS, "Red, hot", "1"),
        (NAME, "Anna!", "Anna!"),
        (replace(NAME, length=None), "Anna and Otto", "Anna and Otto"),
        (NAME, None, None),
        (COUNT, "12", 12),
        (COUNT, 3.0, 3),
        (COUNT, -(2**31) + 1, -(2**31) + 1),
        (BIG, 2**63 - 1, 2**63 - 1),
        (PRICE, "12.50", Decimal("12.50")),
        (PRICE, Decimal(922337203685477), Decimal(922337203685477)),
        (SHARE, 0.5, 0.5),
        (SHARE, -(10**11), -(10**11)),
        (WON_BACK, "yes", True),
        (WON_BACK, False, False),
        (WHY, 1, 1),
        (WHY, " 1 ", 1),
        (WHY, 4.0, 4),
        (WHY, "preis", 1),
        (WHY, "PRICE ", 1),
    ],
)
def test_a_value_is_written_in_the_form_of_its_column(
    column: ColumnDefinition, value: ColumnValue, form: ColumnValue
) -> None:
    assert resolved(column, value) == form
    assert type(resolved(column, value)) is type(form)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (ColumnDefinition("DateTime", date_only=True), "2026-01-31T12:00:00Z", "is not a date, as 2026-01-31"),
        (ColumnDefinition("DateTime", date_only=True), "2026-02-30", "is not a date, as 2026-01-31"),
        (ColumnDefinition("DateTime"), "noon", "is not a date or a moment, as 2026-01-31T12:00:00Z"),
        (ColumnDefinition("DateTime"), 5, "is not a date or a moment"),
        (ColumnDefinition("Uniqueidentifier"), "seven", "is not an id"),
        (ColumnDefinition("File"), "x", "a close sets no column of the kind File"),
        (TAGS, "Blue; Green", "' Green' is not one of its choices: 1 Red, hot, 2 Blue"),
        (TAGS, "", "'' is not one of its choices"),
        (NAME, 5, "5 is not a text"),
        (NAME, "Thomas", "it has 6 characters; at most 5 fit"),
        (COUNT, "a few", "'a few' is not a whole number"),
        (COUNT, 1.5, "1.5 is not a whole number"),
        (COUNT, True, "true is not a whole number"),
        (COUNT, 2**31, "2147483648 is not between -2,147,483,647 and 2,147,483,647"),
        (BIG, -(2**63), "-9223372036854775808 is not between -9,223,372,036,854,775,807 and 9,223,372,036,854,775,807"),
        (replace(COUNT, limits=(Decimal(0), Decimal(5))), -1, "-1 is not between 0 and 5"),
        (PRICE, "cheap", "'cheap' is not a number"),
        (PRICE, False, "false is not a number"),
        (PRICE, "922337203685478", "922337203685478 is not between -922,337,203,685,477 and 922,337,203,685,477"),
        (SHARE, 10**11 + 1, "100000000001 is not between -100,000,000,000 and 100,000,000,000"),
        (WON_BACK, "maybe", "'maybe' is neither true nor false"),
        (WON_BACK, 1, "1 is neither true nor false"),
        (WHY, "Colour", "'Colour' is not one of its choices: 1 Price, 2 Other, 3 other, 4"),
        (WHY, "other", "'other' is ambiguous of its choices: 1 Price, 2 Other, 3 other, 4"),
        (WHY, True, "true is not one of its choices"),
        (replace(WHY, options={}), "Price", "'Price' is not one of its choices: none"),
        (replace(NAME, creatable=False), "Anna", "it cannot be set"),
    ],
)  # fmt: skip
def test_a_value_that_its_column_cannot_hold_is_refused_with_what_it_can(
    column: ColumnDefinition, value: ColumnValue, reason: str
) -> None:
    sentence = refusal(TableDefinition({"new_it": column}), "new_it", value)
    assert "opportunityclose.new_it: " in sentence
    assert reason in sentence


def refusal(table: TableDefinition, name: str, value: ColumnValue, metadata: OrganizationMetadata = METADATA) -> str:
    """Return why the value is not taken."""
    with pytest.raises(InputError, match=r"\. Nothing was changed\.") as refused:
        written(table, name, value, metadata)
    assert refused.value.fields == ("opportunity_columns",)
    assert refused.value.remedy == "Correct that, or leave it out."
    return refused.value.message


@pytest.mark.parametrize(
    ("name", "row", "navigation"),
    [
        ("new_partner", f"accounts({ID})", "new_Partner_account"),
        ("new_partner", f"contacts({ID})", "new_Partner_contact"),
        ("new_Partner_contact@odata.bind", f"/contacts({ID})", "new_Partner_contact"),
        ("new_partner_CONTACT", f"contacts({ID})", "new_Partner_contact"),
        ("new_Partner_account", f"contacts({ID})", "new_Partner_contact"),
        ("new_any", f"things({ID})", "new_Any"),
    ],
)
def test_a_lookup_is_written_by_the_way_that_leads_to_the_rows_table(name: str, row: str, navigation: str) -> None:
    assert written(WAYS, name, row) == {f"{navigation}@odata.bind": f"/{row.removeprefix('/')}"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("new_partner", "Contoso", "'Contoso' is no row; write table(id), as accounts(0f3c…)"),
        ("new_any", 7, "7 is no row; write table(id), as accounts(0f3c…)"),
        ("new_partner", f"leads({ID})", "it points at accounts, contacts, not at leads"),
        ("new_owner", f"systemusers({ID})", "it cannot be set"),
        ("new_fixed", "text", "it cannot be set"),
        ("new_partnernoet", "text", "there is no such column; like it are new_partnernote, new_partner"),
        ("colour", "red", "there is no such column"),
    ],
)
def test_a_lookup_that_leads_nowhere_is_refused_with_where_it_could(name: str, value: ColumnValue, reason: str) -> None:
    assert f"opportunityclose.{name}: {reason}" in refusal(WAYS, name, value)


def test_a_column_that_the_service_requires_is_refused_and_one_that_forms_require_is_named() -> None:
    required = {"opportunityclose.new_partner": False, "opportunityclose.new_fixed": True, "quoteclose.new_why": True}
    metadata = replace(METADATA, required=required, tables={"opportunityclose": WAYS})
    bare = Intent(OPPORTUNITY_ID, Outcome.LOST)
    with pytest.raises(InputError, match=r"requires a value of opportunityclose\.new_fixed\.") as refused:
        columns_left_empty(bare, metadata, {"opportunityclose"})
    assert refused.value.fields == ("opportunity_columns",)
    assert "--opportunity-column" in str(refused.value.remedy)
    fixed = replace(bare, opportunity_columns={"new_fixed": "x"})
    assert columns_left_empty(fixed, metadata, {"opportunityclose"}) == ["opportunityclose.new_partner"]
    both = replace(bare, opportunity_columns={"new_fixed": "x", "new_Partner_account@odata.bind": f"/accounts({ID})"})
    assert columns_left_empty(both, metadata, {"opportunityclose"}) == []


def test_a_lookup_to_a_row_that_is_not_seen_and_a_secured_one_are_refused() -> None:
    unseen = replace(METADATA, absent=frozenset({("accounts", UUID(ID))}))
    told = refusal(WAYS, "new_partner", f"accounts({ID})", unseen)
    assert f"there is no account {ID} that the application user can see" in told
    secured = replace(METADATA, unwritable=frozenset({"opportunityclose.new_partner"}))
    told = refusal(WAYS, "new_Partner_account", f"accounts({ID})", secured)
    assert "it is secured, and the user may not set it" in told


def test_a_competitor_that_the_user_may_not_set_is_refused() -> None:
    metadata = replace(METADATA, unwritable=frozenset({"opportunityclose.competitorid"}))
    with pytest.raises(InputError, match="competitor: it is secured, and the user may not set it"):
        resolve_columns(Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id=UUID(ID)), metadata)


def test_a_competitor_that_is_not_seen_is_refused_and_named_as_the_field_that_is_wrong() -> None:
    metadata = replace(METADATA, absent=frozenset({("competitors", UUID(ID))}))
    with pytest.raises(InputError, match=rf"competitor: there is no competitor {ID} that") as refused:
        resolve_columns(Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id=UUID(ID)), metadata)
    assert refused.value.fields == ("competitor",)


def test_the_rows_that_a_close_points_at_are_its_competitor_and_those_of_its_columns() -> None:
    other = "0c000000-0000-4000-8000-00000000000b"
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.LOST,
        competitor_id=UUID(ID),
        opportunity_columns={"new_partner": f"accounts({other})", "new_name": "accounts"},
        quote_columns={"new_by": f"/contacts({ID})"},
    )
    assert list(rows_of_intent(intent)) == [
        ("competitors", UUID(ID)),
        ("accounts", UUID(other)),
        ("contacts", UUID(ID)),
    ]
    assert list(rows_of_intent(Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id="Contoso"))) == []


def test_what_several_closes_need_to_know_is_asked_for_together() -> None:
    assert all_needs([ONLY_REASONS, ONLY_REASONS]) == ONLY_REASONS
    rows = [MetadataRequest(rows=frozenset({("accounts", UUID(int=number))})) for number in (1, 2)]
    together = frozenset({("accounts", UUID(int=1)), ("accounts", UUID(int=2))})
    assert all_needs([*rows, ONLY_REASONS]) == MetadataRequest(columns=False, rows=together)
    assert all_needs([rows[0], MetadataRequest(columns=True)]).columns
