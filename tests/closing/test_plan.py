from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import combinations_with_replacement
from uuid import UUID, uuid4

import pytest

from connector.closing.identity import activity_ids, is_made_under, is_ours, kept_before, state_before
from connector.closing.model import (
    CloseActivity,
    DraftPolicy,
    Intent,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    QuoteState,
    Refusal,
    ReopenIntent,
    Snapshot,
    StatusReason,
    StepKind,
    StepStatus,
)
from connector.closing.plan import CLOSING_STEPS, plan_close
from connector.closing.plan_checks import STEP_PRIVILEGES
from connector.closing.reopening import plan_reopen
from connector.closing.verify import left_closed
from connector.errors import Forbidden, InputError
from tests.closing.small_organization import (
    METADATA,
    OPPORTUNITY_ID,
    PROJECT_MESSAGES,
    STATE_OF_QUOTE,
    SmallOrganization,
    organization,
    quote,
    quote_id,
)

COMBINATIONS = [c for size in range(5) for c in combinations_with_replacement(sorted(STATE_OF_QUOTE), size)]
PROJECT = replace(METADATA, messages=PROJECT_MESSAGES)


def seen(small: SmallOrganization) -> Snapshot:
    return small.observe([OPPORTUNITY_ID], activities=True)[OPPORTUNITY_ID]


def planned(small: SmallOrganization, intent: Intent) -> Plan:
    plan = plan_close(seen(small), intent, small.known)
    assert isinstance(plan, Plan), plan
    return plan


def intents(statuses: tuple[int, ...]) -> Iterator[Intent]:
    winners = [None, *(quote_id(number) for number in range(1, len(statuses) + 1))]
    for drafts in DraftPolicy:
        yield Intent(OPPORTUNITY_ID, Outcome.LOST, drafts=drafts)
        for winner in winners:
            yield Intent(OPPORTUNITY_ID, Outcome.WON, drafts=drafts, winning_quote_id=winner)


def closed(outcome: Outcome, statuses: tuple[int, ...] = ()) -> SmallOrganization:
    small = organization(statuses)
    won = outcome is Outcome.WON
    small.set_opportunity(OpportunityState.WON if won else OpportunityState.LOST, 3 if won else 4)
    return small


def is_refused(statuses: tuple[int, ...], intent: Intent) -> bool:
    states = {quote_id(number): STATE_OF_QUOTE[status] for number, status in enumerate(statuses, 1)}
    if intent.drafts is DraftPolicy.LEAVE and QuoteState.DRAFT in states.values():
        return True
    winner = intent.winning_quote_id
    return isinstance(winner, UUID) and states[winner] is QuoteState.CLOSED


@pytest.mark.parametrize("size", range(5))
def test_in_every_combination_each_step_is_legal_and_shortens_the_plan_until_it_is_empty(size: int) -> None:
    for statuses in (c for c in COMBINATIONS if len(c) == size):
        for intent in intents(statuses):
            if is_refused(statuses, intent):
                continue
            small = organization(statuses)
            small.atomic, small.closes_drafts = False, intent.drafts is DraftPolicy.DIRECT
            plan = planned(small, intent)
            while plan.steps:
                result = small.perform([Plan(OPPORTUNITY_ID, plan.steps[:1], "")])[0][0]
                assert result.status is StepStatus.DONE, (statuses, intent, result)
                rest = planned(small, intent)
                assert [(s.kind, s.record_id) for s in rest.steps] == [(s.kind, s.record_id) for s in plan.steps[1:]]
                plan = rest
            assert planned(small, intent).steps == ()
            assert not any(q.is_open for q in small.rows.quotes.values())
            assert small.rows.opportunity.state.name.lower() == intent.outcome


@pytest.mark.parametrize("size", range(5))
def test_in_every_combination_the_winner_comes_first_and_the_opportunity_last(size: int) -> None:
    for statuses in (c for c in COMBINATIONS if len(c) == size):
        for intent in intents(statuses):
            if is_refused(statuses, intent):
                continue
            small = organization(statuses)
            steps = planned(small, intent).steps
            assert [s.kind for s in steps].index(StepKind.CLOSE_OPPORTUNITY) == len(steps) - 1
            others = [s.record_id for s in steps[:-1] if s.record_id != intent.winning_quote_id]
            assert others == sorted(others)
            wins = [s for s in steps if s.record_id == intent.winning_quote_id]
            assert list(steps[: len(wins)]) == wins
            assert {s.record_id for s in steps[:-1]} == {q.id for q in small.rows.quotes.values() if q.is_open}
            ids = [s.activity_id for s in steps if s.activity_id]
            assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("statuses", COMBINATIONS[:120], ids=str)
