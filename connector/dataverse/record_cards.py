"""Reads what people know an opportunity by: names, amounts and dates, with those of its quotes.

Names of lookups come as formatted values (learn.microsoft.com/power-apps/developer/data-platform/webapi/query/
select-columns). Amounts are in the currency of the record, with as many decimals as the organization shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from connector.closing.model import Opportunity, Quote
from connector.dataverse.answers import decoding
from connector.dataverse.reading import Row, WebApi, day_of, money_of, opportunity_of, quote_of
from connector.dataverse.webapi import ANNOTATIONS, OPPORTUNITY_COLUMNS, QUOTE_COLUMNS, read_set

_NAME = "OData.Community.Display.V1.FormattedValue"
_SETS = (("opportunities", f"{OPPORTUNITY_COLUMNS},estimatedclosedate"), ("quotes", QUOTE_COLUMNS))
_SUBJECT = "Reading names and amounts of opportunities"
_MOST_IDS = 300


@dataclass(frozen=True, slots=True)
class QuoteCard:
    """A quote as people know it; `status` is the label of its status reason."""

    record: Quote
    status: str
    total: Decimal | None

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        record, total = self.record, None if self.total is None else str(self.total)
        data = {"id": str(record.id), "number": record.number, "name": record.name, "state": record.state.name.lower()}
        return data | {"status": self.status, "total": total}


@dataclass(frozen=True, slots=True)
class OpportunityCard:
    """An opportunity as people know it; `status` is the label of its status reason, the others are names too."""

    record: Opportunity
    status: str
    customer: str
    owner: str
    currency: str
    estimated_close_date: date | None
    quotes: tuple[QuoteCard, ...]
    decimals: int = 2

    def amount(self, value: Decimal) -> str:
        """Return an amount for people, halves rounded up."""
        return f"{value.quantize(Decimal(1).scaleb(-self.decimals), ROUND_HALF_UP):,f}"

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        value, due = self.record.estimated_value, self.estimated_close_date
        return {
            "id": str(self.record.id),
            "name": self.record.name,
            "state": self.record.state.name.lower(),
            "status": self.status,
            "customer": self.customer,
            "owner": self.owner,
            "currency": self.currency,
            "estimated_value": None if value is None else str(value),
            "estimated_close_date": None if due is None else str(due),
            "quotes": [quote.data() for quote in self.quotes],
        }


def read_cards(api: WebApi, ids: Sequence[UUID]) -> Mapping[UUID, OpportunityCard]:
    """Return the cards of those of the opportunities that exist, in the order of `ids`. Raises ConnectorError."""
    named = WebApi(api.handler, replace(api.endpoint, annotations=f'{ANNOTATIONS[:-1]},{_NAME}"'))
    cards: dict[UUID, OpportunityCard] = {}
    for start in range(0, len(ids), _MOST_IDS):
        chunk = ids[start : start + _MOST_IDS]
        reads = [read_set(entity_set, columns, "opportunityid", chunk) for entity_set, columns in _SETS]
        rows, quote_rows = named.read_sets(reads, _SUBJECT)
        with decoding(_SUBJECT):
            quotes: dict[str, list[QuoteCard]] = {}
            for row in quote_rows:
                card = QuoteCard(quote_of(row), _label(row, "statuscode"), money_of(row.get("totalamount")))
                quotes.setdefault(row["_opportunityid_value"], []).append(card)
            cards_by_id = {row["opportunityid"]: _card(row, quotes.get(row["opportunityid"], [])) for row in rows}
        cards.update((id_, cards_by_id[str(id_)]) for id_ in chunk if str(id_) in cards_by_id)
    return cards


def _card(row: Row, quotes: Sequence[QuoteCard]) -> OpportunityCard:
    return OpportunityCard(
        opportunity_of(row),
        _label(row, "statuscode"),
        _label(row, "_customerid_value"),
        _label(row, "_ownerid_value"),
        _label(row, "_transactioncurrencyid_value"),
        day_of(row.get("estimatedclosedate")),
        tuple(sorted(quotes, key=lambda quote: quote.record.number)),
        _decimals(row),
    )


def _decimals(row: Row) -> int:
    """Return with how many decimals the value is shown, 2 where that is not told: its digits after the whole ones."""
    value, shown = money_of(row.get("estimatedvalue")), str(row.get(f"estimatedvalue@{_NAME}") or "")
    decimals = sum(map(str.isdigit, shown)) - len(str(abs(int(value or 0))))
    return min(10, max(0, decimals)) if value is not None and shown else 2


def _label(row: Row, column: str) -> str:
    return str(row.get(f"{column}@{_NAME}") or row.get(column) or "")
