"""A file of rows as intents, streamed and checked: all problems are told together, before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

from connector.bulk.input.columns import Columns, unknown
from connector.bulk.input.duplicate_detector import Duplicate, DuplicateDetector
from connector.bulk.input.file import Line, open_table
from connector.closing.model import Intent
from connector.closing.request import parse_request
from connector.errors import InputError
from connector.ledger.intents import intent_text
from connector.ledger.jobs import Row

MOST_PROBLEMS = 20
"""How many problems are told; the others are counted."""

Check = Callable[[Intent], None]
"""A further check of a row, against the organization's status reasons say; raises InputError."""


def _no_check(intent: Intent) -> None:
    """Find nothing wrong."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows to close; `kind` is one of `input_file.FORMATS`, or empty to go by the file's name."""

    path: Path
    kind: str = ""
    columns: Columns = field(default_factory=Columns)


def read_rows(file: RowFile, check: Check = _no_check) -> Iterator[Row]:
    """Return the rows of a file, one by one, numbered from 1.

    Raises InputError, at the first or the last row or anywhere between, naming file, row and line: so act on none
    before the last has come. After a problem no more rows are returned, but the rest is still checked.
    """
    table = open_table(file.path, file.kind, file.columns.known)
    names = None if table.columns is None else file.columns.read(str(file.path), table.columns)
    problems = _Problems(file.path)
    count = 0
    with closing(DuplicateDetector()) as detector:
        for line in table.lines:
            count += 1
            intent = _intent(line, names, file.columns, check, problems)
            if intent is not None:
                detector.add(intent.opportunity_id, line.number, line.line, _content(intent))
                if not problems.count:
                    yield Row(line.number, intent)
        for duplicate in detector.duplicates():
            problems.add_duplicate(duplicate)
    if not count:
        raise InputError(f"{file.path} has the names of columns but no rows.", remedy="Add rows, or name another file.")
    problems.tell()


def _intent(
    line: Line, names: Mapping[str, str] | None, columns: Columns, check: Check, problems: _Problems
) -> Intent | None:
    if line.problem:
        problems.add(line.number, line.line, line.problem)
        return None
    try:
        intent = parse_request(_values(line, names, columns))
        check(intent)
    except InputError as error:
        problems.add(line.number, line.line, str(error).rstrip("."))
    else:
        return intent
    return None


def _values(line: Line, names: Mapping[str, str] | None, columns: Columns) -> dict[str, object]:
    """Return the cells by our names, with the defaults where they are blank."""
    if names is None:
        values = {columns.ours(theirs): value for theirs, value in line.cells.items()}
        if None in values:
            raise InputError("; ".join(unknown(theirs) for theirs in line.cells if not columns.known(theirs)))
        row: dict[str, object] = {name: value for name, value in values.items() if name}
    else:
        row = {ours: line.cells.get(theirs) for theirs, ours in names.items()}
    for name, value in columns.defaults.items():
        if row.get(name) is None or not str(row[name]).strip():
            row[name] = value
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    """Return an id that a file holds as sixteen bytes, as Parquet may, as an id."""
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == 16 else value  # a GUID


def _content(intent: Intent) -> bytes:
    return blake2b(intent_text(intent).encode(), digest_size=8).digest()


class _Problems:
    """What is wrong with a file, up to a number that a person reads."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._told: list[str] = []

    def add(self, number: int, line: int, problem: str) -> None:
        """Add what is wrong with a row."""
        self.count += 1
        if len(self._told) < MOST_PROBLEMS:
            where = f"row {number}" if number == line else f"row {number} (line {line})"
            self._told.append(f"{where}: {problem}")

    def add_duplicate(self, duplicate: Duplicate) -> None:
        """Add two rows of one opportunity."""
        first = f"row {duplicate.first[0]}"
        said = f"repeats {first}; keep one" if duplicate.same else f"contradicts {first}; keep the right one"
        self.add(*duplicate.second, f"the opportunity {duplicate.opportunity_id} {said}")

    def tell(self) -> None:
        """Raise InputError if there is a problem."""
        if self.count == 1:
            raise InputError(f"{self._path}, {self._told[0]}. Nothing was touched.", remedy="Correct it and try again.")
        if self.count:
            listed = "\n".join(f"  {problem}." for problem in self._told)
            more = self.count - len(self._told)
            rest = f"\n  And {more:,} more." if more else ""
            raise InputError(
                f"{self._path}: {self.count:,} rows cannot be used; nothing was touched.\n{listed}{rest}\n",
                remedy="Correct them and try again.",
            )
