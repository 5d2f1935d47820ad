"""The rows that did not go well, as a file: input for the next run, with the reason beside each row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from connector.bulk.input.columns import FIELDS, RESULT_PREFIX
from connector.closing.model import ColumnValue, Intent
from connector.closing.request import request_values
from connector.ledger.jobs import Record

_ERROR = ("detail", "plug_in", "step_id", "solution")
RESULTS = tuple(
    RESULT_PREFIX + name for name in ("row", "status", "reason", "message", *_ERROR, "stands", "remedy", "request_id")
)
"""What is told of each row, in columns that a reader of input passes over."""


def write_dead_letters(path: Path, records: Callable[[], Iterable[Record]]) -> int:
    """Write the records to `path` as CSV and return how many there were.

    `records` is called for each time they are gone through. The file appears whole or not at all. Raises OSError.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        count = _write(partial, records)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write(path: Path, records: Callable[[], Iterable[Record]]) -> int:
    extra: dict[str, None] = {}
    for record in records():
        extra |= dict.fromkeys(name for name in _cells(record) if name not in FIELDS and name not in RESULTS)
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*FIELDS, *sorted(extra), *RESULTS], restval="")
        writer.writeheader()
        for cells in map(_cells, records()):
            writer.writerow({name: _text(value) for name, value in cells.items()})
            count += 1
    return count


def _cells(record: Record) -> dict[str, ColumnValue]:
    wanted = record.intent
    columns = request_values(wanted) if isinstance(wanted, Intent) else {"opportunityid": str(wanted.opportunity_id)}
    return columns | dict(zip(RESULTS, _told(record), strict=True))


def _told(record: Record) -> Iterator[ColumnValue]:
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
    return str(value).lower() if isinstance(value, bool) else str(value)
