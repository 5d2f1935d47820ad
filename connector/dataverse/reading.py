"""Reads through a handler: one answer, all the pages of a set, several at once; and rows as the words of the job.

What a row lacks or has in excess of its type raises. The caller wraps it in `answers.decoding`, which makes one
failure of all that can be wrong with a row. Columns: the table references of opportunity, quote, opportunityclose and
quoteclose on Microsoft Learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

from connector.closing.model import CloseActivity, Opportunity, OpportunityState, Quote, QuoteOrder, QuoteState
from connector.dataverse.answers import decoding, expect, json_object, unreadable
from connector.dataverse.batch import Part, read_batch, write_batch
from connector.dataverse.webapi import Endpoint, Operation
from connector.handler import Handler, Response

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
        close_probability=row.get("closeprobability"),
        customer_id=None if customer is None else UUID(customer),
        currency_id=None if currency is None else UUID(currency),
        owner_id=_id(row.get("_ownerid_value")),
        work_based=row.get("msdyn_ordertype") == WORK_BASED,
        modified_on=_moment(row.get("modifiedon")),
        modified_by=_id(row.get("_modifiedby_value")),
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
        total=money_of(row.get("totalamount")),
        currency_id=_id(row.get("_transactioncurrencyid_value")),
        modified_on=_moment(row.get("modifiedon")),
        modified_by=_id(row.get("_modifiedby_value")),
    )


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def order_of(row: Row) -> QuoteOrder:
    """Return the sales order in `row`."""
    return QuoteOrder(
        UUID(row["salesorderid"]),
        UUID(row["_quoteid_value"]),
        _text(row.get("ordernumber")),
        money_of(row.get("totalamount")),
    )


def _id(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


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


_TURNED_AWAY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class WebApi:
    """The Web API of an organization: `endpoint` makes the requests, `handler` answers them."""

    handler: Handler
    endpoint: Endpoint

    def send(self, operation: Operation, correlation: UUID | None = None) -> Response:
        """Return the answer to `operation`, whatever its status; `correlation` names the opportunity it serves."""
        return self.handler(self.endpoint.request(operation, correlation))

    def read_object(self, operation: Operation, subject: str) -> dict[str, Any]:
        """Return the JSON object that `operation` answers; raises the failure of the request, or Unanswered."""
        return json_object(self.send(operation), subject)

    def read_rows(self, operation: Operation, subject: str) -> list[Row]:
        """Return the rows of the set that `operation` reads, through all its pages; raises as `read_object`."""
        page = self.read_object(operation, subject)
        rows = rows_of(page, subject)
        return rows + self.read_on(page.get("@odata.nextLink"), subject)

    def read_on(self, link: object, subject: str) -> list[Row]:
        """Return the rows from next link `link` on, if there is one."""
        return [row for page in self.pages(link, subject) for row in rows_of(page, subject)]

    def pages(self, link: object, subject: str) -> Iterator[dict[str, Any]]:
        """Yield the pages from next link `link` on, if there is one; a link that comes back is an unreadable answer."""
        seen: set[str] = set()
        while link is not None:
            if not isinstance(link, str) or link in seen:
                unreadable(subject)
            seen.add(link)
            with decoding(subject):
                request = self.endpoint.follow(link)
            page = json_object(self.handler(request), subject)
            yield page
            link = page.get("@odata.nextLink")

    def read_sets(self, operations: Sequence[Operation], subject: str) -> list[list[Row]]:
        """Return the rows of several sets, each through all its pages, asked for in one request; raises as `read_rows`.

        What fails inside the batch is asked for again by itself, so that it is re-sent like any other read.
        """
        sets = []
        for operation, answer in zip(operations, self.read_several(operations, subject), strict=True):
            failed = answer.status >= HTTPStatus.BAD_REQUEST
            page = self.read_object(operation, subject) if failed else json_object(answer, subject)
            sets.append(rows_of(page, subject) + self.read_on(page.get("@odata.nextLink"), subject))
        return sets

    def read_several(self, operations: Sequence[Operation], subject: str) -> list[Response]:
        """Return the answers to several reads, in order, whatever their status: in one batch, singly where that fails.

        Raises when the batch is turned away for who asks or how often, which single reads would not change.
        """
        boundary = f"batch_{self.endpoint.new_id()}"
        response = self.handler(
            self.endpoint.batch(write_batch(operations, boundary, self.endpoint.part_headers()), boundary)
        )
        if response.status in _TURNED_AWAY:
            expect(response, subject)
        answers = [part.response for part in read_batch(response) or [] if isinstance(part, Part)]
        return answers + [self.send(operation) for operation in operations[len(answers) :]]

    def read_each(self, operations: Sequence[Operation], subject: str) -> list[Response]:
        """Return the answers as `read_several`; what may pass is asked for again by itself, as any read."""
        answers = self.read_several(operations, subject)
        return [
            self.send(operation) if _may_pass(answer) else answer
            for operation, answer in zip(operations, answers, strict=True)
        ]


def rows_of(page: Row, subject: str, name: str = "value") -> list[Row]:
    """Return the rows that `page` has under `name`; Unanswered if they are not rows."""
    rows = page.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        unreadable(subject)
    return rows


def _may_pass(answer: Response) -> bool:
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