def test_what_may_not_be_is_refused_with_a_code(statuses: tuple[int, ...]) -> None:
    for intent in intents(statuses):
        verdict = plan_close(seen(organization(statuses)), intent, METADATA)
        assert isinstance(verdict, Refusal) == is_refused(statuses, intent)
        if isinstance(verdict, Refusal):
            assert verdict.code in {"drafts_stand", "winning_quote_closed"}
            assert verdict.reason.endswith(".")


def test_the_table_says_what_becomes_of_a_quote() -> None:
    assert CLOSING_STEPS[QuoteState.DRAFT][DraftPolicy.ACTIVATE] == (StepKind.ACTIVATE_QUOTE, StepKind.CLOSE_QUOTE)
    assert CLOSING_STEPS[QuoteState.DRAFT][DraftPolicy.LEAVE] is None
    assert {
        CLOSING_STEPS[state][policy] for state in (QuoteState.WON, QuoteState.CLOSED) for policy in DraftPolicy
    } == {()}


@pytest.mark.parametrize("outcome", Outcome)
def test_an_opportunity_closed_as_wanted_is_done_whatever_its_quotes_are(outcome: Outcome) -> None:
    assert planned(closed(outcome, (1, 2, 3)), Intent(OPPORTUNITY_ID, outcome)).steps == ()


@pytest.mark.parametrize("outcome", Outcome)
def test_an_opportunity_closed_with_the_other_outcome_is_refused(outcome: Outcome) -> None:
    other = Outcome.LOST if outcome is Outcome.WON else Outcome.WON
    verdict = plan_close(seen(closed(other)), Intent(OPPORTUNITY_ID, outcome), METADATA)
    assert isinstance(verdict, Refusal)
    assert verdict.code == "closed_with_other_outcome"


def test_a_winning_quote_is_refused_when_unknown_or_for_a_lost_opportunity() -> None:
    snapshot = seen(organization((2,)))
    unknown = plan_close(snapshot, Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=uuid4()), METADATA)
    lost = plan_close(snapshot, Intent(OPPORTUNITY_ID, Outcome.LOST, winning_quote_id=quote_id(1)), METADATA)
    assert isinstance(unknown, Refusal)
    assert isinstance(lost, Refusal)
    assert (unknown.code, lost.code) == ("winning_quote_unknown", "winning_quote_needs_won")


def test_quotes_become_lost_with_a_lost_opportunity_and_canceled_with_a_won_one() -> None:
    for outcome, status in ((Outcome.LOST, 5), (Outcome.WON, 6)):
        assert planned(organization((2,)), Intent(OPPORTUNITY_ID, outcome)).steps[0].status == status


def test_a_quote_never_becomes_revised_by_default() -> None:
    statuses = tuple(s for s in METADATA.quote_statuses if s.value not in {5, 6})
    with pytest.raises(InputError, match="Name the status reason"):
        plan_close(
            seen(organization((2,))), Intent(OPPORTUNITY_ID, Outcome.WON), replace(METADATA, quote_statuses=statuses)
        )


def test_the_state_of_a_custom_reason_picks_the_action() -> None:
    step = planned(organization(), Intent(OPPORTUNITY_ID, Outcome.WON, status="won by referral")).steps[-1]
    assert (step.message, step.status, step.state) == ("WinOpportunity", 100000001, 1)
    lost = planned(organization(), Intent(OPPORTUNITY_ID, Outcome.LOST)).steps[-1]
    assert (lost.message, lost.status, lost.state) == ("LoseOpportunity", 4, 2)


def test_the_organizations_own_action_is_used_for_both_outcomes_when_it_says_so() -> None:
    small = organization()
    small.known = replace(METADATA, close_action="CloseOpportunity")
    for outcome in Outcome:
        assert planned(small, Intent(OPPORTUNITY_ID, outcome)).steps[-1].message == "CloseOpportunity"


