"""A small organization in memory that keeps the documented rules of closing and can be unkind.

It loses answers before and after acting, commits late, throttles, dies, cannot be read, and lets other users act in
between. It knows nothing of how the connector plans: its rules are read from the documents (*Close a quote*, *Close an
opportunity as won or lost*, the table references), so that a wrong plan is turned down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from uuid import UUID

from connector.closing.model import (
    CloseActivity,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Plan,
    Quote,
    QuoteOrder,
    QuoteState,
    Snapshot,
    StatusReason,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest
from connector.closing.record_keys import RecordKey, RecordMatch
from connector.errors import (
    Broken,
    ConnectorError,
    NotFound,
    NotSent,
    Rejected,
    Stale,
    StateConflict,
    Throttled,
    TooLarge,
    Unanswered,
)

OPPORTUNITY_STATUSES = tuple(
    StatusReason(value, state, default=value in {1, 3, 4}, labels=labels)
    for value, state, labels in (
        (1, 0, ("In Progress", "In Bearbeitung")),
        (2, 0, ("On Hold",)),
        (3, 1, ("Won", "Gewonnen")),
        (100000001, 1, ("Won by Referral",)),
        (4, 2, ("Canceled", "Storniert")),
        (5, 2, ("Out-Sold",)),
    )
)
QUOTE_STATUSES = tuple(
    StatusReason(value, state, default=value in {1, 2, 4, 7}, labels=(label,))
    for value, state, label in (
        (1, 0, "In Progress"),
        (2, 1, "In Progress"),
        (3, 1, "Open"),
        (4, 2, "Won"),
        (5, 3, "Lost"),
        (6, 3, "Canceled"),
        (7, 3, "Revised"),
    )
)
METADATA = OrganizationMetadata(OPPORTUNITY_STATUSES, QUOTE_STATUSES)
STATE_OF_QUOTE = {status.value: QuoteState(status.state) for status in QUOTE_STATUSES}
STATE_OF_OPPORTUNITY = {status.value: OpportunityState(status.state) for status in OPPORTUNITY_STATUSES}
PROJECT_MESSAGES = frozenset({"msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsLost", "msdyn_CloseQuoteAsWon"})

OPPORTUNITY_ID = UUID(int=0x0F00)
START = datetime(2026, 1, 31, 9, tzinfo=UTC)


def quote_id(number: int) -> UUID:
    return UUID(int=0xA000 + number)


class Fault(Enum):
    """What happens to one write."""

    NONE = auto()
    LOST_BEFORE = auto()
    """No answer, and it did not happen."""
    LOST_AFTER = auto()
    """No answer, and it happened."""
    LATE = auto()
    """No answer, and it happens half a minute later."""
    BROKEN_BEFORE = auto()
    BROKEN_AFTER = auto()
    THROTTLED = auto()
    NOT_SENT = auto()
    DIES_BEFORE = auto()
    """The calling process is killed before the write is sent."""
    DIES_AFTER = auto()
    """The calling process is killed after the write happened."""


TRANSIENT = [fault for fault in Fault if not fault.name.startswith("DIES")]
HAPPENS = {Fault.NONE, Fault.LOST_AFTER, Fault.BROKEN_AFTER, Fault.DIES_AFTER}
LATENESS = 30.0

Meddling = Callable[["SmallOrganization"], None]


@dataclass
class Rows:
    opportunity: Opportunity
    quotes: dict[UUID, Quote]
    activities: list[CloseActivity] = field(default_factory=list)
    orders: list[QuoteOrder] = field(default_factory=list)


@dataclass
class SmallOrganization:
    """One opportunity and its quotes; `calls` counts looks and writes, `meddling` acts before one of them."""

    rows: Rows
    atomic: bool = True
    known: OrganizationMetadata = METADATA
    closes_drafts: bool = False
    faults: list[Fault] = field(default_factory=list)
    unreadable: set[int] = field(default_factory=set)
    meddling: dict[int, list[Meddling]] = field(default_factory=dict)
    plug_in: Callable[[SmallOrganization, Step], None] | None = None
    after: Callable[[SmallOrganization, Step], None] | None = None
    """Runs inside the transaction too, when a step has been done."""
    most_at_once: int | None = None
    """Steps in one transaction, at most; more are turned down, or get no answer where it is `slow`."""
    slow: bool = False
    background: bool = False
    calls: int = 0
    writes: int = 0
    seconds: float = 0.0
    late: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    version: int = 100
    named: dict[str, tuple[RecordMatch, ...]] = field(default_factory=dict)

    # --- what the connector sees ---

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        return self.known

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        self._begin()
        if self.calls in self.unreadable:
            raise Broken("The service failed.", status=503)
        if self.rows.opportunity.id not in ids:
            return {}
        quotes = tuple(sorted(self.rows.quotes.values(), key=lambda quote: quote.id))
        seen = tuple(self.rows.activities) if activities else ()
        made = tuple(self.rows.orders) if orders else ()
        return {self.rows.opportunity.id: Snapshot(self.rows.opportunity, quotes, seen, made)}

    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        """Find the records that were named; there are no others."""
        return {key: self.named.get(key.value, ()) for key in keys}

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        self._begin()
        return [self._as_one(plan.steps) if self.atomic else self._singly(plan.steps) for plan in plans]

    def pause(self, seconds: float) -> None:
        self.seconds += seconds

    # --- what tests ask ---

    def settle(self) -> None:
        """Let time pass until nothing is on its way any more."""
        self.seconds += 1000.0
        self._begin()

    def completed(self, record: UUID) -> list[CloseActivity]:
        return [activity for activity in self.rows.activities if activity.record_id == record and activity.completed]

    def states(self) -> tuple[tuple[OpportunityState, int], list[tuple[QuoteState, int]]]:
        opportunity = self.rows.opportunity
        quotes = sorted(self.rows.quotes.values(), key=lambda quote: quote.id)
        return (opportunity.state, opportunity.status), [(quote.state, quote.status) for quote in quotes]

    # --- what other users do ---

    def set_quote(self, record: UUID, state: QuoteState, status: int, *, activity: bool = False) -> None:
        if record in self.rows.quotes:
            self.rows.quotes[record] = replace(
                self.rows.quotes[record], state=state, status=status, version=self._next_version()
            )
            if activity:
                self._add_activity(record, UUID(int=(4 << 76) | self._serial()))

    def set_opportunity(self, state: OpportunityState, status: int) -> None:
        """Close or reopen it, if that is a legal move, as a user of the app would."""
        current = self.rows.opportunity.state
        if current is state or OpportunityState.OPEN not in {current, state}:
            return
        self.rows.opportunity = replace(self.rows.opportunity, state=state, status=status, version=self._next_version())
        if state is OpportunityState.OPEN:
            self._cancel(self.rows.opportunity.id)
        else:
            self._add_activity(self.rows.opportunity.id, UUID(int=(4 << 76) | self._serial()))

    def add_quote(self, number: int, status: int) -> None:
        new = quote(number, status)
        self.rows.quotes[new.id] = replace(new, version=self._next_version())

    # --- the rules ---

    def _begin(self) -> None:
        self.calls += 1
        for due, commit in [entry for entry in self.late if entry[0] <= self.seconds]:
            self.late.remove((due, commit))
            commit()
        for act in self.meddling.pop(self.calls, ()):
            act(self)

    def _as_one(self, steps: Sequence[Step]) -> tuple[StepResult, ...]:
        fault = self._fault()
        if self.most_at_once is not None and len(steps) > self.most_at_once:
            error: ConnectorError | None = (
                Unanswered("No answer came.") if self.slow else TooLarge("Too much.", status=413)
            )
            assert error is not None
            status = StepStatus.UNKNOWN
            return tuple(StepResult(step, status, error) for step in steps) if self.slow else _failed(steps, 0, error)
        answer: list[tuple[StepResult, ...]] = []

        def transaction() -> None:
            saved = deepcopy(self.rows)
            for place, step in enumerate(steps):
                try:
                    self._apply(step)
                except ConnectorError as error:
                    drafts = {
                        q.id: q for q in self.rows.quotes.values() if self.plug_in and q.state is QuoteState.DRAFT
                    }
                    self.rows = saved
                    self.rows.quotes |= {key: q for key, q in drafts.items() if step.record_id == key}
                    answer.append(_failed(steps, place, error))
                    return
            answer.append(tuple(StepResult(step, StepStatus.DONE) for step in steps))

        error = self._send(fault, transaction)
        if error is None:
            return answer[0]
        if error.effect.value == "unknown":
            return tuple(StepResult(step, StepStatus.UNKNOWN, error) for step in steps)
        return _failed(steps, 0, error)

    def _singly(self, steps: Sequence[Step]) -> tuple[StepResult, ...]:
        results: list[StepResult] = []
        for step in steps:
            result = self._as_one((step,))[0]
            results.append(result)
            if result.status is not StepStatus.DONE:
                break
        return (*results, *(StepResult(step, StepStatus.NOT_RUN) for step in steps[len(results) :]))

    def _fault(self) -> Fault:
        self.writes += 1
        return self.faults.pop(0) if self.faults else Fault.NONE

    def _send(self, fault: Fault, act: Callable[[], None]) -> ConnectorError | None:
        if fault is Fault.LATE:
            self.late.append((self.seconds + LATENESS, act))
        elif fault in HAPPENS:
            act()
        if fault in {Fault.DIES_BEFORE, Fault.DIES_AFTER}:
            raise KeyboardInterrupt
        return _answer_of(fault)

    def _apply(self, step: Step) -> None:
        if self.plug_in is not None:
            self.plug_in(self, step)
        self._apply_rules(step)
        if self.after is not None:
            self.after(self, step)

    def _apply_rules(self, step: Step) -> None:
        if step.table == "opportunity" and step.kind is not StepKind.CLOSE_ALL_QUOTES:
            self._apply_to_opportunity(step)
        elif step.kind is StepKind.CREATE_ORDER:
            quote = self.rows.quotes[step.record_id]
            if quote.state not in {QuoteState.ACTIVE, QuoteState.WON}:
                raise StateConflict("The quote is neither active nor won.", status=400)
            self.rows.orders.append(QuoteOrder(UUID(int=self._serial()), quote.id, total=quote.total))
        elif step.kind is StepKind.CLOSE_ALL_QUOTES:
            self._in_background(lambda: self._close_all(step.status))
        else:
            self._apply_to_quote(step)

    def _apply_to_quote(self, step: Step) -> None:
        found = self.rows.quotes.get(step.record_id)
        if found is None:
            said = f"Quote With Id = {step.record_id} Does Not Exist"  # the service's own words
            raise NotFound("quote Does Not Exist", status=404, detail=said)
        match step.message:
            case "Update":
                self._check_version(step, found.version)
                assert step.state in {QuoteState.DRAFT, QuoteState.ACTIVE}
                if step.state == QuoteState.ACTIVE and found.state is not QuoteState.DRAFT:
                    raise StateConflict("The quote cannot be activated because it is not in draft state.", status=400)
            case "Delete":
                self._check_version(step, found.version)
                assert found.state is QuoteState.DRAFT
                del self.rows.quotes[step.record_id]
                return
            case "CloseQuote" | "WinQuote":
                self._check_close(step, found)
                assert step.activity_id is not None
                self._add_activity(found.id, step.activity_id)
            case "msdyn_CloseQuoteAsLost" | "msdyn_CloseQuoteAsWon":
                if found.state not in {QuoteState.DRAFT, QuoteState.ACTIVE}:
                    raise Rejected("The quote is not open.", status=400)
            case other:
                raise AssertionError(other)
        assert step.status is not None
        if STATE_OF_QUOTE.get(step.status) != step.state:
            raise Rejected("not a valid status code", status=400, code="0x80048408")
        self.set_quote(found.id, QuoteState(step.state or 0), step.status)
        if step.message == "msdyn_CloseQuoteAsWon":
            self._in_background(lambda: self._close_all(5))

    def _check_close(self, step: Step, found: Quote) -> None:
        closable = {QuoteState.ACTIVE, QuoteState.DRAFT} if self.closes_drafts else {QuoteState.ACTIVE}
        if found.state not in closable:
            raise StateConflict("The target state is invalid.", status=400, code="0x80040216")
        assert step.state == (QuoteState.WON if step.message == "WinQuote" else QuoteState.CLOSED)
        self._check_new(step.activity_id)

    def _apply_to_opportunity(self, step: Step) -> None:
        opportunity = self.rows.opportunity
        if step.message == "Update":
            self._check_version(step, opportunity.version)
            assert step.state == OpportunityState.OPEN
            self.set_opportunity(OpportunityState.OPEN, step.status or 0)
            return
        if opportunity.state is not OpportunityState.OPEN:
            raise StateConflict("The opportunity is already closed.", status=400, code="0x80040515")
        if any(q.state in {QuoteState.DRAFT, QuoteState.ACTIVE} for q in self.rows.quotes.values()):
            raise StateConflict("The opportunity cannot be closed.", status=400, code="0x80040516")
        own = {"WinOpportunity": OpportunityState.WON, "LoseOpportunity": OpportunityState.LOST}
        state = own.get(step.message, step.state)
        if STATE_OF_OPPORTUNITY.get(step.status or 0) != state:
            raise Rejected("not a valid status code", status=400, code="0x80048408")
        self._check_new(step.activity_id)
        assert step.activity_id is not None
        self.rows.opportunity = replace(
            opportunity,
            state=OpportunityState(state or 0),
            status=step.status or 0,
            version=self._next_version(),
            actual_close_date=self._date(step),
            actual_value=_money(step) or opportunity.estimated_value,
        )
        self._add_activity(opportunity.id, step.activity_id)

    def _in_background(self, act: Callable[[], None]) -> None:
        if self.background:
            self.late.append((self.seconds + LATENESS, act))
        else:
            act()

    def _close_all(self, status: int | None) -> None:
        for found in tuple(self.rows.quotes.values()):
            if found.state in {QuoteState.DRAFT, QuoteState.ACTIVE}:
                self.set_quote(found.id, QuoteState.CLOSED, status or 0)

    def _date(self, step: Step) -> date:
        """Return the date of the moment for the acting user, which is where a midnight in UTC goes wrong."""
        moment = step.activity.get("actualend")
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else START
        return (at + timedelta(minutes=self.known.utc_offset_minutes)).date()

    def _check_version(self, step: Step, version: str) -> None:
        if step.version != version:
            raise Stale("The version of the existing record doesn't match.", status=412, code="0x80060882")

    def _check_new(self, activity: UUID | None) -> None:
        if any(known.id == activity for known in self.rows.activities):
            raise Stale("Cannot insert duplicate key.", status=412, code="0x80040237")

    def _cancel(self, record: UUID) -> None:
        self.rows.activities = [
            replace(activity, completed=False) if activity.record_id == record else activity
            for activity in self.rows.activities
        ]

    def _add_activity(self, record: UUID, activity: UUID) -> None:
        created = START + timedelta(seconds=self._serial())
        self.rows.activities.append(CloseActivity(activity, record, completed=True, created_on=created))

    def _next_version(self) -> str:
        return f'W/"{self._serial()}"'

    def _serial(self) -> int:
        self.version += 1
        return self.version


def quote(number: int, status: int, *, work_based: bool = False) -> Quote:
    return Quote(
        quote_id(number), f"Offer {number}", f"QUO-{number}", STATE_OF_QUOTE[status], status, 'W/"7"', work_based
    )


def organization(statuses: Iterable[int] = (), *, work_based: bool = False) -> SmallOrganization:
    """Return an organization with an open opportunity that has a quote of each of these status reasons."""
    opportunity = Opportunity(
        OPPORTUNITY_ID, "Fleet", OpportunityState.OPEN, 1, 'W/"5"', Decimal(900), work_based=work_based
    )
    quotes = [quote(number, status, work_based=work_based) for number, status in enumerate(statuses, 1)]
    return SmallOrganization(Rows(opportunity, {q.id: q for q in quotes}))


def _answer_of(fault: Fault) -> ConnectorError | None:
    match fault:
        case Fault.NONE:
            return None
        case Fault.BROKEN_BEFORE | Fault.BROKEN_AFTER:
            return Broken("The service failed.", status=503)
        case Fault.THROTTLED:
            return Throttled("Too many requests.", retry_after=7.0)
        case Fault.NOT_SENT:
            return NotSent("No connection.")
        case _:
            return Unanswered("No answer came.")


def _failed(steps: Sequence[Step], place: int, error: ConnectorError) -> tuple[StepResult, ...]:
    return tuple(
        StepResult(step, StepStatus.FAILED, error) if number == place else StepResult(step, StepStatus.NOT_RUN)
        for number, step in enumerate(steps)
    )


def _money(step: Step) -> Decimal | None:
    value = step.activity.get("actualrevenue")
    return value if isinstance(value, Decimal) else None
