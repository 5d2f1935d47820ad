"""What plans set off in an organization, as far as a capture tells: flows, real-time workflows, plug-in steps. Pure.

A flow's filter is evaluated on where each row ends by the plan. What a plan neither reads nor sets is not known, so a
flow's runs are a least and a most. A section that was not wholly read is named: it may hold more.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter

from connector.closing.model import Opportunity, Plan, Quote, Snapshot, Step, StepKind
from connector.errors import InputError
from connector.organization.capture_model import Capture, Coverage, FlowFact, Logic, ProcessFact, StepFact, section
from connector.organization.filter_expression import holds

STATE_COLUMNS = frozenset({"statecode", "statuscode"})
_REGISTERED = {"WinOpportunity": "Win", "LoseOpportunity": "Lose", "CloseQuote": "Close", "WinQuote": "Win"}
_LISTENS = {"Create": (1, 4, 5, 7), "Delete": (2, 5, 6, 7), "Update": (3, 4, 6, 7)}
"""The codes of a flow's registration by what they listen for (table reference of callbackregistration)."""
_ORGANIZATION = 4  # the scope of a flow (table reference of callbackregistration)
_LOGIC = ("steps", "times", "processes", "flows")


@dataclass(frozen=True, slots=True)
class LogicEvent:
    """Something that logic listens for: a message of a table, and the row as it is then and as it was before."""

    message: str
    table: str
    row: Mapping[str, object]
    before: Mapping[str, object]

    def concerns(self, table: str, columns: tuple[str, ...]) -> bool:
        """Return whether logic of this table (empty: all) and these columns (empty: all) is set off."""
        if table not in ("", self.table):
            return False
        return self.message != "Update" or not columns or bool(STATE_COLUMNS & set(columns))


@dataclass(frozen=True, slots=True)
class EventListeners:
    """The logic that an event sets off, whatever its filters say of the row."""

    flows: tuple[FlowFact, ...]
    workflows: tuple[ProcessFact, ...]
    steps: tuple[StepFact, ...]


