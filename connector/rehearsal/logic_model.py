"""What stands for the organization's logic in a rehearsal: seconds that it takes, and rows that it refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connector.closing.model import Plan, Snapshot
from connector.emulator.stand_ins import LogicStub
from connector.organization.filter_expression import holds
from connector.organization.side_effects import EventListeners, SideEffects, events, shape_of

_PRE = 40
"""The stage from which on a step comes after the operation."""


@dataclass(frozen=True, slots=True)
class LogicRefusal:
    """A row that a stand-in refuses: by which step or process, and with which text."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Listener:
    """A stand-in, the place of the event that it listens to among those of the plan, and whether it comes before."""

    stand_in: LogicStub
    event: int
    before: bool


class LogicModel:
    """Plays stand-ins by their ids; `effects` says which logic a plan sets off. `untold` counts what cannot be said."""

    def __init__(self, effects: SideEffects, stand_ins: Mapping[str, LogicStub], seed: int) -> None:
        self._effects = effects
        self._stand_ins = stand_ins
        self._chance = random.Random(f"{seed}:stand-ins")
        self._known: dict[tuple[str, ...], list[_Listener]] = {}
        self.untold = 0

    def delay(self, plan: Plan, snapshot: Snapshot) -> float:
        """Return the seconds that logic adds to such a plan."""
        return sum(listener.stand_in.delay for listener in self._listeners(plan, snapshot))

    def refusal(self, plan: Plan, snapshot: Snapshot) -> LogicRefusal | None:
        """Return who refuses this plan, None where nobody does or that cannot be told."""
        listeners = [
            each for each in self._listeners(plan, snapshot) if each.stand_in.percent or each.stand_in.condition
        ]
        if not listeners:
            return None
        everything = list(events(plan, snapshot))
        for listener in listeners:
            stand_in, event = listener.stand_in, everything[listener.event]
            if stand_in.condition:
                row = event.before if listener.before else event.row
                refuses = holds(stand_in.condition, row)
                self.untold += refuses is None
            else:
                refuses = self._chance.random() * 100 < stand_in.percent
            if refuses:
                return LogicRefusal(stand_in.name, stand_in.text)
        return None

    def _listeners(self, plan: Plan, snapshot: Snapshot) -> list[_Listener]:
        shape = shape_of(plan)
        if shape not in self._known:
            every = enumerate(self._effects.set_off(plan, snapshot))
            self._known[shape] = [listener for number, logic in every for listener in self._of(number, logic)]
        return self._known[shape]

    def _of(self, number: int, logic: EventListeners) -> Iterator[_Listener]:
        for step in logic.steps:
            if not step.asynchronous and step.id in self._stand_ins:
                yield _Listener(self._stand_ins[step.id], number, step.stage < _PRE)
        for process in logic.workflows:
            if process.id in self._stand_ins:
                yield _Listener(self._stand_ins[process.id], number, before=False)
