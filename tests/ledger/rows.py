"""Rows for the tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from connector.closing.model import Intent, Outcome
from connector.ledger.jobs import Item, ItemResult, ItemStatus, Row


def opportunity(number: int) -> UUID:
    return UUID(int=0x6F2C << 112 | number)


def rows(count: int, first: int = 1, outcome: Outcome = Outcome.WON) -> Iterator[Row]:
    for number in range(1, count + 1):
        yield Row(number, Intent(opportunity(first + number - 1), outcome))


def closed(items: list[Item], status: ItemStatus = ItemStatus.CLOSED, reason: str = "") -> list[ItemResult]:
    return [ItemResult(item.row, item.epoch, status, reason, {"status": status.value}) for item in items]