def test_the_opportunitys_activity_holds_what_the_intent_says() -> None:
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.LOST,
        subject="Lost on price",
        description="Too dear",
        competitor_id=UUID(int=9),
        opportunity_columns={"new_reason": 3},
    )
    step = planned(organization(), intent).steps[-1]
    assert dict(step.activity) == {"subject": "Lost on price", "description": "Too dear", "new_reason": 3}
    assert step.competitor_id == UUID(int=9)


def test_a_column_that_has_a_field_of_its_own_is_refused_as_an_extra_one() -> None:
    with pytest.raises(InputError, match="actual_revenue"):
        planned(organization(), Intent(OPPORTUNITY_ID, Outcome.WON, opportunity_columns={"actualrevenue": 3}))


def test_the_digest_names_what_is_done_and_not_who_asked() -> None:
    small = organization((1, 2))
    plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, key="a"))
    assert plan.digest == planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, key="b")).digest
    assert plan.digest == "d6861c88fa65e3f3"  # the same in every process and on every machine
    assert plan.digest != planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, subject="x")).digest
    small.set_quote(quote_id(1), QuoteState.DRAFT, 1)
    assert plan.digest != planned(small, Intent(OPPORTUNITY_ID, Outcome.WON)).digest


class TestProjectOperations:
    def test_all_open_quotes_are_closed_by_one_message_drafts_too(self) -> None:
        small = organization((1, 2, 5), work_based=True)
        small.known = PROJECT
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST))
        assert [(s.kind, s.status) for s in plan.steps] == [
            (StepKind.CLOSE_ALL_QUOTES, 5),
            (StepKind.CLOSE_OPPORTUNITY, 4),
        ]
        assert small.perform([plan])[0][-1].status is StepStatus.DONE

    def test_a_project_quote_is_won_by_the_message_that_closes_the_others(self) -> None:
        small = organization((1, 2), work_based=True)
        small.known = PROJECT
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(2)))
        assert [s.message for s in plan.steps] == ["msdyn_CloseQuoteAsWon", "WinOpportunity"]
        assert small.perform([plan])[0][-1].status is StepStatus.DONE

    def test_without_the_message_for_all_each_project_quote_is_closed_as_lost(self) -> None:
        small = organization((1, 2), work_based=True)
        small.known = replace(METADATA, messages=frozenset({"msdyn_CloseQuoteAsLost"}))
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST))
        assert [s.message for s in plan.steps] == [
            "Update",
            "msdyn_CloseQuoteAsLost",
            "msdyn_CloseQuoteAsLost",
            "LoseOpportunity",
        ]

    def test_without_any_of_the_messages_it_is_done_the_sales_way(self) -> None:
        plan = planned(organization((2,), work_based=True), Intent(OPPORTUNITY_ID, Outcome.LOST))
        assert [s.message for s in plan.steps] == ["CloseQuote", "LoseOpportunity"]

    def test_the_messages_are_not_used_for_an_opportunity_of_items(self) -> None:
        small = organization((2,))
        small.known = PROJECT
        assert planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST)).steps[0].message == "CloseQuote"

    def test_a_project_quote_is_won_the_sales_way_where_the_message_is_missing(self) -> None:
        small = organization((2, 2), work_based=True)
        small.known = replace(METADATA, messages=frozenset({"msdyn_CloseQuoteAsLost"}))
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1), quote_status=5))
        assert [s.message for s in plan.steps] == ["WinQuote", "msdyn_CloseQuoteAsLost", "WinOpportunity"]

    def test_a_quote_of_items_is_won_the_sales_way_and_the_others_are_closed(self) -> None:
        small = organization((2, 2))
        small.known = PROJECT
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1)))
        assert [s.message for s in plan.steps] == ["WinQuote", "CloseQuote", "WinOpportunity"]

    def test_a_project_quote_that_shall_not_be_lost_is_closed_the_sales_way(self) -> None:
        small = organization((2,), work_based=True)
        small.known = replace(METADATA, messages=frozenset({"msdyn_CloseQuoteAsLost"}))
        plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, quote_status="Canceled"))
        assert [s.message for s in plan.steps] == ["CloseQuote", "LoseOpportunity"]

    def test_columns_that_a_project_quote_cannot_take_are_refused_not_dropped(self) -> None:
        small = organization((2,), work_based=True)
        small.known = PROJECT
        with pytest.raises(InputError, match="takes no columns"):
            planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, quote_columns={"description": "x"}))


