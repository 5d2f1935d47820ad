"""One opportunity on its way, advanced by hand: what each look and each answer leads to."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.close import look, progress_of
from connector.closing.digest import make_plan
from connector.closing.goal import missing
from connector.closing.model import (
    Intent,
    OpportunityState,
    Outcome,
    Plan,
    ReopenIntent,
    Report,
    ReportStatus,
    StepResult,
    StepStatus,
)
from connector.closing.progress import SETTLED_AFTER, Progress
from connector.errors import Broken, ConnectorError, Effect, InputError, NotConverged, NotSent, Rejected, Unanswered
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID, SmallOrganization, organization
from tests.closing.test_plan import PROJECT, seen

WON = Intent(OPPORTUNITY_ID, Outcome.WON)
LATER = "Run the same command again in a few minutes: it looks first and does what is left."


def planned(progress: Progress, small: SmallOrganization) -> Plan:
    plan = progress.look(seen(small), small.known)
    assert isinstance(plan, Plan)
    return plan


def taken(
    status: StepStatus = StepStatus.DONE, error: ConnectorError | None = None, *, intent: Intent = WON
) -> tuple[Progress, SmallOrganization]:
    """Return a progress whose only write, the close of the opportunity, came to this."""
    progress, small = progress_of(intent), organization()
    plan = planned(progress, small)
    progress.take(plan, [StepResult(plan.steps[0], status, error)])
    return progress, small


def test_no_group_is_looked_at_without_a_read() -> None:
    small = organization()
    assert look(small, []) == []
    assert small.calls == 0


def test_the_answers_tell_the_end_where_every_step_was_done() -> None:
    progress, _ = taken()
    report = progress.answered()
    assert report is not None
    assert (report.status, report.rounds, report.warnings) == (ReportStatus.CLOSED, 1, ())
    assert [result.status for result in report.steps] == [StepStatus.DONE]


def test_the_answers_tell_no_end_before_anything_was_sent_or_where_something_is_left_or_in_doubt() -> None:
    assert progress_of(WON).answered() is None
    assert taken(StepStatus.FAILED, Rejected("No.", status=400))[0].answered() is None
    assert taken(StepStatus.NOT_RUN)[0].answered() is None
    assert taken(StepStatus.UNKNOWN, Unanswered("No answer came."))[0].answered() is None


def test_what_project_operations_accepted_may_still_run_and_is_no_end() -> None:
    small = organization((2,), work_based=True)
    small.known = PROJECT
    progress = progress_of(WON)
    plan = planned(progress, small)
    progress.take(plan, [StepResult(step, StepStatus.DONE) for step in plan.steps])
    assert progress.answered() is None


def test_a_progress_may_be_bound_to_a_plan() -> None:
    small = organization()
    digest = planned(progress_of(WON), small).digest
    assert isinstance(progress_of(WON, digest).look(seen(small), METADATA), Plan)
    report = progress_of(WON, "another").look(seen(small), METADATA)
    assert isinstance(report, Report)
    assert (report.status, report.reason_code) == (ReportStatus.REFUSED, "plan_changed")
    assert report.reason.startswith(f"What must be done is no longer plan another: it is {digest} (")
    assert report.reason.endswith("). Review it.")
    assert report.digest == digest


def test_the_end_after_too_many_rounds_says_what_came_last_and_what_stands() -> None:
    progress, _ = taken(StepStatus.FAILED, Broken("The service failed.", status=503))
    report = progress.give_up()
    error = report.error
    assert isinstance(error, NotConverged)
    assert (
        error.message
        == "It did not come to an end, though it was tried again and again. The last failure: The service failed."
    )
    assert (error.remedy, error.effect, report.status) == (LATER, Effect.UNKNOWN, ReportStatus.FAILED)
    assert report.stands == "When last seen, the opportunity is open."
    assert isinstance(error.last, Broken)


def test_the_end_after_a_failure_that_lasts_is_that_failure() -> None:
    failure = Rejected("A plug-in broke off.", status=500)
    failure.lasting = True
    progress, _ = taken(StepStatus.FAILED, failure)
    assert progress.give_up().error is failure


def test_the_end_without_any_failure_names_none() -> None:
    progress, _ = taken(StepStatus.NOT_RUN)
    error = progress.give_up().error
    assert isinstance(error, NotConverged)
    assert (error.message, error.last) == ("It did not come to an end, though it was tried again and again.", None)


def test_a_failed_read_is_what_the_last_failure_was_where_no_write_failed() -> None:
    progress, small = taken(StepStatus.NOT_RUN)
    assert progress.could_not_look(Broken("The service failed.", status=503)) is None
    progress.look(seen(small), METADATA)
    error = progress.give_up().error
    assert error is not None
    assert error.message.endswith("The last failure: The service failed.")


def test_an_error_after_a_write_without_an_answer_says_that_it_may_still_take_effect() -> None:
    progress, _ = taken(StepStatus.UNKNOWN, Unanswered("No answer came."))
    error = progress.fail(InputError("No.", remedy="Ask.")).error
    assert isinstance(error, NotConverged)
    assert error.message == "No. Earlier writes of this call had no answer and may still take effect."
    assert (error.remedy, error.effect) == ("Ask.", Effect.UNKNOWN)
    assert isinstance(error.last, InputError)
    progress.waited += 120.0
    assert isinstance(progress.fail(InputError("No.")).error, InputError)


def test_a_write_without_an_answer_is_in_doubt_for_two_minutes_after_it() -> None:
    progress, _ = taken(StepStatus.UNKNOWN, Unanswered("No answer came."))
    progress.waited += 60.0
    progress.waited += 59.5
    assert progress.in_doubt
    progress.waited += 0.5
    assert not progress.in_doubt


@pytest.mark.parametrize(
    ("status", "error", "helps"),
    [
        (StepStatus.DONE, None, False),
        (StepStatus.FAILED, NotSent("No connection."), True),
        (StepStatus.FAILED, Rejected("No.", status=400), False),
        (StepStatus.UNKNOWN, Unanswered("No answer came."), True),
    ],
)
def test_waiting_may_help_where_the_failure_passes_or_the_end_is_in_doubt(
    status: StepStatus, error: ConnectorError | None, helps: bool
) -> None:
    assert taken(status, error)[0].is_doubtful is helps


def test_a_look_that_failed_for_good_is_the_end_unless_every_step_was_answered_well() -> None:
    lasting = Rejected("Not for you.", status=403)
    report = taken()[0].could_not_look(lasting)
    assert report is not None
    assert report.status is ReportStatus.CLOSED
    assert report.warnings == ("All steps were done, but reading back failed: Not for you.",)
    report = progress_of(WON).could_not_look(lasting)
    assert report is not None
    assert (report.status, report.error, report.rounds) == (ReportStatus.FAILED, lasting, 1)


def test_the_activities_are_read_to_reopen_and_to_tell_whose_close_it_was() -> None:
    assert progress_of(ReopenIntent(OPPORTUNITY_ID)).needs_activities
    assert not progress_of(WON).needs_activities
    assert not taken()[0].needs_activities
    assert taken(StepStatus.UNKNOWN, Unanswered("No answer came."))[0].needs_activities


def test_a_refusal_waits_while_a_write_may_still_take_effect_and_nothing_moved() -> None:
    progress, small = taken(StepStatus.UNKNOWN, Unanswered("No answer came."))
    small.add_quote(1, 1)
    leave = replace(seen(small), opportunity=replace(small.rows.opportunity, state=OpportunityState.LOST, status=4))
    assert isinstance(progress.look(leave, METADATA), Report)
    progress, small = taken(StepStatus.UNKNOWN, Unanswered("No answer came."), intent=replace(WON))
    bound = replace(progress, if_plan="another")
    assert bound.look(seen(small), METADATA) is not None
    small.add_quote(1, 1)
    assert bound.look(seen(small), METADATA) is None
    bound.waited += SETTLED_AFTER
    assert isinstance(bound.look(seen(small), METADATA), Report)


def test_what_project_operations_accepted_is_in_doubt_where_a_later_step_is_turned_down() -> None:
    small = organization((2,), work_based=True)
    small.known = PROJECT
    progress = progress_of(WON)
    accepted, last = planned(progress, small).steps
    plan = make_plan(OPPORTUNITY_ID, (accepted, last))
    progress.take(plan, [StepResult(accepted, StepStatus.DONE), StepResult(last, StepStatus.DONE)])
    assert not progress.in_doubt
    refused = StepResult(last, StepStatus.FAILED, Rejected("Not now.", status=400, code=""))
    progress.take(plan, [StepResult(accepted, StepStatus.DONE), refused])
    assert progress.in_doubt


def test_the_missing_is_named() -> None:
    assert missing(UUID(int=5)).status == 404
    report = progress_of(WON).look(None, METADATA)
    assert isinstance(report, Report)
    assert report.error is not None
    assert report.error.message == missing(OPPORTUNITY_ID).message
    assert report.after is None


def test_what_was_there_at_first_is_told_as_gone() -> None:
    progress, small = progress_of(WON), organization((2,))
    planned(progress, small)
    report = progress.look(None, METADATA)
    assert isinstance(report, Report)
    assert report.error is not None
    assert "that the application user can see any more: somebody, or the organization's own" in report.error.message
    assert report.error.remedy == "Check that the application user may read the opportunity."
