"""Whatever an organization's own logic does: a close and a way back end, and are told as its tables have it."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from connector.closing.close import fulfil
from connector.closing.model import DraftPolicy, Intent, Outcome, ReopenIntent, Report, ReportStatus, StepStatus
from connector.emulator.identity.keys import Keys
from connector.emulator.rules.rule import Switches
from connector.errors import Effect
from tests.contract.own_logic import (
    ACTS,
    DEAL,
    QuoteRow,
    Rule,
    Shape,
    Standing,
    UntidyOrganization,
    ids,
    organization_of_shape,
)

EXAMPLES = int(os.environ.get("OWN_LOGIC_EXAMPLES", "30"))
MOST_REQUESTS, MOST_SECONDS = 250, 7_200.0
MESSAGES = ("Update", "CloseQuote", "WinQuote", "WinOpportunity", "LoseOpportunity", "Delete")
SWITCHES = {
    switch.name: switch.values
    for switch in Switches().describe()
    if switch.name
    in {
        "open_quotes_block_close", "draft_quote_close", "quote_not_active_code", "close_repeat_check",
        "actual_value_on_lost", "close_activities_on_reopen", "actuals_on_reopen", "actions_in_change_set",
        "chosen_activity_id", "active_quote_edit", "activation_price_list", "reopen_open_opportunity",
    }
}  # fmt: skip
PRIVILEGES = ("prvWriteQuote", "prvReadQuote", "prvDeleteQuote", "prvCreateActivity", "prvWriteOpportunity")
LABELS = {"1033": "Own"}
CUSTOMIZATIONS: list[dict[str, Any]] = [
    {},
    {"columns": [{"table": "quoteclose", "name": "new_why", "kind": "string", "labels": LABELS}],
     "required": [["quoteclose", "new_why"]]},
    {"columns": [{"table": "opportunityclose", "name": "new_why", "kind": "string", "labels": LABELS}],
     "required": [["opportunityclose", "new_why"]]},
    {"secured": [["opportunity", "actualvalue"]]},
    {"status_reasons": [{"table": "opportunity", "value": 1, "label": "In Progress", "state": 0, "transitions": [2, 4]}],
     "enforce_transitions": ["opportunity"]},
    {"status_reasons": [{"table": "quote", "value": 2, "label": "In Progress", "state": 1, "transitions": [4, 5]}],
     "enforce_transitions": ["quote"]},
    {"status_reasons": [{"table": "quote", "value": 5, "label": "Lost", "state": 3, "transitions": [6]}],
     "enforce_transitions": ["quote"]},
    {"status_reasons": [{"table": "opportunity", "value": 9, "label": "Finalizing", "state": 0},
                        {"table": "opportunity", "value": 3, "label": "Won", "state": 1, "transitions": [9]},
                        {"table": "opportunity", "value": 4, "label": "Canceled", "state": 2, "transitions": [2]}],
     "enforce_transitions": ["opportunity"]},
]  # fmt: skip
RULES = st.builds(
    Rule,
    act=st.sampled_from(sorted(ACTS)),
    message=st.sampled_from(MESSAGES),
    stage=st.sampled_from(["pre", "post", "post"]),
    times=st.sampled_from([0, 0, 1, 2]),
    mode=st.sampled_from(["sync", "sync", "sync", "async", "flow"]),
)
SHAPES = st.builds(
    Shape,
    quotes=st.lists(st.builds(QuoteRow, st.integers(1, 7), st.sampled_from([True] * 7 + [False])), max_size=4),
    rules=st.lists(RULES, max_size=3),
    switches=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SWITCHES.items()}),
    customization=st.sampled_from([{}] * 8 + CUSTOMIZATIONS),
    without=st.sampled_from([()] * 15 + [(privilege,) for privilege in PRIVILEGES]),
    atomic=st.booleans(),
    unit=st.sampled_from(["", "North/Oslo"]),
    precision=st.sampled_from([2, 0]),
)
INTENTS = st.builds(
    partial(Intent, UUID(DEAL)),
    outcome=st.sampled_from(Outcome),
    drafts=st.sampled_from(DraftPolicy),
    actual_revenue=st.sampled_from([None, Decimal(0), Decimal("1234.567")]),
    closed_on=st.sampled_from([None, date(2026, 1, 31)]),
    opportunity_columns=st.sampled_from([{}] * 7 + [{"new_why": "so"}]),
    quote_columns=st.sampled_from([{}] * 7 + [{"new_why": "so"}]),
)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def check(untidy: UntidyOrganization, before: Standing, report: Report) -> None:
    """Hold a report against the tables."""
    after = untidy.standing()
    assert len(untidy.sent) <= MOST_REQUESTS
    assert untidy.clock.monotonic() <= MOST_SECONDS
    done = {result.step.activity_id for result in report.steps if result.status is StepStatus.DONE}
    not_done = {result.step.activity_id for result in report.steps if result.status is not StepStatus.DONE} - done
    assert not ids(after) & not_done, "a close activity of a step that is not said to be done"
    for result in report.steps:
        assert result.status in {StepStatus.DONE, StepStatus.FAILED, StepStatus.NOT_RUN}, result
        assert (result.error is None) or result.error.effect is Effect.NONE, "every write was answered"
    if report.after is not None:
        quotes = {str(quote.id): (quote.number, quote.state, quote.status) for quote in report.after.quotes}
        assert quotes == after.quotes
        assert (report.after.opportunity.state, report.after.opportunity.status) == after.deal
    changed = before.states() != after.states()
    if report.status in {ReportStatus.FAILED, ReportStatus.REFUSED}:
        assert report.partial == changed, "whether anything changed"
    if report.status is ReportStatus.FAILED:
        assert report.error is not None
        assert report.error.effect is Effect.NONE
        if report.stands:
            when, _, sentence = report.stands.partition(", ")
            parts = sentence.split(". ")[0].removesuffix(".").split(", ")
            assert when == "When last seen"
            assert sorted(parts) == after.sentence()
        assert report.stands or not changed


def check_close(untidy: UntidyOrganization, before: Standing, report: Report, intent: Intent, precision: int) -> None:
    check(untidy, before, report)
    after, wanted = untidy.standing(), 1 if intent.outcome is Outcome.WON else 2
    assert report.status in {*ReportStatus} - {ReportStatus.REOPENED, ReportStatus.ALREADY_OPEN}
    if report.status in {ReportStatus.CLOSED, ReportStatus.ALREADY_CLOSED}:
        assert after.deal[0] == wanted
        for number, state, _ in after.quotes.values():
            assert state > 1 or any(number in warning for warning in report.warnings), "an open quote nobody is told of"
        stored, amount = untidy.revenue(), intent.actual_revenue
        told = any("revenue is" in warning or "revenue that" in warning for warning in report.warnings)
        if isinstance(amount, Decimal) and stored is not None and not untidy.secured:
            assert told == (round(amount, precision) != stored), "a currency rounds, which is no deviation"
        by_others = report.status is ReportStatus.ALREADY_CLOSED and before.deal[0] == 0
        assert any("was open at first" in warning for warning in report.warnings) == by_others
    elif report.reason_code == "closed_with_other_outcome":
        assert after.deal[0] not in (0, wanted)
        assert ("was open at first" in report.reason) == (before.deal[0] == 0)
    else:
        assert after.deal[0] != wanted, "it is as wanted, and said to have failed"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(SHAPES, INTENTS)
def test_a_close_and_a_way_back_end_and_are_told_as_they_are(keys: Keys, shape: Shape, intent: Intent) -> None:
    with organization_of_shape(shape, keys) as untidy:
        before = untidy.standing()
        chance = Random(1).random
        report = fulfil(untidy.client, intent, pause=untidy.clock.sleep, chance=chance)
        event(f"close: {report.status} {report.reason_code} {type(report.error).__name__} {report.partial}")
        note(f"{report.status} {report.error!r} {report.stands} {report.warnings}")
        check_close(untidy, before, report, intent, shape.precision)
        untidy.sent.clear()
        before = untidy.standing()
        back = fulfil(untidy.client, ReopenIntent(UUID(DEAL)), pause=untidy.clock.sleep)
        event(f"way back: {back.status} {back.reason_code} {type(back.error).__name__} {back.partial}")
        note(f"{back.status} {back.error!r} {back.stands} {back.warnings}")
        check(untidy, before, back)
        if back.status in {ReportStatus.REOPENED, ReportStatus.ALREADY_OPEN}:
            assert untidy.standing().deal[0] == 0
