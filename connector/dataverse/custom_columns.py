"""The organization's own columns of a close activity, as a JSON schema that a designer shows as fields.

Source: learn.microsoft.com/power-apps/developer/data-platform/webapi/query-metadata-web-api.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.dataverse.answers import decoding
from connector.dataverse.reading import read_rows
from connector.dataverse.webapi import Endpoint, Operation
from connector.handler import Handler

_SUBJECT = "Reading the custom columns"

_KINDS: Mapping[str, Mapping[str, str]] = {
    "String": {"type": "string"},
    "Memo": {"type": "string"},
    "Integer": {"type": "integer", "format": "int32"},
    "Picklist": {"type": "integer", "format": "int32"},
    "Decimal": {"type": "number", "format": "double"},
    "Double": {"type": "number", "format": "double"},
    "Money": {"type": "number", "format": "double"},
    "Boolean": {"type": "boolean"},
    "DateTime": {"type": "string", "format": "date-time"},
}
"""What a value of each type is in JSON; lookups and other types cannot be given as a plain value."""


_DATE: Mapping[str, str] = {"type": "string", "format": "date"}
"""What a column of dates alone takes; a time of day is refused there (the type Edm.Date)."""


def custom_columns(handler: Handler, base_url: str, table: str) -> dict[str, Any]:
    """Return the schema of the custom columns of `table` which may be set on creation; raises ConnectorError."""
    attributes = f"EntityDefinitions(LogicalName='{table}')/Attributes"
    query = "?$select=LogicalName,AttributeType,IsCustomAttribute,IsValidForCreate,DisplayName,Description"
    rows = read_rows(handler, Endpoint(base_url), Operation("GET", attributes + query), _SUBJECT)
    with decoding(_SUBJECT):
        own = [
            row
            for row in sorted(rows, key=lambda row: str(row["LogicalName"]))
            if row["IsCustomAttribute"] and row["IsValidForCreate"] and row["AttributeType"] in _KINDS
        ]
        timed = any(row["AttributeType"] == "DateTime" for row in own)
        dates = _dates(handler, base_url, attributes) if timed else frozenset()
        return {"type": "object", "properties": {str(row["LogicalName"]): _property(row, dates) for row in own}}


def _dates(handler: Handler, base_url: str, attributes: str) -> frozenset[str]:
    """Return the names of the columns whose behavior is a date alone: only their own type of definition tells."""
    query = "/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata?$select=LogicalName,DateTimeBehavior"
    rows = read_rows(handler, Endpoint(base_url), Operation("GET", attributes + query), _SUBJECT)
    return frozenset(str(row["LogicalName"]) for row in rows if row["DateTimeBehavior"]["Value"] == "DateOnly")


def _property(row: Mapping[str, Any], dates: frozenset[str]) -> dict[str, str]:
    label = _label(row.get("DisplayName")) or str(row["LogicalName"])
    described = _label(row.get("Description")) or f"The column {row['LogicalName']}."
    kind = _DATE if row["LogicalName"] in dates else _KINDS[row["AttributeType"]]
    return {**kind, "title": label, "x-ms-summary": label, "description": described}


def _label(label: Mapping[str, Any] | None) -> str:
    own = (label or {}).get("UserLocalizedLabel")
    return str(own["Label"]) if own else ""
