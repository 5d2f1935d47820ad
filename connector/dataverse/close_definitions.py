"""The definitions of the columns of close activities, whether rows that a close points at are to be seen, decimals.

All are read when an intent first needs them, and kept as long as the rest of the metadata.
Source: learn.microsoft.com/power-apps/developer/data-platform/webapi/query-metadata-web-api.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

from connector.closing.model import ColumnDefinition, LookupDefinition, OrganizationMetadata, RowRef, TableDefinition
from connector.closing.organization import MetadataRequest
from connector.dataverse.answers import decoding, expect, json_object
from connector.dataverse.reading import Row, WebApi, rows_of
from connector.dataverse.webapi import Operation, read_currencies
from connector.handler import Response

CLOSE_TABLES = ("opportunityclose", "quoteclose")

_SUBJECT = "Reading the definitions of close activities"
_CAST = "/Microsoft.Dynamics.CRM."
_OPTIONS = "OptionSet($select=Options),GlobalOptionSet($select=Options)"
_PARTS = (
    "Attributes?$select=LogicalName,AttributeType,AttributeTypeName,IsValidForCreate",
    f"Attributes{_CAST}StringAttributeMetadata?$select=LogicalName,MaxLength",
    f"Attributes{_CAST}MemoAttributeMetadata?$select=LogicalName,MaxLength",
    f"Attributes{_CAST}DateTimeAttributeMetadata?$select=LogicalName,DateTimeBehavior",
    f"Attributes{_CAST}PicklistAttributeMetadata?$select=LogicalName&$expand={_OPTIONS}",
    f"Attributes{_CAST}MultiSelectPicklistAttributeMetadata?$select=LogicalName&$expand={_OPTIONS}",
    *(
        f"Attributes{_CAST}{kind}AttributeMetadata?$select=LogicalName,MinValue,MaxValue"
        for kind in ("Integer", "Decimal", "Double", "Money")
    ),
    "ManyToOneRelationships?$select=ReferencingAttribute,ReferencedEntity,ReferencingEntityNavigationPropertyName",
)
_ROWS_AT_ONCE = 50
_DECIMALS = "Reading the decimals of amounts"
_REVENUE = f"Attributes(LogicalName='actualvalue'){_CAST}MoneyAttributeMetadata?$select=Precision,PrecisionSource"
_AMOUNTS = (
    f"EntityDefinitions(LogicalName='opportunity')/{_REVENUE}",
    "organizations?$select=pricingdecimalprecision",
    read_currencies().path,
)
_OF_COLUMN, _OF_CURRENCY = 0, 2
_Amounts = tuple[Mapping[UUID | None, int], Mapping[UUID | None, str]]
NOT_READ = (
    "The user may not read the definitions of the close activities (prvReadEntity), so the extra columns were not "
    "checked."
)


class CloseDefinitions:
    """Adds to metadata what some intents need of it; reads through the Web API."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._tables: Mapping[str, TableDefinition] | None = None
        self._keys: dict[str, str] = {"competitors": "competitorid"}
        self._seen: set[RowRef] = set()
        self._amounts: _Amounts | None = None

    def forget(self) -> None:
        """Read everything again when it is next needed."""
        with self._lock:
            self._tables = self._amounts = None
            self._seen.clear()

    def add(self, metadata: OrganizationMetadata, needs: MetadataRequest) -> OrganizationMetadata:
        """Return the metadata with what is needed; raises ConnectorError when that has to be read and cannot be."""
        with self._lock:
            if needs.columns and self._tables is None:
                self._tables = self._read_tables()
            tables = (self._tables or {}) if needs.columns else {}
            unchecked = metadata.unchecked if tables or not needs.columns else (*metadata.unchecked, NOT_READ)
            absent = self._absent(needs.rows)
            if needs.amounts and self._amounts is None:
                self._amounts = self._read_amounts()
            decimals, codes = self._amounts if needs.amounts and self._amounts else ({}, {})
        return replace(metadata, tables=tables, absent=absent, decimals=decimals, currencies=codes, unchecked=unchecked)

    def _read_amounts(self) -> _Amounts:
        """Return the decimals of the actual revenue, of each currency or of all, and their codes; nothing if unknown.

        Source: MoneyAttributeMetadata.PrecisionSource (0: the column's, 1: the organization's, 2: the currency's).
        """
        answers = self._api.read_each([Operation("GET", path) for path in _AMOUNTS], _DECIMALS)
        if any(answer.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) for answer in answers):
            return {}, {}
        with decoding(_DECIMALS):
            column, organizations, currencies = (json_object(answer, _DECIMALS) for answer in answers)
            source = column.get("PrecisionSource")
            rows = {UUID(row["transactioncurrencyid"]): row for row in rows_of(currencies, _DECIMALS)}
            codes: dict[UUID | None, str] = {key: str(row["isocurrencycode"]) for key, row in rows.items()}
            if source == _OF_CURRENCY:
                return {key: int(row["currencyprecision"]) for key, row in rows.items()}, codes
            own = column if source == _OF_COLUMN else rows_of(organizations, _DECIMALS)[0]
            return {None: int(own["Precision" if source == _OF_COLUMN else "pricingdecimalprecision"])}, codes

    def _read_tables(self) -> Mapping[str, TableDefinition]:
        """Return the definitions by table, or nothing where this user may not read them."""
        operations = [
            Operation("GET", f"EntityDefinitions(LogicalName='{table}')/{part}")
            for table in CLOSE_TABLES
            for part in _PARTS
        ]
        answers = self._api.read_each(operations, _SUBJECT)
        if any(answer.status == HTTPStatus.FORBIDDEN for answer in answers):
            return {}
        with decoding(_SUBJECT):
            parts = [rows_of(json_object(answer, _SUBJECT), _SUBJECT) for answer in answers]
            read = {
                table: parts[number * len(_PARTS) : (number + 1) * len(_PARTS)]
                for number, table in enumerate(CLOSE_TABLES)
            }
            sets = self._read_sets({str(row["ReferencedEntity"]) for part in read.values() for row in part[-1]})
            return {
                table: TableDefinition(_columns(part), tuple(_lookups(part[-1], sets))) for table, part in read.items()
            }

    def _read_sets(self, tables: Iterable[str]) -> Mapping[str, str]:
        """Return the entity sets of the tables that lookups point at, and learn the primary keys."""
        which = "%20or%20".join([f"LogicalName%20eq%20'{table}'" for table in sorted(tables)])
        path = f"EntityDefinitions?$select=LogicalName,EntitySetName,PrimaryIdAttribute&$filter={which}"
        answer = self._api.send(Operation("GET", path))
        rows = rows_of(json_object(answer, _SUBJECT), _SUBJECT)
        self._keys |= {str(row["EntitySetName"]): str(row["PrimaryIdAttribute"]) for row in rows}
        return {str(row["LogicalName"]): str(row["EntitySetName"]) for row in rows}

    def _absent(self, rows: Iterable[RowRef]) -> frozenset[RowRef]:
        """Return those of the rows that are not to be seen; a row of a table that is not known is not looked for."""
        unknown = sorted(row for row in set(rows) - self._seen if row[0] in self._keys)
        absent: set[RowRef] = set()
        for start in range(0, len(unknown), _ROWS_AT_ONCE):
            chunk = unknown[start : start + _ROWS_AT_ONCE]
            operations = [Operation("GET", f"{name}({id_})?$select={self._keys[name]}") for name, id_ in chunk]
            answers = self._api.read_each(operations, "Looking for the rows it points at")
            absent |= set(_missing(chunk, answers))
            self._seen |= set(chunk) - absent
        return frozenset(absent)


