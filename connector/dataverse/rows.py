"""Reads rows of the Web API into the words of the job. What a row lacks or has in excess of its type raises.

Whoever calls wraps it in `answers.decoding`, which makes one failure of all that can be wrong with a row. Columns:
the table references of opportunity, quote, opportunityclose and quoteclose on Microsoft Learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from connector.closing.model import CloseActivity, Opportunity, OpportunityState, Quote, QuoteState

Row = Mapping[str, Any]
"""A row as JSON has it, its decimal numbers as Decimal."""

WORK_BASED = 192350001
"""`msdyn_ordertype` of an opportunity or quote that belongs to Project Operations."""

_COMPLETED = 1


def opportunity_of(row: Row) -> Opportunity:
    """Return the opportunity in `row`."""
    customer, currency = row.get("_customerid_value"), row.get("_transactioncurrencyid_value")
    return Opportunity(
        id=UUID(row["opportunityid"]),
        name=_text(row.get("name")),
        state=OpportunityState(row["statecode"]),
        status=_integer(row["statuscode"]),
        version=_version(row),
        estimated_value=money_of(row.get("estimatedvalue")),
        actual_value=money_of(row.get("actualvalue")),
        actual_close_date=day_of(row.get("actualclosedate")),
        customer_id=None if customer is None else UUID(customer),
        currency_id=None if currency is None else UUID(currency),
        work_based=row.get("msdyn_ordertype") == WORK_BASED,
    )


def quote_of(row: Row) -> Quote:
    """Return the quote in `row`."""
    return Quote(
        id=UUID(row["quoteid"]),
        name=_text(row.get("name")),
        number=_text(row.get("quotenumber")),
        state=QuoteState(row["statecode"]),
        status=_integer(row["statuscode"]),
        version=_version(row),
        work_based=row.get("msdyn_ordertype") == WORK_BASED,
        revision=_integer(row.get("revisionnumber") or 0),
    )


def activity_of(row: Row, column: str) -> CloseActivity | None:
    """Return the close activity in `row`, whose record stands in lookup `column`; None if it names none."""
    record = row[column]
    if record is None:
        return None
    created = row.get("createdon")
    created_on = None if created is None else datetime.fromisoformat(created)
    return CloseActivity(UUID(row["activityid"]), UUID(record), row["statecode"] == _COMPLETED, created_on)


def day_of(value: str | None) -> date | None:
    """Return a calendar date, which some columns have with a time."""
    return None if value is None else date.fromisoformat(value[:10])


def _version(row: Row) -> str:
    """Return the ETag of `row`; an expanded row may come without, but with the number that it is made of."""
    etag = row.get("@odata.etag")
    if etag is None:
        return f'W/"{_integer(row["versionnumber"])}"'
    if not isinstance(etag, str) or not etag.isascii() or not etag.isprintable():
        raise TypeError(type(etag))
    return etag


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(type(value))
    return value


def money_of(value: object) -> Decimal | None:
    """Return an amount; None for a column that is empty. Raises TypeError for what is no number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(type(value))
    return Decimal(value)
