"""Performs plans: each as a change set of a batch, or step by step; failures become results.

An organization that refuses batches or change sets as a matter of form is remembered, and its plans are performed step
by step from then on; an error of business never causes that. The same holds for row versions on tables that do not
check them. A result says what is known: a lost answer is UNKNOWN, never failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import assert_never

from connector.closing.model import Plan, Step, StepKind, StepResult, StepStatus
from connector.dataverse.answers import error_from, expect, service_request_id
from connector.dataverse.batch import (
    MAX_OPERATIONS,
    Applied,
    ChangeSet,
    Missing,
    Refused,
    match_change_sets,
    read_batch,
    write_batch,
)
from connector.dataverse.error_bodies import error_body
from connector.dataverse.error_codes import UNSUPPORTED
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Operation, operation_of, subject_of
from connector.errors import ConnectorError, Effect, InputError, Rejected, ServiceError, TooLarge, Unanswered
from connector.handler import Request, Response

_NO_VERSIONS = "0x8006088d"
_NO_SUCH_PATH = ("0x8006088a", "0x80060888")
_BATCH_REFUSED = (404, 405, 415, 501)
_NOT_READ = (400, 413, 422)
"""What answers a batch that was not carried out for what it says or how large it is."""
_METHOD_NOT_ALLOWED = 405
_NOT_IMPLEMENTED = 501
_UNEXPECTED = "0x80040216"
_NO_TELLING = ("", _UNEXPECTED)
"""No code, and the code of every error that has none of its own: the status and the text decide."""
_CHANGE_SET = re.compile(r"change[ -]?set", re.IGNORECASE)
_PROJECT_STEPS = (StepKind.CLOSE_ALL_QUOTES, StepKind.CLOSE_PROJECT_QUOTE)

Results = tuple[StepResult, ...]


class Performance:
    """Writes through the Web API; `atomic` says whether plans are performed as one transaction each."""

    def __init__(self, api: WebApi, *, atomic: bool) -> None:
        self._api = api
        self._versions_checked = True
        self.atomic = atomic
        self.note = ""

    def perform(self, plans: Sequence[Plan]) -> list[Results]:
        """Return the results of `plans`, in order, performed in one batch if that is possible."""
        results: list[Results] = []
        ready: list[tuple[Plan, list[Operation]]] = []
        places: list[int] = []
        for place, plan in enumerate(plans):
            results.append(())
            try:
                operations = [self._operation(step) for step in plan.steps]
            except InputError as error:
                results[place] = _spread(plan, error)
                continue
            if operations:
                ready.append((plan, operations))
                places.append(place)
        for place, done in zip(places, self._performed(ready), strict=True):
            results[place] = done
        return results

    def _performed(self, work: Sequence[tuple[Plan, list[Operation]]]) -> list[Results]:
        """Return the results of plans that have steps; too many operations for one batch are sent in two.

        A batch acts as one user. A plan that is too much for a change set is not sent.
        """
        size = sum(len(operations) for _, operations in work)
        other = next((place for place, (plan, _) in enumerate(work) if plan.as_user != work[0][0].as_user), 0)
        if not self.atomic:
            return [self._singly(plan) for plan, _ in work]
        if other:
            return self._performed(work[:other]) + self._performed(work[other:])
        if size > MAX_OPERATIONS and len(work) == 1:
            why = f"It takes {size:,} operations, and a change set holds {MAX_OPERATIONS:,}."
            return [_spread(work[0][0], TooLarge(why, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE))]
        if size > MAX_OPERATIONS:
            half = len(work) // 2
            return self._performed(work[:half]) + self._performed(work[half:])
        return self._together(work) if work else []

    def _operation(self, step: Step) -> Operation:
        operation = operation_of(step)
        return operation if self._versions_checked or not operation.if_match else replace(operation, if_match="*")

    # --- all at once ---

    def _together(self, work: Sequence[tuple[Plan, list[Operation]]]) -> list[Results]:
        plans = [plan for plan, _ in work]
        boundary = f"batch_{self._api.endpoint.new_id()}"
        as_user = plans[0].as_user
        headers = self._api.endpoint.write_headers(as_user)
        body = write_batch([ChangeSet(tuple(operations)) for _, operations in work], boundary, headers)
        correlation = plans[0].opportunity_id if len(plans) == 1 else None
        request = self._api.endpoint.batch(body, boundary, correlation, as_user)
        try:
            response = self._api.handler(request)
        except ConnectorError as error:
            return [_spread(plan, error, _sent_as(request)) for plan in plans]
        answers = read_batch(response)
        if answers is None:
            return self._turned_away(work, request, response)
        fates = match_change_sets(answers, [len(operations) for _, operations in work])
        return [
            self._results(plan, fate, service_request_id(response) or _sent_as(request))
            for plan, fate in zip(plans, fates, strict=True)
        ]

    def _turned_away(
        self, work: Sequence[tuple[Plan, list[Operation]]], request: Request, response: Response
    ) -> list[Results]:
        """Return the results of plans whose batch was answered as a whole.

        Where it was what the batch says that was refused (one plan in it, or its size), nothing of it happened: it is
        sent again in halves, so that one plan does not fail the others.
        """
        plans = [plan for plan, _ in work]
        if _refuses_batches(response):
            self._go_singly(f"This organization refuses batches (HTTP {response.status})")
            return [self._singly(plan) for plan in plans]
        if len(work) > 1 and response.status in _NOT_READ:
            half = len(work) // 2
            return self._performed(work[:half]) + self._performed(work[half:])
        error: ConnectorError = error_from(response, "Sending a batch")
        if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            error = _no_answer("Sending a batch")
        return [_spread(plan, error, _sent_as(request)) for plan in plans]

    def _results(self, plan: Plan, fate: Applied | Refused | Missing, request_id: str) -> Results:
        match fate:
            case Applied():
                return tuple([StepResult(step, StepStatus.DONE, None, request_id) for step in plan.steps])
            case Missing():
                return _spread(plan, _no_answer(f"Closing opportunity {plan.opportunity_id}"), request_id)
            case Refused(response, index):
                return self._refused(plan, response, index or 0, request_id)
            case _:
                assert_never(fate)

    def _refused(self, plan: Plan, response: Response, index: int, request_id: str) -> Results:
        """Return the results of a plan whose change set failed at step `index`: nothing of it happened."""
        error = error_from(response, subject_of(plan.steps[index]))
        error.effect = Effect.NONE  # it was answered, and a change set that fails is rolled back
        if error.code == _NO_VERSIONS and self._versions_checked:
            self._versions_checked = False
            return self.perform([plan])[0]
        if _may_run_later(plan.steps[:index], error):
            return self._singly(plan)
        if not _is_form(response, error):
            return _spread(plan, error, error.request_id or request_id, index)
        results = self._singly(plan)
        if results[index].status is StepStatus.DONE:  # so it was the change set that was refused, not the step
            self._go_singly(f"This organization refuses change sets (HTTP {response.status})")
        return tuple(replace(result, note=self.note) for result in results)

    def _go_singly(self, why: str) -> None:
        self.note = f"{why}, so each step was sent on its own."
        self.atomic = False

    # --- one by one ---

    def _singly(self, plan: Plan) -> Results:
        results: list[StepResult] = []
        for step in plan.steps:
            results.append(self._step(step, plan))
            if results[-1].status is not StepStatus.DONE:
                break
        rest = [StepResult(step, StepStatus.NOT_RUN, note=self.note) for step in plan.steps[len(results) :]]
        return (*results, *rest)

    def _step(self, step: Step, plan: Plan) -> StepResult:
        request = self._api.endpoint.request(self._operation(step), plan.opportunity_id, plan.as_user)
        try:
            response = expect(self._api.handler(request), subject_of(step))
        except ServiceError as error:
            if error.code == _NO_VERSIONS and self._versions_checked:
                self._versions_checked = False
                return self._step(step, plan)
            return StepResult(step, _status(error), error, error.request_id or _sent_as(request), self.note)
        except ConnectorError as error:
            return StepResult(step, _status(error), error, _sent_as(request), self.note)
        return StepResult(step, StepStatus.DONE, None, service_request_id(response) or _sent_as(request), self.note)


def _refuses_batches(response: Response) -> bool:
    """Return whether there is no `$batch` here: by the status, or, as an unknown path, by code with 404 or 400."""
    code = error_body(response).code
    return code in _NO_SUCH_PATH or (response.status in _BATCH_REFUSED and code in (*_NO_TELLING, *UNSUPPORTED))


def _is_form(response: Response, error: ServiceError) -> bool:
    """Return whether an operation was refused as a matter of form: what the service cannot do in a change set at all.

    405 is also what business errors of class InvalidOperation answer; those have a code of their own. So has a plug-in,
    whose text may speak of anything; without a code the text is the service's, and says it when it is the change set.
    """
    if error.code in UNSUPPORTED or response.status == _NOT_IMPLEMENTED:
        return True
    if response.status == _METHOD_NOT_ALLOWED and not error.code:
        return True
    return isinstance(error, Rejected) and error.code in _NO_TELLING and bool(_CHANGE_SET.search(error.detail))


def _may_run_later(before: Sequence[Step], error: ServiceError) -> bool:
    """Return whether a step was turned down after steps of Project Operations, which may be background jobs there.

    Such a job is queued, and rolled back with the change set before it ran, so together they can never succeed.
    Source: long-running-jobs in the documents of Dynamics 365 Project Operations.
    """
    return isinstance(error, Rejected) and any(step.kind in _PROJECT_STEPS for step in before)


def _spread(plan: Plan, error: ConnectorError, request_id: str = "", index: int = 0) -> Results:
    """Return the results of a plan that failed as one: at step `index` if nothing happened, else all is unknown."""
    if _status(error) is StepStatus.UNKNOWN:
        return tuple([StepResult(step, StepStatus.UNKNOWN, error, request_id) for step in plan.steps])
    return tuple(
        [
            StepResult(step, StepStatus.FAILED, error, request_id)
            if number == index
            else StepResult(step, StepStatus.NOT_RUN)
            for number, step in enumerate(plan.steps)
        ]
    )


def _status(error: ConnectorError) -> StepStatus:
    return StepStatus.UNKNOWN if error.effect is Effect.UNKNOWN else StepStatus.FAILED


def _no_answer(subject: str) -> Unanswered:
    return Unanswered(f"{subject}: no complete answer came.", remedy="Look again: it may have happened.")


def _sent_as(request: Request) -> str:
    return request.header("x-ms-client-request-id") or ""
