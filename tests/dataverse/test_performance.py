from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.model import Plan, Step, StepKind, StepResult, StepStatus
from connector.dataverse.performance import Performance
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.errors import Broken, ConnectorError, Effect, NotSent, Stale, Unanswered
from connector.handler import Handler, Request, Response
from tests.dataverse.wire import BASE, NO_CONTENT, Wire, change_set, multipart, part, refused

DONE, FAILED, UNKNOWN, NOT_RUN = StepStatus.DONE, StepStatus.FAILED, StepStatus.UNKNOWN, StepStatus.NOT_RUN


def opportunity_id(number: int) -> UUID:
    return UUID(int=0x1000 + number)


def quote_id(number: int) -> UUID:
    return UUID(int=0x2000 + number)


def performance(wire: Handler, *, atomic: bool = True) -> Performance:
    return Performance(WebApi(wire, Endpoint(BASE)), atomic=atomic)


def plan_for(number: int, *kinds: StepKind) -> Plan:
    kinds = kinds or (StepKind.ACTIVATE_QUOTE, StepKind.CLOSE_QUOTE, StepKind.CLOSE_OPPORTUNITY)
    return Plan(opportunity_id(number), tuple(step_for(number, kind) for kind in kinds), f"digest {number}")


def step_for(number: int, kind: StepKind) -> Step:
    activity = UUID(int=0x3000 + number)
    match kind:
        case StepKind.ACTIVATE_QUOTE:
            return Step(kind, "quote", quote_id(number), "", 'W/"1"', "Update", 1, 2)
        case StepKind.CLOSE_QUOTE:
            return Step(kind, "quote", quote_id(number), "", 'W/"1"', "CloseQuote", 3, 5, activity)
        case StepKind.DELETE_QUOTE:
            return Step(kind, "quote", quote_id(number), "", 'W/"1"', "Delete")
        case StepKind.CLOSE_ALL_QUOTES:
            all_quotes = "msdyn_CloseAllOpportunityQuotes"
            return Step(kind, "opportunity", opportunity_id(number), "", 'W/"2"', all_quotes, 3, 5)
        case _:
            return Step(kind, "opportunity", opportunity_id(number), "", 'W/"2"', "WinOpportunity", 1, 3, activity)


def statuses(results: tuple[StepResult, ...]) -> list[StepStatus]:
    return [result.status for result in results]


# --- performing: all at once ---


def applied(*plans: Plan) -> Response:
    parts, number = [], 0
    for index, plan in enumerate(plans):
        answers = []
        for _ in plan.steps:
            number += 1
            answers.append(part(NO_CONTENT, number))
        parts.append(change_set(*answers, name=f"changesetresponse_{index}"))
    return multipart(*parts)


def test_a_plan_is_one_change_set_in_one_batch() -> None:
    wire = Wire()
    plan = plan_for(1)
    wire.answers[r"POST \$batch"] = applied(plan)
    (results,) = performance(wire).perform([plan])
    assert statuses(results) == [DONE, DONE, DONE]
    assert [result.step for result in results] == list(plan.steps)
    assert {result.request_id for result in results} == {"outer"}
    (request,) = wire.requests
    body = request.body.decode()
    assert re.findall(r"^(POST|PATCH|DELETE) /api/data/v9\.2/(\S+) HTTP", body, re.MULTILINE) == [
        ("PATCH", f"quotes({quote_id(1)})"),
        ("POST", "CloseQuote"),
        ("POST", "WinOpportunity"),
    ]
    assert request.header("x-ms-correlation-request-id") == str(plan.opportunity_id)
    assert body.count('Prefer: odata.include-annotations="Microsoft.PowerApps.CDS.*"') == 3


