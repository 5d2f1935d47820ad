"""The order of the winning quote: one, whatever happens on the way, and truly told."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.close import fulfil, preview
from connector.closing.intent import RevenueSource
from connector.closing.model import Intent, Outcome, Plan, QuoteState, Refusal, ReportStatus, StepKind, StepStatus
from connector.closing.progress import SETTLED_AFTER
from connector.errors import Forbidden
from tests.closing.small_organization import OPPORTUNITY_ID, TRANSIENT, Fault, SmallOrganization, organization, quote_id

INTENT = Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1), order=True)


def sold(total: Decimal | None = Decimal("12.50")) -> SmallOrganization:
    """An open opportunity with an active quote of this total, and a draft."""
    small = organization((2, 1))
    currency = UUID(int=5)
    small.rows.opportunity = replace(small.rows.opportunity, currency_id=currency)
    small.rows.quotes = {
        id_: replace(quote, total=total, currency_id=currency) for id_, quote in small.rows.quotes.items()
    }
    return small


def steps(small: SmallOrganization, intent: Intent = INTENT) -> list[StepKind]:
    verdict = preview(small, intent).verdict
    assert isinstance(verdict, Plan), verdict
    return [step.kind for step in verdict.steps]


def refusal(small: SmallOrganization, intent: Intent) -> str:
    verdict = preview(small, intent).verdict
    assert isinstance(verdict, Refusal)
    assert re.search(r"\. (Leave it out|Name it|Give the revenue)[^.]*\.$", verdict.reason), "what is there to do"
    return verdict.code


def test_the_order_is_the_last_step_and_is_sent_after_the_close() -> None:
    small = sold()
    assert steps(small)[-2:] == [StepKind.CLOSE_OPPORTUNITY, StepKind.CREATE_ORDER]
    report = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    assert (report.status, small.writes, len(small.rows.orders)) == (ReportStatus.CLOSED, 2, 1)
    assert steps(small) == []


@pytest.mark.parametrize("fault", [*TRANSIENT, Fault.DIES_BEFORE, Fault.DIES_AFTER], ids=lambda fault: fault.name)
@pytest.mark.parametrize("write", [0, 1])
def test_whatever_happens_to_a_write_there_is_one_order(fault: Fault, write: int) -> None:
    small = sold()
    small.faults = [*[Fault.NONE] * write, fault]
    try:
        report = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    except KeyboardInterrupt:
        report = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    small.settle()
    assert report.status in {ReportStatus.CLOSED, ReportStatus.ALREADY_CLOSED}
    assert len(small.rows.orders) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([Fault.DIES_BEFORE, Fault.DIES_AFTER, Fault.LATE])), max_size=4
    )
)
def test_whoever_is_killed_and_run_again_at_once_there_is_one_order(kills: list[tuple[int, Fault]]) -> None:
    small = sold()
    for write, fault in kills:
        small.faults = [*[Fault.NONE] * write, fault]

        def pause(seconds: float, small: SmallOrganization = small, before: int = len(small.late)) -> None:
            if len(small.late) > before:
                raise KeyboardInterrupt  # killed while its last write is on its way
            small.pause(seconds)

        with suppress(KeyboardInterrupt):
            fulfil(small, INTENT, pause=pause, chance=lambda: 0.5)
    small.faults = []
    report = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    small.settle()
    assert report.status in {ReportStatus.CLOSED, ReportStatus.ALREADY_CLOSED}
    assert len(small.rows.orders) == 1
    assert len(small.completed(OPPORTUNITY_ID)) == 1


def test_who_closes_and_makes_the_order_does_not_wait_and_who_finds_it_missing_does() -> None:
    small = sold()
    fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    assert small.seconds == 0
    small.rows.orders.clear()
    fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    assert (small.seconds >= SETTLED_AFTER, len(small.rows.orders)) == (True, 1)


def test_an_order_that_fails_leaves_the_close_and_says_what_is_missing() -> None:
    small = sold()

    def forbid(_: SmallOrganization, step: object) -> None:
        if getattr(step, "kind", None) is StepKind.CREATE_ORDER:
            raise Forbidden("The user may not create orders.", status=403)

    small.plug_in = forbid
    report = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    assert (report.status, report.partial) == (ReportStatus.FAILED, True)
    assert report.stands.endswith("The order of the winning quote is missing: run the same again to make it.")
    small.plug_in = None
    again = fulfil(small, INTENT, pause=small.pause, chance=lambda: 0.5)
    assert (again.status, len(small.rows.orders)) == (ReportStatus.ALREADY_CLOSED, 1)
    assert again.warnings == ("The opportunity was closed before; the order of quote QUO-1 was made now.",)
    assert [result.status for result in again.steps] == [StepStatus.DONE]


@pytest.mark.parametrize("source", RevenueSource)
def test_the_revenue_is_the_total_of_the_quote_or_of_the_order_it_has(source: RevenueSource) -> None:
    small = sold()
    intent = replace(INTENT, actual_revenue=source)
    verdict = preview(small, intent).verdict
    assert isinstance(verdict, Plan)
    assert verdict.steps[-2].activity["actualrevenue"] == Decimal("12.50")
    fulfil(small, intent, pause=small.pause, chance=lambda: 0.5)
    assert small.rows.opportunity.actual_value == Decimal("12.50")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outcome": Outcome.LOST, "winning_quote_id": None}, "order_needs_won"),
        ({"winning_quote_id": None}, "order_needs_quote"),
        ({"winning_quote_id": None, "order": False, "actual_revenue": RevenueSource.QUOTE}, "order_needs_quote"),
    ],
)
def test_what_has_no_quote_to_take_it_from_is_refused(change: dict[str, object], code: str) -> None:
    assert refusal(sold(), replace(INTENT, **change)) == code  # type: ignore[arg-type]  # attributes of an intent


def test_a_total_that_cannot_be_read_or_is_of_another_currency_is_no_revenue() -> None:
    intent = replace(INTENT, actual_revenue=RevenueSource.QUOTE)
    assert refusal(sold(total=None), intent) == "revenue_unknown"
    small = sold()
    small.rows.opportunity = replace(small.rows.opportunity, currency_id=UUID(int=6))
    assert refusal(small, intent) == "revenue_currency"


def test_the_only_quote_that_is_won_needs_no_name() -> None:
    small = sold()
    small.set_quote(quote_id(1), QuoteState.WON, 4)
    assert steps(small, replace(INTENT, winning_quote_id=None))[-1] is StepKind.CREATE_ORDER
