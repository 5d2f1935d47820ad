from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.closing.close import fulfil, fulfil_many, preview, preview_many
from connector.closing.identity import is_ours
from connector.closing.model import (
    DraftPolicy,
    Intent,
    OpportunityState,
    Outcome,
    Plan,
    QuoteState,
    ReopenIntent,
    Report,
    ReportStatus,
    Snapshot,
    Step,
    StepKind,
    StepStatus,
)
from connector.closing.verify import same_amount, shows
from connector.errors import Broken, Effect, Forbidden, InputError, NotConverged, NotFound, Rejected
from tests.closing.small_organization import (
    METADATA,
    OPPORTUNITY_ID,
    PROJECT_MESSAGES,
    TRANSIENT,
    Fault,
    Meddling,
    SmallOrganization,
    organization,
    quote_id,
)

WON = Intent(OPPORTUNITY_ID, Outcome.WON)
LOST = Intent(OPPORTUNITY_ID, Outcome.LOST)
DONE = {ReportStatus.CLOSED, ReportStatus.ALREADY_CLOSED}
OPEN_QUOTES = {QuoteState.DRAFT, QuoteState.ACTIVE}

Statuses = st.lists(st.integers(1, 7), max_size=3)
Faults = st.lists(st.sampled_from(TRANSIENT), max_size=4)


def close(small: SmallOrganization, intent: Intent = WON, *, if_plan: str | None = None, chance: float = 0.5) -> Report:
    return fulfil(small, intent, pause=small.pause, chance=lambda: chance, if_plan=if_plan)


def undisturbed(statuses: list[int], intent: Intent) -> SmallOrganization:
    small = organization(statuses)
    assert close(small, intent).status is ReportStatus.CLOSED
    return small


def check_one_activity_each(small: SmallOrganization, statuses: list[int]) -> None:
    assert len(small.completed(OPPORTUNITY_ID)) == 1
    for number, status in enumerate(statuses, 1):
        assert len(small.completed(quote_id(number))) == (1 if status <= 3 else 0)


def check_report_is_true(small: SmallOrganization, report: Report) -> None:
    """Hold a report against the organization after everything on its way has arrived."""
    known = {activity.id for activity in small.rows.activities}
    for result in report.steps:
        if result.status is StepStatus.DONE and result.step.activity_id:
            assert result.step.activity_id in known
        assert result.status is not StepStatus.PLANNED
    if report.status in DONE:
        assert report.after is not None
        for result in report.steps:
            settled = result.status in {StepStatus.DONE, StepStatus.NOT_RUN}
            assert settled or not shows(result.step, report.after), "unknown, although it can be seen"
        assert report.error is None
    else:
        assert report.reason or report.error is not None


def test_a_draft_quote_is_activated_then_closed_and_the_opportunity_last() -> None:
    small = organization((1, 2))
    report = close(small)
    assert report.status is ReportStatus.CLOSED
    assert [result.step.kind for result in report.steps] == [
        StepKind.ACTIVATE_QUOTE,
        StepKind.CLOSE_QUOTE,
        StepKind.CLOSE_QUOTE,
        StepKind.CLOSE_OPPORTUNITY,
    ]
    assert {result.status for result in report.steps} == {StepStatus.DONE}
    assert small.states() == ((OpportunityState.WON, 3), [(QuoteState.CLOSED, 6), (QuoteState.CLOSED, 6)])
    assert (small.calls, small.seconds) == (3, 0.0)  # look, write, look
    assert not report.warnings


def test_a_second_run_changes_nothing_and_says_so() -> None:
    small = organization((1, 2))
    close(small)
    before = small.states(), len(small.rows.activities)
    report = close(small)
    assert report.status is ReportStatus.ALREADY_CLOSED
    assert (small.states(), len(small.rows.activities)) == before
    assert report.steps == ()


@settings(deadline=None, max_examples=300)
@given(Statuses, st.sampled_from([WON, LOST]), st.booleans(), Faults, st.sets(st.integers(1, 6), max_size=2))
def test_whatever_answers_are_lost_or_late_it_ends_as_undisturbed(
    statuses: list[int], intent: Intent, atomic: bool, faults: list[Fault], unreadable: set[int]
) -> None:
    small = organization(statuses)
    small.atomic, small.faults, small.unreadable = atomic, list(faults), unreadable
    report = close(small, intent)
    small.settle()
    assert report.status is ReportStatus.CLOSED
    assert small.states() == undisturbed(statuses, intent).states()
    check_one_activity_each(small, statuses)
    check_report_is_true(small, report)
    assert all(result.status is StepStatus.DONE for result in report.steps)