def _missing(rows: Sequence[RowRef], answers: Sequence[Response]) -> Iterator[RowRef]:
    for row, answer in zip(rows, answers, strict=True):
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            yield row
        else:
            expect(answer, f"Looking for {row[0]}({row[1]})")


def _columns(parts: Sequence[Sequence[Row]]) -> Mapping[str, ColumnDefinition]:
    attributes, strings, memos, times, choice, choices, *numbers, _ = parts
    lengths = {row["LogicalName"]: row["MaxLength"] for row in (*strings, *memos)}
    dates = {row["LogicalName"] for row in times if (row["DateTimeBehavior"] or {}).get("Value") == "DateOnly"}
    options = {row["LogicalName"]: _options(row) for row in (*choice, *choices)}
    limits = {row["LogicalName"]: _limits(row) for rows in numbers for row in rows}
    return {
        str(row["LogicalName"]): ColumnDefinition(
            kind_of(row),
            bool(row["IsValidForCreate"]),
            lengths.get(row["LogicalName"]),
            options.get(row["LogicalName"], {}),
            row["LogicalName"] in dates,
            limits.get(row["LogicalName"]),
        )
        for row in attributes
    }


def _limits(row: Row) -> tuple[Decimal, Decimal] | None:
    least, most = row["MinValue"], row["MaxValue"]
    return None if least is None or most is None else (Decimal(str(least)), Decimal(str(most)))


def kind_of(row: Row) -> str:
    """Return the kind of a column; AttributeType calls several choices, images and files all `Virtual`."""
    named = (row.get("AttributeTypeName") or {}).get("Value") or ""
    return str(named).removesuffix("Type") if named and row["AttributeType"] == "Virtual" else str(row["AttributeType"])


def labels_of(label: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a label in every language, the user's own first."""
    own = label.get("UserLocalizedLabel")
    localized = [*([own] if own else []), *(label.get("LocalizedLabels") or [])]
    return tuple(dict.fromkeys(str(entry["Label"]) for entry in localized if entry["Label"]))


def _options(row: Row) -> Mapping[int, tuple[str, ...]]:
    choice: Mapping[str, Any] = row.get("OptionSet") or row.get("GlobalOptionSet") or {}
    return {int(option["Value"]): labels_of(option["Label"]) for option in choice.get("Options", ())}


def _lookups(relationships: Sequence[Row], sets: Mapping[str, str]) -> Iterator[LookupDefinition]:
    for row in relationships:
        table = str(row["ReferencedEntity"])
        yield LookupDefinition(
            str(row["ReferencingEntityNavigationPropertyName"]),
            str(row["ReferencingAttribute"]),
            table,
            sets.get(table, ""),
        )