def test_many_plans_are_change_sets_of_one_batch_and_results_keep_their_order() -> None:
    wire = Wire()
    plans = [plan_for(0), Plan(opportunity_id(9), (), "nothing to do"), plan_for(1)]
    wire.answers[r"POST \$batch"] = applied(plans[0], plans[2])
    results = performance(wire).perform(plans)
    assert [statuses(some) for some in results] == [[DONE] * 3, [], [DONE] * 3]
    assert len(wire.requests) == 1
    assert [some[0].step.record_id for some in results if some] == [quote_id(0), quote_id(1)]


def test_a_failed_change_set_is_one_plans_failure() -> None:
    wire = Wire()
    plans = [plan_for(1), plan_for(2), plan_for(3)]
    wire.answers[r"POST \$batch"] = multipart(
        change_set(*[part(NO_CONTENT, n) for n in (1, 2, 3)], name="changesetresponse_1"),
        change_set(part(refused(400, "0x80040515"), 6), name="changesetresponse_2"),
        change_set(*[part(NO_CONTENT, n) for n in (7, 8, 9)], name="changesetresponse_3"),
    )
    first, second, third = performance(wire).perform(plans)
    assert statuses(first) == statuses(third) == [DONE] * 3
    assert statuses(second) == [NOT_RUN, NOT_RUN, FAILED]
    assert isinstance(second[2].error, ConnectorError)
    assert "already closed" in second[2].error.message
    assert second[2].request_id == "served"


def test_a_stale_row_fails_the_step_that_named_its_version() -> None:
    wire = Wire()
    plan = plan_for(1)
    wire.answers[r"POST \$batch"] = multipart(change_set(part(refused(412, "0x80060882"), 1)))
    (results,) = performance(wire).perform([plan])
    assert statuses(results) == [FAILED, NOT_RUN, NOT_RUN]
    assert isinstance(results[0].error, Stale)


@pytest.mark.parametrize(
    ("failure", "status"), [(NotSent("no connection"), FAILED), (Unanswered("no answer"), UNKNOWN)]
)
def test_a_batch_that_got_no_answer_is_unknown_unless_it_was_not_sent(failure: Exception, status: StepStatus) -> None:
    wire = Wire()
    plans = [plan_for(1), plan_for(2)]
    wire.answers[r"POST \$batch"] = failure
    for results in performance(wire).perform(plans):
        assert results[0].status is status
        assert results[0].error is failure
        assert results[0].request_id == wire.requests[0].header("x-ms-client-request-id")
        assert all(result.status in (UNKNOWN, NOT_RUN) for result in results[1:])


@pytest.mark.parametrize(
    ("answer", "status", "effect"),
    [
        (refused(429, "0x80072322"), FAILED, Effect.NONE),
        (refused(401), FAILED, Effect.NONE),
        (refused(503), UNKNOWN, Effect.UNKNOWN),
        (Response(502, (("Content-Type", "text/html"),), b"<html>"), UNKNOWN, Effect.UNKNOWN),
        (Response(200, (("Content-Type", "text/html"),), b"<html>"), UNKNOWN, Effect.UNKNOWN),
    ],
)
def test_a_batch_answered_as_a_whole_is_every_plans_failure(
    answer: Response, status: StepStatus, effect: Effect
) -> None:
    wire = Wire()
    plans = [plan_for(1), plan_for(2)]
    wire.answers[r"POST \$batch"] = answer
    org = performance(wire)
    for results in org.perform(plans):
        assert results[0].status is status
        assert isinstance(results[0].error, ConnectorError)
        assert results[0].error.effect is effect
    assert org.atomic
    assert len(wire.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("poisonous", [(), (1,), (3,), (1, 5), (1, 2, 3, 4, 5)])
def test_one_plan_that_makes_a_batch_unreadable_fails_alone(poisonous: Sequence[int], status: int) -> None:
    wire = Wire()
    plans = [plan_for(number) for number in (1, 2, 3, 4, 5)]

    def answer(request: Request) -> Response:
        there = [plan for plan in plans if str(plan.opportunity_id).encode() in request.body]
        if any(plan in there for plan in (plans[number - 1] for number in poisonous)):
            return refused(status, "", "Bad Request")
        return applied(*there)

    wire.answers[r"POST \$batch"] = answer
    org = performance(wire)
    for number, results in enumerate(org.perform(plans), 1):
        assert results[0].status is (FAILED if number in poisonous else DONE), number
        if number in poisonous:
            assert results[0].error is not None
            assert results[0].error.effect is Effect.NONE
    assert org.atomic
    assert len(wire.requests) <= 2 * len(plans) - 1


def test_an_answer_that_breaks_off_is_unknown_from_there_on() -> None:
    wire = Wire()
    plans = [plan_for(1), plan_for(2)]
    whole = applied(*plans)
    wire.answers[r"POST \$batch"] = replace(whole, body=whole.body[:-80])
    first, second = performance(wire).perform(plans)
    assert statuses(first) == [DONE] * 3
    assert statuses(second) == [UNKNOWN] * 3
    assert isinstance(second[0].error, Unanswered)


def test_a_change_set_that_broke_on_the_server_was_answered_so_it_was_rolled_back() -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(refused(500, "0x80040216"), 2)))
    (results,) = performance(wire).perform([plan_for(1)])
    assert statuses(results) == [NOT_RUN, FAILED, NOT_RUN]
    error = results[1].error
    assert isinstance(error, Broken)
    assert (error.effect, error.transient, error.lasting) == (Effect.NONE, True, True)


