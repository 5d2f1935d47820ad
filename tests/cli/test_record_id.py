"""Ids as people have them at hand."""

from collections.abc import Callable
from uuid import UUID

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.intent_options import check_addresses, opportunity_id, record_name
from connector.closing.intent import CLOSE_FIELDS

QUOTE = next(field for field in CLOSE_FIELDS if field.name == "winning_quote")
SOME_ID = "6f2c1f0a-5b7d-4a53-9a3e-0c6f3f2f9b11"
PAGE = f"https://org.crm4.dynamics.com/main.aspx?appid=11111111-2222-3333-4444-555555555555&pagetype=entityrecord&etn=opportunity&id={SOME_ID}"


@given(st.uuids(), st.sampled_from(["{0}", "{{{0}}}", "({0})", "  {0}\n"]), st.sampled_from([str.upper, str.lower]))
def test_a_guid_is_understood_in_any_dress(value: UUID, dress: str, case: Callable[[str], str]) -> None:
    text = dress.format(value)
    assert opportunity_id(case(text)) == value
    assert opportunity_id(value.hex) == value


@pytest.mark.parametrize(
    "address",
    [
        PAGE,
        f"https://org.crm.dynamics.com/main.aspx?etn=opportunity&pagetype=entityrecord&id=%7b{SOME_ID.upper()}%7d",
        f"https://org.crm.dynamics.com/main.aspx#pagetype=entityrecord&etn=opportunity&id={SOME_ID}",
        f"https://org.crm.dynamics.com/main.aspx?etc=3&extraqs=%3f_gridType%3d3%26etc%3d3%26id%3d%257b{SOME_ID}%257d&histKey=5#1",
        f"https://org.crm.dynamics.com/main.aspx?etn=opportunity&extraqs=%3Fid%3D{SOME_ID[:-1]}0&id={SOME_ID}",
        f"<https://crm.contoso.com/Org/userdefined/edit.aspx?etc=3&amp;id={{{SOME_ID}}}>",
        f"etn=opportunity&id={SOME_ID}",
        f"https://org.crm.dynamics.com/api/data/v9.2/opportunities({SOME_ID})",
        f"https://org.crm.dynamics.com/api/data/v9.2/opportunities(opportunityid={SOME_ID})?$select=name",
    ],
)
def test_the_address_of_a_record_stands_for_its_id(address: str) -> None:
    assert opportunity_id(address) == UUID(SOME_ID)


def test_the_address_of_another_table_is_named_as_such() -> None:
    with pytest.raises(click.BadParameter, match="of the table '4200'; it must be 'opportunity'"):
        opportunity_id(f"https://org.crm.dynamics.com/main.aspx?etc=4200&id={SOME_ID}")
    with pytest.raises(click.BadParameter, match="address of a record of the table 'opportunity'; it must be 'quote'"):
        record_name(QUOTE, PAGE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "6f2c1f0a",
        f"{SOME_ID}0",
        f"{{{SOME_ID}",
        f"{SOME_ID})",
        "not-an-id",
        "https://org.crm.dynamics.com/main.aspx?etn=opportunity",
        "'; --",
        "https://[org/main.aspx",
    ],
)
def test_anything_else_is_answered_with_a_sentence(text: str) -> None:
    with pytest.raises(click.BadParameter, match="does not name one opportunity"):
        opportunity_id(text)


@pytest.mark.parametrize("url", ["https://org.crm4.dynamics.com", "https://ORG.api.crm4.dynamics.com", "emulator:file"])
def test_the_address_of_a_record_may_be_of_this_organization_by_either_name(url: str) -> None:
    with click.Context(click.Command("close")):
        opportunity_id(PAGE)
        check_addresses(url)


def test_a_record_is_not_looked_for_in_another_organization_than_its_address_names() -> None:
    with click.Context(click.Command("close")):
        opportunity_id(PAGE)
        with pytest.raises(click.UsageError, match=r"is of org\.crm4\.dynamics\.com, but DATAVERSE_URL names other"):
            check_addresses("https://other.crm4.dynamics.com")
