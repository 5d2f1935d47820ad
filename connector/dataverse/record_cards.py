"""Reads what people know an opportunity by: names, amounts and dates, with those of its quotes.

Names of lookups come as formatted values (learn.microsoft.com/power-apps/developer/data-platform/webapi/query/
select-columns, "Formatted values"). Amounts are in the currency of the opportunity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from connector.closing.model import OpportunityState, QuoteState
from connector.dataverse.answers import decoding
from connector.dataverse.reading import read_sets
from connector.dataverse.rows import Row, money_of
from connector.dataverse.webapi import ANNOTATIONS, Endpoint, read_set
from connector.handler import Handler

_NAME = "@OData.Community.Display.V1.FormattedValue"
_OPPORTUNITY = (
    "name,statecode,statuscode,estimatedvalue,estimatedclosedate,actualvalue,actualclosedate,createdon,modifiedon,"
    "_customerid_value,_ownerid_value,_transactioncurrencyid_value"
)
_QUOTE = "name,quotenumber,statecode,statuscode,totalamount,_opportunityid_value"
_SUBJECT = "Reading names and amounts of opportunities"
CARDS_PER_READ = 300
"""An id takes 39 characters of an address, which the service takes up to 32,768 of."""


@dataclass(frozen=True, slots=True)
class QuoteCard:
    """A quote as people know it; `status` is the label of its status reason, `total` in the quote's currency."""

    id: UUID
    number: str
    name: str
    state: QuoteState
    status: str
    total: Decimal | None


@dataclass(frozen=True, slots=True)
class OpportunityCard:
    """An opportunity as people know it; `status` is the label of its status reason, `currency` the currency's name."""

    id: UUID
    name: str
    state: OpportunityState
    status: str
    customer: str = ""
    owner: str = ""
    currency: str = ""
    estimated_value: Decimal | None = None
    estimated_close_date: date | None = None
    actual_value: Decimal | None = None
    actual_close_date: date | None = None
    created_on: datetime | None = None
    modified_on: datetime | None = None
    quotes: tuple[QuoteCard, ...] = field(default=())


def read_cards(handler: Handler, endpoint: Endpoint, ids: Sequence[UUID]) -> Mapping[UUID, OpportunityCard]:
    """Return the cards of those of the opportunities that exist, in the order of `ids`. Raises ConnectorError."""
    named = replace(endpoint, annotations=f'{ANNOTATIONS[:-1]},{_NAME[1:]}"')
    cards: dict[UUID, OpportunityCard] = {}
    for start in range(0, len(ids), CARDS_PER_READ):
        chunk = ids[start : start + CARDS_PER_READ]
        reads = [read_set(entities, columns, "opportunityid", chunk) for entities, columns in _SETS]
        opportunities, quotes = read_sets(handler, named, reads, _SUBJECT)
        with decoding(_SUBJECT):
            of_opportunity: dict[UUID, list[QuoteCard]] = {}
            for row in quotes:
                of_opportunity.setdefault(UUID(row["_opportunityid_value"]), []).append(_quote(row))
            found = {UUID(row["opportunityid"]): _opportunity(row, of_opportunity) for row in opportunities}
        cards.update((id_, found[id_]) for id_ in chunk if id_ in found)
    return cards


_SETS = (("opportunities", _OPPORTUNITY), ("quotes", _QUOTE))


def _opportunity(row: Row, quotes: Mapping[UUID, list[QuoteCard]]) -> OpportunityCard:
    id_ = UUID(row["opportunityid"])
    return OpportunityCard(
        id=id_,
        name=row.get("name") or "",
        state=OpportunityState(row["statecode"]),
        status=_label(row, "statuscode"),
        customer=_label(row, "_customerid_value"),
        owner=_label(row, "_ownerid_value"),
        currency=_label(row, "_transactioncurrencyid_value"),
        estimated_value=money_of(row.get("estimatedvalue")),
        estimated_close_date=_day(row.get("estimatedclosedate")),
        actual_value=money_of(row.get("actualvalue")),
        actual_close_date=_day(row.get("actualclosedate")),
        created_on=_moment(row.get("createdon")),
        modified_on=_moment(row.get("modifiedon")),
        quotes=tuple(sorted(quotes.get(id_, ()), key=lambda quote: quote.number)),
    )


def _quote(row: Row) -> QuoteCard:
    return QuoteCard(
        id=UUID(row["quoteid"]),
        number=row.get("quotenumber") or "",
        name=row.get("name") or "",
        state=QuoteState(row["statecode"]),
        status=_label(row, "statuscode"),
        total=money_of(row.get("totalamount")),
    )


def _label(row: Row, column: str) -> str:
    """Return the formatted value of a column; where there is none, the value as text."""
    value = row.get(column)
    return str(row.get(f"{column}{_NAME}") or ("" if value is None else value))


def _day(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value[:10])


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