def test_a_step_that_cannot_be_said_fails_its_own_plan_only() -> None:
    wire = Wire()
    broken = Plan(opportunity_id(1), (replace(step_for(1, StepKind.CLOSE_QUOTE), status=None),), "x")
    good = plan_for(2)
    wire.answers[r"POST \$batch"] = applied(good)
    first, second = performance(wire).perform([broken, good])
    assert (statuses(first), statuses(second)) == ([FAILED], [DONE] * 3)


def test_more_operations_than_a_batch_takes_go_in_two() -> None:
    wire = Wire()
    steps = tuple(step_for(1, StepKind.CLOSE_QUOTE) for _ in range(600))
    plans = [Plan(opportunity_id(n), steps, "x") for n in range(2)]
    wire.answers[r"POST \$batch"] = applied(plans[0])
    assert all(set(statuses(results)) == {DONE} for results in performance(wire).perform(plans))
    assert len(wire.requests) == 2


# --- performing: one by one ---


def test_stepwise_each_step_is_a_request_and_the_first_failure_stops() -> None:
    wire = Wire()
    plan = plan_for(1)
    wire.answers["PATCH quotes"] = NO_CONTENT
    wire.answers["POST CloseQuote"] = refused(400, "0x80040265", "not today")
    (results,) = performance(wire, atomic=False).perform([plan])
    assert statuses(results) == [DONE, FAILED, NOT_RUN]
    assert wire.lines() == [f"PATCH quotes({quote_id(1)})", "POST CloseQuote"]
    assert wire.requests[0].header("if-match") == 'W/"1"'
    assert results[1].request_id == "served"
    assert {result.note for result in results} == {""}


def test_stepwise_a_lost_answer_is_unknown_and_stops() -> None:
    wire = Wire()
    wire.answers["PATCH quotes"] = NO_CONTENT
    wire.answers["POST CloseQuote"] = Unanswered("no answer")
    (results,) = performance(wire, atomic=False).perform([plan_for(1)])
    assert statuses(results) == [DONE, UNKNOWN, NOT_RUN]


