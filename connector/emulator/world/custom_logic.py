"""The organization's own logic, from Python files: plug-ins inside the transaction of a message, flows after it.

A file defines `plugin(context)`, called before (`context.stage` is `"pre"`) and after (`"post"`) each message that
writes, inside its transaction, or `flow(context)`, called once the transaction is committed; or several functions
whose names begin so (`plugin_audit`). A function may carry `step_id` (a GUID) and `mode` (`"sync"`, or `"async"`:
after the commit, as a system job). What `context` offers is told at LogicContext.

Evidence: powerapps-docs (event-framework, troubleshoot-plug-in, bypass-custom-business-logic, and the page on bypassing
Power Automate flows).
"""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID, uuid5

from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.callers import Bypass, Caller
from connector.emulator.world.plain_values import stored_row, typed_row
from connector.emulator.world.records import Ref
from connector.emulator.world.store import Value

if TYPE_CHECKING:
    from connector.emulator.world.world import World

LogicFunction = Callable[["LogicContext"], object]
DEEPEST = 8
"""An operation deeper than this in the organization's own logic is refused."""
SANDBOX_SECONDS = 120.0
"""After so long a synchronous plug-in is cut off (analyze-performance)."""
KINDS = ("plugin", "flow")
MODES = ("sync", "async")
_STEP_IDS = UUID("c5c0f5f6-3a49-5d0b-8c0e-6f6a6b0b7a52")
_LOG = logging.getLogger(__name__)