class TestReopening:
    def closed_by_us(self, statuses: tuple[int, ...] = (1, 2, 6)) -> SmallOrganization:
        small = organization(statuses)
        small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, key="job"))])
        return small

    def reopening(
        self, small: SmallOrganization, intent: ReopenIntent, metadata: OrganizationMetadata = METADATA
    ) -> list[tuple[StepKind, UUID]]:
        plan = plan_reopen(seen(small), intent, metadata)
        assert isinstance(plan, Plan), plan
        return [(s.kind, s.record_id) for s in plan.steps]

    def test_the_opportunity_is_opened_and_our_quotes_alone_go_back_to_draft(self) -> None:
        assert self.reopening(self.closed_by_us(), ReopenIntent(OPPORTUNITY_ID)) == [
            (StepKind.REOPEN_OPPORTUNITY, OPPORTUNITY_ID),
            (StepKind.REOPEN_QUOTE, quote_id(1)),
            (StepKind.REOPEN_QUOTE, quote_id(2)),
        ]

    def test_a_quote_that_somebody_closed_again_after_us_is_left_alone(self) -> None:
        small = self.closed_by_us()
        small.set_quote(quote_id(1), QuoteState.DRAFT, 1)
        small.set_quote(quote_id(1), QuoteState.CLOSED, 6, activity=True)
        assert (StepKind.REOPEN_QUOTE, quote_id(1)) not in self.reopening(small, ReopenIntent(OPPORTUNITY_ID))

    def test_what_is_open_already_needs_nothing(self) -> None:
        assert self.reopening(organization((1, 2)), ReopenIntent(OPPORTUNITY_ID)) == []

    def test_an_undo_is_refused_where_somebody_else_closed_the_opportunity(self) -> None:
        small = closed(Outcome.WON)
        for intent in (
            ReopenIntent(OPPORTUNITY_ID, activity_ids=frozenset({uuid4()})),
            ReopenIntent(OPPORTUNITY_ID, closed_under="job"),
        ):
            verdict = plan_reopen(seen(small), intent, METADATA)
            assert isinstance(verdict, Refusal)
            assert verdict.code == "closed_by_another"

    def test_an_undo_by_key_takes_back_what_was_closed_under_it(self) -> None:
        small = self.closed_by_us()
        assert len(self.reopening(small, ReopenIntent(OPPORTUNITY_ID, closed_under="job"))) == 3
        assert isinstance(
            plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID, closed_under="another"), METADATA), Refusal
        )

    def test_an_undo_by_ids_takes_back_what_those_closed(self) -> None:
        small = self.closed_by_us()
        ids = frozenset(a.id for a in small.rows.activities if a.record_id != quote_id(2))
        assert self.reopening(small, ReopenIntent(OPPORTUNITY_ID, activity_ids=ids)) == [
            (StepKind.REOPEN_OPPORTUNITY, OPPORTUNITY_ID),
            (StepKind.REOPEN_QUOTE, quote_id(1)),
        ]

    def test_a_quote_stays_closed_where_a_newer_revision_of_it_is_there(self) -> None:
        small = self.closed_by_us((2, 2))
        first, second = quote_id(1), quote_id(2)
        for revision, record in enumerate((first, second)):
            small.rows.quotes[record] = replace(small.rows.quotes[record], number="QUO-7", revision=revision)
        steps = self.reopening(small, ReopenIntent(OPPORTUNITY_ID))
        assert steps == [(StepKind.REOPEN_OPPORTUNITY, OPPORTUNITY_ID), (StepKind.REOPEN_QUOTE, second)]

    @pytest.mark.parametrize(("before", "expected"), [(2, 2), (None, 1), (4, 1), (99, 1)])
    def test_the_opportunity_gets_back_the_reason_it_had_while_that_is_one_of_open(
        self, before: int | None, expected: int
    ) -> None:
        plan = plan_reopen(seen(self.closed_by_us()), ReopenIntent(OPPORTUNITY_ID, open_status=before), METADATA)
        assert isinstance(plan, Plan)
        assert plan.steps[0].status == expected


