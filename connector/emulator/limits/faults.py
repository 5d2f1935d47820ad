"""Planned failures. The same plan with the same seed fails the same way.

A plan is JSON, for instance:

    {"seed": 7, "faults": [
      {"do": "reset", "when": "after", "message": "WinOpportunity", "nth": 1},
      {"do": "throttle", "facet": "time", "seconds": 30, "probability": 0.01},
      {"do": "deadlock", "message": "CloseQuote", "record": "0f0c…", "times": 2},
      {"do": "status", "status": 503, "form": "html", "message": "token"}]}

When (all that are given must fit; the first fault of the list that fits acts):

    message       a message (CloseQuote, Create, ...), `$batch`, `token` (the identity provider) or `*` (Web API)
    record        id of a row the request mentions
    user          client id or object id of who calls
    nth           from the nth fitting request on, counted from 1
    times         at most so many times (1 when `nth` is given, else without bound)
    probability   by chance, between 0 and 1

What (`do`), on the whole request:

    throttle      429 with a documented code: `facet` count | time | concurrency, `seconds` of Retry-After
    status        an error answer: `status`, `form` json | html | empty | message
    challenge     401 that asks for new claims (Web API only)
    reset         the connection is reset; truncate: the answer breaks off in the middle
    slow          `seconds` of waiting
    hold          waiting until another plan is put in its place; only where there is a socket

`when` is `before` the request is processed (nothing happens) or `after` it was committed (status, reset, slow;
`truncate` is always after). And on one operation, inside a batch too, rolled back with its transaction:

    deadlock, lock_timeout, sql_timeout     as SQL Server's trouble reaches a client
    missing_privilege                       403 with the long text about the principal
    plugin_abort                            a synchronous plug-in says `text`
    plugin_timeout                          a plug-in is cut off after two minutes, which the answer takes
    plugin_reverts_quote                    a plug-in sets the quote to draft outside the transaction, then says `text`

The last one stands for a plug-in of the stage PreValidation, which comes before the transaction of an operation that
was asked for alone: its change stays. In a change set there is an outer transaction already, the plug-in is inside it,
and its change is undone with the rest (event framework: the stage may be in a transaction that others began).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from http import HTTPStatus

from connector.emulator.limits.calls import ObservedOperation, ObservedRequest

LONGEST = 10**9
"""Seconds: the longest wait of a plan."""
STATUSES = range(400, 600)
EXCHANGE_FAULTS = frozenset({"throttle", "status", "challenge", "reset", "truncate", "slow", "hold"})
OPERATION_FAULTS = frozenset(
    {
        "deadlock",
        "lock_timeout",
        "sql_timeout",
        "missing_privilege",
        "plugin_abort",
        "plugin_reverts_quote",
        "plugin_timeout",
    }
)
PLUGIN_LIMIT = 120.0
"""Seconds after which a synchronous plug-in is cut off (data-platform: analyze-performance)."""
_CHOICES: Mapping[str, frozenset[str]] = {
    "do": EXCHANGE_FAULTS | OPERATION_FAULTS,
    "when": frozenset({"before", "after"}),
    "form": frozenset({"json", "html", "empty", "message"}),
    "facet": frozenset({"count", "time", "concurrency"}),
}


class InvalidFaultPlan(ValueError):
    """A fault plan that cannot be read; the message says what is wrong with which fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of a plan; see the module's text for what the fields mean."""

    do: str
    message: str = "*"
    record: str | None = None
    user: str | None = None
    nth: int | None = None
    times: int | None = None
    probability: float | None = None
    when: str = "before"
    facet: str = "count"
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    form: str = "json"
    seconds: float = 30.0
    text: str = "A plug-in of this organization refused the operation."

    @property
    def hold(self) -> float:
        """Return the seconds that an operation takes before it fails."""
        return PLUGIN_LIMIT if self.do == "plugin_timeout" else 0.0

    @property
    def title(self) -> str:
        """Return how the journal names it: `reset after`, `deadlock`."""
        return f"{self.do} {self.when}" if self.do in ("reset", "status", "slow") else self.do

    @property
    def bound(self) -> int | None:
        """Return how often it acts at most."""
        return self.times if self.times is not None else (1 if self.nth is not None else None)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What goes wrong and when; `seed` decides everything that is left to chance."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def data(self) -> dict[str, object]:
        """Return the plan as plain data, every field spelled out."""
        return {"seed": self.seed, "faults": [asdict(fault) for fault in self.faults]}


