"""The shape of the emulated organization: tables, columns, relationships, status reasons and messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

Labels = tuple[tuple[int, str], ...]
"""Texts by language code (LCID)."""


def names(text: str) -> tuple[str, ...]:
    """Return the words of a text: many column names or the like, side by side."""
    return tuple(text.split())


class Kind(StrEnum):
    """What a column holds; it decides storage, wire type and metadata type.

    `edm` is its type in `$metadata`; `code`, `type_name` and `definition` are the AttributeType, the AttributeTypeName
    and the type of its definition.
    """

    edm: str
    code: str
    type_name: str
    definition: str

    def __new__(cls, value: str, edm: str, name: str, definition: str = "", code: str = "") -> Self:
        """Make a kind of its value, its type and its name in definitions; the last two only where they differ."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.edm, kind.code, kind.type_name = edm, code or name, f"{name}Type"
        kind.definition = f"{definition or name}AttributeMetadata"
        return kind

    UUID = "uuid", "Edm.Guid", "Uniqueidentifier", "UniqueIdentifier"
    STRING = "string", "Edm.String", "String"
    MEMO = "memo", "Edm.String", "Memo"
    INTEGER = "integer", "Edm.Int32", "Integer"
    BIGINT = "bigint", "Edm.Int64", "BigInt"
    DECIMAL = "decimal", "Edm.Decimal", "Decimal"
    DOUBLE = "double", "Edm.Double", "Double"
    MONEY = "money", "Edm.Decimal", "Money"
    BOOLEAN = "boolean", "Edm.Boolean", "Boolean"
    DATEONLY = "dateonly", "Edm.Date", "DateTime"
    DATETIME = "datetime", "Edm.DateTimeOffset", "DateTime"
    PICKLIST = "picklist", "Edm.Int32", "Picklist"
    CHOICES = "choices", "Edm.String", "MultiSelectPicklist", "", "Virtual"
    STATE = "state", "Edm.Int32", "State"
    STATUS = "status", "Edm.Int32", "Status"
    LOOKUP = "lookup", "Edm.Guid", "Lookup"
    CUSTOMER = "customer", "Edm.Guid", "Customer", "Lookup"
    OWNER = "owner", "Edm.Guid", "Owner", "Lookup"
    ENTITYNAME = "entityname", "Edm.String", "EntityName"
    FILE = "file", "Edm.Guid", "File", "", "Virtual"
    IMAGE = "image", "Edm.Binary", "Image", "", "Virtual"


LOOKUP_KINDS = frozenset({Kind.LOOKUP, Kind.CUSTOMER, Kind.OWNER})
TEXT_KINDS = frozenset({Kind.STRING, Kind.MEMO, Kind.ENTITYNAME, Kind.UUID})
WHOLE_KINDS = frozenset({Kind.INTEGER, Kind.BIGINT, Kind.PICKLIST, Kind.STATE, Kind.STATUS})
FRACTION_KINDS = frozenset({Kind.DECIMAL, Kind.DOUBLE, Kind.MONEY})


class Required(StrEnum):
    """How strongly a column is required, in the service's own words."""

    NONE = "None"
    RECOMMENDED = "Recommended"
    APPLICATION = "ApplicationRequired"
    SYSTEM = "SystemRequired"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `max_length` is 0 where the source names none (then it is not enforced). `targets` are the tables a lookup may
    point at; `polymorphic` lookups are stored with a second column `<name>_type`. `options` are (value, label).
    `date_format` is `DateOnly` for a UserLocal column that people see as a date. `labels` are (language code, text) of
    a column of the organization's own, `option_labels` the same by value of a choice. `precision` is the number of
    decimals, None for money that has its currency's. Only who a column security profile names sees a `secured` column.
    A `hidden` one is stored and not there for any client. `declared` are properties of its definition,
    `autonumber` is the format by which a create fills it.
    """

    name: str
    kind: Kind
    max_length: int = 0
    required: Required = Required.NONE
    creatable: bool = True
    updatable: bool = True
    readable: bool = True
    label: str = ""
    schema_name: str = ""
    targets: tuple[str, ...] = ()
    options: tuple[tuple[int, str], ...] = ()
    date_format: str = ""
    labels: Labels = ()
    option_labels: tuple[tuple[int, Labels], ...] = ()
    precision: int | None = None
    secured: bool = False
    custom: bool = False
    hidden: bool = False
    autonumber: str = ""
    declared: tuple[tuple[str, object], ...] = ()

    @property
    def is_lookup(self) -> bool:
        """Whether the column holds the id of a row."""
        return self.kind in LOOKUP_KINDS

    @property
    def polymorphic(self) -> bool:
        """Whether the target's table is stored beside the id, in `<name>_type`."""
        return len(self.targets) > 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """A single-valued navigation property: its name, the column that holds the id, the table it leads to."""

    name: str
    column: str
    target: str
    partner: str = ""


