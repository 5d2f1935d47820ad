"""Intents and reports as the ledger keeps them: short text that says only what differs from the default."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from uuid import UUID

from connector.closing.model import ColumnValue, DraftPolicy, Intent, Outcome, ReopenIntent
from connector.ledger.model import JobKind, Wanted

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DECIMAL = "decimal"


def wanted_text(wanted: Wanted) -> str:
    """Return an intent as text; the opportunity's id is left out, the ledger has it in a column."""
    data = _closing_data(wanted) if isinstance(wanted, Intent) else _reopening_data(wanted)
    if wanted.key:
        data["key"] = wanted.key
    return _encode(data)


def wanted_from(text: str, opportunity_id: UUID, kind: JobKind, key: str) -> Wanted:
    """Return the intent that `wanted_text` wrote; `key` is the key of one that has none of its own."""
    data = json.loads(text)
    if kind is JobKind.REOPEN:
        activities = data.get("activities")
        return ReopenIntent(
            opportunity_id,
            key=data.get("key", key),
            activity_ids=None if activities is None else frozenset(UUID(activity) for activity in activities),
            closed_under=data.get("closed_under"),
        )
    return _closing_from(data, opportunity_id, key)


def _closing_data(intent: Intent) -> dict[str, object]:
    data: dict[str, object] = {"outcome": intent.outcome.value}
    if intent.drafts is not DraftPolicy.ACTIVATE:
        data["drafts"] = intent.drafts.value
    plain = {
        "status": intent.status,
        "quote_status": intent.quote_status,
        "subject": intent.subject,
        "description": intent.description,
    }
    told = {
        "closed_on": intent.closed_on,
        "actual_revenue": intent.actual_revenue,
        "competitor": intent.competitor_id,
        "winning_quote": intent.winning_quote_id,
    }
    data.update({name: value for name, value in plain.items() if value is not None})
    data.update({name: str(value) for name, value in told.items() if value is not None})
    if intent.opportunity_columns:
        data["opportunity_columns"] = _columns_data(intent.opportunity_columns)
    if intent.quote_columns:
        data["quote_columns"] = _columns_data(intent.quote_columns)
    return data


def _closing_from(data: dict[str, str], opportunity_id: UUID, key: str) -> Intent:
    if len(data) == 1:
        return Intent(opportunity_id, Outcome(data["outcome"]), key)
    day, amount, competitor, quote = (
        data.get(name) for name in ("closed_on", "actual_revenue", "competitor", "winning_quote")
    )
    return Intent(
        opportunity_id,
        Outcome(data["outcome"]),
        key=data.get("key", key),
        status=data.get("status"),
        quote_status=data.get("quote_status"),
        closed_on=date.fromisoformat(day) if day else None,
        actual_revenue=Decimal(amount) if amount else None,
        subject=data.get("subject"),
        description=data.get("description"),
        competitor_id=UUID(competitor) if competitor else None,
        winning_quote_id=UUID(quote) if quote else None,
        drafts=DraftPolicy(data.get("drafts", DraftPolicy.ACTIVATE)),
        opportunity_columns=_columns_from(data.get("opportunity_columns", {})),
        quote_columns=_columns_from(data.get("quote_columns", {})),
    )


def _reopening_data(intent: ReopenIntent) -> dict[str, object]:
    data: dict[str, object] = {}
    if intent.activity_ids is not None:
        data["activities"] = sorted(str(activity) for activity in intent.activity_ids)
    if intent.closed_under is not None:
        data["closed_under"] = intent.closed_under
    return data


def _columns_data(columns: Mapping[str, ColumnValue]) -> dict[str, object]:
    return {
        name: {_DECIMAL: str(value)} if isinstance(value, Decimal) else value for name, value in sorted(columns.items())
    }


def _columns_from(data: object) -> dict[str, ColumnValue]:
    assert isinstance(data, dict)
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


def report_from(kept: bytes) -> dict[str, object]:
    """Return the report that `report_bytes` kept."""
    body = bytes(kept[1:])
    if kept[:1] == _DEFLATED:
        body = zlib.decompressobj(wbits=-12, zdict=_FAMILIAR).decompress(body)
    data: dict[str, object] = json.loads(body)
    return data