class SideEffects:
    """Counts what plans set off; `bypass` are the kinds of the own logic that they leave out."""

    def __init__(self, capture: Capture, bypass: tuple[str, ...] = ()) -> None:
        self._capture = capture
        self._bypass = bypass
        self._times = {row.plug_in: row.average_ms for row in capture.times.rows}
        self.flow_runs: Counter[str] = Counter()
        self.flow_runs_maybe: Counter[str] = Counter()
        self._plans: Counter[tuple[str, ...]] = Counter()
        self._shapes: dict[tuple[str, ...], list[EventListeners]] = {}
        self._known: dict[tuple[str, str], EventListeners] = {}
        self._names = {flow.id: flow.name for flow in capture.flows.rows}
        self._names |= {process.id: process.name for process in capture.processes.rows}

    def add(self, plan: Plan, snapshot: Snapshot) -> None:
        """Count what one plan sets off. Whose rows a flow of a lesser scope than the organization takes is unknown."""
        logic = self.set_off(plan, snapshot)
        self._plans[shape_of(plan)] += 1
        if not any(each.flows for each in logic):
            return
        for each, event in zip(logic, events(plan, snapshot), strict=True):
            for flow in each.flows:
                runs = holds(flow.filter, event.row) and (flow.scope == _ORGANIZATION or None)
                self.flow_runs[flow.id] += runs is True
                self.flow_runs_maybe[flow.id] += runs is None

    def set_off(self, plan: Plan, snapshot: Snapshot) -> list[EventListeners]:
        """Return the logic that each event of a plan sets off and that is not left out, in the order of `events`."""
        shape = shape_of(plan)
        if shape not in self._shapes:
            self._shapes[shape] = [self._of(event) for event in events(plan, snapshot)]
        return self._shapes[shape]

    def _of(self, event: LogicEvent) -> EventListeners:
        key = event.message, event.table
        if key not in self._known:
            self._known[key] = listeners_of(event, self._capture.logic, self._bypass)
        return self._known[key]

    def scale(self, share: float) -> None:
        """Count each plan so many times, where it stands for others."""
        for counter in (self.flow_runs, self.flow_runs_maybe, self._plans):
            counter.update({key: round(count * share) - count for key, count in counter.items()})  # type: ignore[misc]

    # --- telling ---

    @property
    def workflows(self) -> Counter[str]:
        """How often each real-time workflow runs, by its id."""
        return self._counted(lambda each: [process.id for process in each.workflows])

    @property
    def step_runs(self) -> Counter[str]:
        """How often each step runs, by its id."""
        return self._counted(lambda each: [step.id for step in each.steps])

    def _counted(self, ids: Callable[[EventListeners], list[str]]) -> Counter[str]:
        runs: Counter[str] = Counter()
        for shape, plans in self._plans.items():
            for each in self._shapes[shape]:
                runs.update(dict.fromkeys(ids(each), plans))
        return runs

    @property
    def unseen(self) -> list[str]:
        """Sentences about what the capture could not see of the organization's logic."""
        return [
            f"perhaps more: {name} were not all seen ({part.read.value.replace('_', ' ')}): {part.why}"
            for name in _LOGIC
            if (part := section(self._capture, name)).read is not Coverage.ALL
        ]

    def own_steps(self) -> Iterator[tuple[StepFact, int, float]]:
        """Yield each own or vendor's step that runs, how often, and the mean seconds of its plug-in (0: not known)."""
        runs = self.step_runs
        for step in self._capture.steps.rows:
            if step.origin != "microsoft" and runs[step.id]:
                yield step, runs[step.id], self._times.get(step.plug_in, 0.0) / 1000

    def data(self) -> dict[str, object]:
        """Return it as plain data, with a digest: other side effects have another."""
        data: dict[str, object] = {
            "flows": [
                {"id": key, "name": self._names[key], "runs": runs, "maybe": self.flow_runs_maybe[key]}
                for key, runs in sorted(self.flow_runs.items())
                if runs or self.flow_runs_maybe[key]
            ],
            "workflows_that_may_refuse": [
                {"id": key, "name": self._names[key], "runs": runs}
                for key, runs in sorted(self.workflows.items())
                if runs
            ],
            "steps": [
                {"id": step.id, "name": step.name, "runs": runs, "mean_seconds": mean, "bypassable": step.bypassable}
                for step, runs, mean in self.own_steps()
            ],
            "not_seen": self.unseen,
        }
        return data | {"logic": self.logic.data(), "digest": self.digest}

    @property
    def logic(self) -> PlannedLogic:
        """The logic that is set off, as the capture has it."""
        return PlannedLogic.of(self._known, self._capture.logic, self._bypass)

    @property
    def digest(self) -> str:
        """The name of what is set off: how often which flow, workflow and step runs, and how each is registered."""
        counted = (self.flow_runs, self.flow_runs_maybe, self.workflows, self.step_runs)
        runs = [sorted((key, count) for key, count in each.items() if count) for each in counted]
        return hashlib.sha256(json.dumps([runs, self.logic.unnamed()]).encode()).hexdigest()[:8]

    def lines(self) -> Iterator[str]:
        """Yield what is set off, for people."""
        for key, runs in self.flow_runs.most_common():
            maybe = self.flow_runs_maybe[key]
            if runs or maybe:
                more = f", and up to {maybe:,} more that cannot be told from here" if maybe else ""
                yield f"{runs:,} run{'s' * (runs != 1)} of the flow '{self._names[key]}'{more}."
        for key, runs in self.workflows.most_common():
            if runs:
                yield f"{runs:,} time{'s' * (runs != 1)} the real-time workflow '{self._names[key]}', which may refuse."
        steps = list(self.own_steps())
        if not any(sum(runs.values()) for runs in (self.flow_runs, self.flow_runs_maybe, self.workflows)) and not steps:
            yield "no flow, no real-time workflow and no plug-in step of the organization's own that the capture has."
        for step, runs, mean in steps:
            time = f", {mean:.2f} s each on average" if mean else ", its time is not known"
            later = ", later" if step.asynchronous else ""
            yield f"{runs:,} time{'s' * (runs != 1)} '{step.name}' runs ({step.origin}{later}{time})."
        out = sum(runs for step, runs, _ in steps if step.bypassable)
        if out and not self._bypass:
            saved = sum(runs * mean for step, runs, mean in steps if step.bypassable and not step.asynchronous)
            yield f"--bypass sync,async would leave out {out:,} of these runs, about {saved:,.0f} s of their time."
        yield from self.unseen


