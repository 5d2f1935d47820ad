"""What one opportunity has been through in one call, and what follows from each look at it.

Nothing here is needed to go on after a crash; it serves to tell the truth about this call. Three questions are kept
apart: what stands (the snapshot), what was answered (the results), what may still happen (the doubts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from connector.closing.digest import digests, in_words, last_change, make_plan
from connector.closing.failure_context import in_context
from connector.closing.goal import Goal, missing
from connector.closing.model import (
    OrganizationMetadata,
    Plan,
    Refusal,
    Report,
    ReportStatus,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.pieces import MOST_PLANS, PlanParts, StepKey, is_too_much, key_of, same_steps
from connector.closing.plan import PROJECT_STEPS
from connector.closing.verify import changed_meanwhile, left_marks, rolled_back, shows, where_it_stands
from connector.errors import ConnectorError, Effect, Forbidden, InputError, NotConverged, ServiceError, Unanswered

SETTLED_AFTER = 120.0
"""Seconds of waiting after which a write without an answer can no longer happen: the service ends it by then."""

_AGAIN = "Run the same command again in a few minutes: it looks first and does what is left."
_TRIES = 2
"""How often the very same plan may be turned down before that counts, where something moved in between."""

_LASTING_TRIES = 3
"""Tries where a failure may pass but does not look so: more of them would only burden the service."""


@dataclass(slots=True)
class Progress:
    """One opportunity on its way through the rounds of one call; `if_plan` binds it to a digest.

    `unread` is why the last look failed, if it did, `missed` why the last of those that failed did. `sent` holds by its
    activity every close that happened or may have; `unsure` is whether only the activities tell which of them did: an
    answer was lost, or a record was closed more than once. `unseen` is whether steps were done since the last look.
    `performed` counts the plans sent whole, `waited` seconds since the last write, `rebuffs` how often there was no
    answer.
    """

    goal: Goal
    if_plan: str | None = None
    rounds: int = 0
    before: Snapshot | None = None
    now: Snapshot | None = None
    unread: ConnectorError | None = None
    missed: ConnectorError | None = None
    failure: ConnectorError | None = None
    first: Plan | None = None
    tried: tuple[Step, ...] = ()
    left: tuple[Step, ...] = ()
    turned_down: list[tuple[Step, ...]] = field(default_factory=list)
    results: dict[StepKey, StepResult] = field(default_factory=dict)
    sent: dict[UUID, Step] = field(default_factory=dict)
    doubts: dict[StepKey, Step] = field(default_factory=dict)
    unsure: bool = False
    unseen: bool = False
    waited: float = 0.0
    moved: bool = False
    performed: int = 0
    rebuffs: int = 0
    users: frozenset[UUID] = frozenset()
    pieces: PlanParts = field(default_factory=PlanParts)

    @property
    def opportunity_id(self) -> UUID:
        """The opportunity it is about."""
        return self.goal.opportunity_id

    @property
    def tries(self) -> int:
        """Looks so far, without those after a piece of a plan that was done: they get on."""
        return self.rounds - self.pieces.done

    @property
    def in_doubt(self) -> bool:
        """Whether something this call sent may still take effect although nothing is to be seen of it yet."""
        return bool(self.doubts) and self.waited < SETTLED_AFTER

    @property
    def is_doubtful(self) -> bool:
        """Whether waiting may help, before the next look."""
        return self.in_doubt or self.unread is not None or (self.failure is not None and self.failure.transient)

    @property
    def needs_activities(self) -> bool:
        """Whether the next look must show the close activities: to plan, or to tell whose close it was."""
        return self.goal.needs_activities or self.unsure

    def look(self, snapshot: Snapshot | None, metadata: OrganizationMetadata) -> Plan | Report | None:
        """Take a new snapshot (None: there is no such row) and return what to do now, the end, or None: wait."""
        self.rounds, self.unread = self.rounds + 1, None
        if snapshot is None:
            self.now = None
            return self.fail(missing(self.goal.opportunity_id, self.before))
        self._see(snapshot)
        self.users = metadata.users
        try:
            verdict = self.goal.plan(snapshot, metadata)
        except (InputError, Forbidden) as error:
            return self.fail(error)
        if isinstance(verdict, Plan):
            if not verdict.steps:
                return self._finish(self.goal.warnings(tuple(self.results.values()), snapshot, metadata))
            if self._order_may_come(verdict):
                return None
            verdict = self._approve(verdict, snapshot)
        if isinstance(verdict, Refusal):
            return None if self._may_still_change() else self._refuse(verdict)
        return self._next(verdict)

    def _order_may_come(self, plan: Plan) -> bool:
        """Return whether an order may still come: an answer was lost, or the call that asked for it was cut off."""
        step, key = plan.steps[0], key_of(plan.steps[0])
        if step.kind is not StepKind.CREATE_ORDER:
            return False
        closes = [result for result in self.results.values() if result.step.kind is StepKind.CLOSE_OPPORTUNITY]
        if key not in self.doubts and not any(close.status is StepStatus.DONE for close in closes):
            self.results[key], self.doubts[key], self.waited = StepResult(step, StepStatus.UNKNOWN), step, 0.0
        return key in self.doubts and self.in_doubt

    def _next(self, plan: Plan) -> Plan | Report:
        """Return what to send now, all of the plan or a piece, or the end where it would be turned down again."""
        part = self.pieces.part(plan)
        failure = self.failure
        if failure and (self._is_final(part, failure) or is_too_much(part, self.tried, failure, self.rebuffs)):
            if not self._go_in_pieces(plan, failure):
                return self.fail(failure)
            part = self.pieces.part(plan)
        if error := self.pieces.in_vain(plan, part):
            return self.fail(error)
        if self.performed >= MOST_PLANS or self.pieces.used_up:
            return self.give_up()
        self.pieces.held_back = len(part.steps) < len(plan.steps)
        return part

    def _go_in_pieces(self, plan: Plan, failure: ConnectorError) -> bool:
        statuses = [self.results[key_of(step)].status for step in self.tried]
        stopped_at = statuses.index(StepStatus.FAILED) if StepStatus.FAILED in statuses else 0
        if not self.pieces.begin(plan, self.tried, stopped_at, failure, self.rebuffs):
            return False
        self.rebuffs = 0
        self.turned_down.clear()
        return True

    def could_not_look(self, error: ConnectorError) -> Report | None:
        """Take a failed look; return the end when looking again cannot help."""
        self.rounds, self.unread, self.missed = self.rounds + 1, error, error
        return None if error.transient else self._end_unread(error)

    def take(self, plan: Plan, results: Sequence[StepResult]) -> None:
        """Take what came of performing the plan; a result is one step's, in the plan's order."""
        results = in_context(results, self.users, plan.as_user)
        for result in results:
            self._take_one(result)
        self.unseen = self.unseen or any(result.status is StepStatus.DONE for result in results)
        self.tried, self.performed = plan.steps, self.performed + (not self.pieces.size)
        self.pieces.sent(results)
        self.left = tuple(result.step for result in results if result.status is not StepStatus.DONE)
        self.failure = next((result.error for result in results if result.error is not None), None)
        if self.failure is not None and not self.failure.transient:
            self.turned_down.append(self.tried)
        if isinstance(self.failure, Unanswered) or (isinstance(self.failure, ServiceError) and self.failure.lasting):
            self.rebuffs += 1
        elif self.failure is None:
            self.rebuffs = 0
        ran = [r.step for r in results if r.step.kind in PROJECT_STEPS and r.status is StepStatus.DONE]
        for step in ran if self.failure is not None else ():  # may still run, which is why a later one was turned down
            self.doubts[key_of(step)], self.waited = step, 0.0

    def answered(self) -> Report | None:
        """Return the end that the answers tell before it is seen: every step was done; None where that is not known.

        A look afterwards may show more: a rule of the organization that undid some of it, or a value it did not keep.
        """
        if not self.tried or self.left or self.failure is not None or self.doubts or self.pieces.held_back:
            return None
        if any(step.kind in PROJECT_STEPS for step in self.tried):
            return None  # accepted, and may still run
        return self._finish(())

    def give_up(self) -> Report:
        """Return the end after the last round: what stands, and whether more may come."""
        if self.unread is not None:
            return self._end_unread(self.unread)
        last = self.failure or self.missed
        if isinstance(last, ServiceError) and last.lasting and not self.in_doubt:
            return self.fail(last)
        reason = f" The last failure: {last.message}" if last else ""
        return self._fail_with(
            NotConverged(f"It did not come to an end, though it was tried again and again.{reason}", last=last)
        )

    def fail(self, error: ConnectorError) -> Report:
        """Return the end by this error, or by one that says so when earlier writes may still take effect."""
        if self.in_doubt:
            message = f"{error.message} Earlier writes of this call had no answer and may still take effect."
            return self._fail_with(NotConverged(message, remedy=error.remedy, last=error))
        return self._fail_with(error)

    def _fail_with(self, error: ConnectorError) -> Report:
        if isinstance(error, NotConverged):
            error.effect = Effect.UNKNOWN if self.in_doubt else error.effect
            error.remedy = error.remedy or _AGAIN
        stands, when = "", "Before the steps that are done" if self.unseen else "When last seen"
        if self.now:
            error.remedy = rolled_back(error, self.left, self.now) or error.remedy
            stands = where_it_stands(self.now, error, self.left, when)
        return replace(self._report(ReportStatus.FAILED), error=error, stands=stands)

    def _refuse(self, refusal: Refusal) -> Report:
        reason = " ".join((*self._meanwhile(), refusal.reason))
        return replace(self._report(ReportStatus.REFUSED), reason=reason, reason_code=refusal.code)

    def _finish(self, warnings: tuple[str, ...]) -> Report:
        kinds = {result.step.kind for result in self.results.values() if result.status is StepStatus.DONE}
        self._forget_failures()
        notes = dict.fromkeys(result.note for result in self.results.values() if result.note)
        if kinds & self.goal.deciding:
            return self._report(self.goal.done, (*warnings, *notes))
        return self._report(self.goal.already, (*self._meanwhile(), *warnings, *notes))

    def _meanwhile(self) -> list[str]:
        return list(changed_meanwhile(self.before, self.now, self.results.values(), self.users))

    def _end_unread(self, error: ConnectorError) -> Report:
        """Return the end when the last look failed: every step answered well is done, even if unseen."""
        if self.tried and not self.left and not self.pieces.held_back:
            return self._finish((f"All steps were done, but reading back failed: {error.message}",))
        return self.fail(error)

    def _report(self, status: ReportStatus, warnings: tuple[str, ...] = ()) -> Report:
        marks = self.unseen or left_marks(self.results.values(), self.before, self.now)
        unseen = self.doubts.keys() if self.in_doubt else ()
        doubted = {key for key in unseen if self.results[key].status is not StepStatus.DONE}
        return Report(
            opportunity_id=self.goal.opportunity_id,
            status=status,
            steps=tuple(
                replace(result, status=StepStatus.UNKNOWN) if key in doubted else result
                for key, result in self.results.items()
            ),
            digest=(self.first or make_plan(self.goal.opportunity_id, ())).digest,
            rounds=self.rounds,
            partial=marks and status in {ReportStatus.FAILED, ReportStatus.REFUSED},
            warnings=(*warnings, *filter(None, [self.pieces.note])),
            notes=self.first.notes if self.first and status is self.goal.done else (),
            before=self.before,
            after=self.now,
        )

    def _see(self, snapshot: Snapshot) -> None:
        """Settle what the snapshot shows: a write without an answer that was ours, or one that others made needless."""
        self.before, self.now, self.moved, self.unseen = self.before or snapshot, snapshot, False, False
        for key, step in tuple(self.doubts.items()):
            if shows(step, snapshot):
                del self.doubts[key]
                self.moved = True
                status = StepStatus.DONE if step.activity_id is None else StepStatus.NOT_RUN
                self.results[key] = StepResult(self.results[key].step, status)
        if self.unsure:
            self._recognize(snapshot)

    def _recognize(self, snapshot: Snapshot) -> None:
        """Call those steps done whose close activity is there, and name the activity that is.

        A record that others reopened in between was perhaps sent more than one close, each under an id of its own;
        which of them took effect, if any, only the activities tell.
        """
        activity_ids = {activity.id for activity in snapshot.activities}
        for activity_id, step in self.sent.items():
            key = key_of(step)
            if activity_id in activity_ids and key not in self.doubts and shows(step, snapshot):
                result = self.results[key]
                if result.status is not StepStatus.DONE or result.step.activity_id != activity_id:
                    self.results[key] = StepResult(step, StepStatus.DONE)

    def _forget_failures(self) -> None:
        """Mark refused steps as not run once nothing is left to do: another user made them needless."""
        for key, result in self.results.items():
            if result.status is StepStatus.FAILED:
                self.results[key] = replace(result, status=StepStatus.NOT_RUN, error=None)

    def _approve(self, plan: Plan, snapshot: Snapshot) -> Plan | Refusal:
        """Return the plan, or a refusal when it is not, or no longer a part of, the one it is bound to."""
        approved, self.first = self.first, self.first or plan
        if self.if_plan is None:
            return plan
        left = {key_of(step) for step in plan.steps}
        if left <= {key_of(step) for step in approved.steps} if approved else self.if_plan in digests(plan):
            return plan
        if not self._may_still_change():  # while it may, the approved plan stays the one it is bound to
            self.first = plan
        return Refusal(
            plan.opportunity_id,
            "plan_changed",
            f"What must be done is no longer plan {self.if_plan}: it is {plan.digest}{in_words(plan)}."
            f"{last_change(snapshot)} Review it.",
        )

    def _may_still_change(self) -> bool:
        """Whether a refusal is to be looked at again, as something sent by this call may be about to take effect."""
        unmoved = self.before and self.now and self.before.opportunity.state is self.now.opportunity.state
        return self.in_doubt and bool(unmoved)

    def _is_final(self, plan: Plan, failure: ConnectorError) -> bool:
        """Tell whether a write that was turned down is turned down for good.

        It is when the new plan is exactly what was left of the one before and no write has come to light since. A plan
        that changed gets its chance, unless it was turned down twice already (a plug-in pushes a quote back to draft
        and fails, each time). What may pass but does not look so is tried a few times.
        """
        if self.in_doubt or self.moved:
            return False
        if failure.transient:
            return isinstance(failure, ServiceError) and failure.lasting and self.rebuffs >= _LASTING_TRIES
        again = sum(same_steps(plan.steps, tried, failure) for tried in self.turned_down)
        return again >= _TRIES or same_steps(plan.steps, self.left, failure)

    def _take_one(self, result: StepResult) -> None:
        key, step = key_of(result.step), result.step
        self.results[key] = result
        lost = result.error is not None and result.error.effect is Effect.UNKNOWN
        unknown = lost or result.status is StepStatus.UNKNOWN
        if unknown:
            self.doubts[key], self.waited = step, 0.0
        elif result.status is StepStatus.DONE:
            self.doubts.pop(key, None)
        self.unsure = self.unsure or unknown or any(key_of(earlier) == key for earlier in self.sent.values())
        if step.activity_id is not None and (unknown or result.status is StepStatus.DONE):
            self.sent[step.activity_id] = step
