"""What an organization has of its own: columns, status reasons, alternate keys, required and secured columns.

It comes from a file in the form of `Customization`, or from the organization's exported metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from connector.emulator.world.own_columns import with_companions
from connector.emulator.world.schema import (
    LOOKUP_KINDS,
    AlternateKey,
    Column,
    Kind,
    Labels,
    Lookup,
    Required,
    Schema,
    StatusOption,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_DEFINITION_MARKS = frozenset(
    {"LogicalName", "MetadataId", "OptionSet", "Attributes", "AttributeType", "EntitySetName"}
)


class ImportRefused(ValueError):
    """The document is no metadata of a table of the slice, or it holds rows."""


@dataclass(frozen=True, slots=True)
class StatusReason:
    """One status reason of `table`, with the state it belongs to.

    `labels` are texts by language code. `transitions` are the status reasons it may be followed by, where the table
    enforces transitions; `transition_data` is the same as the service's XML.
    """

    table: str
    value: int
    label: str
    state: int
    transition_data: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    transitions: tuple[int, ...] = ()

    def option(self) -> StatusOption:
        """Return it as the schema holds it."""
        data = self.transition_data or (transition_xml(self.value, self.transitions) if self.transitions else None)
        return StatusOption(self.value, self.label, self.state, data, _labels(self.labels))


@dataclass(frozen=True, slots=True)
class ChoiceOption:
    """One option of a choice column."""

    value: int
    labels: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class CustomColumn:
    """A column of the organization's own in a table of the slice.

    `labels` are texts by language code, the first is the base language. `targets` are the tables that a lookup may
    point at, `navigation` the name of its navigation property by table (by default `schema_name`, followed by the
    table's name where there are several). `precision` is the number of decimals; money without one has its currency's.
    A `calculated` column (also one of a rollup or a formula) is read, and set by nobody. `autonumber` is the format of
    the values of a string that a create fills: `CAR-{SEQNUM:4}-{RANDSTRING:3}` (create-auto-number-attributes).
    """

    table: str
    name: str
    kind: Kind
    labels: Mapping[int, str]
    schema_name: str = ""
    max_length: int = 0
    precision: int | None = None
    targets: tuple[str, ...] = ()
    navigation: Mapping[str, str] = field(default_factory=dict)
    options: tuple[ChoiceOption, ...] = ()
    calculated: bool = False
    autonumber: str = ""

    def column(self) -> Column:
        """Return it as the schema holds it."""
        return Column(
            self.name,
            self.kind,
            self.max_length,
            creatable=not self.calculated,
            updatable=not self.calculated,
            label=_base_label(self.labels) or self.name,
            schema_name=self.schema_name or self.name,
            targets=self.targets,
            options=tuple((option.value, _base_label(option.labels)) for option in self.options),
            labels=_labels(self.labels),
            option_labels=tuple((option.value, _labels(option.labels)) for option in self.options),
            precision=self.precision,
            custom=True,
            autonumber=self.autonumber,
        )

    def lookups(self) -> Iterator[Lookup]:
        """Yield its navigation properties, one for each table it may point at."""
        for target in self.targets:
            several = f"_{target}" if len(self.targets) > 1 else ""
            name = self.navigation.get(target) or f"{self.schema_name or self.name}{several}"
            yield Lookup(name, self.name, target)


@dataclass(frozen=True, slots=True)
class SecurityProfile:
    """A column security profile: the users in it, and the secured columns (`table.column`) they may read and set.

    `write` is to `create` and to `update`.
    """

    name: str
    users: tuple[str, ...]
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    update: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Customization:
    """What an organization changed.

    `required`, `system_required` (by the service, not by forms alone) and `secured` name columns as (table, column);
    `enforce_transitions` the tables whose status reasons
    follow each other only as their transitions say.
    """

    status_reasons: tuple[StatusReason, ...] = ()
    required: tuple[tuple[str, str], ...] = ()
    columns: tuple[CustomColumn, ...] = ()
    keys: tuple[AlternateKey, ...] = ()
    secured: tuple[tuple[str, str], ...] = ()
    profiles: tuple[SecurityProfile, ...] = ()
    enforce_transitions: tuple[str, ...] = ()
    system_required: tuple[tuple[str, str], ...] = ()

    def and_also(self, other: Customization) -> Customization:
        """Return both together; what has the same name (or value of a status reason) is taken from `other`."""
        reasons = {(part.table, part.value): part for part in (*self.status_reasons, *other.status_reasons)}
        columns = {(part.table, part.name): part for part in (*self.columns, *other.columns)}
        return Customization(
            tuple(reasons.values()),
            tuple(dict.fromkeys((*self.required, *other.required))),
            tuple(columns.values()),
            tuple({part.name: part for part in (*self.keys, *other.keys)}.values()),
            tuple(dict.fromkeys((*self.secured, *other.secured))),
            tuple({part.name: part for part in (*self.profiles, *other.profiles)}.values()),
            tuple(dict.fromkeys((*self.enforce_transitions, *other.enforce_transitions))),
            tuple(dict.fromkeys((*self.system_required, *other.system_required))),
        )

    def apply(self, schema: Schema) -> Schema:
        """Return the schema with these changes; raises ImportRefused for what it does not have."""
        for custom in self.columns:
            _check_column(schema, custom)
            for part in with_companions(custom.column()):
                schema = schema.with_column(custom.table, part)
            for lookup in custom.lookups():
                schema = schema.with_lookup(custom.table, lookup)
        for reason in self.status_reasons:
            _check_reason(schema, reason)
            schema = schema.with_status(reason.table, reason.option())
        levels = dict.fromkeys(self.required, Required.APPLICATION) | dict.fromkeys(
            self.system_required, Required.SYSTEM
        )
        for (table, column), level in levels.items():
            _check_known(schema, table, column, "require")
            schema = schema.with_column(table, replace(schema.tables[table].columns[column], required=level))
        for table, column in self.secured:
            _check_known(schema, table, column, "secure")
            schema = schema.with_column(table, replace(schema.tables[table].columns[column], secured=True))
        for key in self.keys:
            for column in key.columns:
                _check_known(schema, key.table, column, "make a key of")
            old = schema.tables[key.table]
            schema = schema.with_table(replace(old, keys=(*old.keys, key)))
        return self._enforcing(schema)

    def _enforcing(self, schema: Schema) -> Schema:
        for table in self.enforce_transitions:
            if table not in schema.tables:
                raise ImportRefused(f"The emulator has no table {table} whose transitions it could enforce.")
            schema = schema.with_table(replace(schema.tables[table], enforce_transitions=True))
        return schema

    def required_by_table(self) -> dict[str, frozenset[str]]:
        """Return the required columns of each table."""
        required = (*self.required, *self.system_required)
        return {table: frozenset(name for of, name in required if of == table) for table, _ in required}

    def closed_to(self, user_id: str, verb: str) -> frozenset[tuple[str, str]]:
        """Return the secured columns, as (table, column), that this user may not `read`, `create` or `update`."""
        allowed = set[str]()
        for profile in self.profiles:
            if user_id in profile.users:
                allowed.update(getattr(profile, verb), () if verb == "read" else profile.write)
        return frozenset((table, column) for table, column in self.secured if f"{table}.{column}" not in allowed)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Customization:
        """Return what `to_json` wrote, or a file in the same form says; raises ImportRefused for anything else."""
        from pydantic import ValidationError

        try:
            return _reader().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the document"
            raise ImportRefused(f"The customization cannot be used: {place}: {first['msg']}.") from error


@cache
def _reader() -> TypeAdapter[Customization]:
    from pydantic import TypeAdapter

    return TypeAdapter(Customization)


def _labels(texts: Mapping[int, str]) -> Labels:
    return tuple(texts.items())


def _base_label(texts: Mapping[int, str]) -> str:
    return next(iter(texts.values()), "")


def transition_xml(value: int, followers: tuple[int, ...]) -> str:
    """Return the transitions as the service writes them (define-custom-state-model-transitions)."""
    each = "".join(
        f"<allowedtransition sourcestatusid={quoteattr(str(value))} tostatusid={quoteattr(str(follower))} />"
        for follower in followers
    )
    return f'<allowedtransitions xmlns="http://schemas.microsoft.com/crm/2009/WebServices">{each}</allowedtransitions>'


def _check_column(schema: Schema, custom: CustomColumn) -> None:
    table = schema.tables.get(custom.table)
    if table is None or table.derived_from:
        raise ImportRefused(f"The emulator has no table {custom.table} to add {custom.name} to.")
    column = table.columns.get(custom.name)
    if column is not None and not column.custom:
        raise ImportRefused(f"{custom.table} has a column {custom.name} already.")
    if custom.autonumber and custom.kind is not Kind.STRING:
        raise ImportRefused(f"{custom.table}.{custom.name}: a column of text, and nothing else, is numbered.")
    if (custom.kind in LOOKUP_KINDS) != bool(custom.targets):
        raise ImportRefused(f"{custom.table}.{custom.name}: a lookup, and nothing else, has targets.")
    missing = [target for target in custom.targets if target not in schema.tables]
    if missing:
        raise ImportRefused(f"{custom.table}.{custom.name}: the emulator has no table {', '.join(missing)}.")


def _check_known(schema: Schema, table: str, column: str, purpose: str) -> None:
    if table not in schema.tables or column not in schema.tables[table].columns:
        raise ImportRefused(f"The emulator's {table} has no column {column}, so it cannot {purpose} it.")


def _check_reason(schema: Schema, reason: StatusReason) -> None:
    table = schema.tables.get(reason.table)
    if table is None or not table.states:
        raise ImportRefused(f"The emulator has no table {reason.table} with states.")
    if table.state(reason.state) is None:
        raise ImportRefused(f"{reason.table} has no state {reason.state} for status reason {reason.value}.")


def read_metadata(document: Mapping[str, Any], schema: Schema, table: str = "") -> Customization:
    """Return the customization in a document: one in the form of `Customization`, or exported metadata.

    Accepted are the answers of `EntityDefinitions` and of `EntityDefinitions(LogicalName='...')`, with `Attributes`
    expanded, and of `.../Attributes/Microsoft.Dynamics.CRM.StatusAttributeMetadata?$expand=OptionSet` (then `table`
    says which table). Only status reasons and required levels of the emulator's own columns are taken. Raises
    ImportRefused for rows of data and for anything else.
    """
    if document and document.keys() <= {each.name for each in fields(Customization)}:
        return Customization.from_json(json.dumps(document))
    try:
        return _customization(document, schema, table)
    except (KeyError, AttributeError, TypeError) as error:
        raise ImportRefused(f"The document is not as the service writes metadata: {error!r}.") from error


def _customization(document: Mapping[str, Any], schema: Schema, table: str) -> Customization:
    customization = Customization()
    for name, attribute in _attributes(document, table):
        if name not in schema.tables:
            names = ", ".join(sorted(names for names, table in schema.tables.items() if table.states))
            raise ImportRefused(f"The emulator has no table {name or '(unnamed; say which)'}; it has {names}.")
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