@dataclass(frozen=True, slots=True)
class PlannedLogic:
    """The logic that a job sets off, as it is agreed to: by which events, how much was read, each as registered.

    `facts` has fields by "kind id". Microsoft's own steps are none of it: an update changes them for everybody.
    """

    events: list[list[str]]
    read: dict[str, Coverage]
    facts: dict[str, dict[str, object]]

    @classmethod
    def of(cls, events: Iterable[Sequence[str]], logic: Logic, bypass: tuple[str, ...]) -> PlannedLogic:
        """Return what listens for these events, each a message and a table."""
        facts: dict[str, dict[str, object]] = {}
        for message, table in events:
            heard = listeners_of(LogicEvent(message, table, {}, {}), logic, bypass)
            steps = [step for step in heard.steps if step.origin != "microsoft"]
            for kind, rows in (("flow", heard.flows), ("workflow", heard.workflows), ("step", steps)):
                facts |= {f"{kind} {row.id}": row.model_dump(mode="json", exclude={"id"}) for row in rows}
        read = {"flow": logic.flows.read, "workflow": logic.processes.read, "step": logic.steps.read}
        return cls(sorted(map(list, events)), read, dict(sorted(facts.items())))

    @classmethod
    def of_plan(cls, effects: object) -> PlannedLogic:
        """Return it as the summary of a plan has it. Raises InputError for one that is of another form."""
        try:
            return TypeAdapter(cls).validate_python(effects["logic"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                "The plan says what its rows set off in no form that is known here; nothing was touched.",
                remedy="Plan again.",
            ) from error

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"events": self.events, "read": dict(self.read), "facts": self.facts}

    def unnamed(self) -> dict[str, dict[str, object]]:
        """Return the facts without names, which decide nothing."""
        return {key: {name: fact[name] for name in fact if name != "name"} for key, fact in self.facts.items()}

    def changes(self, now: PlannedLogic) -> Iterator[str]:
        """Yield a sentence for each difference; what nobody could see before, or cannot now, makes none."""
        for key in sorted(self.facts.keys() | now.facts.keys()):
            kind, (was, is_now) = key.partition(" ")[0], (self.facts.get(key), now.facts.get(key))
            name = f"The {kind} '{(was or is_now or {}).get('name', '')}'"
            if was is None and self.read.get(kind) is Coverage.ALL:
                yield f"{name} is set off now, and was not when the plan was made."
            elif is_now is None and now.read.get(kind) is Coverage.ALL:
                yield f"{name} is not set off any more."
            elif was is not None and is_now is not None:
                fields = [field for field in self.unnamed()[key] if was[field] != is_now.get(field)]
                changed = ", ".join(f"{field} {_json(was[field])} -> {_json(is_now.get(field))}" for field in fields)
                yield from [f"{name} changed: {changed}."] if changed else ()


