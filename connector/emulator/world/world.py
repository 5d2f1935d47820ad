"""The emulated organization: rows, rules and messages behind one small set of operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from connector.clock import Clock
from connector.emulator.rules.rule import Refused, Switches, refuse, rules
from connector.emulator.world import changes, message_handlers
from connector.emulator.world.callers import ACT_ON_BEHALF_PRIVILEGE, Caller, privilege_id
from connector.emulator.world.custom_logic import DEEPEST, CustomLogic, MessageEvent
from connector.emulator.world.customization import Customization
from connector.emulator.world.message_handlers import HANDLERS, available, own_action, write_message_rows
from connector.emulator.world.opportunity import Arguments, MessageResult
from connector.emulator.world.plain_values import typed_row
from connector.emulator.world.records import Records, Ref, TypedValue, Values
from connector.emulator.world.schema import Collection, Message, Schema, Table
from connector.emulator.world.store import Store, StoreSnapshot

__all__ = ["Caller", "Hook", "Invocation", "Ref", "Refused", "World"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """An operation that is about to begin, outside its transaction."""

    message: str
    table: str
    record_id: str
    caller: Caller


Hook = Callable[[Invocation], None]
"""Called before every operation, reads included, outside its transaction; raising Refused refuses it."""


@dataclass(frozen=True, slots=True)
class WorldSnapshot:
    """One state of the organization, to return to."""

    rows: StoreSnapshot
    switches: Switches
    chance: tuple[object, ...]


class World:
    """One emulated organization.

    Every operation is one transaction (a savepoint inside `store.transaction()`), checks the caller's privileges and
    raises Refused for what the service refuses. Reading is done on `store` directly, after `check_read`.
    `logic` is the organization's own, run around every change; `hooks` come before every operation.
    """

    def __init__(
        self, schema: Schema, store: Store, switches: Switches, clock: Clock, chance: random.Random | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self.records = Records(schema, store, switches, clock, chance or random.Random())
        self.access = self.records.access
        self.hooks: list[Hook] = []
        self.logic = CustomLogic()
        self._plain_schema = schema
        self.customization = Customization()
        self.messages: Mapping[str, Message] = {}
        self._reload(switches)

    def _reload(self, switches: Switches) -> None:
        """Take customizations from the store, and bring schema and message rows in line."""
        note = self.store.note("customization")
        self.customization = Customization.from_json(note) if note else Customization()
        self.records.schema = self.customization.apply(self._plain_schema)
        self.store.shape(self.records.schema)
        self.records.required = self.customization.required_by_table()
        self.use(switches)

    @property
    def schema(self) -> Schema:
        """The tables as they are now, customizations included."""
        return self.records.schema

    @property
    def metadata_stamp(self) -> str:
        """What moves whenever the definitions do; its form is the service's own affair."""
        return self.store.note("metadata") or "1"

    @property
    def switches(self) -> Switches:
        """How the open questions are answered now."""
        return self.records.switches

    def use(self, switches: Switches) -> None:
        """Answer the open questions differently from now on."""
        self.records.switches = switches
        self.messages = available(self.schema, switches)
        write_message_rows(self.records, self.messages)

    def customize(self, customization: Customization) -> None:
        """Give the organization these customizations too; they stay with the data. Raises ImportRefused."""
        combined = self.customization.and_also(customization)
        combined.apply(self._plain_schema)
        if combined != self.customization:
            self.store.keep_note("metadata", str(int(self.metadata_stamp) + 1))
        self.store.keep_note("customization", combined.to_json())
        self._reload(self.switches)

    def clear(self) -> None:
        """Delete every row and customization; switches stay."""
        self.store.clear()
        self._reload(self.switches)

    # --- whole states -------------------------------------------------------------------------------------------------

    def snapshot(self) -> WorldSnapshot:
        """Return everything as it is now: rows, customizations, switches, and the state of chance."""
        return WorldSnapshot(self.store.snapshot(), self.switches, self.records.chance.getstate())

    def restore(self, snapshot: WorldSnapshot) -> None:
        """Make everything what it was when `snapshot` was taken; hooks and custom logic stay."""
        self.store.restore(snapshot.rows)
        self.records.chance.setstate(snapshot.chance)
        self._reload(snapshot.switches)

    # --- callers ------------------------------------------------------------------------------------------------------

    def caller_for(self, *, application_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return the caller behind a token (see Access.caller_for); raises Refused with 403."""
        caller = self.access.caller_for(application_id=application_id, object_id=object_id)
        state = self.switches.environment
        if state == "disabled" or (state == "administration_mode" and not caller.administrator):
            raise refuse("environment.disabled")
        return caller

    def impersonate(self, caller: Caller, *, user_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return `caller` acting as another user; raises Refused with 403."""
        other = partial(self.access.impersonate, caller, user_id=user_id, object_id=object_id)
        if caller.impersonating_user_id and other() is caller:
            return caller  # a part of a batch that says what its batch says
        if ACT_ON_BEHALF_PRIVILEGE not in caller.privileges:
            if self.switches.impersonation_refusal == rules()["user.impersonation"].code:
                raise refuse("user.impersonation")
            raise refuse("user.impersonation_principal", caller.user_id, privilege_id(ACT_ON_BEHALF_PRIVILEGE))
        return other()

    def check_read(self, caller: Caller, table: str) -> None:
        """Raise Refused (403) unless the caller may read `table`."""
        self.catch_up()
        self.access.require(caller, self.schema.tables[table], ("Read",))

    def closed_columns(self, caller: Caller, verb: str) -> frozenset[tuple[str, str]]:
        """Return the secured columns, as (table, column), that the caller may not `read`, `create` or `update`.

        A system administrator sees all of them (field-security-entities: the profile System Administrator).
        """
        if caller.administrator or not self.customization.secured:
            return frozenset()
        return self.customization.closed_to(caller.user_id, verb)

    def _check_secured(self, caller: Caller, table: str, values: Values, rule: str) -> None:
        closed = self.closed_columns(caller, rule.removeprefix("column.secured_"))
        if any((table, name) in closed for name in values):
            raise refuse(rule)

    def note_read(self, caller: Caller, message: str, table: str, key: str) -> None:
        """Tell the hooks that rows of `table` are read; raises what they raise."""
        self._tell(message, Ref(table, key), caller)

    def catch_up(self) -> None:
        """Do the background jobs that are due; every operation and `check_read` does this first."""
        if self.switches.project_operations == "background" and not self.store.depth:
            message_handlers.run_due(self.records)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def create(self, caller: Caller, table: str, values: Values) -> str:
        """Create a row and return its id. Raises Refused."""
        shape = self.schema.tables[table]
        about = Ref(table, str(values.get(shape.primary_id) or ""))
        self._check_secured(caller, table, values, "column.secured_create")
        with self._message(caller, "Create", about, {"Target": values}) as event:
            made = changes.create_row(self.records, caller, shape, values)
            event.about = Ref(table, made)
        return made

    def update(self, caller: Caller, table: str, key: str, values: Values) -> None:
        """Change columns of a row, state and status reason among them. Raises Refused (404 when it is missing)."""
        shape = self.schema.tables[table]
        self._check_secured(caller, table, values, "column.secured_update")
        with self._message(caller, "Update", Ref(table, key), {"Target": {**values, shape.primary_id: key}}):
            changes.update_row(self.records, caller, shape, key, values)

    def delete(self, caller: Caller, table: str, key: str) -> None:
        """Delete a row. Raises Refused (404 when it is missing)."""
        with self._message(caller, "Delete", Ref(table, key), {"Target": {self.schema.tables[table].primary_id: key}}):
            changes.delete_row(self.records, caller, self.schema.tables[table], key)

    @contextmanager
    def _message(
        self, caller: Caller, message: str, about: Ref, parameters: Mapping[str, Any]
    ) -> Iterator[MessageEvent]:
        """Run an operation in its transaction, the organization's own logic before and after it. Raises Refused."""
        if caller.depth > DEEPEST:
            raise refuse("plugin.depth")
        self._tell(message, about, caller)
        event = MessageEvent(message, about, parameters, caller)
        with self.store.transaction():
            self.logic.run(self, "pre", event)
            yield event
            self.logic.run(self, "post", event)
            self.logic.schedule(self, event)

    def associate(self, caller: Caller, target: Ref, relationship: str, related: Ref) -> None:
        """Relate two rows through a collection- or single-valued navigation property of `target`. Raises Refused."""
        self._relate(caller, target, relationship, related, apart=False)

    def disassociate(self, caller: Caller, target: Ref, relationship: str, related: Ref | None = None) -> None:
        """Undo `associate`; `related` is left out for a single-valued navigation property. Raises Refused."""
        self._relate(caller, target, relationship, related, apart=True)

    def _relate(self, caller: Caller, target: Ref, relationship: str, related: Ref | None, *, apart: bool) -> None:
        with self.store.transaction():
            table = self.schema.tables[target.table]
            lookup = table.lookups.get(relationship)
            if lookup is not None:
                self.update(caller, target.table, target.id, {lookup.column: None if apart else related})
                return
            if related is None:
                raise refuse("relationship.unknown", target.table, relationship)
            collection = self._collection(caller, table, relationship, target, related)
            link = collection.association
            if link is None:
                self.update(caller, related.table, related.id, {collection.column: None if apart else target})
            else:
                change = self.store.disassociate if apart else self.store.associate
                change(link.table, {link.near: target.id, link.far: related.id})

    def _collection(self, caller: Caller, table: Table, name: str, target: Ref, related: Ref) -> Collection:
        collection = table.collections.get(name)
        if collection is None or collection.table != related.table:
            raise refuse("relationship.unknown", table.logical_name, name)
        self.access.require(caller, table, ("Append",))
        self.access.require(caller, self.schema.tables[related.table], ("AppendTo",))
        for ref in (target, related):
            if not self.store.exists(ref.table, ref.id):
                raise refuse("row.missing", ref.table, ref.id)
        return collection

    # --- messages -----------------------------------------------------------------------------------------------------

    def call(self, caller: Caller, message: str, arguments: Arguments, target: Ref | None = None) -> MessageResult:
        """Perform a message and return its answer, None for one that answers 204.

        `target` is the row a bound message is called on. Raises Refused; KeyError for a message that `messages` does
        not list.
        """
        shape = self.messages[message]
        if shape.bound_to and (target is None or target.table != shape.bound_to):
            raise refuse("message.unsupported", message, target.table if target else "")
        about = target or _subject(shape, arguments)
        for value in arguments.values():
            if isinstance(value, Mapping) and "@table" in value:
                self._check_secured(caller, str(value["@table"]), value, "column.secured_create")
        with self._message(caller, message, about, arguments):
            if shape.pack == "project operations" and self.switches.project_operations == "background":
                message_handlers.enqueue(self.records, caller, message, arguments, about)
                return None
            if message not in HANDLERS:
                own_action(message, about)
                return None
            return HANDLERS[message](self.records, caller, arguments, about)

    def execute(self, caller: Caller, message: str, parameters: Mapping[str, Any]) -> object:
        """Perform a message for a plug-in, its parameters plain (see LogicContext.execute); raises Refused."""
        if message in ("Create", "Update", "Delete"):
            table, values = self._entity(parameters["Target"])
            if message == "Create":
                return self.create(caller, table, values)
            key = str(values.pop(self.schema.tables[table].primary_id, "") or "")
            if message == "Update":
                self.update(caller, table, key, values)
            else:
                self.delete(caller, table, key)
            return None
        shape = self.messages[message]
        arguments: dict[str, Any] = {}
        for parameter in shape.parameters:
            value = parameters.get(parameter.name)
            if parameter.type.startswith("entity:") and isinstance(value, Mapping):
                table, values = self._entity({"@table": parameter.type.removeprefix("entity:"), **value})
                arguments[parameter.name] = {"@table": table, **values}
            elif value is not None:
                arguments[parameter.name] = value
        target = None
        if shape.bound_to:
            table, values = self._entity({"@table": shape.bound_to, **parameters["entity"]})
            target = Ref(table, str(values[self.schema.tables[table].primary_id]))
        result = self.call(caller, message, arguments, target)
        return result.id if isinstance(result, Ref) else result

    def _entity(self, data: Mapping[str, Any]) -> tuple[str, dict[str, TypedValue]]:
        """Return the table and the typed columns of a row written plainly."""
        kind = str(data.get("@table") or data["@odata.type"]).removeprefix("#").removeprefix("Microsoft.Dynamics.CRM.")
        return kind, typed_row(self.schema, self.schema.tables[kind], data)

    def _tell(self, message: str, about: Ref, caller: Caller) -> None:
        self.catch_up()
        for hook in self.hooks:
            hook(Invocation(message, about.table, about.id, caller))


def _subject(shape: Message, arguments: Arguments) -> Ref:
    """Return the row an unbound message is about, with an empty id when the arguments do not say."""
    for parameter in shape.parameters:
        value = arguments.get(parameter.name)
        if isinstance(value, Mapping):
            subject = value.get(f"{shape.table}id")
            if isinstance(subject, Ref):
                return subject
        if parameter.type == "Edm.Guid" and isinstance(value, str):
            return Ref(shape.table, value)
    return Ref(shape.table, "")
