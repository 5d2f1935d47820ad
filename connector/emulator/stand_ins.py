"""What stands for the logic of a twin: each step and process of the capture does as little as is known of it.

What one does is a line of text: `pass`, `delay 120 ms`, `refuse 3 %`, or `refuse where FILTER with TEXT`, FILTER being
OData on the row under way. Flows are counted and never run.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from connector.emulator.odata.functions import QueryContext
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.parse import parse_option
from connector.emulator.odata.sql import AliasedTable, FilterCompiler
from connector.emulator.seeding.twin import Json, Twin, TwinRefused
from connector.emulator.world.custom_logic import LogicContext
from connector.emulator.world.world import World

_FORMS = re.compile(
    r"(?P<pass>pass)|delay (?P<delay>\d+(?:\.\d+)?) ms|refuse (?P<percent>\d+(?:\.\d+)?) %"
    r"|refuse where (?P<filter>(?:'(?:[^']|'')*'|[^'])+?) with (?P<text>.+)"
)
_EVENTS = {
    "WinOpportunity": "Win",
    "LoseOpportunity": "Lose",
    "CloseQuote": "Close",
    "WinQuote": "Win",
    "ReviseQuote": "Revise",
}
"""Under which name plug-ins register for an action."""
_ADDED, _DELETED, _MODIFIED = (1, 4, 5, 7), (2, 5, 6, 7), (3, 4, 6, 7)
"""The messages of a flow's registration by what they listen for (table reference of callbackregistration)."""
_CLOSED_COLUMNS = frozenset({"statecode", "statuscode"})
_ALL = 100.0
_PRE = 40
"""The stage from which on a step comes after the operation."""

Test = Callable[[LogicContext], bool]


@dataclass(frozen=True, slots=True)
class LogicStub:
    """What stands for a step or process: seconds of delay, percent or filter of what it refuses, its text."""

    name: str
    delay: float = 0.0
    percent: float = 0.0
    condition: str = ""
    text: str = ""

    @classmethod
    def of(cls, name: str, does: str) -> LogicStub:
        """Return what a line says. Raises TwinRefused for one that is not understood."""
        form = _FORMS.fullmatch(does)
        if form is None or float(form["percent"] or 0) > _ALL:
            raise TwinRefused(
                f"{name} cannot do {does!r}; it can pass, delay N ms, refuse N %, or refuse where FILTER with TEXT."
            )
        percent = float(form["percent"] or 0)
        text = form["text"] or f"{name} refused this (a stand-in, {percent:g} % of all)."
        return cls(name, float(form["delay"] or 0) / 1000, percent, form["filter"] or "", text)


@dataclass(frozen=True, slots=True)
class LogicTrigger:
    """When logic runs: for these messages of a table (empty: all), for these columns of an update (empty: all)."""

    messages: frozenset[str]
    table: str
    columns: frozenset[str]

    def concerns(self, context: LogicContext) -> bool:
        """Return whether what is under way sets it off."""
        for message, table, columns in _events(context):
            if message in self.messages and self.table in ("", table):
                return message != "Update" or not self.columns or bool(self.columns & columns)
        return False


def usual_stand_ins(twin: Twin) -> dict[str, tuple[str, str]]:
    """Return name and stand-in of each step and process: a delay where the mean time is known, else `pass`."""
    times = {row["plug_in"]: float(row["average_ms"]) for row in twin.rows("times")}
    usual = {}
    for row in twin.rows("steps"):
        mean = times.get(row.get("plug_in", ""), 0.0)
        slow = mean > 0 and row["origin"] != "microsoft" and not row.get("asynchronous", False)
        usual[row["id"]] = (row["name"], f"delay {mean:g} ms" if slow else "pass")
    for row in twin.rows("processes"):
        usual[row["id"]] = (row["name"], "pass")
    return usual


def stand_ins_text(twin: Twin) -> str:
    """Return the usual stand-ins as a file to be edited, a line each."""
    lines = [
        json.dumps({"id": key, "name": name, "does": does}, ensure_ascii=False)
        for key, (name, does) in usual_stand_ins(twin).items()
    ]
    return "[\n " + ",\n ".join(lines) + "\n]\n"


def read_stand_ins(path: Path, twin: Twin) -> dict[str, str]:
    """Return what a file says each step and process does. Raises TwinRefused for what cannot be done."""
    usual = usual_stand_ins(twin)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        chosen = {str(row["id"]): str(row["does"]) for row in rows}
    except (OSError, ValueError) as error:
        raise TwinRefused(f"The stand-ins in {path} cannot be read: {error}.") from error
    except (TypeError, KeyError) as error:
        raise TwinRefused(f"The stand-ins in {path} are no list of rows with `id` and `does`.") from error
    for key, does in chosen.items():
        if key not in usual:
            raise TwinRefused(f"{path}: the capture has no step or process {key}.")
        try:
            LogicStub.of(usual[key][0], does)
        except TwinRefused as error:
            raise TwinRefused(f"{path}: {error}") from error
    return chosen


