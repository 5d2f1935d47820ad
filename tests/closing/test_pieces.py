"""The organization's own logic acts inside the close: the plan goes in pieces, and the report is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.closing.close import fulfil
from connector.closing.digest import make_plan
from connector.closing.model import (
    Intent,
    OpportunityState,
    Outcome,
    QuoteState,
    Report,
    ReportStatus,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.pieces import MOST_PLANS, PlanParts, same_steps
from connector.errors import Rejected, RepeatedUndo, Stale, StateConflict
from tests.closing.small_organization import OPPORTUNITY_ID, SmallOrganization, organization, quote_id
from tests.closing.test_goal import step

WON = Intent(OPPORTUNITY_ID, Outcome.WON)
PlugIn = Callable[[SmallOrganization, Step], None]


def close(small: SmallOrganization, intent: Intent = WON) -> Report:
    return fulfil(small, intent, pause=small.pause, chance=lambda: 0.5)


def closes_siblings(small: SmallOrganization, step: Step) -> None:
    if step.kind in {StepKind.CLOSE_QUOTE, StepKind.WIN_QUOTE}:
        for quote in tuple(small.rows.quotes.values()):
            if quote.id != step.record_id and quote.state in {QuoteState.DRAFT, QuoteState.ACTIVE}:
                small.set_quote(quote.id, QuoteState.CLOSED, 6)


def deletes_siblings(small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_QUOTE:
        for record in [record for record in small.rows.quotes if record != step.record_id]:
            del small.rows.quotes[record]


def touches_siblings(small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_QUOTE:
        for quote in tuple(small.rows.quotes.values()):
            if quote.id != step.record_id:
                small.set_quote(quote.id, quote.state, quote.status)


def revises(small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_QUOTE:
        small.add_quote(len(small.rows.quotes) + 100, 1)


def revises_once(small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_QUOTE and len(small.rows.quotes) < 3:
        revises(small, step)


def aborts_the_end(_small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_OPPORTUNITY:
        raise Rejected("Approval required.", status=400, code="0x80040265")


def nothing(_small: SmallOrganization, _step: Step) -> None:
    pass


@pytest.mark.parametrize("plug_in", [closes_siblings, deletes_siblings, touches_siblings, revises_once])
def test_a_plan_that_its_own_first_step_makes_impossible_goes_step_by_step(plug_in: PlugIn) -> None:
    small = organization((1, 2) if plug_in is not touches_siblings else (2, 1))
    small.after = plug_in
    report = close(small)
    assert report.status is ReportStatus.CLOSED, report
    assert small.rows.opportunity.state is OpportunityState.WON
    assert not any(q.state in {QuoteState.DRAFT, QuoteState.ACTIVE} for q in small.rows.quotes.values())
    assert any("done in pieces, the opportunity last" in warning for warning in report.warnings)
    assert "organization's own logic" in report.warnings[-1]
    assert len(small.completed(OPPORTUNITY_ID)) == 1


def test_a_plan_that_meets_no_logic_says_nothing_of_pieces() -> None:
    assert close(organization((1, 2))).warnings == ()


def test_logic_that_adds_as_fast_as_is_done_ends_with_a_true_report() -> None:
    small = organization((2,))
    small.after = revises
    report = close(small)
    assert report.status is ReportStatus.FAILED
    assert report.partial
    assert "others turned up" in str(report.error)
    assert small.calls < 50
    assert report.after is not None
    assert report.after.quotes == tuple(sorted(small.rows.quotes.values(), key=lambda quote: quote.id))


@pytest.mark.parametrize("atomic", [True, False])
def test_what_is_undone_each_time_is_done_twice_and_the_end_says_so(atomic: bool) -> None:
    done: list[Step] = []

    def undoes(small: SmallOrganization, step: Step) -> None:
        if step.kind is StepKind.CLOSE_QUOTE:
            done.append(step)
            small.set_quote(step.record_id, QuoteState.ACTIVE, 2)

    small = organization((2,))
    small.after, small.atomic = undoes, atomic
    report = close(small)
    assert report.status is ReportStatus.FAILED
    assert isinstance(report.error, RepeatedUndo)
    assert len(done) == (3 if atomic else 2), "a transaction that is rolled back comes first"


@pytest.mark.parametrize(("changes", "status"), [(7, ReportStatus.CLOSED), (200, ReportStatus.FAILED)])
def test_a_record_that_others_change_meanwhile_is_tried_at_its_new_version_but_not_for_ever(
    changes: int, status: ReportStatus
) -> None:
    def touched(small: SmallOrganization) -> None:
        small.set_quote(quote_id(1), QuoteState.DRAFT, 1)

    small = organization((1,))
    small.meddling, small.atomic = {call: [touched] for call in range(1, changes + 1)}, False
    report = close(small)
    assert report.status is status
    assert 4 <= small.writes <= MOST_PLANS
    assert (status is ReportStatus.CLOSED) == (small.rows.opportunity.state is OpportunityState.WON)


def test_pieces_are_used_up_after_as_many_as_may_be_sent() -> None:
    parts = PlanParts(size=1, left=2)
    for used_up in (False, True):
        parts.sent([StepResult(step(StepKind.CLOSE_QUOTE), StepStatus.DONE)])
        assert parts.used_up is used_up


def test_far_more_quotes_than_were_planned_end_one_call_with_a_true_report_and_the_next_does_the_rest() -> None:
    def adds_many(small: SmallOrganization, step: Step) -> None:
        if step.kind is StepKind.CLOSE_QUOTE and len(small.rows.quotes) < 3:
            for number in range(100, 140):
                small.add_quote(number, 2)

    small = organization((1, 2))
    small.after = adds_many
    report = close(small)
    assert (report.status, report.partial) == (ReportStatus.FAILED, True)
    assert "did not come to an end" in str(report.error)
    assert close(small).status is ReportStatus.CLOSED


def test_an_abort_is_no_reason_for_pieces_so_nothing_is_half_done() -> None:
    small = organization((2, 2))
    small.plug_in = aborts_the_end
    report = close(small)
    assert (report.status, report.partial) == (ReportStatus.FAILED, False)
    assert {quote.state for quote in small.rows.quotes.values()} == {QuoteState.ACTIVE}


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("most", [1, 7])
def test_what_is_too_much_for_one_transaction_goes_in_smaller_ones_the_opportunity_last(most: int, slow: bool) -> None:
    small = organization((2,) * 40)
    small.most_at_once, small.slow = most, slow
    report = close(small)
    assert report.status is ReportStatus.CLOSED, report.error
    assert "too much for the service at once" in report.warnings[-1]
    assert report.steps[-1].step.kind is StepKind.CLOSE_OPPORTUNITY
    assert all(result.status is StepStatus.DONE for result in report.steps)
    assert {quote.state for quote in small.rows.quotes.values()} == {QuoteState.CLOSED}


def test_a_refusal_that_contradicts_what_was_read_says_so() -> None:
    def unseen(_small: SmallOrganization, step: Step) -> None:
        if step.kind is StepKind.CLOSE_OPPORTUNITY:
            raise StateConflict("The opportunity cannot be closed.", status=400, code="0x80040516")

    small = organization((2,))
    small.plug_in = unseen
    report = close(small)
    assert report.status is ReportStatus.FAILED
    assert report.partial
    assert "No open quote of it was seen, so there may be one that the application user may not read" in report.stands


@pytest.mark.parametrize("kind", [StepKind.ACTIVATE_QUOTE, StepKind.CLOSE_QUOTE, StepKind.CLOSE_OPPORTUNITY])
@pytest.mark.parametrize("code", ["0x80040515", "0x80040216"])
def test_a_record_that_logic_changes_inside_the_request_is_not_left_to_be_looked_at(kind: StepKind, code: str) -> None:
    def changes_it_first(_small: SmallOrganization, step: Step) -> None:
        if step.kind is kind:
            raise StateConflict("It is not in that state.", status=400, code=code, remedy="Look at it.")

    small = organization((1,))
    small.plug_in = changes_it_first
    report = close(small)
    assert report.error is not None
    unseen = kind is StepKind.CLOSE_OPPORTUNITY and code != "0x80040515"
    assert ("most likely the organization's own logic changed it" in report.error.remedy) is not unseen
    assert ("No open quote of it was seen" in report.stands) is unseen


@pytest.mark.parametrize("who", ["ours", "another", "nobody"])
@pytest.mark.parametrize("state", [OpportunityState.WON, OpportunityState.LOST])
@pytest.mark.parametrize("when", [StepKind.CLOSE_QUOTE, StepKind.CLOSE_OPPORTUNITY])
def test_what_is_closed_while_the_call_is_at_work_is_told_with_who_did_it(
    who: str, state: OpportunityState, when: StepKind
) -> None:
    user, other = UUID(int=7), UUID(int=8)

    def closes_it(small: SmallOrganization, step: Step) -> None:
        if step.kind is when:
            by = {"ours": user, "another": other}.get(who)
            status = {OpportunityState.WON: 3, OpportunityState.LOST: 5}[state]
            small.rows.opportunity = replace(small.rows.opportunity, state=state, status=status, modified_by=by)

    small = organization((2,))
    small.known, small.after = replace(small.known, users=frozenset({user})), closes_it
    report = close(small)
    told = " ".join((report.reason, *report.warnings))
    if state is OpportunityState.WON and when is StepKind.CLOSE_OPPORTUNITY:
        assert report.status is ReportStatus.CLOSED
        assert "at first" not in told
        return
    names = {"ours": "another program of the same user", "another": f"the user {other}", "nobody": "somebody else"}
    assert names[who] in told
    assert ("this call made it won, and then " in told) is (when is StepKind.CLOSE_OPPORTUNITY)
    assert report.status is (ReportStatus.ALREADY_CLOSED if state is OpportunityState.WON else ReportStatus.REFUSED)


def test_a_failure_that_may_pass_but_does_not_look_so_is_tried_few_times() -> None:
    def crashes(_small: SmallOrganization, step: Step) -> None:
        if step.kind is not StepKind.CLOSE_OPPORTUNITY:
            return
        error = Rejected("The sandbox crashed.", status=400, code="0x8004418d")
        error.transient = error.lasting = True
        raise error

    small = organization((2, 2))
    small.plug_in = crashes
    report = close(small)
    assert (report.status, report.partial) == (ReportStatus.FAILED, False)
    assert isinstance(report.error, Rejected)
    assert small.writes == 3
    assert small.seconds < 60


LOGIC = st.sampled_from([nothing, closes_siblings, deletes_siblings, touches_siblings, revises, revises_once])
BEFORE = st.sampled_from([nothing, nothing, aborts_the_end])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 7), max_size=4),
    LOGIC,
    BEFORE,
    st.one_of(st.none(), st.integers(1, 3)),
    st.booleans(),
    st.booleans(),
)
def test_with_any_logic_it_ends_and_the_report_equals_what_a_reader_finds(
    statuses: list[int], after: PlugIn, before: PlugIn, most: int | None, slow: bool, atomic: bool
) -> None:
    small = organization(statuses)
    small.after, small.plug_in, small.most_at_once, small.slow, small.atomic = after, before, most, slow, atomic
    untouched = small.states()
    report = close(small)
    assert small.calls < 150
    closed = small.rows.opportunity.state is OpportunityState.WON
    assert closed == (report.status is ReportStatus.CLOSED)
    assert report.after is not None
    seen = (report.after.opportunity.state, [(quote.id, quote.state) for quote in report.after.quotes])
    rows = sorted(small.rows.quotes.values(), key=lambda quote: quote.id)
    assert seen == (small.rows.opportunity.state, [(quote.id, quote.state) for quote in rows])
    if report.status is not ReportStatus.CLOSED and small.states() != untouched:
        assert report.partial


def test_an_order_is_made_after_a_look_even_where_it_follows_the_close_alone() -> None:
    kinds = (StepKind.CLOSE_OPPORTUNITY, StepKind.CREATE_ORDER)
    plan = make_plan(OPPORTUNITY_ID, [step(kind) for kind in kinds])
    assert [part.kind for part in PlanParts().part(plan).steps] == [StepKind.CLOSE_OPPORTUNITY]
    alone = make_plan(OPPORTUNITY_ID, [step(StepKind.CREATE_ORDER)])
    assert PlanParts().part(alone) == alone


def test_row_versions_tell_steps_apart_only_where_a_version_was_turned_down() -> None:
    old, new = [step(StepKind.CLOSE_QUOTE)], [replace(step(StepKind.CLOSE_QUOTE), version='W/"8"')]
    assert same_steps(old, new, Rejected("No.", status=400, code=""))
    assert not same_steps(old, new, Stale("It changed.", status=412, code=""))
