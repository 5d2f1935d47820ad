"""What came of every row of a job, as a file: a report, or input for the next run with the reason beside each row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from connector.bulk.input.column_map import FIELDS, RESULT_PREFIX
from connector.bulk.reports.job_report import saved_names, write_job_report
from connector.bulk.reports.report_row import UNNAMED, OrganizationNames, report_row
from connector.bulk.sheet_file import harmless, whole_text
from connector.closing.model import ColumnValue, Intent
from connector.closing.request import request_values
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Record
from connector.ledger.ledger import Ledger

_ERROR = ("detail", "plug_in", "step_id", "solution")
_RECORD = ("name", "owner", "by", "when", "value", "currency", "activity_id", "link")
RESULTS = tuple(
    RESULT_PREFIX + name
    for name in ("row", "status", "reason", "message", *_ERROR, "stands", "remedy", "request_id", *_RECORD)
)
"""What is told of each row, in columns that a reader of input passes over."""


def write_dead_letters(
    path: Path, records: Callable[[], Iterable[Record]], organization: str = "", names: OrganizationNames = UNNAMED
) -> int:
    """Write the records of a job to `path` as CSV and return how many there were.

    `records` is called for each time they are gone through. Columns of the input that were kept stand before ours. The
    file appears whole or not at all, opens rightly in a spreadsheet, and reads back the same. Raises InputError.
    """
    columns_kept: dict[str, None] = {}
    extra: dict[str, None] = {}
    for record in records():
        columns_kept |= dict.fromkeys(record.kept)
        extra |= dict.fromkeys(name for name in _request(record) if name not in FIELDS)
    count = 0
    with whole_text(path) as file:
        writer = csv.writer(file)
        writer.writerow([*columns_kept, *FIELDS, *sorted(extra), *RESULTS])
        for record in records():
            request = _request(record)
            cells: list[ColumnValue] = [record.kept.get(name) for name in columns_kept]
            cells += [request.get(name) for name in (*FIELDS, *sorted(extra))]
            writer.writerow([_text(cell) for cell in (*cells, *_results(record, organization, names))])
            count += 1
    return count


def _request(record: Record) -> Mapping[str, ColumnValue]:
    if isinstance(record.intent, Intent):
        return request_values(record.intent)
    return {"opportunityid": str(record.intent.opportunity_id)}


def _results(record: Record, organization: str, names: OrganizationNames) -> Iterator[ColumnValue]:
    report, row = record.report or {}, report_row(record, organization, names)
    error = report.get("error")
    error = error if isinstance(error, Mapping) else {}
    yield from (record.row, record.status.value, record.reason, row.message)
    yield from (str(error.get(name, "")) for name in _ERROR)
    yield from (row.stands, row.remedy, row.request_id, row.name, row.owner, row.by)
    yield from (row.ended.isoformat() if row.ended else "", row.value, row.currency, row.activity_id, row.link)


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


_JSON_LINES = {".jsonl", ".ndjson"}
PAGES = {".xlsx", ".html"}
_ENDINGS = _JSON_LINES | {".csv", ""}


def write_results(path: Path, ledger: Ledger, name: str, statuses: Sequence[ItemStatus] = ()) -> int:
    """Write the rows of a job, or those with these statuses, and return how many. Raises InputError.

    A name that ends in `.jsonl` gets a JSON object for each row, with every step and id; `.csv`, or no ending, commas
    that can be used as input: what came of a row stands in columns that are not read. All rows can also become a
    workbook (`.xlsx`) or a page (`.html`).
    """
    ending, job = path.suffix.lower(), ledger.whole(name)
    if ending in PAGES and not statuses:
        return write_job_report(path, ledger, job)
    if ending not in _ENDINGS or path == Path("-"):
        raise InputError(
            f"The results cannot be written to {path}: the name does not say what kind of file it shall be.",
            remedy="End its name in .csv or .jsonl." if statuses else "End its name in .csv, .xlsx, .html or .jsonl.",
        )
    if ending not in _JSON_LINES:
        names = saved_names(ledger, job)
        return write_dead_letters(path, lambda: ledger.records(name, statuses), job.organization, names)
    with whole_text(path, "utf-8") as file:
        rows = (json.dumps(result_data(record), ensure_ascii=False) for record in ledger.records(name, statuses))
        return sum(bool(file.write(f"{row}\n")) for row in rows)


def request_data(intent: Intent) -> dict[str, object]:
    """Return an intent as the columns of an input file, ready for JSON."""
    columns = request_values(intent)
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in columns.items()}


def result_data(record: Record) -> dict[str, object]:
    """Return a row and what came of it, ready for JSON."""
    data: dict[str, object] = {"row": record.row, "status": record.status.value, "reason_code": record.reason}
    data |= {name: value for name, value in (record.report or {}).items() if name not in data}
    data |= {"opportunity_id": str(record.opportunity_id), "attempts": record.attempts}
    if record.kept:
        data["kept"] = dict(record.kept)
    data["ended"] = record.ended.isoformat() if record.ended else None
    if isinstance(record.intent, Intent):
        data["request"] = request_data(record.intent)
    return data
