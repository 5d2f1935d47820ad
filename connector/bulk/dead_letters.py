"""Rows with what came of them, as a file that is input for the next run: the reason beside each row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from connector.bulk.input.column_map import FIELDS, RESULT_PREFIX
from connector.bulk.sheet_file import AtomicFile, harmless
from connector.closing.intent import ColumnValue, Intent
from connector.closing.request import request_values
from connector.ledger.jobs import Record

_ERROR = ("detail", "plug_in", "step_id", "solution")
RESULTS = tuple(
    RESULT_PREFIX + name for name in ("row", "status", "reason", "message", *_ERROR, "stands", "remedy", "request_id")
)
"""What is told of each row, in columns that a reader of input passes over."""


def write_dead_letters(path: Path, records: Callable[[], Iterable[Record]]) -> int:
    """Write the records to `path` as CSV and return how many there were.

    `records` is called for each time they are gone through. Columns of the input that were kept stand before ours. The
    file appears whole or not at all, opens rightly in a spreadsheet, and reads back the same. Raises InputError.
    """
    kept: dict[str, None] = {}
    extra: dict[str, None] = {}
    for record in records():
        kept |= dict.fromkeys(record.kept)
        extra |= dict.fromkeys(name for name in _request(record) if name not in FIELDS)
    count = 0
    with AtomicFile(path) as file:
        writer = csv.writer(file)
        writer.writerow([*kept, *FIELDS, *sorted(extra), *RESULTS])
        for record in records():
            request = _request(record)
            cells: list[ColumnValue] = [record.kept.get(name) for name in kept]
            cells += [request.get(name) for name in (*FIELDS, *sorted(extra))]
            writer.writerow([_text(cell) for cell in (*cells, *_results(record))])
            count += 1
    return count


def _request(record: Record) -> Mapping[str, ColumnValue]:
    if isinstance(record.intent, Intent):
        return request_values(record.intent)
    return {"opportunityid": str(record.intent.opportunity_id)}


def _results(record: Record) -> Iterator[ColumnValue]:
    report = record.report or {}
    error = report.get("error")
    error = error if isinstance(error, Mapping) else {}
    yield record.row
    yield record.status.value
    yield record.reason
    yield str(error.get("message") or report.get("reason") or record.status.sentence)
    yield from (str(error.get(name, "")) for name in _ERROR)
    yield str(report.get("stands", ""))
    yield str(error.get("remedy", ""))
    yield str(error.get("request_id", ""))


def _text(value: ColumnValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return plain_amount(value)
        case str():
            return harmless(value)
        case _:
            return str(value)


def plain_amount(amount: Decimal) -> str:
    """Return an amount that nobody takes for thousands: with a fourth digit after the point where there are three."""
    text = f"{amount:f}"
    return f"{text}0" if len(text.partition(".")[2]) == 3 else text
