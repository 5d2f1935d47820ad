"""Intents and reports as the ledger keeps them: short text that says only what differs from the default."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import (
    CLOSE_FIELDS,
    REOPEN_FIELDS,
    AnyIntent,
    ColumnValue,
    DraftPolicy,
    Intent,
    ReopenIntent,
)
from connector.closing.request import plain_value, read_value
from connector.ledger.jobs import JobKind

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DECIMAL = "decimal"
_FIELDS: Mapping[type[AnyIntent], tuple[CloseField, ...]] = {Intent: CLOSE_FIELDS, ReopenIntent: REOPEN_FIELDS}


def intent_text(intent: AnyIntent) -> str:
    """Return an intent as text; the opportunity's id is left out, the ledger has it in a column."""
    data: dict[str, object] = {}
    for field in _FIELDS[type(intent)]:
        value = getattr(intent, field.key)
        if value is None or value is False or value is DraftPolicy.ACTIVATE:
            continue
        if field.kind is not FieldKind.COLUMNS:
            data[field.name] = plain_value(value)
        elif value:
            data[field.name] = _columns_data(value)
    if intent.key:
        data["key"] = intent.key
    return _encode(data)


def intent_from(text: str, opportunity_id: UUID, kind: JobKind, key: str) -> AnyIntent:
    """Return the intent that `intent_text` wrote; `key` is the key of one that has none of its own."""
    data = json.loads(text)
    shape: type[AnyIntent] = ReopenIntent if kind is JobKind.REOPEN else Intent
    attributes: dict[str, Any] = {"key": data.get("key", key)}
    for field in _FIELDS[shape]:
        value = data.get(field.name)
        if value is None:
            continue
        columns = field.kind is FieldKind.COLUMNS
        attributes[field.key] = _columns_from(value) if columns else read_value(field, value)
    return shape(opportunity_id, **attributes)


def _columns_data(columns: Mapping[str, ColumnValue]) -> dict[str, object]:
    return {
        name: {_DECIMAL: str(value)} if isinstance(value, Decimal) else value for name, value in sorted(columns.items())
    }


def _columns_from(data: Mapping[str, Any]) -> dict[str, ColumnValue]:
    return {name: Decimal(value[_DECIMAL]) if isinstance(value, dict) else value for name, value in data.items()}


# -- reports ----------------------------------------------------------------------------------------------------------

_PLAIN, _DEFLATED = b"\x00", b"\x01"

_FAMILIAR = (
    b'{"kind":"NotFound","message":"","remedy":"","effect":"unknown","code":"0x80040217","request_id":"","http_status":'
    b'{"status":"failed","reason":"","reason_code":"","error":{"kind":"Rejected","effect":"none"},"partial":true}'
    b'{"status":"refused","opportunity_id":"","digest":"","steps":[],"partial":false,"warnings":[],"rounds":1}'
    b'{"status":"already_closed","opportunity_id":"","digest":"","steps":[],"partial":false,"warnings":[],"rounds":1}'
    b'{"kind":"activate_quote","record":"","table":"quote","label":"Activate quote ","message":"Update","state":1,'
    b'"status_reason":2,"result":"done","request_id":""},{"kind":"win_quote","message":"WinQuote","state":2,'
    b'{"status":"closed","opportunity_id":"","digest":"","steps":[{"kind":"close_quote","record":"","table":"quote",'
    b'"label":"Close quote ","message":"CloseQuote","state":3,"status_reason":6,"activity_id":"","activity":{"subject":'
    b'"Quote Close"},"result":"done","request_id":""},{"kind":"close_opportunity","record":"","table":"opportunity",'
    b'"label":"Close opportunity as lost","message":"LoseOpportunity","state":2,"status_reason":4,"activity_id":"",'
    b'"label":"Close opportunity as won","message":"WinOpportunity","state":1,"status_reason":3,"activity_id":"",'
    b'"activity":{"subject":"Opportunity closed as won"},"result":"done","request_id":""}],"partial":false,'
    b'"warnings":[],"rounds":1}'
)
"""What reports have in common, so that it costs nothing. Never change it: it is needed to read what was written."""


def report_bytes(report: Mapping[str, object]) -> bytes:
    """Return a report for keeping: deflated against what all reports have in common, about a quarter of its text."""
    text = _encode(report).encode()
    deflate = zlib.compressobj(level=6, wbits=-12, memLevel=5, zdict=_FAMILIAR)
    short = deflate.compress(text) + deflate.flush()
    return _DEFLATED + short if len(short) < len(text) else _PLAIN + text


def report_from(stored: bytes) -> dict[str, object]:
    """Return the report that `report_bytes` kept."""
    body = bytes(stored[1:])
    if stored[:1] == _DEFLATED:
        body = zlib.decompressobj(wbits=-12, zdict=_FAMILIAR).decompress(body)
    data: dict[str, object] = json.loads(body)
    return data
