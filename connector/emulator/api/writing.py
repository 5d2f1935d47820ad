"""Writes: create, update and upsert, delete, single properties, relationships, and the messages for many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from connector.emulator.api.ask import JSON_TYPE, VERSION, Ask, applied, json_bytes, no_content, ok
from connector.emulator.api.payload import PayloadReader, plain, read_json
from connector.emulator.api.reading import Reading, no_options
from connector.emulator.odata.sql import no_property
from connector.emulator.odata.tokens import ODataError
from connector.emulator.rules.rule import refuse
from connector.emulator.world.records import Given, Ref
from connector.emulator.world.schema import Schema, Table
from connector.emulator.world.world import Refused, World
from connector.handler import Response

NOT_CONCURRENT = frozenset({"organization", "role", "sdkmessage", "sdkmessagefilter", "usersettings", "businessunit"})
"""Tables of the slice without optimistic concurrency: those not enabled for offline."""


class Writing:
    """Answers POST, PATCH, PUT and DELETE for rows of `schema`."""

    def __init__(self, world: World, schema: Schema, reading: Reading) -> None:
        self._world = world
        self._schema = schema
        self._reading = reading

    def reader(self, ask: Ask) -> PayloadReader:
        """Return the reader of bodies of this operation."""
        return PayloadReader(self._schema, ask.origin, ask.references)

    # --- rows ---------------------------------------------------------------------------------------------------

    def create(self, ask: Ask, table: Table) -> Response:
        """Answer POST to an entity set: 204 with the address, or 201 with the row."""
        ask.about("Create", table.logical_name)
        no_conditions(ask)
        values = self.reader(ask).row(table, read_json(ask.body, table.entity_set))
        return self._created(ask, table, values)

    def _created(self, ask: Ask, table: Table, values: Mapping[str, Given]) -> Response:
        plan = self._returned(ask, table)
        key = self._world.create(ask.caller, table.logical_name, values)
        ask.row_id = key
        if plan is not None:
            return self._representation(ask, table, key, 201)
        return no_content(("OData-EntityId", f"{ask.root}/{table.entity_set}({key})"))

    def _returned(self, ask: Ask, table: Table) -> object:
        """Return the plan of the representation asked for, before anything is written; None when none is."""
        if ask.preferences.representation:
            return self._reading.plan(ask, table, row=True)
        no_options(ask.options)
        return None

    def _representation(self, ask: Ask, table: Table, key: str, status: int) -> Response:
        plan = self._reading.plan(ask, table, row=True)
        row = self._reading.fetch(plan, key)
        body = {"@odata.context": ask.context(f"{table.entity_set}{plan.scope}/$entity")}
        body |= self._reading.render(ask, plan, row)
        headers = (JSON_TYPE, VERSION, ("ETag", str(row[0])), *applied(ask.preferences, "return", "annotations"))
        return Response(status, headers, json_bytes(body))

    def update(self, ask: Ask, table: Table, key: str) -> Response:
        """Answer PATCH of a row: an update, or an upsert where no header forbids it."""
        ask.about("Update", table.logical_name, key)
        values = self.reader(ask).row(table, read_json(ask.body, table.entity_set))
        values.pop(table.primary_id, None)
        plan = self._returned(ask, table)
        version = self._version(table, key)
        self._check_conditions(ask, table, key, version)
        if version is None:
            ask.about("Create", table.logical_name, key)
            return self._created(ask, table, {**values, table.primary_id: key})
        self._world.update(ask.caller, table.logical_name, key, values)
        if plan is not None:
            return self._representation(ask, table, key, 200)
        return no_content(("OData-EntityId", f"{ask.root}/{table.entity_set}({key})"))

    def delete(self, ask: Ask, table: Table, key: str) -> Response:
        """Answer DELETE of a row."""
        ask.about("Delete", table.logical_name, key)
        no_options(ask.options)
        no_body(ask)
        version = self._version(table, key)
        if version is None:
            raise refuse("row.missing", table.schema_name, key)
        self._check_conditions(ask, table, key, version)
        self._world.delete(ask.caller, table.logical_name, key)
        return no_content()

    def _version(self, table: Table, key: str) -> int | None:
        found = self._world.store.get(table.logical_name, key, ("versionnumber",))
        return None if found is None else int(str(found["versionnumber"]))

    def _check_conditions(self, ask: Ask, table: Table, key: str, version: int | None) -> None:
        """Apply If-Match and If-None-Match to the version found (perform-conditional-operations)."""
        match = ask.headers.get("if-match")
        none_match = ask.headers.get("if-none-match")
        if match not in (None, "null"):
            if version is None:
                raise refuse("row.missing", table.schema_name, key)
            if match != "*":
                if table.logical_name in NOT_CONCURRENT:
                    raise refuse("row.concurrency_disabled", table.logical_name)
                if f'W/"{version}"' not in [one.strip() for one in str(match).split(",")]:
                    raise refuse("row.version")
        if none_match in (None, "null"):
            return
        if none_match != "*":
            raise ODataError(f"The value '{none_match}' of If-None-Match is not supported for a write.")
        if version is not None:
            raise refuse("row.exists")

    # --- single properties ------------------------------------------------------------------------------------------

    def put_property(self, ask: Ask, table: Table, key: str, name: str) -> Response:
        """Answer PUT of one property: `{"value": ...}`."""
        ask.about("Update", table.logical_name, key)
        no_options(ask.options)
        body = read_json(ask.body, table.entity_set)
        column = table.columns.get(name)
        if set(body) - {"@odata.context"} != {"value"}:
            raise refuse(
                "payload.not_understood", table.entity_set, "A JSON object with the one property 'value' was expected."
            )
        if column is not None and column.is_lookup:
            raise refuse("payload.direct_lookup")
        if column is None:
            raise no_property(name, table)
        self._set(ask, table, key, {name: plain(table, column, body["value"])})
        return no_content()

    def delete_property(self, ask: Ask, table: Table, key: str, name: str) -> Response:
        """Answer DELETE of one property: it has no value then. A single-valued navigation property is no property."""
        ask.about("Update", table.logical_name, key)
        no_options(ask.options)
        column = table.columns.get(name)
        if column is None or column.is_lookup:
            raise no_property(name, table)
        self._set(ask, table, key, {name: None})
        return no_content()

    def _set(self, ask: Ask, table: Table, key: str, values: Mapping[str, Given]) -> None:
        version = self._version(table, key)
        if version is None:
            raise refuse("row.missing", table.schema_name, key)
        self._check_conditions(ask, table, key, version)
        self._world.update(ask.caller, table.logical_name, key, values)

    # --- relationships ----------------------------------------------------------------------------------------------

    def relate(self, ask: Ask, table: Table, key: str, name: str) -> Response:
        """Answer POST (collection) or PUT (single) to `nav/$ref` with `{"@odata.id": address}`."""
        ask.about("Associate", table.logical_name, key)
        no_options(ask.options)
        single = name in table.lookups
        if single != (ask.method == "PUT"):
            raise ODataError(
                f"The navigation property '{name}' is {'single' if single else 'collection'}-valued: "
                f"use {'PUT' if single else 'POST'} to set it."
            )
        body = read_json(ask.body, table.entity_set)
        address = body.get("@odata.id")
        if set(body) - {"@odata.context"} != {"@odata.id"} or not isinstance(address, str):
            raise refuse(
                "payload.not_understood",
                table.entity_set,
                "A JSON object with the one property '@odata.id' was expected.",
            )
        self._world.associate(ask.caller, Ref(table.logical_name, key), name, self.reader(ask).reference(address))
        return no_content()

    def unrelate(self, ask: Ask, table: Table, key: str, name: str, related: str | None) -> Response:
        """Answer DELETE of `nav/$ref`, `nav(id)/$ref` or `nav/$ref?$id=address`."""
        ask.about("Disassociate", table.logical_name, key)
        target = Ref(table.logical_name, key)
        no_body(ask)
        if name in table.lookups:
            no_options(ask.options)
            self._world.disassociate(ask.caller, target, name)
            return no_content()
        other = self._other(ask, table, name, related)
        self._world.disassociate(ask.caller, target, name, other)
        return no_content()

    def _other(self, ask: Ask, table: Table, name: str, related: str | None) -> Ref:
        collection = table.collections[name]
        if related is not None:
            no_options(ask.options)
            return Ref(collection.table, related)
        ask.options.allow("$id")
        address = ask.options.values.get("$id")
        if address is None:
            raise ODataError("The address of the related row ($id) is missing.")
        return self.reader(ask).reference(unquote(address))

    # --- many rows --------------------------------------------------------------------------------------------------

    def multiple(self, ask: Ask, table: Table, message: str) -> Response:
        """Answer CreateMultiple and UpdateMultiple: all rows or none (bulk-operations)."""
        ask.about(message, table.logical_name)
        no_options(ask.options)
        body = read_json(ask.body, table.entity_set)
        targets = body.get("Targets")
        if set(body) != {"Targets"} or not isinstance(targets, list) or not targets:
            raise refuse(
                "payload.not_understood",
                table.entity_set,
                f"'{message}' takes the one parameter 'Targets', a list of rows.",
            )
        reader = self.reader(ask)
        rows = [reader.row(table, self._typed(table, one)) for one in targets]
        with self._world.store.transaction():
            if message == "CreateMultiple":
                return self._create_all(ask, table, rows)
            for values in rows:
                self._update_one(ask, table, dict(values))
        return no_content()

    @staticmethod
    def _typed(table: Table, target: object) -> dict[str, Any]:
        if not isinstance(target, dict) or not isinstance(target.get("@odata.type"), str):
            raise refuse("payload.not_understood", table.entity_set, "Every target needs '@odata.type'.")
        return target

    def _create_all(self, ask: Ask, table: Table, rows: list[dict[str, Given]]) -> Response:
        ids = []
        for values in rows:
            try:
                ids.append(self._world.create(ask.caller, table.logical_name, values))
            except Refused as error:
                # Bulk messages phrase a taken key their own way (bulk-operations).
                raise refuse("row.key_taken_among_many") if error.rule == "row.key_taken" else error from None
        context = ask.context("Microsoft.Dynamics.CRM.CreateMultipleResponse")
        return ok({"@odata.context": context, "Ids": ids})

    def _update_one(self, ask: Ask, table: Table, values: dict[str, Given]) -> None:
        key = values.pop(table.primary_id, None)
        if not isinstance(key, str):
            raise refuse(
                "payload.not_understood", table.entity_set, f"Every target needs its key '{table.primary_id}'."
            )
        if self._version(table, key) is None:
            raise refuse("row.missing", table.schema_name, key)
        self._world.update(ask.caller, table.logical_name, key, values)


def no_conditions(ask: Ask) -> None:
    """Raise ODataError when an operation without a row in its address comes with If-Match or If-None-Match."""
    for name in ("if-match", "if-none-match"):
        if ask.headers.get(name) not in (None, "null"):
            raise ODataError(f"The header '{name}' has no meaning for this request.")


def no_body(ask: Ask) -> None:
    """Raise Refused when a request that takes no body has one."""
    if ask.body.strip():
        raise refuse("emulator.not_implemented", f"a body for {ask.method}")
