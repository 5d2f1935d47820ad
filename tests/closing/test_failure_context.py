"""A failure is told as what it is here: about another user than the one who signed in, and with the ways out there are."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.failure_context import in_context, undone
from connector.closing.model import Step, StepKind, StepResult, StepStatus
from connector.errors import Broken, ConnectorError, Effect, Forbidden, Origin, Rejected, StateConflict, Unanswered

ME, OTHER = UUID(int=7), UUID("0c000000-0000-4000-8000-00000000000b")
CLOSE = Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", UUID(int=1), "Fleet", "", "WinOpportunity")
ACTIVATE = replace(CLOSE, kind=StepKind.ACTIVATE_QUOTE, table="quote")
LACKS = f"Principal user (Id={OTHER}, type=8) is missing prvWriteQuote privilege"


def told(error: ConnectorError, users: frozenset[UUID] = frozenset({ME}), step: Step = CLOSE) -> ConnectorError:
    (result,) = in_context([StepResult(step, StepStatus.FAILED, error)], users)
    assert result.error is not None
    return result.error


@pytest.mark.parametrize("kind", [Forbidden, Rejected])
def test_a_failure_about_another_user_is_not_the_callers(kind: type[Forbidden | Rejected]) -> None:
    origin = Origin(plug_in="Contoso.Approval")
    error = kind("No.", status=403, code="0x80042f09", detail=LACKS, request_id="r-1", origin=origin)
    error.effect, error.transient = Effect.UNKNOWN, True
    other = told(error)
    assert type(other) is Rejected
    assert other.message.startswith(f"No. It is about the user {OTHER}, who is not the one that signed in: ")
    assert (other.status, other.code, other.detail, other.request_id) == (403, "0x80042f09", LACKS, "r-1")
    assert (other.origin, other.effect, other.transient) == (origin, Effect.UNKNOWN, True)
    assert other.remedy.startswith("Enable that user or give it what it lacks")


@pytest.mark.parametrize(
    ("error", "users"),
    [
        (Forbidden("No.", status=403, detail=LACKS), frozenset({ME, OTHER})),
        (Forbidden("No.", status=403, detail=LACKS), frozenset[UUID]()),
        (Forbidden("No.", status=403, detail="The user lacks a privilege."), frozenset({ME})),
        (Rejected("No.", status=400, detail=f"The user {OTHER} has the wrong colour."), frozenset({ME})),
        (Broken("Failed.", status=500, detail=LACKS), frozenset({ME})),
        (Unanswered("No answer."), frozenset({ME})),
    ],
)
def test_every_other_failure_stays_as_it_is(error: ConnectorError, users: frozenset[UUID]) -> None:
    assert told(error, users) is error


def test_what_is_done_in_anothers_name_is_laid_on_that_user() -> None:
    for code, laid in (("0x80040220", True), ("0x8004a110", False)):
        failed = StepResult(CLOSE, StepStatus.FAILED, Forbidden("No.", status=403, code=code, detail=LACKS))
        ((_, _, error, *_),) = [
            (each.step, each.status, each.error) for each in in_context([failed], frozenset({ME}), OTHER)
        ]
        assert error is not None
        assert (f"in the name of the user {OTHER}" in error.message) is laid
        assert error.remedy.startswith("Give that user what it lacks") is laid


def test_the_calling_user_is_meant_where_several_are_named() -> None:
    detail = f"User {ME} is not a member. CallingUser: {OTHER}, access denied."
    assert str(OTHER) in told(Rejected("No.", status=400, detail=detail)).message


def test_a_draft_that_cannot_be_activated_has_ways_out_told_once() -> None:
    error = Rejected("No.", status=400, remedy="Ask Anna.")
    remedy = told(error, step=ACTIVATE).remedy
    assert remedy.startswith("Ask Anna. A draft that cannot be activated can be deleted instead (--drafts delete)")
    assert told(error, step=ACTIVATE).remedy == remedy
    assert told(Broken("No.", status=500), step=ACTIVATE).remedy.startswith("A draft that")
    assert told(StateConflict("No.", status=400), step=ACTIVATE).remedy == ""
    assert told(Unanswered("No."), step=ACTIVATE).remedy == ""
    assert told(Rejected("No.", status=400)).remedy == ""


def test_one_error_of_several_steps_is_told_once_for_all_of_them() -> None:
    error = Forbidden("No.", status=403, detail=LACKS)
    whole = [StepResult(step, StepStatus.FAILED, error) for step in (ACTIVATE, CLOSE)]
    done = StepResult(CLOSE, StepStatus.DONE)
    first, second, third = in_context([*whole, done], frozenset({ME}))
    assert first.error is second.error is not error
    assert third is done


def test_what_is_undone_each_time_names_the_step_and_who_can_be_asked() -> None:
    error = undone(Step(StepKind.CLOSE_QUOTE, "quote", UUID(int=1), "QUO-1", "", "CloseQuote"))
    assert "QUO-1 was done more than once" in error.message
    assert error.remedy.startswith("Ask who maintains that logic (`connector doctor` lists what runs on a close)")
