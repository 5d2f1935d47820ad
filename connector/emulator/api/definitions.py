"""EntityDefinitions: table definitions of the slice, with $select, $filter and $expand over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from connector.emulator.api.definition_values import (
    OPTION_KINDS,
    attribute_definition,
    attribute_properties,
    collection_definition,
    definition_id,
    key_definition,
    lookup_definition,
    many_to_many_definition,
    table_definition,
)
from connector.emulator.api.operation import ApiRequest, ok
from connector.emulator.api.plans import read_query
from connector.emulator.odata.expressions import TYPE_PREFIX, Expand, Expression, Query, holds, no_such_property
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import Segment, text_of
from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.schema import Kind, Schema, Table
from connector.handler import Response

Json = dict[str, Any]
ATTRIBUTE_TYPES = {kind.definition for kind in Kind}
LISTS: Mapping[str, tuple[str, Callable[[Schema, Table], list[Json]]]] = {
    "Attributes": (
        "AttributeMetadata",
        lambda _schema, table: [
            attribute_definition(table, column) for column in table.columns.values() if not column.hidden
        ],
    ),
    "ManyToOneRelationships": (
        "OneToManyRelationshipMetadata",
        lambda schema, table: [
            lookup_definition(schema, table, lookup)
            for lookup in table.lookups.values()
            if lookup.target in schema.tables
        ],
    ),
    "OneToManyRelationships": (
        "OneToManyRelationshipMetadata",
        lambda _schema, table: [
            collection_definition(table, each) for each in table.collections.values() if not each.association
        ],
    ),
    "ManyToManyRelationships": (
        "ManyToManyRelationshipMetadata",
        lambda _schema, table: [
            many_to_many_definition(table, each) for each in table.collections.values() if each.association
        ],
    ),
    "Keys": ("EntityKeyMetadata", lambda _schema, table: [key_definition(key) for key in table.keys]),
}
"""What hangs below a table definition: of which type, and where it comes from."""
_NAVIGATIONS = {"OptionSet": "OptionSetMetadata", "GlobalOptionSet": "OptionSetMetadata"}
_OPTIONS = ("$select", "$filter", "$expand", "$count")


class EntityDefinitions:
    """Answers GET below `EntityDefinitions`."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._ids = {definition_id(name): table for name, table in schema.tables.items()}

    def answer(self, request: ApiRequest, steps: tuple[Segment, ...]) -> Response:
        """Return the definitions that a path names. Raises Refused, ODataError."""
        request.about("RetrieveEntity" if steps[0].called else "RetrieveAllEntities")
        first = steps[0]
        query = read_query(request.options, _OPTIONS)
        if not first.called:
            if len(steps) > 1:
                raise refuse("path.unknown", steps[1].name)
            definitions = [table_definition(table) for table in self._schema.tables.values()]
            return self._many(request, "EntityDefinitions", "EntityMetadata", definitions, query)
        table = self._table(first)
        request.table = table.logical_name
        if len(steps) == 1:
            return self._one(request, "EntityDefinitions", "EntityMetadata", table_definition(table), query)
        return self._below(request, table, first, steps[1:], query)

    def _table(self, segment: Segment) -> Table:
        if segment.key is not None:
            if segment.key in self._ids:
                return self._ids[segment.key]
            raise refuse("path.unknown", f"EntityDefinitions({segment.key})")
        name = text_of(segment.pairs[0][1]) if len(segment.pairs) == 1 else None
        if segment.pairs and segment.pairs[0][0] == "LogicalName" and name is not None:
            if name in self._schema.tables:
                return self._schema.tables[name]
            raise _not_found(f"entity with name {name}")
        raise ODataError("A table definition is named by its LogicalName or its MetadataId.")

    def _below(
        self, request: ApiRequest, table: Table, first: Segment, steps: tuple[Segment, ...], query: Query
    ) -> Response:
        name, rest = steps[0], list(steps[1:])
        if name.name not in LISTS:
            raise refuse("path.unknown", name.name)
        written = first.key or f"'{table.logical_name}'"
        place = f"EntityDefinitions({written})/{name.name}"
        kind, definitions_of = LISTS[name.name]
        definitions = definitions_of(self._schema, table)
        if name.called:
            definitions = [self._named(name, definitions)]
        if rest and rest[0].name.startswith(TYPE_PREFIX) and not rest[0].called:
            kind = rest.pop(0).name.removeprefix(TYPE_PREFIX)
            if name.name != "Attributes" or kind not in ATTRIBUTE_TYPES:
                raise refuse("path.unknown", TYPE_PREFIX + kind)
            definitions = [
                definition for definition in definitions if definition["@odata.type"] == f"#{TYPE_PREFIX}{kind}"
            ]
            place = f"{place}/{TYPE_PREFIX}{kind}"
        if not name.called:
            if rest:
                raise refuse("path.unknown", rest[0].name)
            return self._many(request, place, kind, definitions, query)
        if not definitions:
            raise refuse("path.unknown", TYPE_PREFIX + kind)
        if rest:
            return self._option_set(request, place, definitions[0], rest, query)
        return self._one(request, place, kind, definitions[0], query)

    @staticmethod
    def _named(segment: Segment, definitions: list[Json]) -> Json:
        if segment.key is not None:
            sought, by = segment.key, "MetadataId"
        elif len(segment.pairs) == 1 and segment.pairs[0][0] in ("LogicalName", "SchemaName"):
            by, sought = segment.pairs[0][0], text_of(segment.pairs[0][1]) or ""
        else:
            raise ODataError(f"A member of '{segment.name}' is named by its LogicalName or its MetadataId.")
        for definition in definitions:
            if definition.get(by) == sought:
                return definition
        raise _not_found(f"attribute with specified name {sought}")

    def _option_set(
        self, request: ApiRequest, place: str, attribute: Json, rest: list[Segment], query: Query
    ) -> Response:
        if len(rest) > 1 or rest[0].called or rest[0].name not in _NAVIGATIONS or rest[0].name not in attribute:
            raise refuse("path.unknown", rest[0].name)
        value = attribute[rest[0].name]
        if value is None:
            return Response(HTTPStatus.NO_CONTENT)
        return self._one(request, f"{place}/{rest[0].name}", _NAVIGATIONS[rest[0].name], value, query)

    # --- answers --------------------------------------------------------------------------------------------------

    def _many(self, request: ApiRequest, place: str, kind: str, definitions: list[Json], query: Query) -> Response:
        value = self._chosen(request, place, kind, definitions, query)
        count = {"@odata.count": len(value)} if query.count else {}
        return ok({"@odata.context": request.context(f"{place}{_scope(query)}"), **count, "value": value})

    def _chosen(self, request: ApiRequest, place: str, kind: str, definitions: list[Json], query: Query) -> list[Json]:
        """Return the definitions that meet $filter, each as $select and $expand leave it."""
        _check_select(query, kind, definitions)
        chosen = [each for each in definitions if query.filter is None or _meets(query.filter, each, kind)]
        return [self._shaped(request, place, kind, each, query) for each in chosen]

    def _one(self, request: ApiRequest, place: str, kind: str, definition: Json, query: Query) -> Response:
        if query.filter is not None:
            raise ODataError("The query option '$filter' is only supported for collections.")
        _check_select(query, kind, [definition])
        context = {"@odata.context": request.context(f"{place}{_scope(query)}/$entity")}
        return ok(context | self._shaped(request, place, kind, definition, query))

    def _shaped(self, request: ApiRequest, place: str, kind: str, definition: Json, query: Query) -> Json:
        """Return what $select and $expand leave of a definition; its id and type always come."""
        hidden = set(_NAVIGATIONS) if kind not in _NAVIGATIONS.values() else set[str]()
        chosen = set(query.select) if query.select and "*" not in query.select else None
        out = {
            key: value
            for key, value in definition.items()
            if key not in hidden and (chosen is None or key in chosen or key == "MetadataId" or key[0] == "@")
        }
        for expand in query.expand:
            self._expand(request, place, kind, definition, expand, out)
        return out

    def _expand(self, request: ApiRequest, place: str, kind: str, definition: Json, expand: Expand, out: Json) -> None:
        name = expand.navigation
        if expand.reference:
            raise refuse("emulator.not_implemented", f"$expand={name}/$ref of table definitions")
        if kind == "EntityMetadata" and name in LISTS:
            listed_kind, definitions_of = LISTS[name]
            definitions = definitions_of(self._schema, self._schema.tables[definition["LogicalName"]])
            out[name] = self._chosen(request, place, listed_kind, definitions, expand.query)
            return
        if name not in _NAVIGATIONS or not _has_options(kind, definition):
            raise no_such_property(name, kind)
        value = definition.get(name)
        if value is None:
            out[name] = None
            return
        _check_select(expand.query, _NAVIGATIONS[name], [value])
        out[f"{name}@odata.context"] = request.context(
            f"{place.partition('/')[0]}/Attributes({definition['MetadataId']})/{TYPE_PREFIX}{kind}/{name}"
            f"{_scope(expand.query)}/$entity"
        )
        out[name] = self._shaped(request, place, _NAVIGATIONS[name], value, expand.query)


def _meets(node: Expression, definition: Json, kind: str) -> bool:
    return holds(node, {name: value for name, value in definition.items() if name not in _NAVIGATIONS}, kind)


def _has_options(kind: str, definition: Json) -> bool:
    kinds = {option_kind.definition for option_kind in OPTION_KINDS}
    return "OptionSet" in definition and kind in kinds


def _check_select(query: Query, kind: str, definitions: list[Json]) -> None:
    """Raise ODataError where $select names what a type does not have, or only a derived type has."""
    if kind == "AttributeMetadata":
        selectable = attribute_properties()
    else:
        selectable = {key for each in definitions for key in each if key not in _NAVIGATIONS}
    for name in query.select or ():
        if name != "*" and selectable and (name not in selectable or name.startswith("@")):
            raise no_such_property(name, kind)


def _not_found(what: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "0x80040217", f"Could not find an {what}.", "path.unknown")


def _scope(query: Query) -> str:
    parts = list(query.select or ())
    parts += [f"{expand.navigation}{_scope(expand.query) or '()'}" for expand in query.expand]
    return f"({','.join(parts)})" if parts else ""
