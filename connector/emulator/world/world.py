"""The emulated organization: rows, rules and messages behind one small set of operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.clock import Clock
from connector.emulator.rules.rule import Refused, refuse, rules
from connector.emulator.rules.switches import Switches
from connector.emulator.world import changes, jobs
from connector.emulator.world.callers import ACT_ON_BEHALF_PRIVILEGE, Access, Caller, privilege_id
from connector.emulator.world.customization import Customization
from connector.emulator.world.message_handlers import HANDLERS, MessageResult, available
from connector.emulator.world.message_rows import write_message_rows
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import Records, Ref, Values
from connector.emulator.world.schema import Collection, Message, Schema, Table
from connector.emulator.world.store import Store, StoreSnapshot

__all__ = ["Caller", "Invocation", "Plugin", "Ref", "Refused", "World", "plugin_abort"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a plug-in is told: `stage` is `before` (outside the operation's transaction) or `after` (inside it)."""

    stage: str
    message: str
    table: str
    record_id: str
    caller: Caller
    world: World


Plugin = Callable[[Invocation], None]
"""Called before and after every change; raising `plugin_abort(text)` aborts the operation."""


def plugin_abort(text: str) -> Refused:
    """Return the refusal of a plug-in that throws: 400, 0x80040265, its own text."""
    return refuse("plugin.abort", text)


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
    `plugins` are called around every change.
    """

    def __init__(
        self,
        schema: Schema,
        store: Store,
        switches: Switches,
        clock: Clock,
        chance: random.Random | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.access = Access(store)
        self.records = Records(schema, store, switches, clock, chance or random.Random())
        self.plugins: list[Plugin] = []
        self._plain_schema = schema
        self.customization = Customization()
        self.messages: Mapping[str, Message] = {}
        self._reload(switches)

    def _reload(self, switches: Switches) -> None:
        """Take customizations from the store, and bring schema and message rows in line."""
        note = self.store.note("customization")
        self.customization = Customization.from_json(note) if note else Customization()
        self.records.schema = self.customization.apply(self._plain_schema)
        self.records.required = self.customization.required_by_table()
        self.use(switches)

    @property
    def schema(self) -> Schema:
        """The tables as they are now, customizations included."""
        return self.records.schema

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
        """Give the organization more status reasons and required columns; they stay with the data."""
        combined = self.customization.and_also(customization)
        combined.apply(self._plain_schema)
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
        """Make everything what it was when `snapshot` was taken; plug-ins stay."""
        self.store.restore(snapshot.rows)
        self.records.chance.setstate(snapshot.chance)
        self._reload(snapshot.switches)

    # --- callers ------------------------------------------------------------------------------------------------------

    def caller_for(self, *, application_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return the caller behind a token (see Access.caller_for); raises Refused with 403."""
        return self.access.caller_for(application_id=application_id, object_id=object_id)

    def impersonate(self, caller: Caller, *, user_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return `caller` acting as another user; raises Refused with 403."""
        if ACT_ON_BEHALF_PRIVILEGE not in caller.privileges:
            if self.switches.impersonation_refusal == rules()["user.impersonation"].code:
                raise refuse("user.impersonation")
            raise refuse("user.impersonation_principal", caller.user_id, privilege_id(ACT_ON_BEHALF_PRIVILEGE))
        return self.access.impersonate(caller, user_id=user_id, object_id=object_id)

    def check_read(self, caller: Caller, table: str) -> None:
        """Raise Refused (403) unless the caller may read `table`."""
        self.catch_up()
        self.access.require(caller, self.schema.tables[table], ("Read",))

    def note_read(self, caller: Caller, message: str, table: str, key: str) -> None:
        """Tell the plug-ins that rows of `table` were read; raises what they raise."""
        for plugin in self.plugins:
            plugin(Invocation("before", message, table, key, caller, self))

    def catch_up(self) -> None:
        """Do the background jobs that are due; every operation and `check_read` does this first."""
        if self.switches.project_operations == "background" and not self.store.depth:
            jobs.run_due(self.records, self.access)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def create(self, caller: Caller, table: str, values: Values) -> str:
        """Create a row and return its id. Raises Refused."""
        key = str(values.get(self.schema.tables[table].primary_id) or "")
        self._tell("before", "Create", Ref(table, key), caller)
        with self.store.transaction():
            made = changes.create_row(self.records, self.access, caller, self.schema.tables[table], values)
            self._tell("after", "Create", Ref(table, made), caller)
        return made

    def update(self, caller: Caller, table: str, key: str, values: Values) -> None:
        """Change columns of a row, state and status reason among them. Raises Refused (404 when it is missing)."""
        self._tell("before", "Update", Ref(table, key), caller)
        with self.store.transaction():
            changes.update_row(self.records, self.access, caller, self.schema.tables[table], key, values)
            self._tell("after", "Update", Ref(table, key), caller)

    def delete(self, caller: Caller, table: str, key: str) -> None:
        """Delete a row. Raises Refused (404 when it is missing)."""
        self._tell("before", "Delete", Ref(table, key), caller)
        with self.store.transaction():
            changes.delete_row(self.records, self.access, caller, self.schema.tables[table], key)
            self._tell("after", "Delete", Ref(table, key), caller)

    def associate(self, caller: Caller, target: Ref, relationship: str, related: Ref) -> None:
        """Relate two rows through a collection- or single-valued navigation property of `target`. Raises Refused."""
        with self.store.transaction():
            table = self.schema.tables[target.table]
            lookup = table.lookups.get(relationship)
            if lookup is not None:
                self.update(caller, target.table, target.id, {lookup.column: related})
                return
            collection = self._collection(caller, table, relationship, target, related)
            if collection.association is None:
                self.update(caller, related.table, related.id, {collection.column: target})
            else:
                link = collection.association
                self.store.associate(link.table, {link.near: target.id, link.far: related.id})

    def disassociate(self, caller: Caller, target: Ref, relationship: str, related: Ref | None = None) -> None:
        """Undo `associate`; `related` is left out for a single-valued navigation property. Raises Refused."""
        with self.store.transaction():
            table = self.schema.tables[target.table]
            lookup = table.lookups.get(relationship)
            if lookup is not None:
                self.update(caller, target.table, target.id, {lookup.column: None})
                return
            if related is None:
                raise refuse("relationship.unknown", target.table, relationship)
            collection = self._collection(caller, table, relationship, target, related)
            if collection.association is None:
                self.update(caller, related.table, related.id, {collection.column: None})
            else:
                link = collection.association
                self.store.disassociate(link.table, {link.near: target.id, link.far: related.id})

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
        self._tell("before", message, about, caller)
        with self.store.transaction():
            if shape.pack == "project operations" and self.switches.project_operations == "background":
                jobs.enqueue(self.records, caller, message, arguments, about)
                return None
            answer = HANDLERS[message](self.records, self.access, caller, arguments, about)
            self._tell("after", message, about, caller)
        return answer

    def _tell(self, stage: str, message: str, about: Ref, caller: Caller) -> None:
        if stage == "before":
            self.catch_up()
        for plugin in self.plugins:
            plugin(Invocation(stage, message, about.table, about.id, caller, self))


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