def all_stand_ins(twin: Twin, chosen: Mapping[str, str]) -> dict[str, LogicStub]:
    """Return what stands for each step and process: what was chosen, else the usual. Raises TwinRefused."""
    return {key: LogicStub.of(name, chosen.get(key, usual)) for key, (name, usual) in usual_stand_ins(twin).items()}


def stand_in(world: World, twin: Twin, chosen: Mapping[str, str], seed: int) -> None:
    """Register a stand-in for each step, process and flow of the twin. Raises TwinRefused for what is no filter."""
    every, chance = all_stand_ins(twin, chosen), random.Random(f"{seed}:stand-ins")
    for row in twin.rows("steps"):
        watched = LogicTrigger(frozenset({row["message"]}), row.get("table", ""), frozenset(row.get("columns", ())))
        stage = "pre" if row.get("stage", _PRE) < _PRE else "post"
        function = _logic(world, watched, every[row["id"]], row, stage, chance)
        _register(world, function, row, row.get("plug_in") or row["name"], later=row.get("asynchronous", False))
    for row in twin.rows("processes"):
        if row["kind"] != "workflow":
            continue
        triggers = (("Create", row.get("on_create")), ("Delete", row.get("on_delete")), ("Update", row.get("columns")))
        messages = frozenset(message for message, needed in triggers if needed)
        watched = LogicTrigger(messages, row["table"], frozenset(row.get("columns", ())))
        function = _logic(world, watched, every[row["id"]], row, "post", chance)
        _register(world, function, row, f"Workflow.{row['name']}", later=not row.get("real_time", False))
    for row in twin.rows("flows"):
        world.logic.add(_counting(world, row), "counter", "flows")


def _register(world: World, function: Callable[[LogicContext], None], row: Json, name: str, *, later: bool) -> None:
    assembly, _, last = name.rpartition(".")
    attributes = {"__name__": last, "step_id": row["id"], "mode": "async" if later else "sync"}
    for key, value in {**attributes, "bypassable": row.get("bypassable", True)}.items():
        setattr(function, key, value)
    world.logic.add(function, "plugin", assembly or "Twin")


def _logic(
    world: World, watched: LogicTrigger, does: LogicStub, row: Json, stage: str, chance: random.Random
) -> Callable[[LogicContext], None]:
    """Return the function that stands for a step or process."""
    meets = _condition(world, row, does.condition, watched.table) if does.condition else None

    def run(context: LogicContext) -> None:
        if context.stage != stage or not watched.concerns(context):
            return
        if does.delay:
            context.sleep(does.delay)
        if (meets is not None and meets(context)) or (does.percent and chance.random() * 100 < does.percent):
            context.abort(does.text)

    return run


def _counting(world: World, row: Json) -> Callable[[LogicContext], None]:
    """Return the function that counts the runs of a flow, apart where its filter cannot be told here."""
    name, text, action = str(row["name"]), row.get("filter", ""), row.get("action", "")
    pairs = (("Create", _ADDED), ("Delete", _DELETED), ("Update", _MODIFIED))
    listens = {each for each, codes in pairs if int(row["message"]) in codes}
    watched = LogicTrigger(frozenset(listens), row["table"], frozenset(row.get("columns", ())))
    try:
        meets = _condition(world, row, text, row["table"]) if text else None
    except TwinRefused:
        meets, name = None, f"{name} (perhaps: its filter is not understood here)"

    def run(context: LogicContext) -> None:
        called = action and action in (context.message, _EVENTS.get(context.message))
        if (called or (not action and watched.concerns(context))) and (meets is None or meets(context)):
            world.store.on_commit(partial(world.logic.runs.update, (name,)))

    return run


def _condition(world: World, row: Json, text: str, table: str) -> Test:
    """Return a test of the row under way by a filter of the organization's. Raises TwinRefused for one that is none."""
    shape = world.schema.tables.get(table)
    if shape is None:
        raise TwinRefused(f"{row['name']}: the twin has no table {table or '(all)'} to filter.")
    try:
        compiler = FilterCompiler(world.schema)
        sql = compiler.expression(parse_option("$filter", text), AliasedTable("t", shape), {}, negated=False)
    except ODataError as error:
        raise TwinRefused(f"{row['name']}: the filter {text[:80]!r} is not understood: {error}"[:400]) from error
    parameters = list(compiler.parameters)

    def meets(context: LogicContext) -> bool:
        asker = QueryContext(world.clock.now(), context.user_id, "", 0)
        values = [value(asker) if callable(value) else value for value in parameters]
        return context.table == table and context.holds(sql, values)

    return meets


def _events(context: LogicContext) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield what a message means to those who listen: itself, and what the platform does for it."""
    target = context.parameters.get("Target")
    columns = frozenset(target) if isinstance(target, Mapping) else frozenset[str]()
    yield _EVENTS.get(context.message, context.message), context.table, columns
    if context.message in _EVENTS:
        yield "Update", context.table, _CLOSED_COLUMNS
        yield "SetState", context.table, frozenset()
        yield "Create", f"{context.table}close", frozenset()
    elif context.message == "Update" and columns & _CLOSED_COLUMNS:
        yield "SetState", context.table, frozenset()
