"""What people know an opportunity by is read as the organization shows it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from connector import connect, load_settings
from connector.assembly import Connection
from connector.closing.model import OpportunityState
from connector.dataverse.record_cards import read_cards

FIRST, SECOND, NOBODY = UUID("00000003-0000-4000-8000-000000000001"), UUID(int=3 << 96 | 0x40008 << 60 | 2), UUID(int=9)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with connect_to(tmp_path / "emulator.db") as connection:
        yield connection


def connect_to(file: Path) -> Connection:
    return connect(load_settings({"DATAVERSE_URL": f"emulator:{file}"}))


def test_a_card_has_the_names_that_the_organization_shows(connection: Connection) -> None:
    cards = read_cards(connection.api, [FIRST])
    card = cards[FIRST]
    assert (card.record.name, card.record.state, card.status) == ("Opportunity 1", OpportunityState.OPEN, "In Progress")
    assert card.customer
    assert card.owner
    assert card.currency == "US Dollar"
    assert card.record.estimated_value is not None
    assert card.amount(Decimal("1234.345")) == "1,234.35", "as reports of jobs round it"
    assert [quote.record.number for quote in card.quotes] == sorted(quote.record.number for quote in card.quotes)
    assert all(quote.total for quote in card.quotes)


def test_what_does_not_exist_has_no_card_and_the_others_keep_their_order(connection: Connection) -> None:
    ids = [NOBODY, SECOND, FIRST]
    assert list(read_cards(connection.api, ids)) == [SECOND, FIRST]