@pytest.mark.parametrize(
    "answer",
    [
        refused(404),
        refused(404, "0x8006088a"),
        refused(400, "0x80060888"),
        refused(405),
        refused(405, "0x80040216", "An unexpected error occurred."),
        refused(415),
        refused(501),
    ],
)
def test_an_organization_without_batches_is_served_step_by_step_from_then_on(answer: Response) -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = answer
    wire.answers["(POST|PATCH)"] = NO_CONTENT
    org = performance(wire)
    (results,) = org.perform([plan_for(1)])
    assert statuses(results) == [DONE] * 3
    assert all("refuses batches" in result.note for result in results)
    assert not org.atomic
    org.perform([plan_for(2)])
    assert sum(line.endswith("$batch") for line in wire.lines()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refused(501),
        refused(405),
        refused(400, "0x80040315"),
        refused(400, "0x80100008"),
        refused(400, "", "The action 'CloseQuote' is not allowed in a change set."),
        refused(400, "0x80040216", "Actions are not supported in a ChangeSet"),
    ],
)
def test_an_organization_without_actions_in_change_sets_is_served_step_by_step_from_then_on(answer: Response) -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(answer, 2)))
    wire.answers["(POST|PATCH)"] = NO_CONTENT
    org = performance(wire)
    (results,) = org.perform([plan_for(1)])
    assert statuses(results) == [DONE] * 3
    assert all("refuses change sets" in result.note for result in results)
    assert not org.atomic


def test_what_fails_alone_too_does_not_speak_against_change_sets() -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(refused(405), 2)))
    wire.answers["PATCH"] = NO_CONTENT
    wire.answers["POST CloseQuote"] = refused(405)
    org = performance(wire)
    (results,) = org.perform([plan_for(1)])
    assert statuses(results) == [DONE, FAILED, NOT_RUN]
    assert org.atomic


@pytest.mark.parametrize(
    "answer",
    [
        refused(405, "0x80040227"),
        refused(405, "0x8004023b"),
        refused(400, "0x80040515"),
        refused(400, "0x80040265"),
        refused(400, "0x80040265", "Our rule: never close a quote in a change set."),
        refused(400, "", "The quote cannot be closed."),
        refused(404, "0x80040217"),
        refused(403, "0x80040220"),
        refused(500, "0x80044151"),
    ],
)
def test_an_error_of_business_never_turns_to_steps(answer: Response) -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(answer, 2)))
    org = performance(wire)
    org.perform([plan_for(1)])
    assert org.atomic
    assert len(wire.requests) == 1


def project_plan() -> Plan:
    return plan_for(1, StepKind.CLOSE_ALL_QUOTES, StepKind.CLOSE_OPPORTUNITY)


def test_what_is_turned_down_after_a_step_that_may_run_as_a_job_is_tried_singly_this_once() -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(refused(400, "0x80040516"), 2)))
    wire.answers["POST (msdyn|opport)"] = NO_CONTENT
    wire.answers["POST WinOpportunity"] = refused(400, "0x80040516")
    org = performance(wire)
    (results,) = org.perform([project_plan()])
    assert statuses(results) == [DONE, FAILED]
    assert org.atomic


def test_a_job_that_is_turned_down_itself_is_not_tried_singly() -> None:
    wire = Wire()
    wire.answers[r"POST \$batch"] = multipart(change_set(part(refused(400, "0x80040265"), 1)))
    (results,) = performance(wire).perform([project_plan()])
    assert statuses(results) == [FAILED, NOT_RUN]
    assert len(wire.requests) == 1


@pytest.mark.parametrize("atomic", [True, False])
def test_tables_that_do_not_check_versions_are_changed_without_and_that_is_remembered(*, atomic: bool) -> None:
    wire = Wire()
    answers: Iterator[Response]
    if atomic:
        answers = iter([multipart(change_set(part(refused(400, "0x8006088D"), 1))), *[applied(plan_for(1))] * 2])
    else:
        answers = iter([refused(400, "0x8006088D"), *[NO_CONTENT] * 6])
    wire.answers["(POST|PATCH)"] = lambda _: next(answers)
    org = performance(wire, atomic=atomic)
    assert [statuses(org.perform([plan_for(n)])[0]) for n in (1, 2)] == [[DONE] * 3] * 2
    sent = [request.body.decode() + str(dict(request.headers)) for request in wire.requests]
    guarded = [bool(re.search(r"if-match['\": ]+W/", text, re.IGNORECASE)) for text in sent]
    assert guarded == [True] + [False] * (len(sent) - 1)