@settings(deadline=None, max_examples=300)
@given(
    Statuses,
    st.sampled_from([WON, LOST]),
    st.booleans(),
    st.lists(st.tuples(Faults, st.sampled_from([Fault.DIES_BEFORE, Fault.DIES_AFTER])), min_size=1, max_size=3),
)
def test_however_often_the_process_is_killed_a_fresh_run_ends_as_undisturbed(
    statuses: list[int], intent: Intent, atomic: bool, lives: list[tuple[list[Fault], Fault]]
) -> None:
    small = organization(statuses)
    small.atomic = atomic
    for faults, death in lives:
        small.faults = [*faults, death]
        try:
            close(small, intent)
        except KeyboardInterrupt:
            continue
    small.faults = []
    report = close(small, intent)
    small.settle()
    assert report.status in DONE
    assert small.states() == undisturbed(statuses, intent).states()
    check_one_activity_each(small, statuses)


def meddling_by_others() -> st.SearchStrategy[Meddling]:
    def win(small: SmallOrganization) -> None:
        small.set_opportunity(OpportunityState.WON, 3)

    def lose(small: SmallOrganization) -> None:
        small.set_opportunity(OpportunityState.LOST, 5)

    def reopen(small: SmallOrganization) -> None:
        small.set_opportunity(OpportunityState.OPEN, 1)

    def set_quote(number: int, status: int) -> Meddling:
        state = {1: QuoteState.DRAFT, 2: QuoteState.ACTIVE, 4: QuoteState.WON, 5: QuoteState.CLOSED}[status]
        return lambda small: small.set_quote(quote_id(number), state, status)

    def add_quote(small: SmallOrganization) -> None:
        small.add_quote(9, 1)

    def remove_quote(number: int) -> Meddling:
        def remove(small: SmallOrganization) -> None:
            small.rows.quotes.pop(quote_id(number), None)

        return remove

    return st.one_of(
        st.sampled_from([win, lose, reopen, add_quote]),
        st.builds(set_quote, st.integers(1, 3), st.sampled_from([1, 2, 4, 5])),
        st.builds(remove_quote, st.integers(1, 3)),
    )


@settings(deadline=None, max_examples=500)
@given(
    Statuses,
    st.sampled_from([WON, LOST]),
    st.booleans(),
    Faults,
    st.dictionaries(st.integers(1, 8), st.lists(meddling_by_others(), max_size=2), max_size=3),
)
def test_with_others_at_work_the_report_is_true_and_there_is_never_a_mixture(
    statuses: list[int], intent: Intent, atomic: bool, faults: list[Fault], meddling: dict[int, list[Meddling]]
) -> None:
    small = organization(statuses)
    small.atomic, small.faults, small.meddling = atomic, list(faults), meddling
    report = close(small, intent)
    small.meddling = {}
    at_end = small.rows.opportunity
    small.settle()
    check_report_is_true(small, report)
    wanted = OpportunityState.WON if intent is WON else OpportunityState.LOST
    assert len(small.completed(OPPORTUNITY_ID)) <= 1
    if report.status in DONE:
        assert small.rows.opportunity.state is wanted
        closes = [a.id for a in small.rows.activities if a.record_id == OPPORTUNITY_ID]
        assert any(is_ours(close, OPPORTUNITY_ID) for close in closes) == (report.status is ReportStatus.CLOSED)
    elif report.status is ReportStatus.REFUSED:
        assert report.reason_code == "closed_with_other_outcome"
        assert small.rows.opportunity.state not in {wanted, OpportunityState.OPEN}
    elif report.error is not None and report.error.effect is Effect.NONE:
        assert small.rows.opportunity == at_end, "it said that nothing more would happen"


def test_a_close_without_an_answer_is_told_to_be_ours_by_its_activity() -> None:
    small = organization((2,))
    small.faults = [Fault.LOST_AFTER]
    assert close(small).status is ReportStatus.CLOSED


