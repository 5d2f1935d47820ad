"""Reads the definitions of a capture (tables, columns, choices, states, keys) and what runs there: steps, flows.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query-metadata-web-api; the references of
EntityMetadata, AttributeMetadata and the types derived from it. A collection of one derived type is asked for each
type that a table has columns of: an expansion casts to one type only. Of what runs there is read what it does and
when, nothing of its insides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

from connector.dataverse.answers import decoding
from connector.dataverse.reading import Row, WebApi
from connector.dataverse.webapi import Operation
from connector.organization.capture_model import (
    SLICE,
    ChoiceFact,
    ColumnAccessFact,
    ColumnFact,
    FlowFact,
    KeyFact,
    NavigationFact,
    ProcessFact,
    ReasonFact,
    Section,
    StateFact,
    StepFact,
    TableFact,
    sorted_section,
)
from connector.organization.fact_source import fact_of

_SUBJECT = "Reading table definitions"
_OF_TABLE = (
    "LogicalName,EntitySetName,SchemaName,PrimaryIdAttribute,PrimaryNameAttribute,OwnershipType,"
    "EnforceStateTransitions,ChangeTrackingEnabled,DisplayName,DisplayCollectionName"
)
_OF_TARGET = "LogicalName,EntitySetName,SchemaName,PrimaryIdAttribute,PrimaryNameAttribute,OwnershipType"
_OF_COLUMN = (
    "LogicalName,SchemaName,AttributeTypeName,AttributeOf,IsCustomAttribute,RequiredLevel,IsValidForCreate,"
    "IsValidForUpdate,IsValidForRead,IsSecured,DisplayName"
)
_CASTS = {
    "StringType": ("StringAttributeMetadata", "MaxLength"),
    "MemoType": ("MemoAttributeMetadata", "MaxLength"),
    "MoneyType": ("MoneyAttributeMetadata", "Precision,PrecisionSource"),
    "DecimalType": ("DecimalAttributeMetadata", "Precision"),
    "DoubleType": ("DoubleAttributeMetadata", "Precision"),
    "DateTimeType": ("DateTimeAttributeMetadata", "Format,DateTimeBehavior"),
    "LookupType": ("LookupAttributeMetadata", "Targets"),
    "PicklistType": ("PicklistAttributeMetadata", ""),
    "MultiSelectPicklistType": ("MultiSelectPicklistAttributeMetadata", ""),
    "BooleanType": ("BooleanAttributeMetadata", ""),
    "StateType": ("StateAttributeMetadata", ""),
    "StatusType": ("StatusAttributeMetadata", ""),
}
"""By AttributeTypeName: the derived type to ask for and its own properties; without any, its choices are asked for."""
_LOOKUPS = {"CustomerType", "OwnerType"}


def read_definitions(api: WebApi) -> dict[str, Section[Any]]:
    """Return the sections of definitions by name. Raises ConnectorError; Forbidden where the caller may not."""
    reading = _DefinitionReading(api)
    for table in SLICE:
        reading.read(table)
    reading.read_targets()
    return {name: sorted_section(facts) for name, facts in reading.facts.items()}


class _DefinitionReading:
    """Collects the rows of all sections of definitions."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        names = ("tables", "columns", "choices", "states", "reasons", "navigation", "keys")
        self.facts: dict[str, list[Any]] = {name: [] for name in names}

    def _rows(self, path: str) -> list[Row]:
        return self._api.read_rows(Operation("GET", path), _SUBJECT)

    def read(self, table: str) -> None:
        """Read one table of the slice."""
        definition = self._rows(f"EntityDefinitions?$select={_OF_TABLE}&$filter=LogicalName%20eq%20'{table}'")
        below = f"EntityDefinitions(LogicalName='{table}')/"
        columns = self._rows(f"{below}Attributes?$select={_OF_COLUMN}")
        with decoding(_SUBJECT):
            self.facts["tables"] += [fact_of(TableFact, row) for row in definition]
            own = [row for row in columns if row.get("AttributeOf") is None]  # the others are names of lookups and such
            details = self._details(below, {row["AttributeTypeName"]["Value"] for row in own})
            self.facts["columns"] += [
                fact_of(ColumnFact, {**details.get(row["LogicalName"], {}), **row}, table=table) for row in own
            ]
            for row in details.values():
                self._choices(table, row)
        relations = self._rows(
            f"{below}ManyToOneRelationships?$select=ReferencingAttribute,ReferencedEntity,"
            "ReferencingEntityNavigationPropertyName"
        )
        keys = self._rows(f"{below}Keys?$select=LogicalName,KeyAttributes,EntityKeyIndexStatus")
        with decoding(_SUBJECT):
            self.facts["navigation"] += [
                fact_of(NavigationFact, row, table=table)
                for row in relations
                if row["ReferencingEntityNavigationPropertyName"]
            ]
            self.facts["keys"] += [fact_of(KeyFact, row, table=table) for row in keys]

    def read_targets(self) -> None:
        """Read what `@odata.bind` needs of the tables that lookups point at."""
        targets = {fact.target for fact in self.facts["navigation"]} - set(SLICE)
        rows = self._rows(f"EntityDefinitions?$select={_OF_TARGET}")
        with decoding(_SUBJECT):
            self.facts["tables"] += [
                fact_of(TableFact, row, target=True) for row in rows if row["LogicalName"] in targets
            ]

    def _details(self, below: str, types: set[str]) -> dict[str, Row]:
        """Return what only the derived types tell, by column."""
        rows: list[Row] = []
        for name in sorted(types | ({"LookupType"} if types & _LOOKUPS else set())):
            if name in _CASTS:
                kind, own = _CASTS[name]
                query = f"$select=LogicalName,{own}" if own else "$select=LogicalName&$expand=OptionSet"
                rows += self._rows(f"{below}Attributes/Microsoft.Dynamics.CRM.{kind}?{query}")
        return {row["LogicalName"]: row for row in rows}

    def _choices(self, table: str, row: Row) -> None:
        choices = row.get("OptionSet")
        if choices is None:
            return
        options = choices.get("Options") or [choices[name] for name in ("TrueOption", "FalseOption") if name in choices]
        for option in options:
            if "DefaultStatus" in option:
                self.facts["states"].append(fact_of(StateFact, option, table=table))
            elif "State" in option:
                self.facts["reasons"].append(fact_of(ReasonFact, option, table=table))
            else:
                self.facts["choices"].append(fact_of(ChoiceFact, option, table=table, column=row["LogicalName"]))


