"""Reads the definitions of a capture (tables, columns, choices, states, keys) and what runs there: steps, flows.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query-metadata-web-api; the references of
EntityMetadata, AttributeMetadata and the types derived from it. A collection of one derived type is asked for each
type that a table has columns of: an expansion casts to one type only. Of what runs there is read what it does and
when, nothing of its insides.
"""

from __future__ import annotations

import re
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
    Labels,
    NavigationFact,
    ProcessFact,
    ReasonFact,
    Section,
    StateFact,
    StepFact,
    TableFact,
    TimeFact,
    sorted_section,
)

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
_FOLLOWERS = re.compile(r"tostatusid=['\"](\d{1,10})['\"]")


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
            self.facts["tables"] += [_table(row) for row in definition]
            own = [row for row in columns if row.get("AttributeOf") is None]  # the others are names of lookups and such
            details = self._details(below, {row["AttributeTypeName"]["Value"] for row in own})
            self.facts["columns"] += [_column(table, row, details.get(row["LogicalName"], {})) for row in own]
            for row in details.values():
                self._choices(table, row)
        relations = self._rows(
            f"{below}ManyToOneRelationships?$select=ReferencingAttribute,ReferencedEntity,"
            "ReferencingEntityNavigationPropertyName"
        )
        keys = self._rows(f"{below}Keys?$select=LogicalName,KeyAttributes,EntityKeyIndexStatus")
        with decoding(_SUBJECT):
            self.facts["navigation"] += [
                NavigationFact(
                    table=table,
                    name=row["ReferencingEntityNavigationPropertyName"],
                    column=row["ReferencingAttribute"],
                    target=row["ReferencedEntity"],
                )
                for row in relations
                if row["ReferencingEntityNavigationPropertyName"]
            ]
            self.facts["keys"] += [
                KeyFact(
                    table=table,
                    name=row["LogicalName"],
                    columns=tuple(row["KeyAttributes"]),
                    status=str(row.get("EntityKeyIndexStatus") or ""),
                )
                for row in keys
            ]

    def read_targets(self) -> None:
        """Read what `@odata.bind` needs of the tables that lookups point at."""
        targets = {fact.target for fact in self.facts["navigation"]} - set(SLICE)
        rows = self._rows(f"EntityDefinitions?$select={_OF_TARGET}")
        with decoding(_SUBJECT):
            self.facts["tables"] += [_table(row, target=True) for row in rows if row["LogicalName"] in targets]

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
            value, labels = option["Value"], labels_of(option["Label"])
            if "DefaultStatus" in option:
                fact = {"default_reason": option["DefaultStatus"], "invariant_name": option.get("InvariantName") or ""}
                self.facts["states"].append(StateFact(table=table, value=value, labels=labels, **fact))
            elif "State" in option:
                followers = _followers(option.get("TransitionData"))
                fact = {"state": option["State"], "transitions": followers}
                self.facts["reasons"].append(ReasonFact(table=table, value=value, labels=labels, **fact))
            else:
                column = row["LogicalName"]
                self.facts["choices"].append(ChoiceFact(table=table, column=column, value=value, labels=labels))


def labels_of(label: Mapping[str, Any] | None) -> Labels:
    """Return the texts of a Label by language code, in the order of the codes."""
    entries = (label or {}).get("LocalizedLabels") or []
    return dict(sorted((str(entry["LanguageCode"]), str(entry["Label"])) for entry in entries if entry["Label"]))


def _table(row: Row, *, target: bool = False) -> TableFact:
    return TableFact(
        name=row["LogicalName"],
        entity_set=row["EntitySetName"] or "",
        schema_name=row["SchemaName"],
        primary_id=row["PrimaryIdAttribute"] or "",
        primary_name=row["PrimaryNameAttribute"] or "",
        target=target,
        user_owned=row["OwnershipType"] == "UserOwned",
        transitions_enforced=bool(row.get("EnforceStateTransitions")),
        change_tracking=bool(row.get("ChangeTrackingEnabled")),
        labels=labels_of(row.get("DisplayName")),
        plural_labels=labels_of(row.get("DisplayCollectionName")),
    )


