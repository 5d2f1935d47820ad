"""What a close gives for own columns is read as the column's kind, or refused with the kind, before any write."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.close_columns import resolve_columns
from connector.closing.model import ColumnDefinition, ColumnValue, Intent, Outcome, TableDefinition
from connector.errors import InputError
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID

ID = "0c000000-0000-4000-8000-00000000000a"


def resolved(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    """Return what is written to the column of the close activity."""
    metadata = replace(METADATA, tables={"opportunityclose": TableDefinition({column.name: column})})
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, opportunity_columns={column.name: value})
    return resolve_columns(intent, metadata).opportunity_columns[column.name]


@pytest.mark.parametrize(
    ("column", "value", "written"),
    [
        (ColumnDefinition("new_day", "DateTime", date_only=True), " 2026-01-31 ", "2026-01-31"),
        (ColumnDefinition("new_at", "DateTime"), "2026-01-31", "2026-01-31"),
        (ColumnDefinition("new_at", "DateTime"), "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        (ColumnDefinition("new_id", "Uniqueidentifier"), ID.upper(), ID),
        (ColumnDefinition("new_other", "Virtual"), "as it is", "as it is"),
    ],
)
def test_a_value_is_written_in_the_form_of_its_column(
    column: ColumnDefinition, value: ColumnValue, written: ColumnValue
) -> None:
    assert resolved(column, value) == written


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (ColumnDefinition("new_day", "DateTime", date_only=True), "2026-01-31T12:00:00Z", "is not a date, as 2026-01-31"),
        (ColumnDefinition("new_day", "DateTime", date_only=True), "2026-02-30", "is not a date, as 2026-01-31"),
        (ColumnDefinition("new_at", "DateTime"), "noon", "is not a date or a moment"),
        (ColumnDefinition("new_at", "DateTime"), 5, "is not a date or a moment"),
        (ColumnDefinition("new_id", "Uniqueidentifier"), "seven", "is not an id"),
    ],
)  # fmt: skip
def test_a_value_that_its_column_cannot_hold_is_refused_with_what_it_can(
    column: ColumnDefinition, value: ColumnValue, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        resolved(column, value)
    assert column.name in refused.value.message
    assert "Nothing was changed" in refused.value.message


def test_a_competitor_that_the_user_may_not_set_is_refused() -> None:
    metadata = replace(METADATA, unwritable=frozenset({"opportunityclose.competitorid"}))
    with pytest.raises(InputError, match="competitor: it is secured, and the user may not set it"):
        resolve_columns(Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id=UUID(ID)), metadata)