class LogicError(ValueError):
    """A file of plug-ins cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class LogicStep:
    """One registered function: `kind` plugin or flow, `mode` sync or async, the id that names it in errors."""

    function: LogicFunction
    kind: str
    mode: str
    step_id: str
    assembly: str
    name: str
    bypassable: bool = True

    @property
    def type_name(self) -> str:
        """Return the name of the plug-in type, as errors and traces have it."""
        return f"{self.assembly}.{self.name}"


@dataclass(slots=True)
class MessageEvent:
    """One message under way. `about` is the row; `parameters` are those of the message, typed."""

    message: str
    about: Ref
    parameters: Mapping[str, Any]
    caller: Caller


class CustomLogic:
    """The registered steps, in order. `slept` are the seconds that plug-ins took in the current request."""

    def __init__(self) -> None:
        self.steps: list[LogicStep] = []
        self.slept = 0.0
        self.runs: Counter[str] = Counter()
        """How often each flow that is counted and never run was set off, by its name."""

    def load(self, path: Path) -> None:
        """Register the functions of a file. Raises LogicError."""
        spec = importlib.util.spec_from_file_location(f"emulator_logic_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise LogicError(f"The file of plug-ins {path} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise LogicError(
                f"The file of plug-ins {path} cannot be loaded: {type(error).__name__}: {error}."
            ) from error
        functions = [
            (kind, function)
            for name, function in vars(module).items()
            for kind in KINDS
            if callable(function) and (name == kind or name.startswith(f"{kind}_"))
        ]
        if not functions:
            raise LogicError(f"The file of plug-ins {path} defines neither plugin(context) nor flow(context).")
        for kind, function in functions:
            self.add(function, kind, path.stem)

    def add(self, function: LogicFunction, kind: str = "plugin", assembly: str = "tests") -> None:
        """Register a function. Raises LogicError for a mode or a step id that there is not."""
        name = getattr(function, "__name__", kind)
        mode = getattr(function, "mode", "sync")
        step_id = str(getattr(function, "step_id", None) or uuid5(_STEP_IDS, f"{assembly}.{name}"))
        try:
            step_id = str(UUID(step_id))
        except ValueError:
            raise LogicError(f"The step_id of {assembly}.{name} is a GUID, not {step_id!r}.") from None
        if mode not in MODES:
            raise LogicError(f"The mode of {assembly}.{name} is sync or async, not {mode!r}.")
        bypassable = bool(getattr(function, "bypassable", True))
        self.steps.append(LogicStep(function, kind, mode, step_id, assembly, name, bypassable))

    def run(self, world: World, stage: str, event: MessageEvent) -> None:
        """Run the synchronous plug-ins of a stage. Raises Refused for what they refuse or fail at.

        What counts flows sees the row as each message leaves it, before the next one of the transaction.
        """
        for step in self.steps:
            here = step.kind == "plugin" or (step.kind == "counter" and stage == "post")
            if here and step.mode == "sync" and not _bypassed(step, event.caller.bypass):
                LogicContext(world, step, stage, event).run()

    def schedule(self, world: World, event: MessageEvent) -> None:
        """Have asynchronous plug-ins and flows run once the transaction is committed."""
        for step in self.steps:
            later = step.kind == "flow" or step.mode == "async"
            if later and not _bypassed(step, event.caller.bypass):
                world.store.on_commit(partial(self._run_later, world, step, event))

    def _run_later(self, world: World, step: LogicStep, event: MessageEvent) -> None:
        """Run one after the commit: what it refuses undoes its own work only, and reaches no client."""
        slept = self.slept
        try:
            if step.kind == "flow":
                LogicContext(world, step, "post", event).run()
            else:
                with world.store.transaction():
                    LogicContext(world, step, "post", event).run()
        except Refused as refused:
            _LOG.warning("%s after %s of %s failed: %s", step.type_name, event.message, event.about.id, refused.message)
        finally:
            self.slept = slept  # nobody waits for it


def _bypassed(step: LogicStep, bypass: Bypass) -> bool:
    if step.kind in ("flow", "counter"):
        return bypass.flows
    if not step.bypassable:
        return False
    return (bypass.sync if step.mode == "sync" else bypass.asynchronous) or step.step_id in bypass.steps


class LogicContext:
    """What a plug-in or flow is told, and what it may do.

    `message`, `stage`, `table`, `record_id` (empty before a Create that names no id), `parameters` (of the message:
    `Target` for Create and Update; lookups as ids), `user_id`, `depth` (1 unless another plug-in caused the message).
    """

    def __init__(self, world: World, step: LogicStep, stage: str, event: MessageEvent) -> None:
        self._world = world
        self._step = step
        self._caller = event.caller
        self._failed: Refused | None = None
        self._trace: list[str] = []
        self._seconds = 0.0
        self.message = event.message
        self.stage = stage
        self.table = event.about.table
        self.record_id = event.about.id
        self.parameters: Mapping[str, Any] = _plain(event.parameters)
        self.user_id = event.caller.user_id
        self.depth = event.caller.depth

    # --- reading -------------------------------------------------------------------------------------------------

    def retrieve(self, table: str, key: str) -> dict[str, Value]:
        """Return a row with all its columns as they are stored; aborts the message when there is none."""
        row = self._world.store.get(table, str(key).lower())
        if row is None:
            raise self._note(refuse("row.missing", table, key))
        return row

    def holds(self, condition: str, parameters: Sequence[Value] = ()) -> bool:
        """Return whether the row under way meets an SQL condition on `t`; one that is not there meets none."""
        shape = self._world.schema.tables[self.table]
        where = f't."{shape.primary_id}" = ? AND ({condition})'
        statement = f'SELECT 1 FROM "{self.table}" t WHERE {where}'
        return bool(self._world.store.rows(statement, (self.record_id, *parameters)))

    def query(self, table: str, **equals: Value) -> list[dict[str, Value]]:
        """Return the rows of `table` whose columns have these values (None: no value), by primary key."""
        shape = self._world.schema.tables[table]
        for name in equals:
            if name not in shape.columns:
                raise self._note(refuse("column.unknown", table, name))
        where = " AND ".join(f'"{name}" IS ?' for name in equals) or "1"
        keys = self._world.store.rows(
            f'SELECT "{shape.primary_id}" FROM "{table}" WHERE {where} ORDER BY 1', tuple(equals.values())
        )
        return [row for (key,) in keys if (row := self._world.store.get(table, str(key))) is not None]

    # --- writing -------------------------------------------------------------------------------------------------

    def create(self, table: str, values: Mapping[str, Any]) -> str:
        """Add a row as it is, `statecode` too, past rules and plug-ins; returns its id."""
        shape = self._world.schema.tables[table]
        row = stored_row(shape, typed_row(self._world.schema, shape, values))
        if shape.states:
            state = row.setdefault("statecode", 0)
            row.setdefault("statuscode", shape.default_status(int(state or 0)))
        return self._world.records.add(self._caller, shape, row)

    def update(self, table: str, key: str, values: Mapping[str, Any]) -> None:
        """Set columns of a row as they are, `statecode` too, past rules and plug-ins."""
        shape = self._world.schema.tables[table]
        row = stored_row(shape, typed_row(self._world.schema, shape, values))
        self._world.records.write(self._caller, shape, str(key).lower(), row)

    def execute(self, message: str, parameters: Mapping[str, Any]) -> Any:
        """Perform a message through rules and plug-ins, and return what it returns (a row by its id).

        Entity parameters are objects of columns. Create, Update and Delete take `Target`, with its table as `@table` or
        `@odata.type` and for the last two its id among the columns; a bound message takes its row as `entity` likewise.
        Bypassing does not reach this far (bypass-custom-business-logic, FAQ).
        """
        caller = replace(self._caller, depth=self.depth + 1, bypass=Bypass())
        try:
            return self._world.execute(caller, message, parameters)
        except Refused as refused:
            raise self._note(refused) from None

    # --- ending it -----------------------------------------------------------------------------------------------

    def abort(
        self, text: str, code: str = "0x80040265", status: int = HTTPStatus.BAD_REQUEST, trace: str = ""
    ) -> NoReturn:
        """End the message with the plug-in's own sentence."""
        self.trace(trace)
        raise self._note(Refused(status, code.lower(), text, "plugin.abort"))

    def crash(self, code: str = "0x8004418d") -> NoReturn:
        """End the message as a plug-in does that takes its sandbox down: HTTP 500."""
        refused = refuse("plugin.crash", code=code.lower())
        raise self._note(refused)

    def trace(self, text: str) -> None:
        """Add a line to the trace, which clients read with the error."""
        self._trace += [text] if text else []

    def sleep(self, seconds: float) -> None:
        """Take so long: it counts as execution time, and after two minutes the plug-in is cut off."""
        self._seconds += seconds
        self._world.logic.slept += seconds
        if self._seconds > SANDBOX_SECONDS:
            self._world.logic.slept -= self._seconds - SANDBOX_SECONDS
            raise self._note(refuse("fault.plugin_timeout"))

    # --- the platform's side --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Call the function. Raises Refused, with the annotations that name the plug-in, for whatever it raises."""
        try:
            self._step.function(self)
        except Refused as refused:
            failed = refused
        except Exception as error:  # noqa: BLE001 - whatever it is, the service answers for it
            failed = refuse("plugin.unexpected", self._step.type_name, type(error).__name__, error)
        else:
            if self._failed is None or self._step.kind == "flow":
                return
            failed = refuse("plugin.swallowed")
        if "ApiStepKey" not in failed.details:  # the innermost plug-in is the one to name
            failed.details = self._annotations(failed)
        raise failed

    def _note(self, refused: Refused) -> Refused:
        self._failed = refused
        return refused

    def _annotations(self, refused: Refused) -> dict[str, str]:
        step = self._step
        trace = "".join(f"{line}\r\n" for line in self._trace)
        return {
            "ApiExceptionSourceKey": f"Plugin/{step.type_name}, {step.assembly}, Version=1.0.0.0, Culture=neutral, "
            "PublicKeyToken=null",
            "ApiStepKey": step.step_id,
            "ApiDepthKey": str(self.depth),
            "ApiPluginSolutionNameKey": "Active",
            "ApiStepSolutionNameKey": "Active",
            "ApiExceptionCategory": "SystemFailure" if refused.rule == "plugin.crash" else "ClientError",
            "TraceText": f"\r\n[{step.assembly}: {step.type_name}]\r\n"
            f"[{step.step_id}: {step.type_name}: {self.message} of {self.table}]\r\n{trace}\r\n",
        }


def _plain(value: Any) -> Any:
    """Return parameters as plug-ins read them: a row as its id."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.id if isinstance(value, Ref) else value
