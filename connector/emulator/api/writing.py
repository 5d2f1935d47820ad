"""Writes: create, update and upsert, delete, single properties, relationships, and the messages for many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from connector.emulator.api.operation import JSON_TYPE, VERSION, ApiRequest, applied, json_bytes, no_content, ok
from connector.emulator.api.payload import PayloadReader, not_understood, plain, read_json
from connector.emulator.api.reading import ReadOperations, no_options
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.sql import no_property
from connector.emulator.rules.rule import refuse
from connector.emulator.world.records import Ref, TypedValue
from connector.emulator.world.schema import Schema, Table
from connector.emulator.world.world import Refused, World
from connector.handler import Response

NOT_CONCURRENT = frozenset({"organization", "role", "sdkmessage", "sdkmessagefilter", "usersettings", "businessunit"})
"""Tables of the slice without optimistic concurrency: those not enabled for offline."""


class WriteOperations:
    """Answers POST, PATCH, PUT and DELETE for rows of `schema`."""

    def __init__(self, world: World, schema: Schema, reading: ReadOperations) -> None:
        self._world = world
        self._schema = schema
        self._reading = reading

    def reader(self, request: ApiRequest) -> PayloadReader:
        """Return the reader of bodies of this operation."""
        return PayloadReader(self._schema, self._world.store, request.origin, request.references)

    # --- rows ---------------------------------------------------------------------------------------------------

    def create(self, request: ApiRequest, table: Table) -> Response:
        """Answer POST to an entity set: 204 with the address, or 201 with the row."""
        request.about("Create", table.logical_name)
        no_conditions(request)
        values = self.reader(request).row(table, read_json(request.body, table.entity_set))
        return self._created(request, table, values)

    def _created(self, request: ApiRequest, table: Table, values: Mapping[str, TypedValue]) -> Response:
        plan = self._returned(request, table)
        key = self._world.create(request.caller, table.logical_name, values)
        request.row_id = key
        if plan is not None:
            return self._representation(request, table, key, HTTPStatus.CREATED)
        return no_content(("OData-EntityId", f"{request.root}/{table.entity_set}({key})"))

    def _returned(self, request: ApiRequest, table: Table) -> object:
        """Return the plan of the representation asked for, before anything is written; None when none is."""
        if request.preferences.representation:
            return self._reading.plan(request, table, row=True)
        no_options(request.options)
        return None

    def _representation(self, request: ApiRequest, table: Table, key: str, status: int) -> Response:
        plan = self._reading.plan(request, table, row=True)
        if status == HTTPStatus.OK:  # an update ignores $expand (update-delete-entities-using-web-api)
            select = request.options.values.get("$select", "")
            plan = replace(plan, expansions=(), scope=f"({select})" if select else "")
        row = self._reading.fetch(plan, key)
        body = {"@odata.context": request.context(f"{table.entity_set}{plan.scope}/$entity")}
        body |= self._reading.render(request, plan, row)
        headers = (JSON_TYPE, VERSION, ("ETag", str(row[0])), *applied(request.preferences, "return", "annotations"))
        return Response(status, headers, json_bytes(body))

    def update(self, request: ApiRequest, table: Table, key: str) -> Response:
        """Answer PATCH of a row: an update, or an upsert where no header forbids it."""
        request.about("Update", table.logical_name, key)
        values = self.reader(request).row(table, read_json(request.body, table.entity_set))
        values.pop(table.primary_id, None)
        plan = self._returned(request, table)
        version = self._version(table, key)
        self._check_conditions(request, table, key, version)
        if version is None:
            request.about("Create", table.logical_name, key)
            return self._created(request, table, {**values, table.primary_id: key})
        self._world.update(request.caller, table.logical_name, key, values)
        if plan is not None:
            return self._representation(request, table, key, HTTPStatus.OK)
        return no_content(("OData-EntityId", f"{request.root}/{table.entity_set}({key})"))

    def delete(self, request: ApiRequest, table: Table, key: str) -> Response:
        """Answer DELETE of a row."""
        request.about("Delete", table.logical_name, key)
        no_options(request.options)
        no_body(request)
        version = self._version(table, key)
        if version is None:
            raise refuse("row.missing", table.schema_name, key)
        self._check_conditions(request, table, key, version)
        self._world.delete(request.caller, table.logical_name, key)
        return no_content()

    def _version(self, table: Table, key: str) -> int | None:
        row = self._world.store.get(table.logical_name, key, ("versionnumber",))
        return None if row is None else int(str(row["versionnumber"]))

    def _check_conditions(self, request: ApiRequest, table: Table, key: str, version: int | None) -> None:
        """Apply If-Match and If-None-Match to the version found (perform-conditional-operations)."""
        match = request.headers.get("if-match")
        none_match = request.headers.get("if-none-match")
        if match not in (None, "null"):
            if version is None:
                raise refuse("row.missing", table.schema_name, key)
            if match != "*":
                if table.logical_name in NOT_CONCURRENT:
                    raise refuse("row.concurrency_disabled", table.logical_name)
                if f'W/"{version}"' not in [part.strip() for part in str(match).split(",")]:
                    raise refuse("row.version")
        if none_match in (None, "null"):
            return
        if none_match != "*":
            raise ODataError(f"The value '{none_match}' of If-None-Match is not supported for a write.")
        if version is not None:
            raise refuse("row.exists")

    # --- single properties ------------------------------------------------------------------------------------------

    def put_property(self, request: ApiRequest, table: Table, key: str, name: str) -> Response:
        """Answer PUT of one property: `{"value": ...}`."""
        request.about("Update", table.logical_name, key)
        no_options(request.options)
        body = read_json(request.body, table.entity_set)
        column = table.columns.get(name)
        if set(body) - {"@odata.context"} != {"value"}:
            raise not_understood(table.entity_set, "A JSON object with the one property 'value' was expected.")
        if column is not None and column.is_lookup:
            raise refuse("payload.direct_lookup")
        if column is None:
            raise no_property(name, table)
        self._set(request, table, key, {name: plain(table, column, body["value"])})
        return no_content()

    def delete_property(self, request: ApiRequest, table: Table, key: str, name: str) -> Response:
        """Answer DELETE of one property: it has no value then. A single-valued navigation property is no property."""
        request.about("Update", table.logical_name, key)
        no_options(request.options)
        column = table.columns.get(name)
        if column is None or column.is_lookup:
            raise no_property(name, table)
        self._set(request, table, key, {name: None})
        return no_content()

    def _set(self, request: ApiRequest, table: Table, key: str, values: Mapping[str, TypedValue]) -> None:
        version = self._version(table, key)
        if version is None:
            raise refuse("row.missing", table.schema_name, key)
        self._check_conditions(request, table, key, version)
        self._world.update(request.caller, table.logical_name, key, values)

    # --- relationships ----------------------------------------------------------------------------------------------

    def relate(self, request: ApiRequest, table: Table, key: str, name: str) -> Response:
        """Answer POST (collection) or PUT (single) to `nav/$ref` with `{"@odata.id": address}`."""
        request.about("Associate", table.logical_name, key)
        no_options(request.options)
        single = name in table.lookups
        if single != (request.method == "PUT"):
            raise ODataError(
                f"The navigation property '{name}' is {'single' if single else 'collection'}-valued: "
                f"use {'PUT' if single else 'POST'} to set it."
            )
        body = read_json(request.body, table.entity_set)
        address = body.get("@odata.id")
        if set(body) - {"@odata.context"} != {"@odata.id"} or not isinstance(address, str):
            raise not_understood(table.entity_set, "A JSON object with the one property '@odata.id' was expected.")
        self._world.associate(
            request.caller, Ref(table.logical_name, key), name, self.reader(request).reference(address)
        )
        return no_content()

    def unrelate(self, request: ApiRequest, table: Table, key: str, name: str, related: str | None) -> Response:
        """Answer DELETE of `nav/$ref`, `nav(id)/$ref` or `nav/$ref?$id=address`."""
        request.about("Disassociate", table.logical_name, key)
        target = Ref(table.logical_name, key)
        no_body(request)
        if name in table.lookups:
            no_options(request.options)
            self._world.disassociate(request.caller, target, name)
            return no_content()
        other = self._other(request, table, name, related)
        self._world.disassociate(request.caller, target, name, other)
        return no_content()

    def _other(self, request: ApiRequest, table: Table, name: str, related: str | None) -> Ref:
        collection = table.collections[name]
        if related is not None:
            no_options(request.options)
            return Ref(collection.table, related)
        request.options.allow("$id")
        address = request.options.values.get("$id")
        if address is None:
            raise ODataError("The address of the related row ($id) is missing.")
        return self.reader(request).reference(unquote(address))

    # --- many rows --------------------------------------------------------------------------------------------------

    def multiple(self, request: ApiRequest, table: Table, message: str) -> Response:
        """Answer CreateMultiple and UpdateMultiple: all rows or none (bulk-operations)."""
        request.about(message, table.logical_name)
        no_options(request.options)
        body = read_json(request.body, table.entity_set)
        targets = body.get("Targets")
        if set(body) != {"Targets"} or not isinstance(targets, list) or not targets:
            raise not_understood(table.entity_set, f"'{message}' takes the one parameter 'Targets', a list of rows.")
        reader = self.reader(request)
        rows = [reader.row(table, self._typed(table, target)) for target in targets]
        with self._world.store.transaction():
            if message == "CreateMultiple":
                return self._create_all(request, table, rows)
            for values in rows:
                self._update_one(request, table, dict(values))
        return no_content()

    @staticmethod
    def _typed(table: Table, target: object) -> dict[str, Any]:
        if not isinstance(target, dict) or not isinstance(target.get("@odata.type"), str):
            raise not_understood(table.entity_set, "Every target needs '@odata.type'.")
        return target

    def _create_all(self, request: ApiRequest, table: Table, rows: list[dict[str, TypedValue]]) -> Response:
        ids = []
        for values in rows:
            try:
                ids.append(self._world.create(request.caller, table.logical_name, values))
            except Refused as error:
                # Bulk messages phrase a taken key their own way (bulk-operations).
                raise refuse("row.key_taken_among_many") if error.rule == "row.key_taken" else error from None
        context = request.context("Microsoft.Dynamics.CRM.CreateMultipleResponse")
        return ok({"@odata.context": context, "Ids": ids})

    def _update_one(self, request: ApiRequest, table: Table, values: dict[str, TypedValue]) -> None:
        key = values.pop(table.primary_id, None)
        if not isinstance(key, str):
            raise not_understood(table.entity_set, f"Every target needs its key '{table.primary_id}'.")
        if self._version(table, key) is None:
            raise refuse("row.missing", table.schema_name, key)
        self._world.update(request.caller, table.logical_name, key, values)


def no_conditions(request: ApiRequest) -> None:
    """Raise ODataError when an operation without a row in its address comes with If-Match or If-None-Match."""
    for name in ("if-match", "if-none-match"):
        if request.headers.get(name) not in (None, "null"):
            raise ODataError(f"The header '{name}' has no meaning for this request.")


def no_body(request: ApiRequest) -> None:
    """Raise Refused when a request that takes no body has one."""
    if request.body.strip():
        raise refuse("emulator.not_implemented", f"a body for {request.method}")