def read_plan(text: str | bytes) -> FaultPlan:
    """Return the plan in a JSON text; raises InvalidFaultPlan."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidFaultPlan(f"The fault plan is not JSON: {error}.") from error
    return plan_of(data)


def plan_of(data: object) -> FaultPlan:
    """Return the plan in plain data (a list, or an object with `faults` and `seed`); raises InvalidFaultPlan."""
    if isinstance(data, list):
        data = {"faults": data}
    if not isinstance(data, dict) or set(data) - {"faults", "seed"} or not isinstance(data.get("faults", []), list):
        raise InvalidFaultPlan("A fault plan is an object with `faults` (a list) and `seed` (a number), nothing else.")
    seed = data.get("seed", 0)
    if not isinstance(seed, int):
        raise InvalidFaultPlan("The seed of a fault plan is a whole number.")
    return FaultPlan(tuple(_fault(number, raw) for number, raw in enumerate(data.get("faults", []), 1)), seed)


def _fault(number: int, raw: object) -> Fault:
    if not isinstance(raw, dict) or "do" not in raw:
        raise InvalidFaultPlan(f"Fault {number} must be an object that says what to `do`.")
    kinds = {field.name: str(field.type) for field in fields(Fault)}
    unknown = sorted(set(raw) - set(kinds))
    if unknown:
        raise InvalidFaultPlan(
            f"Fault {number} has {', '.join(unknown)}, which no fault has; known are {', '.join(kinds)}."
        )
    for name, choices in _CHOICES.items():
        if name in raw and raw[name] not in choices:
            raise InvalidFaultPlan(
                f"Fault {number}: {name} is {raw[name]!r}; it is one of {', '.join(sorted(choices))}."
            )
    for name, value in raw.items():
        if not _fits(kinds[name], value):
            raise InvalidFaultPlan(f"Fault {number}: {name} is {value!r}, which is not {kinds[name]}.")
    fault = Fault(**raw)
    if fault.status not in STATUSES:
        raise InvalidFaultPlan(f"Fault {number}: status is {fault.status}; failures are from 400 to 599.")
    if fault.record is not None:
        return Fault(**{**raw, "record": fault.record.lower()})
    return fault


def _fits(kind: str, value: object) -> bool:
    if value is None:
        return "None" in kind
    if isinstance(value, bool):
        return False
    if "float" in kind:
        return isinstance(value, int | float) and 0 <= value < LONGEST
    if "int" in kind:
        return isinstance(value, int) and value > 0
    return isinstance(value, str)


class Faults:
    """A plan at work: counts what fits and says which fault acts now."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.acted = [0] * len(plan.faults)
        self._fitted = [0] * len(plan.faults)
        self._chance = [random.Random(f"{plan.seed}:{index}") for index in range(len(plan.faults))]
        self.operational = any(fault.do in OPERATION_FAULTS for fault in plan.faults)

    def on_request(self, calls: ObservedRequest, users: Sequence[str]) -> Fault | None:
        """Return the fault that acts on this whole request, if any."""
        if not self.plan.faults:
            return None
        messages = {call.message for call in calls.inner} | ({"$batch"} if calls.batch else set())
        records = {record for call in calls.inner for record in call.records}
        return self._next(EXCHANGE_FAULTS, messages, records, users)

    def on_token(self) -> Fault | None:
        """Return the fault that acts on this request to the identity provider, whoever sends it, if any."""
        return self._next(EXCHANGE_FAULTS, {"token"}, set(), ()) if self.plan.faults else None

    def on_operation(self, call: ObservedOperation, users: Sequence[str]) -> Fault | None:
        """Return the fault that acts on this operation, if any."""
        return self._next(OPERATION_FAULTS, {call.message}, set(call.records), users)

    def _next(self, kinds: frozenset[str], messages: set[str], records: set[str], users: Sequence[str]) -> Fault | None:
        for index, fault in enumerate(self.plan.faults):
            if fault.do in kinds and self._names(fault, messages, records, users) and self._acts(index, fault):
                return fault
        return None

    @staticmethod
    def _names(fault: Fault, messages: set[str], records: set[str], users: Sequence[str]) -> bool:
        named = fault.message in messages or (fault.message == "*" and "token" not in messages)
        return (
            named
            and (fault.record is None or fault.record in records)
            and (fault.user is None or fault.user.lower() in users)
        )

    def _acts(self, index: int, fault: Fault) -> bool:
        self._fitted[index] += 1
        if fault.nth is not None and self._fitted[index] < fault.nth:
            return False
        if fault.bound is not None and self.acted[index] >= fault.bound:
            return False
        if fault.probability is not None and self._chance[index].random() >= fault.probability:
            return False
        self.acted[index] += 1
        return True
