from __future__ import annotations

import pytest

from connector.emulator.world.schema import Kind, Required, Schema, StatusOption
from connector.emulator.world.schema_file import load_schema


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_schema()


def test_the_tables_of_a_close_go_by_their_entity_sets(schema: Schema) -> None:
    sets = {"opportunities", "quotes", "opportunitycloses", "quotecloses", "salesorders", "competitors"}
    assert sets <= schema.by_entity_set.keys()
    assert schema.by_entity_set["opportunitycloses"].type_code == 4208


def test_navigation_names_keep_their_capitals(schema: Schema) -> None:
    opportunity = schema.tables["opportunity"]
    assert opportunity.collections["Opportunity_OpportunityClose"].partner == "opportunityid"
    assert opportunity.collections["opportunity_quotes"].table == "quote"
    assert "opportunity_opportunityclose" not in opportunity.collections
    assert schema.tables["quote"].collections["Quote_QuoteClose"].column == "quoteid"


def test_every_navigation_property_leads_to_a_column_and_a_table_of_the_slice(schema: Schema) -> None:
    for table in schema.tables.values():
        for lookup in table.lookups.values():
            assert lookup.column in table.columns, (table.logical_name, lookup)
            assert lookup.target in schema.tables
        for collection in table.collections.values():
            assert collection.table in schema.tables
            if collection.association is None:
                assert collection.column in schema.tables[collection.table].columns, collection
                assert collection.partner in schema.tables[collection.table].lookups, collection


def test_competitors_are_related_many_to_many_from_both_sides(schema: Schema) -> None:
    name = "opportunitycompetitors_association"
    near, far = (schema.tables[table].collections[name].association for table in ("opportunity", "competitor"))
    assert near is not None
    assert far is not None
    assert (near.near, near.far) == (far.far, far.near)


def test_close_dates_are_days_on_the_opportunity_and_moments_on_the_activity(schema: Schema) -> None:
    assert schema.tables["opportunity"].columns["actualclosedate"].kind is Kind.DATEONLY
    actual_end = schema.tables["opportunityclose"].columns["actualend"]
    assert (actual_end.kind, actual_end.date_format) == (Kind.DATETIME, "DateOnly")


def test_two_status_reasons_of_quote_share_a_label(schema: Schema) -> None:
    quote = schema.tables["quote"]
    assert [option.value for option in quote.statuses if option.label == "In Progress"] == [1, 2]
    assert quote.default_status(3) == 7


def test_required_levels_follow_the_table_reference(schema: Schema) -> None:
    quote = schema.tables["quote"].columns
    assert quote["pricelevelid"].required is Required.APPLICATION
    assert quote["quotenumber"].updatable is False
    assert schema.tables["quoteclose"].columns["quoteid"].required is Required.NONE


def test_a_custom_status_reason_of_opportunity_reaches_its_close_activity_too(schema: Schema) -> None:
    changed = schema.with_status("opportunity", StatusOption(100000009, "Merged", 2))
    options = changed.tables["opportunityclose"].columns["opportunitystatuscode"].options
    assert (100000009, "Merged") in options
    assert schema.tables["opportunity"].status(100000009) is None


def test_records_are_born_in_their_first_state(schema: Schema) -> None:
    for table in ("opportunity", "quote", "opportunityclose", "quoteclose"):
        assert schema.tables[table].columns["statecode"].creatable is False


def test_base_amounts_cannot_be_set(schema: Schema) -> None:
    for table in schema.tables.values():
        for name, column in table.columns.items():
            if name.endswith("_base"):
                assert not column.creatable, (table.logical_name, name)
                assert not column.updatable
