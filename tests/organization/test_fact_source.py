"""Facts are read of rows of the Web API as their fields declare it."""

from __future__ import annotations

import pytest

from connector.organization.capture_model import ColumnFact, CurrencyFact, StepFact
from connector.organization.fact_source import fact_of

STEP = {
    "sdkmessageprocessingstepid": "1",
    "name": None,
    "sdkmessageid": {"name": "Win"},
    "mode": 1,
    "stage": 20,
    "rank": 0,
    "filteringattributes": "statuscode, statecode",
}


def test_a_field_is_where_its_source_says_also_in_a_row_that_is_expanded() -> None:
    step = fact_of(StepFact, STEP, origin="own")
    assert (step.id, step.message, step.origin, step.asynchronous, step.stage) == ("1", "Win", "own", True, 20)
    assert step.columns == ("statecode", "statuscode")


def test_a_field_that_has_a_default_may_be_missing_or_empty() -> None:
    step = fact_of(StepFact, {**STEP, "plugintypeid": None, "filteringattributes": None}, origin="own")
    assert (step.name, step.table, step.plug_in, step.rank, step.columns, step.bypassable) == ("", "", "", 1, (), True)
    assert fact_of(CurrencyFact, {"isocurrencycode": "SEK", "currencyprecision": 2}).base is False


def test_a_field_that_has_none_must_be_there() -> None:
    with pytest.raises(KeyError):
        fact_of(CurrencyFact, {"isocurrencycode": "SEK"})
    with pytest.raises(TypeError):
        fact_of(ColumnFact, {"LogicalName": "new_code", "AttributeTypeName": None}, table="quote")


def test_what_the_row_says_of_rights_and_kinds_is_kept() -> None:
    row = {"LogicalName": "new_code", "AttributeTypeName": {"Value": "StringType"}, "MaxLength": 9}
    column = fact_of(ColumnFact, {**row, "IsValidForUpdate": False, "DateTimeBehavior": None}, table="quote")
    assert (column.type, column.max_length, column.update, column.behavior) == ("StringType", 9, False, "")
