"""Sees opportunities: their rows, their quotes and their close activities, put together into snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from uuid import UUID

from connector.closing.model import CloseActivity, Opportunity, Quote, QuoteOrder, Snapshot
from connector.dataverse import webapi
from connector.dataverse.answers import decoding, error_from, json_object
from connector.dataverse.reading import (
    Row,
    activity_of,
    opportunity_of,
    order_of,
    quote_of,
    read_on,
    read_rows,
    read_sets,
    rows_of,
)
from connector.dataverse.webapi import Endpoint, Operation
from connector.handler import Handler

_NO_SUCH_ROW = "0x80040217"


class Observation:
    """Reads through `handler`, at most `ids_per_read` opportunities at a time.

    The limit keeps the address of a read below the 32,768 characters that the service takes: an id needs 39. Inside a
    batch it may be twice as long, but where there are no batches the reads go singly.
    """

    def __init__(self, handler: Handler, endpoint: Endpoint, *, ids_per_read: int) -> None:
        self._handler = handler
        self._endpoint = endpoint
        self._ids_per_read = ids_per_read

    def snapshots(
        self, ids: Sequence[UUID], *, work_based: bool, activities: bool, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return the snapshots of those of the opportunities that exist; raises ConnectorError for a failed read."""
        if len(ids) == 1:
            seen = self._one(ids[0], work_based=work_based)
        else:
            seen = [snapshot for chunk in self._chunks(ids) for snapshot in self._many(chunk, work_based=work_based)]
        closes: dict[UUID, list[CloseActivity]] = {}
        if activities and seen:
            closes = self._closes(seen)
        made = self._orders(seen) if orders else {}
        return {opportunity.id: _snapshot(opportunity, quotes, closes, made) for opportunity, quotes in seen}

    def _one(self, opportunity_id: UUID, *, work_based: bool) -> list[tuple[Opportunity, list[Quote]]]:
        subject = f"Reading opportunity {opportunity_id}"
        operation = webapi.read_opportunity(opportunity_id, work_based=work_based)
        response = self._handler(self._endpoint.request(operation, opportunity_id))
        if response.status == HTTPStatus.NOT_FOUND:
            error = error_from(response, subject)
            if error.code == _NO_SUCH_ROW:
                return []
            raise error
        row = json_object(response, subject)
        quotes = rows_of(row, subject, "opportunity_quotes")
        quotes += read_on(self._handler, self._endpoint, row.get("opportunity_quotes@odata.nextLink"), subject)
        with decoding(subject):
            return [(opportunity_of(row), [quote_of(quote) for quote in quotes])]

    def _many(self, ids: Sequence[UUID], *, work_based: bool) -> list[tuple[Opportunity, list[Quote]]]:
        subject = f"Reading {len(ids)} opportunities"
        opportunities, quotes = read_sets(
            self._handler,
            self._endpoint,
            [webapi.read_opportunities(ids, work_based=work_based), webapi.read_quotes(ids, work_based=work_based)],
            subject,
        )
        with decoding(subject):
            seen: dict[str, tuple[Opportunity, list[Quote]]] = {}
            for row in opportunities:
                seen[row["opportunityid"].lower()] = (opportunity_of(row), [])
            for row in quotes:
                pair = seen.get(row["_opportunityid_value"].lower())
                if pair is not None:
                    pair[1].append(quote_of(row))
            return list(seen.values())

    def _closes(self, seen: Iterable[tuple[Opportunity, list[Quote]]]) -> dict[UUID, list[CloseActivity]]:
        seen = list(seen)
        of_opportunities = self._activities(
            [opportunity.id for opportunity, _ in seen], webapi.read_opportunity_closes, "_opportunityid_value"
        )
        of_quotes = self._activities(
            [quote.id for _, quotes in seen for quote in quotes], webapi.read_quote_closes, "_quoteid_value"
        )
        closes: dict[UUID, list[CloseActivity]] = {}
        for activity in (*of_opportunities, *of_quotes):
            closes.setdefault(activity.record_id, []).append(activity)
        return closes

    def _orders(self, seen: Iterable[tuple[Opportunity, list[Quote]]]) -> dict[UUID, list[QuoteOrder]]:
        """Return the sales orders by their quotes."""
        made: dict[UUID, list[QuoteOrder]] = {}
        for chunk in self._chunks([quote.id for _, quotes in seen for quote in quotes]):
            rows = self._rows(webapi.read_orders(chunk), "Reading orders")
            with decoding("Reading orders"):
                for order in map(order_of, rows):
                    made.setdefault(order.quote_id, []).append(order)
        return made

    def _activities(
        self, ids: Sequence[UUID], read: Callable[[Iterable[UUID]], Operation], column: str
    ) -> Iterator[CloseActivity]:
        subject = "Reading close activities"
        for chunk in self._chunks(ids):
            rows = self._rows(read(chunk), subject)
            with decoding(subject):
                activities = [activity_of(row, column) for row in rows]
            yield from (activity for activity in activities if activity is not None)

    def _rows(self, operation: Operation, subject: str) -> list[Row]:
        return read_rows(self._handler, self._endpoint, operation, subject)

    def _chunks(self, ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
        for start in range(0, len(ids), self._ids_per_read):
            yield ids[start : start + self._ids_per_read]


def _snapshot(
    opportunity: Opportunity,
    quotes: list[Quote],
    closes: Mapping[UUID, Sequence[CloseActivity]],
    made: Mapping[UUID, Sequence[QuoteOrder]],
) -> Snapshot:
    by_id = {quote.id: quote for quote in quotes}  # a row that moves while pages are read may come twice
    ordered = tuple([by_id[quote_id] for quote_id in sorted(by_id)])
    orders = tuple(order for quote in ordered for order in sorted(made.get(quote.id, ()), key=lambda order: order.id))
    if not closes:
        return Snapshot(opportunity, ordered, (), orders)
    activities = [activity for record in (opportunity.id, *by_id) for activity in closes.get(record, ())]
    return Snapshot(opportunity, ordered, tuple(sorted(activities, key=lambda activity: activity.id)), orders)