@dataclass(frozen=True, slots=True)
class Association:
    """The intersect table of an N:N relationship, seen from one side."""

    table: str
    near: str
    far: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection-valued navigation property: rows of `table` whose `column` points here, or an N:N `association`."""

    name: str
    table: str
    column: str
    partner: str = ""
    association: Association | None = None


@dataclass(frozen=True, slots=True)
class StateOption:
    """One value of statecode, with the status reason a record gets when none is named."""

    value: int
    label: str
    default_status: int
    invariant_name: str
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class StatusOption:
    """One status reason and the state it belongs to."""

    value: int
    label: str
    state: int
    transition_data: str | None = None
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class AlternateKey:
    """Columns whose values together are unique in `table`, so that they name a row."""

    table: str
    name: str
    columns: tuple[str, ...]
    status: str = "Active"


@dataclass(frozen=True, slots=True)
class Table:
    """One table; every mapping is keyed by the exact, case-sensitive name."""

    logical_name: str
    entity_set: str
    schema_name: str
    type_code: int
    primary_id: str
    primary_name: str
    label: str
    plural_label: str
    ownership: str
    privilege_name: str
    change_tracking: bool
    columns: Mapping[str, Column]
    lookups: Mapping[str, Lookup]
    collections: Mapping[str, Collection]
    states: tuple[StateOption, ...] = ()
    statuses: tuple[StatusOption, ...] = ()
    derived_from: tuple[str, ...] = ()
    keys: tuple[AlternateKey, ...] = ()
    enforce_transitions: bool = False
    labels: Labels = ()
    plural_labels: Labels = ()

    def state(self, value: int) -> StateOption | None:
        """Return the state with this value."""
        return next((option for option in self.states if option.value == value), None)

    def status(self, value: int) -> StatusOption | None:
        """Return the status reason with this value."""
        return next((option for option in self.statuses if option.value == value), None)

    def default_status(self, state: int) -> int:
        """Return the default status reason of `state`; raises KeyError for a state the table does not have."""
        option = self.state(state)
        if option is None:
            raise KeyError(state)
        return option.default_status


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a message; `type` is an Edm primitive, `entity:<table>` or `mscrm.<complex type>`."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """An action or function of the Web API.

    `bound_to` is the table it is bound to, or empty. `returns` is empty (204), `entity:<table>`, or the name of a
    complex type. `table` is what it is about, `pack` whether it belongs to the platform, to sales, to Project
    Operations or to the organization itself.
    """

    name: str
    is_function: bool = False
    bound_to: str = ""
    parameters: tuple[Parameter, ...] = ()
    returns: str = ""
    table: str = ""
    pack: str = "sales"


@dataclass(frozen=True, slots=True)
class Schema:
    """All tables by logical name and by entity set name, and the messages they answer to.

    `listed` are the messages that the organization lists for these tables, where that is known.
    """

    tables: Mapping[str, Table]
    messages: Mapping[str, Message]
    listed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_entity_set: Mapping[str, Table] = field(init=False)

    def __post_init__(self) -> None:
        """Index the tables by the name of their entity set."""
        object.__setattr__(self, "by_entity_set", {table.entity_set: table for table in self.tables.values()})

    def with_table(self, table: Table) -> Schema:
        """Return a schema in which `table` replaces the one of the same name."""
        return replace(self, tables={**self.tables, table.logical_name: table})

    def with_status(self, table: str, option: StatusOption) -> Schema:
        """Return a schema in which `table` has this status reason too (or instead, when the value exists).

        For opportunity the same value is added to `opportunitystatuscode` of the close activity, as the custom close
        form asks for; the service does not do that by itself.
        """
        old = self.tables[table]
        others = [status for status in old.statuses if status.value != option.value]
        statuses = tuple(sorted([*others, option], key=lambda value: (value.state, value.value)))
        changed = self.with_table(replace(old, statuses=statuses))
        if table != "opportunity":
            return changed
        column = self.tables["opportunityclose"].columns["opportunitystatuscode"]
        options = sorted([*(pair for pair in column.options if pair[0] != option.value), (option.value, option.label)])
        return changed.with_column("opportunityclose", replace(column, options=tuple(options)))

    def with_column(self, table: str, column: Column) -> Schema:
        """Return a schema in which `table` has this column too, or instead."""
        old = self.tables[table]
        return self.with_table(replace(old, columns={**old.columns, column.name: column}))

    def with_lookup(self, table: str, lookup: Lookup) -> Schema:
        """Return a schema in which `table` has this navigation property too."""
        old = self.tables[table]
        return self.with_table(replace(old, lookups={**old.lookups, lookup.name: lookup}))


ASSOCIATION_KEYS = {
    "opportunitycompetitors": {"opportunity": "opportunityid", "competitor": "competitorid"},
    "systemuserroles": {"systemuser": "systemuserid", "role": "roleid"},
}
"""Intersect tables of the slice and their key columns by table."""
