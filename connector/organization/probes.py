"""What is asked of an organization by change sets that must fail, on one open opportunity, and what the answers mean.

Each set is made of the steps that a real plan of this opportunity has, as they would be sent. Before and after, the
opportunity, its quotes and all their close activities are read with their versions: any change would show.

In a sandbox an opportunity with a draft and an active quote can be made for it, and all of it removed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote
from uuid import UUID

from connector.closing.model import (
    DraftPolicy,
    Intent,
    OpportunityState,
    Outcome,
    Plan,
    QuoteState,
    Snapshot,
    Step,
    StepKind,
)
from connector.closing.organization import Organization
from connector.closing.plan import plan_close
from connector.dataverse.answers import decoding, expect
from connector.dataverse.reading import Row, WebApi
from connector.dataverse.webapi import Operation, operation_of, read_set
from connector.errors import (
    Broken,
    ConnectorError,
    Forbidden,
    InputError,
    NotFound,
    ServiceError,
    Throttled,
    Unanswered,
    Unauthorized,
)
from connector.organization.capture_model import AnswerFact
from connector.organization.safe_requests import FailedSet, RowState, ask_set, impossible

QUESTIONS = {
    "actions_in_set": "Does a change set take all that a close sends?",
    "draft_close": "Does CloseQuote take a draft quote?",
    "drafts_block": "Do draft quotes block the close of the opportunity?",
    "activity_id": "Does a close activity get the id that was chosen for it?",
    "minus_one": "Does the service take Status -1?",
    "other_currency": "Does a close activity take a currency other than the opportunity's?",
    "close_currency": "Which currency do the newest close activities have?",
    "parts": "How many parts does a change set take?",
}
"""Every question by its name, for people."""
SIZES = (999, 300, 100, 30, 10)
"""Parts of a change set that are tried, the most that is documented first (with the impossible one it is 1,000)."""
_NEWEST = 50
_SUBJECT = "Reading what a probe must not change"


class Probes:
    """Asks about one opportunity through the Web API; its endpoint says what the writes leave out of the own logic."""

    def __init__(self, api: WebApi, organization: Organization, opportunity_id: UUID) -> None:
        self._api = api
        self._opportunity_id = opportunity_id
        self._snapshot = _fit(organization, opportunity_id)
        plan = plan_close(
            self._snapshot, Intent(opportunity_id, Outcome.WON, drafts=DraftPolicy.ACTIVATE), organization.metadata()
        )
        assert isinstance(plan, Plan)  # an open opportunity with the way for drafts is never refused
        self._steps = plan.steps

    def state(self) -> dict[str, RowState]:
        """Return the version of each row that a close could touch, by table and id."""
        quotes = [quote.id for quote in self._snapshot.quotes]
        sets = [
            ("opportunity", "opportunities", "opportunityid", [self._opportunity_id]),
            ("opportunityclose", "opportunitycloses", "opportunityid", [self._opportunity_id]),
            ("quote", "quotes", "opportunityid", [self._opportunity_id]),
            ("quoteclose", "quotecloses", "quoteid", quotes),
        ]
        versions = {}
        for table, entity_set, column, ids in sets:
            operation = read_set(entity_set, "statecode,statuscode,versionnumber,_modifiedby_value", column, ids)
            key = "activityid" if table.endswith("close") else f"{table}id"
            for row in self._api.read_rows(operation, _SUBJECT):
                with decoding(_SUBJECT):
                    state = f"state {row['statecode']}, status reason {row['statuscode']}"
                    writer = row.get("_modifiedby_value")
                    versions[f"{table} {row[key]}"] = RowState(
                        f"version {row['versionnumber']}, {state}", None if writer is None else UUID(writer)
                    )
        return versions

    def answers(self) -> Iterator[AnswerFact]:
        """Yield the answer to each question; raises as `ask_set`."""
        whole = self._ask(self._steps)
        accepted, logic = whole.reached_end, bool(whole.error.origin.plug_in)
        single = not accepted and not logic and not self._set_takes_an_action()
        value = "accepted" if accepted else "logic" if logic else "refused" if single else "unknown"
        yield _answer("actions_in_set", value, whole)
        yield self._of_drafts(single=single)
        yield self._of_block(single=single, closes=accepted or whole.index != len(self._steps) - 1)
        yield self._of_ids() if accepted else AnswerFact(question="activity_id", value="unknown")
        minus = [*self._steps[:-1], replace(self._steps[-1], status=-1)]
        yield _passes("minus_one", self._ask(minus) if accepted else None)
        yield from self._of_currencies(accepted=accepted)
        yield self._of_size()

    # --- one question each ---

    def _set_takes_an_action(self) -> bool:
        """Return whether a set is refused for a quote that is not there rather than for the action that names it."""
        action = next(step for step in self._steps if step.kind is StepKind.CLOSE_QUOTE)
        return isinstance(self._ask([replace(action, record_id=self._api.endpoint.new_id())]).error, NotFound)

    def _of_drafts(self, *, single: bool) -> AnswerFact:
        draft = next(quote for quote in self._snapshot.quotes if quote.state is QuoteState.DRAFT)
        step = next((s for s in self._steps if s.kind is StepKind.CLOSE_QUOTE and s.record_id == draft.id), None)
        if step is None or single:
            return AnswerFact(question="draft_close", value="unknown")
        return _passes("draft_close", self._ask([step]))

    def _of_block(self, *, single: bool, closes: bool) -> AnswerFact:
        drafts = {quote.id for quote in self._snapshot.quotes if quote.state is QuoteState.DRAFT}
        left = [step for step in self._steps if step.record_id not in drafts]
        if single:
            return AnswerFact(question="drafts_block", value="unknown")
        answer = _passes("drafts_block", self._ask(left))
        value = {"accepted": "no", "refused": "yes" if closes else "unknown"}.get(answer.value, answer.value)
        return answer.model_copy(update={"value": value})

    def _of_ids(self) -> AnswerFact:
        """Ask with the chosen id, then without it: only the first may find the activity under that id.

        A user who may close need not have the right to change a close activity: then it is not known.
        """
        close = self._steps[-1]
        by_id = Operation("PATCH", f"opportunitycloses({close.activity_id})", '{"subject":"a probe"}', "*")
        operations = [operation_of(step) for step in self._steps]
        try:
            chosen = ask_set(self._api, [*operations, by_id])
        except Forbidden as error:
            return AnswerFact(question="activity_id", value="unknown", code=error.code)
        without_id = _binding(operations[-1], {}, drop=("activityid",))
        control = ask_set(self._api, [*operations[:-1], without_id, by_id])
        if control.index != len(operations) or chosen.index is None:
            return AnswerFact(question="activity_id", value="unknown", code=chosen.error.code)
        return _answer("activity_id", "honored" if chosen.reached_end else "ignored", chosen)

    def _of_currencies(self, *, accepted: bool) -> Iterator[AnswerFact]:
        own = str(self._snapshot.opportunity.currency_id or "")
        rows = self._rows("transactioncurrencies?$select=isocurrencycode&$filter=statecode%20eq%200")
        other = next((str(row["transactioncurrencyid"]) for row in rows if row["transactioncurrencyid"] != own), "")
        reply = None
        if accepted and own and other:
            operations = [operation_of(step) for step in self._steps]
            bind = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({other})"}
            reply = ask_set(self._api, [*operations[:-1], _binding(operations[-1], bind)])
        yield _passes("other_currency", reply)
        newest = self._rows(
            f"opportunitycloses?$select=_transactioncurrencyid_value,_opportunityid_value&$orderby=createdon%20desc"
            f"&$top={_NEWEST}&$expand=opportunityid($select=_transactioncurrencyid_value)"
        )
        same = {
            row["_transactioncurrencyid_value"] == row["opportunityid"]["_transactioncurrencyid_value"]
            for row in newest
            if row.get("opportunityid")
        }
        value = "unknown" if not same else "opportunity" if same == {True} else "other"
        yield AnswerFact(question="close_currency", value=value)

    def _of_size(self) -> AnswerFact:
        for size in SIZES:
            try:
                ask_set(self._api, [impossible(self._api.endpoint)] * size)
            except ServiceError as error:
                code, passes = error.code, isinstance(error, Broken | Forbidden | Throttled | Unauthorized)
                if passes or error.status < HTTPStatus.BAD_REQUEST:
                    raise
            else:
                return AnswerFact(question="parts", value=str(size + 1))
        return AnswerFact(question="parts", value="unknown", code=code)

    # --- ways to ask ---

    def _ask(self, steps: Sequence[Step]) -> FailedSet:
        operations = [_operation(step) for step in steps]
        return ask_set(self._api, operations, self._opportunity_id)

    def _rows(self, path: str) -> list[Row]:
        return self._api.read_rows(Operation("GET", path), "Reading currencies")


def _fit(organization: Organization, opportunity_id: UUID) -> Snapshot:
    """Return the opportunity with its quotes. Raises InputError where nothing can be asked on it."""
    snapshot = organization.observe([opportunity_id]).get(opportunity_id)
    remedy = "Name an open opportunity with a draft and an active quote, or let --make-one make one in a sandbox."
    if snapshot is None:
        raise InputError(
            f"There is no opportunity {opportunity_id} that this user may see; nothing was sent.", remedy=remedy
        )
    if snapshot.opportunity.state is not OpportunityState.OPEN:
        name = snapshot.opportunity.state.name.lower()
        raise InputError(f"The opportunity {opportunity_id} is {name}, not open; nothing was sent.", remedy=remedy)
    for state in (QuoteState.DRAFT, QuoteState.ACTIVE):
        if all(quote.state is not state for quote in snapshot.quotes):
            raise InputError(
                f"The opportunity {opportunity_id} has no {state.name.lower()} quote; nothing was sent.", remedy=remedy
            )
    return snapshot


def _answer(question: str, value: str, reply: FailedSet) -> AnswerFact:
    return AnswerFact(question=question, value=value, code="" if reply.reached_end else reply.error.code)


def _passes(question: str, reply: FailedSet | None) -> AnswerFact:
    """Return `accepted` or `refused` of the one question that a set asks by its last step."""
    if reply is None or reply.index is None:
        return AnswerFact(question=question, value="unknown")
    if reply.error.origin.plug_in and not reply.reached_end:
        return _answer(question, "logic", reply)
    if not reply.reached_end and reply.index != reply.size - 1:
        return _answer(question, "unknown", reply)
    return _answer(question, "accepted" if reply.reached_end else "refused", reply)


def _operation(step: Step) -> Operation:
    """Return a step as an operation; its status may be -1, which no plan has."""
    if step.status != -1:
        return operation_of(step)
    operation = operation_of(replace(step, status=0))
    return replace(operation, body=json.dumps({**json.loads(operation.body), "Status": -1}))


def _binding(operation: Operation, more: dict[str, str], drop: tuple[str, ...] = ()) -> Operation:
    """Return a close with other columns of its activity."""
    body = json.loads(operation.body)
    parameter = next(name for name in body if name != "Status")
    columns = {name: value for name, value in body[parameter].items() if name not in (*drop, *more)}
    return replace(operation, body=json.dumps({**body, parameter: {**columns, **more}}))


NAME = "Probe of the close connector"
_BY_HAND = f"Delete it by hand once no probe runs: its name is '{NAME}'."
_TESTING = frozenset(
    ("CustomerTest", "CustomerFreeTest", "CustomerPreview", "TestDrive", "EmailTrial", "Developer", "Trial")
)
"""Kinds of environments in which records may be made to be asked on (OrganizationType, Web API reference)."""
_SUBJECT = "Making records to ask on"


class SampleRecords:
    """The records that were made through the Web API; `remove` deletes exactly those."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        self._made: list[str] = []

    def make(self) -> UUID:
        """Make a customer, an opportunity and two quotes; returns the opportunity's id.

        Raises InputError, before anything is made, unless the organization says that it is a sandbox or a trial.
        """
        self._require_sandbox()
        account = self._add("accounts", "accountid", {})
        customer = {"customerid_account@odata.bind": f"/accounts({account})"}
        opportunity = self._add("opportunities", "opportunityid", customer)
        for _ in range(2):
            offer = self._add(
                "quotes", "quoteid", {**customer, "opportunityid@odata.bind": f"/opportunities({opportunity})"}
            )
        self._send("PATCH", f"quotes({offer})", {"statecode": 1, "statuscode": 2})
        return opportunity

    def leftovers(self) -> Iterator[str]:
        """Yield a sentence for each record of an earlier run that was cut off before it could remove it."""
        for entity_set, key in (("quotes", "quoteid"), ("opportunities", "opportunityid"), ("accounts", "accountid")):
            operation = Operation("GET", f"{entity_set}?$select={key}&$filter=name%20eq%20'{quote(NAME)}'")
            for row in self._api.read_rows(operation, _SUBJECT):
                yield f"{entity_set}({row[key]}) was made to ask on by a run that was cut off or still runs. {_BY_HAND}"

    def remove(self) -> list[str]:
        """Delete what was made, the youngest first; returns a sentence for each record that could not be."""
        left = []
        for path in reversed(self._made):
            try:
                self._send("DELETE", path, None)
            except NotFound:
                continue
            except ConnectorError as error:
                left.append(f"{path} was made to ask on and could not be removed: {error.message} {_BY_HAND}")
        return left

    def _require_sandbox(self) -> None:
        function = "RetrieveCurrentOrganization(AccessType=Microsoft.Dynamics.CRM.EndpointAccessType'Default')"
        data = self._api.read_object(Operation("GET", function), _SUBJECT)
        with decoding(_SUBJECT):
            kind = str(data["Detail"].get("OrganizationType", "unknown"))
        if kind not in _TESTING:
            raise InputError(
                f"Records are made only in a sandbox or a trial, and this organization is of the kind {kind}; nothing "
                "was made.",
                remedy="Name an open opportunity with a draft and an active quote instead.",
            )

    def _add(self, entity_set: str, key: str, values: dict[str, str]) -> UUID:
        identity = self._api.endpoint.new_id()
        self._made.append(f"{entity_set}({identity})")  # before it is sent: a lost answer must leave nothing behind
        self._send("POST", entity_set, {key: str(identity), "name": NAME, **values})
        return identity

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> None:
        operation = Operation(method, path, json.dumps(body) if body is not None else "")
        response = self._api.send(operation)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            expect(response, _SUBJECT)
            raise Unanswered(f"{_SUBJECT}: {path} was answered with {response.status}.")