def table_filter(column: str) -> Iterator[str]:
    """Yield a condition for each table of the slice."""
    yield from (f"{column}%20eq%20'{table}'" for table in SLICE)


_MICROSOFT = ("Microsoft.", "MicrosoftDynamics", "Msdyn", "CrmPlugin")


def step_fact(row: Row) -> StepFact:
    """Return a plug-in step with its message, table and plug-in type."""
    plug_in = str((row.get("plugintypeid") or {}).get("typename") or "")
    managed = bool(row["ismanaged"])
    vendor: Literal["microsoft", "managed"] = "microsoft" if plug_in.startswith(_MICROSOFT) else "managed"
    return fact_of(StepFact, row, origin=vendor if managed else "own")


def process_fact(row: Row) -> ProcessFact:
    """Return a classic workflow or an action."""
    return fact_of(ProcessFact, row, kind="action" if row["category"] == 3 else "workflow")


def flow_fact(row: Row, names: dict[str, str]) -> FlowFact:
    """Return a flow's registration; `names` has the names of flows by their ids."""
    name = str(row["name"] or "")
    return fact_of(FlowFact, row, name=names.get(name.rpartition(" ")[2], name))


def access_facts(secured: Mapping[UUID, str], rows: list[Row]) -> Iterator[ColumnAccessFact]:
    """Yield what the caller may do with each secured column, by the privileges that name its definition's id."""
    rights = {UUID(row["AttributeId"]): row for row in rows}
    for key, name in secured.items():
        (table, _, column), right = name.partition("."), rights.get(key, {})
        read, create, update = (bool(right.get(f"Can{verb}")) for verb in ("Read", "Create", "Update"))
        yield ColumnAccessFact(table=table, name=column, read=read, create=create, update=update)
