from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.activity_columns import (
    iso_moment,
    moment_of,
    opportunity_close,
    refuse_reserved,
    with_assumptions,
)
from connector.closing.model import Intent, Outcome
from connector.errors import InputError
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID

OFFSETS = st.integers(-12 * 60, 14 * 60)


@given(st.dates(min_value=date(1900, 1, 2), max_value=date(9999, 12, 30)), OFFSETS)
def test_the_moment_is_on_the_date_in_utc_and_for_the_acting_user(day: date, offset: int) -> None:
    moment = moment_of(day, offset)
    assert moment.tzinfo is UTC
    assert moment.date() == day
    assert (moment + timedelta(minutes=offset)).date() == day


@given(st.dates(min_value=date(1900, 1, 2), max_value=date(9999, 12, 30)), OFFSETS)
def test_an_hour_of_summer_time_does_not_move_the_date(day: date, offset: int) -> None:
    moment = moment_of(day, offset)
    for hour in (-60, 60):
        assert (moment + timedelta(minutes=offset + hour)).date() == day


@pytest.mark.parametrize(
    ("offset", "time"), [(0, "12:00"), (-600, "12:00"), (600, "12:00"), (660, "06:30"), (840, "05:00"), (-720, "18:00")]
)
def test_it_is_noon_but_for_those_more_than_ten_hours_away(offset: int, time: str) -> None:
    assert iso_moment(date(2026, 1, 31), offset) == f"2026-01-31T{time}:00Z"


def test_a_lost_opportunity_gets_the_revenue_of_the_settings_unless_one_is_given() -> None:
    metadata = replace(METADATA, lost_revenue=Decimal(0))
    lost = Intent(OPPORTUNITY_ID, Outcome.LOST)
    assert with_assumptions(lost, metadata).actual_revenue == 0
    assert with_assumptions(replace(lost, actual_revenue=Decimal(5)), metadata).actual_revenue == 5
    assert with_assumptions(replace(lost, outcome=Outcome.WON), metadata).actual_revenue is None
    assert with_assumptions(lost, METADATA).actual_revenue is None
    secured = replace(metadata, unwritable=frozenset({"opportunityclose.actualrevenue"}))
    assert with_assumptions(lost, secured).actual_revenue is None


def test_a_secured_column_that_was_asked_for_is_refused_and_one_that_was_not_is_left_out() -> None:
    metadata = replace(METADATA, unwritable=frozenset({"opportunityclose.actualrevenue", "opportunityclose.subject"}))
    intent = Intent(OPPORTUNITY_ID, Outcome.WON, actual_revenue=Decimal(5))
    with pytest.raises(InputError) as refused:
        opportunity_close(intent, metadata)
    assert refused.value.message == (
        "opportunityclose.actualrevenue is secured, and the user may not set it. Nothing was changed."
    )
    assert "column security profile" in refused.value.remedy
    assert opportunity_close(replace(intent, actual_revenue=None), metadata) == {}
    assert opportunity_close(intent, METADATA, UUID(int=3)) == {
        "subject": "Opportunity closed as won",
        "actualrevenue": Decimal(5),
        "transactioncurrencyid@odata.bind": f"/transactioncurrencies({UUID(int=3)})",
    }


def test_a_column_with_a_field_of_its_own_is_no_extra_column() -> None:
    with pytest.raises(InputError, match=r"opportunityclose.ActualEnd is not an extra column. Use the field closed_on"):
        refuse_reserved("opportunityclose", ["new_x", "ActualEnd"])
    with pytest.raises(InputError, match=r"quoteclose.StateCode is set by the connector. Leave it out"):
        refuse_reserved("quoteclose", ["StateCode"])