STAYS = (
    "The status reason it had before the close is not known: it gets 1 In Progress.",
    "The actual revenue 900 stays: what it was before the close is not known.",
    "The close date 2026-01-31 stays: what it was before the close is not known.",
)


@pytest.mark.parametrize(
    ("intent", "notes"),
    [
        (ReopenIntent(OPPORTUNITY_ID, activity_ids=frozenset({UUID(int=1)})), STAYS),
        (
            ReopenIntent(OPPORTUNITY_ID, activity_ids=frozenset({UUID(int=1)}), open_status=2),
            STAYS[1:],
        ),
        (
            ReopenIntent(
                OPPORTUNITY_ID,
                activity_ids=frozenset({UUID(int=1)}),
                open_status=2,
                open_values={"actualvalue": None, "actualclosedate": None},
            ),
            (),
        ),
    ],
)
def test_the_way_back_says_what_it_cannot_bring_back(intent: ReopenIntent, notes: tuple[str, ...]) -> None:
    snapshot = seen(closed(Outcome.LOST))
    opportunity = replace(snapshot.opportunity, actual_value=Decimal(900), actual_close_date=date(2026, 1, 31))
    activities = (CloseActivity(UUID(int=1), OPPORTUNITY_ID, completed=True),)
    plan = plan_reopen(replace(snapshot, opportunity=opportunity, activities=activities), intent, METADATA)
    assert isinstance(plan, Plan)
    assert plan.notes == notes


def test_the_way_back_names_the_table_that_lacks_a_reason() -> None:
    small = organization((1,))
    small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, key="job"))])
    without = tuple(status for status in METADATA.quote_statuses if status.state != QuoteState.DRAFT)
    with pytest.raises(InputError, match="has no status reason for quote draft"):
        plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID), replace(METADATA, quote_statuses=without))


def test_an_id_says_what_was_before_and_an_older_one_says_nothing() -> None:
    opportunity = replace(seen(organization()).opportunity, status=2, close_probability=35)
    before = state_before(opportunity, frozenset())
    named = activity_ids(OPPORTUNITY_ID, "job")
    ours, older = named(OPPORTUNITY_ID, 'W/"1"', before), named(OPPORTUNITY_ID, 'W/"1"', None)
    assert ours != older
    assert kept_before(ours, OPPORTUNITY_ID) == before
    assert before.had(2)
    for another in (older, uuid4(), activity_ids(quote_id(1), "job")(quote_id(1), 'W/"1"', before)):
        assert kept_before(another, OPPORTUNITY_ID) is None
    assert all(is_ours(each, OPPORTUNITY_ID) and is_made_under(each, OPPORTUNITY_ID, "job") for each in (ours, older))
    assert not any(is_made_under(each, OPPORTUNITY_ID, "another") for each in (ours, older))


def test_an_activity_of_the_app_is_never_taken_for_ours() -> None:
    ours = activity_ids(OPPORTUNITY_ID, "job")(quote_id(1), 'W/"1"', None)
    assert is_ours(ours, OPPORTUNITY_ID)
    assert is_made_under(ours, OPPORTUNITY_ID, "job")
    assert not is_made_under(ours, OPPORTUNITY_ID, "another")
    assert not is_ours(ours, quote_id(1))
    assert not any(is_ours(uuid4(), OPPORTUNITY_ID) for _ in range(1000))
    snapshot = seen(organization())
    theirs = CloseActivity(uuid4(), quote_id(1), completed=True)
    both = replace(snapshot, quotes=(quote(1, 5),), activities=(theirs,))
    assert plan_reopen(both, ReopenIntent(OPPORTUNITY_ID), METADATA) == plan_reopen(
        snapshot, ReopenIntent(OPPORTUNITY_ID), METADATA
    )


def test_a_number_that_two_standing_quotes_have_names_none_of_them() -> None:
    snapshot = seen(organization((2, 2)))
    twins = tuple(replace(quote, number="QUO-7") for quote in snapshot.quotes)
    verdict = plan_close(
        replace(snapshot, quotes=twins), Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id="quo-7"), METADATA
    )
    assert isinstance(verdict, Refusal)
    assert verdict.code == "winning_quote_ambiguous"
    assert all(str(quote.number) in verdict.reason for quote in twins)
    assert "Give the id of one." in verdict.reason


