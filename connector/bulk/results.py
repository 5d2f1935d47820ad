"""What came of every row of a job, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from connector.bulk.dead_letters import write_dead_letters
from connector.bulk.sheet_file import AtomicFile
from connector.closing.model import Intent
from connector.closing.request import request_values
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Record
from connector.ledger.ledger import Ledger

BAD = (ItemStatus.REFUSED, ItemStatus.FAILED)
"""What a dead-letter file holds."""
_JSON_LINES = {".jsonl", ".ndjson"}
_ENDINGS = _JSON_LINES | {".csv", ""}


def write_results(path: Path, ledger: Ledger, name: str, statuses: Sequence[ItemStatus] = ()) -> int:
    """Write the rows of a job, or those with these statuses, and return how many. Raises InputError.

    A name that ends in `.jsonl` gets a JSON object for each row, with every step and id; `.csv`, or no ending, commas
    that can be used as input: what came of a row stands in columns that are not read.
    """
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise InputError(
            f"The results cannot be written to {path}: it would not be a {ending} file. Nothing was written.",
            remedy="End its name in .csv or .jsonl.",
        )
    if ending not in _JSON_LINES:
        return write_dead_letters(path, lambda: ledger.records(name, statuses))
    with AtomicFile(path, mark=False) as file:
        return sum(bool(file.write(_json_line(record))) for record in ledger.records(name, statuses))


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


def _json_line(record: Record) -> str:
    return json.dumps(result_data(record), ensure_ascii=False) + "\n"