def _column(table: str, row: Row, detail: Row) -> ColumnFact:
    return ColumnFact(
        table=table,
        name=row["LogicalName"],
        type=row["AttributeTypeName"]["Value"],
        schema_name=row["SchemaName"],
        custom=row["IsCustomAttribute"],
        required=row["RequiredLevel"]["Value"],
        create=row["IsValidForCreate"],
        update=row["IsValidForUpdate"],
        read=row["IsValidForRead"],
        secured=row["IsSecured"],
        max_length=detail.get("MaxLength"),
        precision=detail.get("Precision"),
        precision_source=detail.get("PrecisionSource"),
        format=str(detail.get("Format") or ""),
        behavior=str((detail.get("DateTimeBehavior") or {}).get("Value") or ""),
        targets=tuple(detail.get("Targets") or ()),
        labels=labels_of(row["DisplayName"]),
    )


def _followers(data: str | None) -> tuple[int, ...] | None:
    return None if data is None else tuple(sorted({int(value) for value in _FOLLOWERS.findall(data)}))


def table_filter(column: str) -> Iterator[str]:
    """Yield a condition for each table of the slice."""
    yield from (f"{column}%20eq%20'{table}'" for table in SLICE)


_MICROSOFT = ("Microsoft.", "MicrosoftDynamics", "Msdyn", "CrmPlugin")


def _listed(names: object) -> tuple[str, ...]:
    return tuple(sorted(name.strip() for name in str(names or "").split(",") if name.strip()))


def step_fact(row: Row) -> StepFact:
    """Return a plug-in step with its message, table and plug-in type."""
    plug_in = str((row.get("plugintypeid") or {}).get("typename") or "")
    managed = bool(row["ismanaged"])
    vendor: Literal["microsoft", "managed"] = "microsoft" if plug_in.startswith(_MICROSOFT) else "managed"
    return StepFact(
        id=row["sdkmessageprocessingstepid"],
        name=row["name"] or "",
        message=row["sdkmessageid"]["name"],
        table=str((row.get("sdkmessagefilterid") or {}).get("primaryobjecttypecode") or "").replace("none", ""),
        plug_in=plug_in,
        origin=vendor if managed else "own",
        asynchronous=row["mode"] == 1,
        stage=row["stage"],
        rank=row["rank"] or 1,
        columns=_listed(row["filteringattributes"]),
        bypassable=row["canbebypassed"] is not False,
    )


def process_fact(row: Row) -> ProcessFact:
    """Return a classic workflow or an action."""
    return ProcessFact(
        id=row["workflowid"],
        name=row["name"] or "",
        kind="action" if row["category"] == 3 else "workflow",
        table=row["primaryentity"],
        unique_name=row["uniquename"] or "",
        real_time=row["mode"] == 1,
        on_create=bool(row["triggeroncreate"]),
        on_delete=bool(row["triggerondelete"]),
        columns=_listed(row["triggeronupdateattributelist"]),
        managed=bool(row["ismanaged"]),
    )


def flow_fact(row: Row, names: dict[str, str]) -> FlowFact:
    """Return a flow's registration; `names` has the names of flows by their ids."""
    name = str(row["name"] or "")
    return FlowFact(
        id=row["callbackregistrationid"],
        name=names.get(name.rpartition(" ")[2], name),
        table=row["entityname"] or "",
        message=row["message"],
        action=row["sdkmessagename"] or "",
        scope=row["scope"] or 4,
        run_as=row["runas"],
        columns=_listed(row["filteringattributes"]),
        filter=row["filterexpression"] or "",
    )


def time_fact(row: Row) -> TimeFact:
    """Return what a plug-in type took on average."""
    return TimeFact(
        plug_in=row["plugintypeid"]["typename"],
        average_ms=float(row["averageexecutetimeinmilliseconds"] or 0),
        executions=int(row["executecount"] or 0),
        failure_percent=float(row["failurepercent"] or 0),
    )


def access_facts(secured: Mapping[UUID, str], rows: list[Row]) -> Iterator[ColumnAccessFact]:
    """Yield what the caller may do with each secured column, by the privileges that name its definition's id."""
    rights = {UUID(row["AttributeId"]): row for row in rows}
    for key, name in secured.items():
        (table, _, column), right = name.partition("."), rights.get(key, {})
        read, create, update = (bool(right.get(f"Can{verb}")) for verb in ("Read", "Create", "Update"))
        yield ColumnAccessFact(table=table, name=column, read=read, create=create, update=update)