def following(table: str, was: int, *followers: int) -> OrganizationMetadata:
    """Return the metadata of an organization in which only these status reasons may follow one of a table."""

    def after(statuses: Sequence[StatusReason]) -> tuple[StatusReason, ...]:
        return tuple(replace(each, followers=frozenset(followers)) if each.value == was else each for each in statuses)

    if table == "quote":
        return replace(METADATA, quote_statuses=after(METADATA.quote_statuses))
    return replace(METADATA, opportunity_statuses=after(METADATA.opportunity_statuses))


@pytest.mark.parametrize(
    ("metadata", "then", "was", "which", "options"),
    [
        (
            following("opportunity", 1, 2, 5, 100000001),
            "3 Won",
            "1 In Progress",
            "opportunity",
            "Of that state only these may: 100000001 Won by Referral. Give one of these.",
        ),
        (
            following("quote", 2, 4, 5),
            "6 Canceled",
            "2 In Progress",
            "quote QUO-1",
            "Of that state only these may: 5 Lost. Give one of these.",
        ),
        (
            following("quote", 2),
            "6 Canceled",
            "2 In Progress",
            "quote QUO-1",
            "No reason of that state may. Change its reason first.",
        ),
    ],
)
def test_a_transition_that_the_organization_forbids_is_refused_with_what_may_follow(
    metadata: OrganizationMetadata, then: str, was: str, which: str, options: str
) -> None:
    refusal = plan_close(seen(organization((2,))), Intent(OPPORTUNITY_ID, Outcome.WON), metadata)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "transition_forbidden"
    assert refusal.reason == (
        f"The organization does not let the status reason {then} follow {was}, which the {which} has. {options} "
        "Nothing was changed."
    )


def test_the_way_back_takes_another_open_reason_where_the_usual_may_not_follow() -> None:
    small = organization((2,))
    small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.WON))])
    plan = plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID, open_status=1), following("opportunity", 3, 2))
    assert isinstance(plan, Plan)
    assert plan.steps[0].status == 2
    assert plan.notes[0] == "1 In Progress, which it had, may not follow the status reason it has: it gets 2 On Hold."


def test_a_quote_that_no_draft_reason_may_follow_stays_closed_and_it_is_said() -> None:
    small = organization((2,))
    small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.WON))])
    small.known = following("quote", 6, 5)
    snapshot = small.observe([OPPORTUNITY_ID], activities=True)[OPPORTUNITY_ID]
    plan = plan_reopen(snapshot, ReopenIntent(OPPORTUNITY_ID), small.known)
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps] == [StepKind.REOPEN_OPPORTUNITY]
    warnings = list(left_closed(snapshot, small.known))
    assert warnings[0].endswith(
        "stays closed: the organization lets no status reason of a draft follow the one it has."
    )


def test_a_draft_is_activated_under_a_reason_that_leads_on() -> None:
    small = organization((1,))
    small.known = following("quote", 2, 4)
    plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON))
    assert [(step.kind, step.status) for step in plan.steps] == [
        (StepKind.ACTIVATE_QUOTE, 3),
        (StepKind.CLOSE_QUOTE, 6),
        (StepKind.CLOSE_OPPORTUNITY, 3),
    ]


def test_privileges_that_the_user_lacks_are_told_with_what_they_are_for() -> None:
    held = frozenset(STEP_PRIVILEGES) - {"prvWriteQuote", "prvAppendToCompetitor"}
    metadata = replace(METADATA, privileges=held)
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id=UUID(int=9))
    with pytest.raises(Forbidden) as lacking:
        plan_close(seen(organization((1, 2))), intent, metadata)
    assert lacking.value.message == (
        "The user lacks prvWriteQuote (to activate quote and close quote), prvAppendToCompetitor (to close "
        "opportunity). This was found before anything was written."
    )
    assert lacking.value.status == 403
    assert "connector doctor" in lacking.value.remedy
    for enough in (None, frozenset(STEP_PRIVILEGES)):
        assert isinstance(plan_close(seen(organization((1, 2))), intent, replace(METADATA, privileges=enough)), Plan)