def test_a_close_that_others_undid_and_then_made_themselves_is_still_told_to_have_happened() -> None:
    small = organization()
    small.meddling = {
        3: [lambda s: s.set_opportunity(OpportunityState.OPEN, 1)],
        4: [lambda s: s.set_opportunity(OpportunityState.WON, 3)],
    }
    report = close(small)
    first, theirs = [activity.id for activity in small.rows.activities]
    assert report.status is ReportStatus.CLOSED
    assert [(result.step.activity_id, result.status) for result in report.steps] == [(first, StepStatus.DONE)]
    assert not is_ours(theirs, OPPORTUNITY_ID)


def test_of_two_closes_without_an_answer_the_report_names_the_one_that_happened() -> None:
    small = organization()
    small.faults = [Fault.LOST_AFTER, Fault.LOST_BEFORE]
    small.meddling = {
        3: [lambda s: s.set_opportunity(OpportunityState.OPEN, 1)],
        5: [lambda s: s.set_opportunity(OpportunityState.WON, 3)],
    }
    report = close(small)
    first, _theirs = [activity.id for activity in small.rows.activities]
    assert [(result.step.activity_id, result.status) for result in report.steps] == [(first, StepStatus.DONE)]


@pytest.mark.parametrize("atomic", [True, False])
def test_somebody_elses_close_with_the_same_outcome_in_between_is_already_closed(atomic: bool) -> None:
    small = organization()
    small.atomic = atomic
    small.meddling = {2: [lambda s: s.set_opportunity(OpportunityState.WON, 3)]}
    report = close(small)
    assert report.status is ReportStatus.ALREADY_CLOSED
    assert [result.status for result in report.steps] == [StepStatus.NOT_RUN]
    assert not report.partial


def test_somebody_elses_close_with_the_other_outcome_in_between_is_refused_without_a_trace_of_ours() -> None:
    small = organization((2,))
    small.meddling = {2: [lambda s: s.set_opportunity(OpportunityState.LOST, 5)]}
    report = close(small)
    assert (report.status, report.reason_code) == (ReportStatus.REFUSED, "closed_with_other_outcome")
    assert not report.partial
    assert small.states()[1] == [(QuoteState.ACTIVE, 2)]


def test_a_refusal_after_some_steps_took_effect_is_partial() -> None:
    small = organization((2,))
    small.atomic, small.faults = False, [Fault.NONE, Fault.LOST_BEFORE]
    small.meddling = {3: [lambda s: s.set_opportunity(OpportunityState.LOST, 5)]}
    report = close(small)
    assert report.status is ReportStatus.REFUSED
    assert report.partial


def test_steps_that_were_done_but_never_seen_make_a_failure_partial() -> None:
    small = organization((1,))
    small.atomic, small.faults = False, [Fault.NONE, Fault.LOST_BEFORE]
    small.unreadable = set(range(3, 60))
    report = close(small)
    assert (report.status, report.partial) == (ReportStatus.FAILED, True)
    assert report.steps[0].status is StepStatus.DONE
    assert report.stands == "Before the steps that are done, the opportunity is open, quote QUO-1 is draft."


def test_a_quote_that_appears_in_between_is_closed_as_well() -> None:
    small = organization((2,))
    small.meddling = {2: [lambda s: s.add_quote(9, 1)]}
    assert close(small).status is ReportStatus.CLOSED
    assert {quote.state for quote in small.rows.quotes.values()} == {QuoteState.CLOSED}


def test_a_commit_two_minutes_late_is_not_called_a_failure() -> None:
    small = organization((1,))
    small.faults = [Fault.LATE, Fault.LOST_BEFORE, Fault.LOST_BEFORE, Fault.LOST_BEFORE, Fault.LOST_BEFORE]
    report = close(small)
    assert report.status is ReportStatus.CLOSED
    check_one_activity_each(small, [1])


def test_an_outage_that_ends_with_the_last_look_is_still_told_as_what_passes() -> None:
    small = organization((2,))
    small.unreadable = set(range(1, 12))
    report = close(small)
    assert report.rounds == small.calls == 12
    assert isinstance(report.error, NotConverged)
    assert isinstance(report.error.last, Broken)
    assert close(small).status is ReportStatus.CLOSED


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.BROKEN_BEFORE])
def test_with_patience_exhausted_the_failure_says_that_it_may_still_happen(fault: Fault) -> None:
    small = organization((2,))
    small.faults = [fault] * 50
    report = close(small)
    assert report.status is ReportStatus.FAILED
    assert isinstance(report.error, NotConverged)
    assert report.error.effect is Effect.UNKNOWN
    assert report.stands == "When last seen, the opportunity is open, quote QUO-1 is active."
    assert [result.status for result in report.steps] == [StepStatus.UNKNOWN, StepStatus.UNKNOWN]
    assert small.seconds > 120
    assert not report.partial


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_the_pauses_grow_and_outlast_a_slow_commit_whatever_the_jitter(chance: float) -> None:
    small = organization()
    small.faults = [Fault.LOST_BEFORE] * 50
    close(small, chance=chance)
    assert 120 < small.seconds < 660


