"""What an organization has of its own: custom status reasons and required columns, taken from its exported metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from connector.emulator.world.schema import Required, Schema, StatusOption

_DEFINITION_MARKS = frozenset(
    {"LogicalName", "MetadataId", "OptionSet", "Attributes", "AttributeType", "EntitySetName"}
)


class ImportRefused(ValueError):
    """The document is no metadata of a table of the slice, or it holds rows."""


@dataclass(frozen=True, slots=True)
class StatusReason:
    """One status reason of `table`, with the state it belongs to."""

    table: str
    value: int
    label: str
    state: int
    transition_data: str | None = None


@dataclass(frozen=True, slots=True)
class Customization:
    """What an organization changed: its status reasons, and the columns it requires by table."""

    status_reasons: tuple[StatusReason, ...] = ()
    required: tuple[tuple[str, str], ...] = ()

    def and_also(self, other: Customization) -> Customization:
        """Return both together; a status reason of the same table and value is taken from `other`."""
        reasons = {
            (status_reason.table, status_reason.value): status_reason
            for status_reason in (*self.status_reasons, *other.status_reasons)
        }
        return Customization(tuple(reasons.values()), tuple(dict.fromkeys((*self.required, *other.required))))

    def apply(self, schema: Schema) -> Schema:
        """Return the schema with these changes; raises ImportRefused for what it does not have."""
        for status_reason in self.status_reasons:
            _check_reason(schema, status_reason)
            option = StatusOption(
                status_reason.value, status_reason.label, status_reason.state, status_reason.transition_data
            )
            schema = schema.with_status(status_reason.table, option)
        for table, column in self.required:
            if column not in schema.tables[table].columns:
                raise ImportRefused(f"The emulator's {table} has no column {column}, so it cannot require it.")
            schema = schema.with_required(table, [column])
        return schema

    def required_by_table(self) -> dict[str, frozenset[str]]:
        """Return the required columns of each table."""
        tables = {table for table, _ in self.required}
        return {table: frozenset(column for name, column in self.required if name == table) for table in tables}

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Customization:
        """Return what `to_json` wrote."""
        raw = json.loads(text)
        return cls(
            tuple(StatusReason(**reason) for reason in raw["status_reasons"]),
            tuple((table, column) for table, column in raw["required"]),
        )


def _check_reason(schema: Schema, reason: StatusReason) -> None:
    table = schema.tables.get(reason.table)
    if table is None or not table.states:
        raise ImportRefused(f"The emulator has no table {reason.table} with states.")
    if table.state(reason.state) is None:
        raise ImportRefused(f"{reason.table} has no state {reason.state} for status reason {reason.value}.")


def read_metadata(document: Mapping[str, Any], schema: Schema, table: str = "") -> Customization:
    """Return the customization in an exported metadata document.

    Accepted are the answers of `EntityDefinitions` and of `EntityDefinitions(LogicalName='...')`, with `Attributes`
    expanded, and of `.../Attributes/Microsoft.Dynamics.CRM.StatusAttributeMetadata?$expand=OptionSet` (then `table`
    says which table). Only status reasons and required levels of the emulator's own columns are taken. Raises
    ImportRefused for rows of data and for anything else.
    """
    try:
        return _customization(document, schema, table)
    except (KeyError, AttributeError, TypeError) as error:
        raise ImportRefused(f"The document is not as the service writes metadata: {error!r}.") from error


def _customization(document: Mapping[str, Any], schema: Schema, table: str) -> Customization:
    customization = Customization()
    for name, attribute in _attributes(document, table):
        if name not in schema.tables:
            raise ImportRefused(f"The emulator has no table {name or '(unnamed; say which)'}; it has {_some(schema)}.")
        customization = customization.and_also(
            Customization(tuple(_reasons(name, attribute)), tuple(_required(schema, name, attribute)))
        )
    if customization == Customization():
        raise ImportRefused("The document holds neither status reasons nor required columns.")
    return customization


def _attributes(document: Mapping[str, Any], table: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    entries = document.get("value")
    nodes: list[Any] = entries if isinstance(entries, list) else [document]
    for node in nodes:
        if not isinstance(node, Mapping) or not _DEFINITION_MARKS & node.keys():
            raise ImportRefused("This is no metadata; rows of data are never imported this way.")
        if "Attributes" in node:
            for attribute in node["Attributes"]:
                yield str(node.get("LogicalName", table)), attribute
        else:
            yield table or str(node.get("EntityLogicalName", "")), node


def _reasons(table: str, attribute: Mapping[str, Any]) -> Iterator[StatusReason]:
    if attribute.get("LogicalName") != "statuscode":
        return
    option_set = attribute.get("OptionSet") or attribute.get("GlobalOptionSet") or {}
    for option in option_set.get("Options", ()):
        label = (option.get("Label") or {}).get("UserLocalizedLabel") or {}
        yield StatusReason(
            table,
            int(option["Value"]),
            str(label.get("Label") or option["Value"]),
            int(option["State"]),
            option.get("TransitionData"),
        )


def _required(schema: Schema, table: str, attribute: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = str(attribute.get("LogicalName", ""))
    level = (attribute.get("RequiredLevel") or {}).get("Value")
    column = schema.tables[table].columns.get(name)
    if level == Required.APPLICATION and column is not None and column.required is not Required.APPLICATION:
        yield table, name


def _some(schema: Schema) -> str:
    return ", ".join(sorted(name for name, table in schema.tables.items() if table.states))