def test_a_competitor_that_nobody_has_looked_up_is_no_id() -> None:
    with pytest.raises(InputError, match="competitor is 'Contoso', which is not the id of a record") as refused:
        plan_close(seen(organization()), Intent(OPPORTUNITY_ID, Outcome.LOST, competitor_id="Contoso"), METADATA)
    assert refused.value.remedy == "Look it up first."


def test_a_plan_tells_what_is_not_written_and_what_cannot_be_compared() -> None:
    hidden = frozenset({"opportunity.actualvalue", "opportunity.actualclosedate"})
    metadata = replace(METADATA, unreadable=hidden, unchecked=("Nobody knows.",), today=date(2026, 1, 31), day_of="UTC")
    lost = plan_close(seen(organization()), Intent(OPPORTUNITY_ID, Outcome.LOST), metadata)
    assert isinstance(lost, Plan)
    unread = "opportunity.actualclosedate is secured, the user may not read it: what is written cannot be compared."
    assert lost.notes == (
        "The close date is 2026-01-31, the day it is now by UTC.",
        "No actual revenue is written. (Microsoft's own form writes 0: DATAVERSE_LOST_REVENUE=zero does so too.)",
        unread,
        "Nobody knows.",
    )
    paid = Intent(OPPORTUNITY_ID, Outcome.WON, actual_revenue=Decimal(5), closed_on=date(2026, 1, 30))
    won = plan_close(seen(organization()), paid, metadata)
    assert isinstance(won, Plan)
    assert [note.split(" is ", 1)[0] for note in won.notes] == [
        "opportunity.actualvalue",
        "opportunity.actualclosedate",
        "Nobody knows.",
    ]


def test_a_plan_of_a_lost_opportunity_names_the_quotes_that_are_won() -> None:
    lost = plan_close(seen(organization((4, 1))), Intent(OPPORTUNITY_ID, Outcome.LOST), METADATA)
    won = plan_close(seen(organization((4, 1))), Intent(OPPORTUNITY_ID, Outcome.WON), METADATA)
    assert isinstance(lost, Plan)
    assert isinstance(won, Plan)
    assert "What is won stays won, although the opportunity is lost: QUO-1." in lost.notes
    assert won.notes == ()


def test_a_plan_names_the_columns_that_only_forms_require() -> None:
    metadata = replace(METADATA, required={"opportunityclose.new_reason": False, "quoteclose.new_reason": False})
    plan = plan_close(seen(organization()), Intent(OPPORTUNITY_ID, Outcome.WON), metadata)
    assert isinstance(plan, Plan)
    (note,) = plan.notes
    assert note == (
        "The organization's forms require opportunityclose.new_reason, which this close leaves empty. The service does "
        "not; plug-ins may."
    )


def test_a_way_back_that_the_organization_forbids_is_refused() -> None:
    small = organization()
    small.set_opportunity(OpportunityState.WON, 3)
    refusal = plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID), following("opportunity", 3, 4))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "3 Won" in refusal.reason) == ("transition_forbidden", True)


def test_the_way_back_restores_what_the_close_found() -> None:
    small = organization()
    small.rows.opportunity = replace(small.rows.opportunity, close_probability=60)
    plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, key="k"))
    small.perform([plan])
    small.rows.opportunity = replace(small.rows.opportunity, close_probability=100)
    back = plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID), METADATA)
    assert isinstance(back, Plan)
    assert back.steps[0].columns == {"closeprobability": 60, "actualvalue": None, "actualclosedate": None}
    assert back.notes == ()


def test_a_winning_quote_that_is_not_there_is_told_with_those_that_are() -> None:
    small = organization((2, 5))
    small.rows.quotes[quote_id(2)] = replace(small.rows.quotes[quote_id(2)], number="", name="")
    refusal = plan_close(seen(small), Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=UUID(int=1)), METADATA)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "winning_quote_unknown"
    assert refusal.reason == (
        f"The winning quote {UUID(int=1)} is not a quote of this opportunity. It has: {quote_id(1)} (QUO-1 Offer 1, "
        f"active), {quote_id(2)} (no name, closed)."
    )