def test_a_retry_after_is_waited_for() -> None:
    small = organization()
    small.faults = [Fault.THROTTLED]
    assert close(small).status is ReportStatus.CLOSED
    assert small.seconds == 7.0


def turned_down(_small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_OPPORTUNITY:
        raise Rejected("A plug-in says no.", status=400, code="0x80040265")


def pushed_back(small: SmallOrganization, step: Step) -> None:
    if step.kind is StepKind.CLOSE_QUOTE:
        small.set_quote(step.record_id, QuoteState.DRAFT, 1)
        raise Rejected("Not while it is raining.", status=400, code="0x80040265")


def test_a_lasting_refusal_of_the_service_is_a_failure_after_one_more_look() -> None:
    small = organization((2,))
    small.plug_in = turned_down
    report = close(small)
    assert (report.status, report.rounds, report.partial) == (ReportStatus.FAILED, 2, False)
    assert isinstance(report.error, Rejected)
    assert small.seconds == 0


def test_step_by_step_a_lasting_refusal_leaves_it_partly_done_and_says_so() -> None:
    small = organization((2,))
    small.atomic, small.plug_in = False, turned_down
    report = close(small)
    assert (report.status, report.rounds, report.partial) == (ReportStatus.FAILED, 2, True)
    assert report.stands == "When last seen, the opportunity is open, quote QUO-1 is closed."
    assert [result.status for result in report.steps] == [StepStatus.DONE, StepStatus.FAILED]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(("status", "partial"), [(2, True), (1, False)])
def test_a_plug_in_that_pushes_a_quote_back_to_draft_does_not_turn_the_loop_for_ever(
    atomic: bool, status: int, partial: bool
) -> None:
    small = organization((status,))
    small.atomic, small.plug_in = atomic, pushed_back
    report = close(small)
    assert report.status is ReportStatus.FAILED
    assert isinstance(report.error, Rejected)
    assert report.rounds <= 5
    assert report.partial == partial
    assert report.stands == "When last seen, the opportunity is open, quote QUO-1 is draft."


def test_a_plug_in_that_relents_is_converged_with() -> None:
    small = organization((2,))
    small.plug_in = pushed_back
    small.meddling = {4: [lambda s: setattr(s, "plug_in", None)]}
    assert close(small).status is ReportStatus.CLOSED


def test_a_background_job_of_project_operations_is_waited_for() -> None:
    small = organization((2, 1), work_based=True)
    small.known = replace(METADATA, messages=PROJECT_MESSAGES)
    small.atomic, small.background = False, True
    report = close(small, LOST)
    assert report.status is ReportStatus.CLOSED
    assert {quote.state for quote in small.rows.quotes.values()} == {QuoteState.CLOSED}


def test_done_but_unreadable_afterwards_is_closed_with_a_warning() -> None:
    small = organization((2,))
    small.unreadable = set(range(3, 40))
    report = close(small)
    assert report.status is ReportStatus.CLOSED
    assert "reading back failed" in report.warnings[0]


def test_what_cannot_be_read_at_all_fails_with_the_reason() -> None:
    class Closed(SmallOrganization):
        def observe(
            self, ids: Iterable[UUID], *, activities: bool = False, orders: bool = False
        ) -> dict[UUID, Snapshot]:
            raise Forbidden(f"No privilege for {ids} {activities}.", status=403)

    small = Closed(organization().rows)
    report = close(small)
    assert (report.status, report.rounds) == (ReportStatus.FAILED, 1)
    assert isinstance(report.error, Forbidden)


def test_an_opportunity_that_does_not_exist_fails_by_name() -> None:
    small = organization()
    report = close(small, Intent(quote_id(77), Outcome.WON))
    assert isinstance(report.error, NotFound)
    assert str(quote_id(77)) in report.error.message
    assert small.writes == 0


def test_an_unknown_reason_fails_before_anything_is_written() -> None:
    small = organization((1,))
    report = close(small, replace(WON, status="Out-Sold"))
    assert isinstance(report.error, InputError)
    assert "Valid for opportunity won: 3 Won, 100000001 Won by Referral." in str(report.error)
    assert small.writes == 0


@pytest.mark.parametrize("other", [WON, LOST])
def test_an_opportunity_named_twice_is_refused_before_anything_is_read(other: Intent) -> None:
    small = organization()
    with pytest.raises(InputError, match="more than once"):
        fulfil_many(small, [WON, other], pause=small.pause)
    assert small.calls == 0


class TestBoundToAPlan:
    def digest(self, small: SmallOrganization, intent: Intent = WON) -> str:
        verdict = preview(small, intent).verdict
        assert isinstance(verdict, Plan)
        return verdict.digest

    def test_the_approved_plan_is_done(self) -> None:
        small = organization((1, 2))
        assert close(small, if_plan=self.digest(small)).status is ReportStatus.CLOSED

    def test_another_plan_is_refused_with_its_digest(self) -> None:
        small = organization((1, 2))
        approved = self.digest(small)
        small.add_quote(9, 1)
        report = close(small, if_plan=approved)
        assert (report.status, report.reason_code) == (ReportStatus.REFUSED, "plan_changed")
        assert report.digest == self.digest(small)
        assert report.digest in report.reason
        assert small.writes == 0

    def test_what_is_left_of_it_after_a_lost_answer_is_still_approved(self) -> None:
        small = organization((1, 2))
        small.atomic, small.faults = False, [Fault.NONE, Fault.LOST_AFTER]
        assert close(small, if_plan=self.digest(small)).status is ReportStatus.CLOSED

    def test_a_quote_that_appears_in_between_was_not_approved(self) -> None:
        small = organization((2,))
        approved = self.digest(small)
        small.meddling = {3: [lambda s: s.add_quote(9, 1)]}
        report = close(small, if_plan=approved)
        assert (report.status, report.reason_code) == (ReportStatus.REFUSED, "plan_changed")
        assert not report.partial

    def test_done_already_is_done_whatever_was_approved(self) -> None:
        small = organization((2,))
        close(small)
        assert close(small, if_plan="0" * 16).status is ReportStatus.ALREADY_CLOSED


class TestVerifying:
    def warned(self, change: Callable[[SmallOrganization], None], intent: Intent) -> tuple[str, ...]:
        small = organization((2,))
        small.meddling = {3: [change]}
        report = close(small, intent)
        assert report.status is ReportStatus.CLOSED
        return report.warnings

    def test_a_date_that_came_out_as_another_is_warned_of(self) -> None:
        def another_day(small: SmallOrganization) -> None:
            small.rows.opportunity = replace(small.rows.opportunity, actual_close_date=date(2026, 1, 30))

        warnings = self.warned(another_day, replace(WON, closed_on=date(2026, 1, 31)))
        assert warnings == ("The opportunity's close date is 2026-01-30, not 2026-01-31 as was asked.",)

    def test_another_status_reason_or_revenue_is_warned_of(self) -> None:
        def changed(small: SmallOrganization) -> None:
            small.rows.opportunity = replace(small.rows.opportunity, status=100000001, actual_value=Decimal(5))
            small.set_quote(quote_id(1), QuoteState.CLOSED, 7)

        assert len(self.warned(changed, replace(WON, actual_revenue=Decimal(7)))) == 3

    def test_open_quotes_of_an_opportunity_closed_before_are_left_alone_and_named(self) -> None:
        small = organization((1, 5))
        small.set_opportunity(OpportunityState.WON, 3)
        report = close(small)
        assert report.status is ReportStatus.ALREADY_CLOSED
        assert report.warnings == ("Quote QUO-1 of the closed opportunity is draft; it was left alone.",)

    @pytest.mark.parametrize("offset", [-720, -480, 0, 330, 720, 780, 840])
    def test_the_date_is_the_one_asked_for_wherever_the_acting_user_is(self, offset: int) -> None:
        small = organization()
        small.known = replace(METADATA, utc_offset_minutes=offset)
        report = close(small, replace(WON, closed_on=date(2026, 1, 31)))
        assert report.status is ReportStatus.CLOSED
        assert report.warnings == ()


class TestReopening:
    def reopen(self, small: SmallOrganization, intent: ReopenIntent = ReopenIntent(OPPORTUNITY_ID)) -> Report:  # noqa: B008 - frozen
        return fulfil(small, intent, pause=small.pause, chance=lambda: 0.5)

    @settings(deadline=None, max_examples=150)
    @given(Statuses, st.booleans(), Faults)
    def test_it_undoes_a_close_whatever_is_lost_and_can_be_closed_again(
        self, statuses: list[int], atomic: bool, faults: list[Fault]
    ) -> None:
        small = undisturbed(statuses, LOST)
        small.atomic, small.faults = atomic, list(faults)
        report = self.reopen(small)
        small.settle()
        assert report.status is ReportStatus.REOPENED
        assert small.rows.opportunity.state is OpportunityState.OPEN
        for number, status in enumerate(statuses, 1):
            expected = 1 if status <= 3 else status
            assert small.rows.quotes[quote_id(number)].status == expected
        small.faults = []
        assert self.reopen(small).status is ReportStatus.ALREADY_OPEN
        assert close(small, LOST).status is ReportStatus.CLOSED
        assert len(small.completed(OPPORTUNITY_ID)) == 1

    def test_what_was_never_closed_is_already_open(self) -> None:
        small = organization((1,))
        assert self.reopen(small).status is ReportStatus.ALREADY_OPEN
        assert small.writes == 0


def test_a_preview_changes_nothing_and_says_per_intent_what_is_wrong() -> None:
    small = organization((1,))
    fine, unknown, wrong = preview_many(
        small, [WON, Intent(quote_id(5), Outcome.WON), replace(LOST, status="nonsense")]
    )
    assert not isinstance(fine, Exception)
    assert isinstance(unknown, NotFound)
    assert str(quote_id(5)) in unknown.message
    assert isinstance(wrong, InputError)
    assert small.writes == 0
    with pytest.raises(NotFound):
        preview(small, Intent(quote_id(5), Outcome.WON))


def test_a_delete_that_was_answered_by_nobody_is_done() -> None:
    small = organization((1,))
    small.faults = [Fault.LOST_AFTER]
    report = close(small, replace(WON, drafts=DraftPolicy.DELETE))
    assert report.status is ReportStatus.CLOSED
    assert small.rows.quotes == {}
    assert [result.status for result in report.steps] == [StepStatus.DONE, StepStatus.DONE]


def test_two_writers_with_opposite_outcomes_never_make_a_mixture() -> None:
    for turn in range(1, 7):
        small = organization((1, 2))
        small.atomic = False
        other: list[Report] = []
        small.meddling = {turn: [partial(_close_too, other)]}
        mine = close(small, WON)
        if not other:
            continue
        statuses = {mine.status, other[0].status}
        assert statuses == {ReportStatus.CLOSED, ReportStatus.REFUSED}
        assert len(small.completed(OPPORTUNITY_ID)) == 1


def _close_too(reports: list[Report], small: SmallOrganization) -> None:
    reports.append(close(small, LOST))


@pytest.mark.parametrize(
    ("seen", "asked", "same"),
    [
        ("1234.57", "1234.56789", True),
        ("1234.56", "1234.565", True),
        ("1234.57", "1234.565", True),
        ("1234.56", "1234.57", False),
        ("1234.5700", "1234.56789", True),
        ("1235.0000", "1234.5678", True),
        ("1240.0", "1236", False),
        ("12500.0000", "12500", True),
        (None, "1", False),
    ],
)
def test_an_amount_is_compared_as_the_column_and_its_currency_round_it(
    seen: str | None, asked: str, same: bool
) -> None:
    assert same_amount(Decimal(asked), None if seen is None else Decimal(seen)) is same


def test_an_amount_that_stands_as_it_was_asked_is_the_same_whatever_its_currency_would_round() -> None:
    assert same_amount(Decimal("1234.567"), Decimal("1234.5670"), 2), "its currency was another one meanwhile"
    assert not same_amount(Decimal("1234.567"), Decimal("1234.56"), 2)


def test_a_revenue_goes_with_the_opportunitys_own_currency() -> None:
    currency = UUID(int=0xCAFE)
    small = organization()
    small.rows.opportunity = replace(small.rows.opportunity, currency_id=currency)
    bound = "transactioncurrencyid@odata.bind"
    for intent, expected in (
        (WON, None),
        (replace(WON, actual_revenue=Decimal(5)), f"/transactioncurrencies({currency})"),
    ):
        verdict = preview(small, intent).verdict
        assert isinstance(verdict, Plan)
        assert verdict.steps[-1].activity.get(bound) == expected
