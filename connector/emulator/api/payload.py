"""Reads JSON bodies: properties by the columns of their table, lookups in every form, rows by alternate keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from connector.emulator.odata.expressions import TYPE_PREFIX
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import ROOT, segments, text_of
from connector.emulator.odata.values import GUID
from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.records import Ref, TypedValue
from connector.emulator.world.schema import (
    FRACTION_KINDS,
    LOOKUP_KINDS,
    WHOLE_KINDS,
    Column,
    Kind,
    Schema,
    Table,
    names,
)
from connector.emulator.world.store import Store, Value


def row_by_key(store: Store, table: Table, pairs: tuple[tuple[str, str], ...]) -> str:
    """Return the id of the row with these values of an alternate key of `table`, as written in a path.

    Raises Refused: the columns are no key (0x80060888), or no row has the values (0x80060891).
    """
    written = {_column(table, name): value for name, value in pairs}
    if not any(set(key.columns) == set(written) for key in table.keys):
        raise refuse("row.no_such_key", table.logical_name)
    values = [_value(table, name, value) for name, value in written.items()]
    where = " AND ".join(f'"{name}" = ?' for name in written)
    rows = store.rows(f'SELECT "{table.primary_id}" FROM "{table.logical_name}" WHERE {where}', values)
    if not rows:
        raise refuse("row.no_such_values", table.logical_name)
    return str(rows[0][0])


def _column(table: Table, name: str) -> str:
    """Return the column that a property of a key means; a lookup is written `_x_value` (use-alternate-key)."""
    inner = name.removeprefix("_").removesuffix("_value")
    return inner if name == f"_{inner}_value" and inner in table.columns else name


def _value(table: Table, name: str, written: str) -> Value:
    kind = table.columns[name].kind
    text = text_of(written)
    try:
        if kind in WHOLE_KINDS:
            return int(written)
        if kind in FRACTION_KINDS:
            return float(written)
    except ValueError:
        raise refuse("column.type", table.logical_name, name, kind) from None
    if kind in LOOKUP_KINDS and GUID.match(written):
        return written.lower()
    if text is None:
        raise refuse("column.type", table.logical_name, name, kind)
    return text


IGNORABLE = names(
    "@odata.context @odata.etag @odata.editLink @OData.Community.Display.V1.FormattedValue "
    "@Microsoft.Dynamics.CRM.lookuplogicalname @Microsoft.Dynamics.CRM.associatednavigationproperty "
    "@odata.type"
)
"""Annotations in a body that change nothing: what reads answer with may be sent back."""

_BIND = "@odata.bind"
_ODATA = "Microsoft.OData.ODataException"
_INTEGERS = {Kind.BIGINT: 2**63}


def not_understood(entity: str, text: str) -> Refused:
    """Return the refusal of a body, for `entity`, that is not as the service reads one."""
    return refuse("payload.not_understood", entity, text)


def read_json(body: bytes, entity: str) -> dict[str, Any]:
    """Return the JSON object in `body`; raises Refused for anything else."""
    if not body.strip():
        raise refuse("payload.empty")
    try:
        data = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_once)
        if b"\\u" in body:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise not_understood(entity, str(error) if isinstance(error, _RepeatedMember) else "Invalid JSON.") from None
    if not isinstance(data, dict):
        raise not_understood(entity, "A JSON object was expected.")
    return data


class _RepeatedMember(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepeatedMember(
            f"Multiple properties with the name '{twice}' were detected in a resource or a complex value. "
            "In OData, duplicate property names are not allowed."
        )
    return members


def _no_constant(_name: str) -> float:
    raise ValueError("not JSON")


@dataclass(frozen=True, slots=True)
class PayloadReader:
    """Turns JSON objects into typed values.

    `origin` is the scheme and host this service answers at. `references` resolves `$1` (and `$1/...` is refused) to the
    path of the row that the Content-ID made, within a change set; it raises Refused for unknown ones. `store` finds
    rows by their alternate keys.
    """

    schema: Schema
    store: Store
    origin: str
    references: Callable[[str], str]

    def row(self, table: Table, data: Mapping[str, Any]) -> dict[str, TypedValue]:
        """Return the values of a row of `table`, lookups as Ref, by column name. Raises Refused."""
        self._check_type(table, data)
        values: dict[str, TypedValue] = {}
        for name, value in data.items():
            if "@" in name:
                if name.endswith(_BIND):
                    self._bind(table, name.removesuffix(_BIND), value, values)
                elif not name.endswith(IGNORABLE):
                    raise not_understood(table.entity_set, f"The annotation '{name}' is not supported.")
                continue
            column = table.columns.get(name)
            if column is None or column.is_lookup or column.hidden:
                self._not_plain(table, name, value, values)
            else:
                values[name] = plain(table, column, value)
        return values

    def _check_type(self, table: Table, data: Mapping[str, Any]) -> None:
        written = data.get("@odata.type")
        if written is None:
            return
        if not isinstance(written, str) or written.removeprefix("#") != TYPE_PREFIX + table.logical_name:
            raise not_understood(
                table.entity_set,
                f"The type '{str(written).removeprefix('#')}' is not the type "
                f"'{TYPE_PREFIX}{table.logical_name}' that is expected here.",
            )

    def _not_plain(self, table: Table, name: str, value: object, values: dict[str, TypedValue]) -> None:
        if name.startswith("_") and name.endswith("_value") and name[1:-6] in table.columns:
            raise refuse("payload.direct_lookup")
        lookup = table.lookups.get(name)
        if lookup is not None and value is None:
            self._set(table, values, lookup.column, None)
        elif lookup is not None and isinstance(value, dict):
            if set(value) != {"@odata.id"}:
                raise refuse("emulator.not_implemented", f"deep inserts ('{name}' with a row inside)")
            self._bind(table, name, value["@odata.id"], values)
        elif name in table.collections:
            raise refuse("emulator.not_implemented", f"deep inserts ('{name}' with rows inside)")
        elif lookup is not None or (name in table.columns and not table.columns[name].hidden):
            raise refuse("payload.direct_lookup")
        else:
            raise refuse("payload.unknown_property", name, table.logical_name)

    def _bind(self, table: Table, name: str, value: object, values: dict[str, TypedValue]) -> None:
        lookup = table.lookups.get(name)
        if lookup is None:
            if name in table.collections:
                raise refuse("emulator.not_implemented", f"binding a collection ('{name}') in a body")
            raise not_understood(table.entity_set, _undeclared(name))
        if value is None:
            self._set(table, values, lookup.column, None)
            return
        if not isinstance(value, str):
            raise not_understood(table.entity_set, f"The value of '{name}{_BIND}' must be the address of a row.")
        target = self.reference(value)
        if target.table != lookup.target:
            raise refuse(
                "payload.invalid_input",
                f"Microsoft.OData.ODataException: The navigation property '{name}' leads to '{lookup.target}', "
                f"not to '{target.table}'.",
            )
        self._set(table, values, lookup.column, target)

    @staticmethod
    def _set(table: Table, values: dict[str, TypedValue], column: str, value: Ref | None) -> None:
        if column in values and values[column] != value and value is not None and values[column] is not None:
            raise not_understood(table.entity_set, f"The lookup '{column}' is set twice.")
        if values.get(column) is None:
            values[column] = value

    def reference(self, written: str) -> Ref:
        """Return the row that an address means: absolute, `/set(id)`, `set(id)` or `$1`. Raises Refused."""
        text = written.strip()
        if text.startswith("$"):
            text = self.references(text[1:])
        path = self._below_root(text)
        try:
            steps = segments(path)
        except ODataError as error:
            raise refuse("payload.invalid_input", f"Microsoft.OData.ODataException: {error}") from None
        table = self.schema.by_entity_set.get(steps[0].name) if len(steps) == 1 else None
        if table is None and len(steps) == 1 and steps[0].called:
            name = steps[0].name
            raise refuse("payload.invalid_input", f"{_ODATA}: Resource not found for the segment '{name}'.")
        if table is None or not steps[0].called:
            raise refuse("payload.invalid_input", f"{_ODATA}: '{written}' is not the address of a row.")
        key = steps[0].key_by(table.primary_id) or row_by_key(self.store, table, steps[0].pairs)
        return Ref(table.logical_name, key)

    def _below_root(self, text: str) -> str:
        if "://" in text:
            if not text.lower().startswith(self.origin.lower() + "/"):
                raise refuse(
                    "payload.invalid_input",
                    "System.ArgumentException: The absoluteUri must be an address below the serviceRootUri "
                    f"'{self.origin}/api/data/'.",
                )
            text = text[len(self.origin) :]
        match = ROOT.match(text)
        return text[match.end() :] if match else text.removeprefix("/")


def _undeclared(name: str) -> str:
    return (
        f"An undeclared property '{name}' which only has property annotations in the payload but no property value was "
        "found in the payload. In OData, only declared navigation properties and declared named streams can be "
        "represented as properties without values"
    )


def plain(table: Table, column: Column, value: object) -> TypedValue:
    """Return a JSON value as the column takes it; raises Refused when it does not fit."""
    if value is None:
        return None
    kind = column.kind
    if kind is Kind.IMAGE:
        raise refuse("emulator.not_implemented", f"the data of images ('{column.name}')")
    if isinstance(value, str):
        converted = _from_text(kind, value)
        if converted is not None:
            return converted
    elif isinstance(value, bool):
        if kind is Kind.BOOLEAN:
            return value
    elif isinstance(value, int | float) and value - value == 0:  # not infinite
        if kind in FRACTION_KINDS:
            return value  # as it is: a whole number may be too large for a float, which is for the rules to say
        if kind in WHOLE_KINDS and value == int(value) and abs(value) < _INTEGERS.get(kind, 2**31):
            return int(value)
    raise not_understood(
        table.entity_set,
        f"Cannot convert the literal '{json.dumps(value)[:80]}' to the expected type of '{column.name}'.",
    )


def _from_text(kind: Kind, text: str) -> TypedValue:
    if kind is Kind.UUID:
        return text.strip("{}").lower() if GUID.match(text) else None
    if kind in (Kind.STRING, Kind.MEMO, Kind.ENTITYNAME, Kind.CHOICES):
        return text
    if kind is Kind.DATEONLY:
        return day(text)
    if kind is Kind.DATETIME:
        return moment(text)
    return None


_DAY = len("2026-01-31")


def day(text: str) -> date | None:
    """Return a date; None when the text is not a date."""
    try:
        return date.fromisoformat(text) if len(text) == _DAY else None
    except ValueError:
        return None


def moment(text: str) -> date | None:
    """Return a moment with its offset, UTC where none is written, or a bare date; None when the text is neither."""
    if len(text) == _DAY:
        return day(text)
    if len(text) < len("2026-01-31T10:00") or text[_DAY] not in "Tt":
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