def listeners_of(event: LogicEvent, logic: Logic, bypass: tuple[str, ...]) -> EventListeners:
    """Return the logic that an event sets off, without the kinds that `bypass` leaves out."""

    def runs(step: StepFact) -> bool:
        left_out = step.bypassable and ("async" if step.asynchronous else "sync") in bypass
        return not left_out and step.message == event.message and event.concerns(step.table, step.columns)

    return EventListeners(
        tuple(flow for flow in logic.flows.rows if "flows" not in bypass and _listens(flow, event)),
        tuple(each for each in logic.processes.rows if "sync" not in bypass and _refuses(each, event)),
        tuple(step for step in logic.steps.rows if runs(step)),
    )


def shape_of(plan: Plan) -> tuple[str, ...]:
    """Return what two plans have in common that set off the same logic, whatever its filters say."""
    return tuple([f"{step.table} {step.message}" for step in plan.steps])


def _listens(flow: FlowFact, event: LogicEvent) -> bool:
    if flow.action:
        by_name = _REGISTERED.get(flow.action) == event.message and event.table in flow.action.lower()
        return by_name or flow.action == event.message
    codes = _LISTENS.get(event.message, ())
    return flow.message in codes and bool(flow.table) and event.concerns(flow.table, flow.columns)


def _refuses(process: ProcessFact, event: LogicEvent) -> bool:
    if process.kind != "workflow" or not process.real_time or process.table != event.table:
        return False
    if event.message == "Update":
        return bool(process.columns) and event.concerns(process.table, process.columns)
    return (event.message == "Create" and process.on_create) or (event.message == "Delete" and process.on_delete)


def events(plan: Plan, snapshot: Snapshot) -> Iterator[LogicEvent]:
    """Yield what the steps of a plan are to those who listen: their messages, and what the platform does for them."""
    for step in plan.steps:
        if step.kind is StepKind.DELETE_QUOTE:
            deleted = {"quoteid": str(step.record_id)}
            yield LogicEvent("Delete", "quote", deleted, deleted)
            continue
        before = _row_before(step, snapshot)
        row = before | _changes(step)
        yield LogicEvent("Update", step.table, row, before)
        yield LogicEvent("SetState", step.table, row, before)
        if step.message not in ("Update", ""):
            yield LogicEvent(_REGISTERED.get(step.message, step.message), step.table, row, before)
        if step.activity_id is not None:
            close = {"activityid": str(step.activity_id), f"_{step.table}id_value": str(step.record_id), "statecode": 1}
            yield LogicEvent("Create", f"{step.table}close", close, {})


def _row_before(step: Step, snapshot: Snapshot) -> dict[str, object]:
    """Return what is known of a row before the step."""
    quote = next((quote for quote in snapshot.quotes if quote.id == step.record_id), None)
    row = _of_quote(quote, snapshot) if quote else _of_opportunity(snapshot.opportunity)
    return {f"{step.table}id": str(step.record_id), **row}


def _changes(step: Step) -> dict[str, object]:
    """Return what the step makes of a row."""
    row: dict[str, object] = {"statecode": step.state, "statuscode": step.status}
    row |= {"actualvalue": step.activity["actualrevenue"]} if "actualrevenue" in step.activity else {}
    return {name: value for name, value in row.items() if value is not None}


def _of_quote(quote: Quote, snapshot: Snapshot) -> dict[str, object]:
    names = {"name": quote.name, "quotenumber": quote.number, "revisionnumber": quote.revision}
    return {
        "statecode": int(quote.state),
        "_opportunityid_value": str(snapshot.opportunity.id),
        **{name: value for name, value in names.items() if value not in (None, "")},
    }


def _of_opportunity(opportunity: Opportunity) -> dict[str, object]:
    """Return what was read of an opportunity; each has a name and a customer, so that none means: not read."""
    read: dict[str, object] = {"name": opportunity.name, "_customerid_value": _text(opportunity.customer_id)}
    return {
        "statecode": int(opportunity.state),
        "estimatedvalue": opportunity.estimated_value,
        "_transactioncurrencyid_value": _text(opportunity.currency_id),
        **{name: value for name, value in read.items() if value},
    }


def _text(key: UUID | None) -> str | None:
    return None if key is None else str(key)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
