from __future__ import annotations

import pytest

from connector.closing.model import OpportunityState, Outcome, QuoteState
from connector.closing.reasons import closed_quote_default, default_of, resolve
from connector.errors import InputError
from tests.closing.small_organization import OPPORTUNITY_STATUSES, QUOTE_STATUSES


@pytest.mark.parametrize("wanted", [4, "4", " 4 ", "Canceled", "canceled", "STORNIERT"])
def test_a_reason_is_found_by_value_and_by_label_in_any_language(wanted: int | str) -> None:
    assert resolve("opportunity", OPPORTUNITY_STATUSES, wanted, OpportunityState.LOST) == 4


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (5, "The status reason 5 Out-Sold of the opportunity is not one for opportunity won."),
        ("Gone", "The opportunity has no status reason 'Gone'."),
        (99, "The opportunity has no status reason 99."),
    ],
)
def test_a_wrong_reason_is_answered_with_the_valid_ones_of_the_state(wanted: int | str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve("opportunity", OPPORTUNITY_STATUSES, wanted, OpportunityState.WON)
    assert str(caught.value) == f"{sentence} Valid for opportunity won: 3 Won, 100000001 Won by Referral."
    assert caught.value.fields == ("status",)


def test_the_two_in_progress_of_quotes_are_ambiguous() -> None:
    with pytest.raises(
        InputError, match=r"'In Progress' is ambiguous: the quote has 1 In Progress, 2 In Progress"
    ) as caught:
        resolve("quote", QUOTE_STATUSES, "In Progress", QuoteState.CLOSED)
    assert caught.value.fields == ("quote_status",)


def test_a_label_that_two_states_share_means_the_one_of_the_wanted_state() -> None:
    assert resolve("quote", QUOTE_STATUSES, "in progress", QuoteState.DRAFT) == 1


def test_defaults_are_the_organizations_but_for_closed_quotes() -> None:
    assert default_of("opportunity", OPPORTUNITY_STATUSES, OpportunityState.LOST) == 4
    assert default_of("quote", QUOTE_STATUSES, QuoteState.ACTIVE) == 2
    assert closed_quote_default(QUOTE_STATUSES, Outcome.LOST) == 5
    assert closed_quote_default(QUOTE_STATUSES, Outcome.WON) == 6
    assert closed_quote_default([s for s in QUOTE_STATUSES if s.value != 6], Outcome.WON) == 5
