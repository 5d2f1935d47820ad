"""A file of rows as intents, streamed and checked: all problems are told together, before anything is touched."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from connector.bulk.input.cell_values import CellRules, as_text
from connector.bulk.input.column_map import RESULT_PREFIX, ColumnMapping, twice, unknown
from connector.bulk.input.disk_tables import TOGETHER, DuplicateDetector, DuplicateRow, KeyCache
from connector.bulk.input.file_row import FileRow
from connector.bulk.input.table_file import open_table
from connector.bulk.sheet_file import as_written, harmless, whole_text
from connector.bulk.words import rows as rows_of
from connector.closing.field import FieldKind
from connector.closing.intent import FILE_COLUMNS, OPPORTUNITY_ID
from connector.closing.model import Intent
from connector.closing.record_keys import OPPORTUNITY, KeyLookup, RecordKey, address_in, joined, keys_in, with_ids
from connector.closing.request import parse_request
from connector.errors import InputError
from connector.ledger.intents import intent_text
from connector.ledger.jobs import Row

REASON = f"{RESULT_PREFIX}reason"
_PLACE = (f"{RESULT_PREFIX}row", f"{RESULT_PREFIX}line", REASON)


@contextmanager
def _rejects(path: Path, source: Path, columns: Iterable[str]) -> Iterator[Callable[[FileRow, str], None]]:
    """Give what writes a row with its reason; the file at `path` appears in the end, whole or not at all."""
    if path.exists() and path.samefile(source):
        raise InputError(f"--rejects {path} is the file of rows itself.", remedy="Name another file.")
    with whole_text(path) as file:
        named = [name for name in columns if not name.lower().startswith(RESULT_PREFIX)]
        writer = csv.DictWriter(file, [*named, *_PLACE], "", "ignore")
        writer.writeheader()

        def add(row: FileRow, reason: str) -> None:
            cells = {name: harmless("" if cell is None else str(cell)) for name, cell in row.cells.items()}
            place = (str(row.number), str(row.line), harmless(reason))
            writer.writerow(cells | dict(zip(_PLACE, place, strict=True)))

        yield add


CHUNK = TOGETHER
"""Rows whose keys are looked up together."""
RECORDS = frozenset(field.name for field in FILE_COLUMNS if field.kind in (FieldKind.RECORD_ID, FieldKind.RECORD_NAME))
"""The columns that name a record."""
MOST_PROBLEMS, ALIKE = 20, 3
"""How many problems are told, and how many of one kind; the others are counted."""
_VALUE = re.compile(r"'[^']*'|\d+")
"""What differs between problems of one kind."""

T = TypeVar("T")
Check = Callable[[Intent], None]
"""A further check of a row, for example against the organization's status reasons; raises InputError."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows to close, and how to read it: its columns, its cells, its format and the encoding of its text.

    Without a `kind` of format its name and first bytes tell. `name` is what messages call it, `path` itself unless
    another is given. With `rejects`, unusable rows go there and the others are read; without, one unusable row refuses
    the file. `host` is the organization's: addresses of records in cells must be of it.
    """

    path: Path
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    cells: CellRules = field(default_factory=CellRules)
    rejects: Path | None = None
    kind: str = ""
    encoding: str = ""
    name: str = ""
    host: str = ""


class RowReader:
    """Reads a file twice or more: once for what is wrong with it, then for its rows. Use it by `with`.

    What is not an id where one belongs is looked up in `organization`.
    """

    def __init__(self, file: RowFile, organization: KeyLookup, check: Check = lambda _intent: None) -> None:
        self.notes: list[str] = []
        self._file = file
        self._check = check
        self._keys = KeyCache(organization)
        self._name = file.name or str(file.path)
        self._duplicates = DuplicateDetector()
        self._examined = False
        self._columns: dict[str, None] = {}

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Throw away what was noted about the file."""
        self._duplicates.close()
        self._keys.close()

    def rows(self) -> Iterator[Row]:
        """Return the rows that can be used, one by one, by their numbers from 1; the same ones at every call.

        Raises InputError before the first row, naming every row that cannot be used, with its line; with a file for
        rejects, only when the file as a whole cannot be read or no row is left. `notes` says what was guessed.
        """
        if not self._examined:
            self._examine()
            self._examined = True
        dropped = (duplicate.number for duplicate in self._duplicates.rows())
        skip = next(dropped, None)
        for row, kept, intent in self._intents(_Problems()):
            if row.number == skip:
                skip = next(dropped, None)
            elif intent is not None:
                yield Row(row.number, intent, kept=kept)

    def _examine(self) -> None:
        problems, count, good = _Problems(), 0, 0
        for row, _, intent in self._intents(problems, noting=True):
            count += 1
            if self._file.rejects is not None:
                self._columns |= dict.fromkeys(row.cells)
            if intent is not None:
                good += 1
                self._duplicates.add(intent.opportunity_id, row.number, row.line, _content(intent))
        if not count:
            raise InputError(
                f"{self._name} has the names of columns but no rows.", remedy="Add rows, or name another file."
            )
        good -= self._drop_duplicates(problems)
        if self._file.rejects is not None:
            self._reject(self._file.rejects, problems.count)
        elif problems.count:
            raise problems.error(self._name)
        if not good:
            raise InputError(
                f"{self._name}: none of its {count:,} rows can be used; nothing was touched.",
                remedy=f"The reason for each is in {self._file.rejects}.",
            )

    def _drop_duplicates(self, problems: _Problems) -> int:
        """Return how many rows are too many; those that contradict each other are problems."""
        repeated = contradicted = 0
        for duplicate in self._duplicates.rows():
            if duplicate.same:
                repeated += 1
            else:
                contradicted += 1
                problems.add(duplicate.number, duplicate.line, _contradiction(duplicate))
        if repeated:
            self.notes.append(f"Not counted again: {rows_of(repeated)} like an earlier one.")
        return repeated + contradicted

    def _reject(self, path: Path, count: int) -> None:
        """Write the rows that cannot be used, each with its reason."""
        self.notes.append(f"{rows_of(count)} cannot be used: see {path}.")
        contradicted = (duplicate for duplicate in self._duplicates.rows() if not duplicate.same)
        duplicate = next(contradicted, None)
        with _rejects(path, self._file.path, self._columns) as reject:
            problems = _Problems()
            for row, _, intent in self._intents(problems):
                if duplicate is not None and duplicate.number == row.number:
                    reject(row, _contradiction(duplicate))
                    duplicate = next(contradicted, None)
                elif intent is None:
                    reject(row, problems.last)

    def _intents(
        self, problems: _Problems, *, noting: bool = False
    ) -> Iterator[tuple[FileRow, Mapping[str, str], Intent | None]]:
        """Return every row with what it keeps and its intent, None where it has none; `problems` has been told why."""
        table = open_table(self._file.path, self._file.kind, self._file.encoding, self._file.columns.ours)
        columns, notes = self._file.columns.of_file(table.columns or ())
        names = None if table.columns is None else columns.read(self._name, table.columns)
        headers = 0
        rows = iter(table.rows)
        while lines := list(islice(rows, CHUNK)):
            chunk = [row for row in lines if not row.is_of_header()]
            headers += len(lines) - len(chunk)
            for row, intent in zip(chunk, self._chunk_intents(chunk, names, columns), strict=True):
                if isinstance(intent, str):
                    problems.add(row.number, row.line, intent)
                yield row, _kept(row, columns), None if isinstance(intent, str) else intent
        if noting:
            self.notes += [*table.notes, *notes]
            if headers:
                self.notes.append(f"Not read: {rows_of(headers)} like the names of the columns, or underlining them.")

    def _chunk_intents(
        self, rows: Sequence[FileRow], names: Mapping[str, str] | None, columns: ColumnMapping
    ) -> list[Intent | str]:
        """Return the intents of rows whose keys are looked up together, or what is wrong with a row."""
        requests = [_or_problem(self._request, row, names, columns) for row in rows]
        keys = [_key_in(request, columns) for request in requests]
        self._keys.learn(key for key in keys if key)
        parsed = [_or_problem(self._parsed, *both) for both in zip(requests, keys, strict=True)]
        self._keys.learn(key for intent in parsed if isinstance(intent, Intent) for key in keys_in(intent))
        return [_or_problem(self._resolved, intent) for intent in parsed]

    def _request(self, row: FileRow, names: Mapping[str, str] | None, columns: ColumnMapping) -> dict[str, object]:
        if row.problem and not (columns.ignore_others and "its column has no name" in row.problem):
            raise InputError(row.problem)
        values = self._values(row, names, columns)
        for name, value in values.items():
            address = address_in(value) if name in RECORDS and isinstance(value, str) else None
            if address and address.host and self._file.host and address.host != self._file.host:
                raise InputError(
                    f"{name}: the address is of {address.host}, and this organization is {self._file.host}; a copy of"
                    " an organization has the same ids"
                )
        return values

    def _parsed(self, request: Mapping[str, object], key: RecordKey | None) -> Intent:
        return parse_request(request if key is None else {**request, OPPORTUNITY_ID.name: self._keys.id_of(key)})

    def _resolved(self, intent: Intent) -> Intent:
        resolved = with_ids(intent, self._keys.id_of)
        self._check(resolved)
        return resolved

    def _values(self, row: FileRow, names: Mapping[str, str] | None, columns: ColumnMapping) -> dict[str, object]:
        """Return the cells by our names, with the defaults where they are blank."""
        if names is None:
            ours = [columns.ours(theirs) for theirs in row.cells]
            problems = [] if columns.ignore_others else [unknown(name) for name in row.cells if not columns.known(name)]
            if problems := [*problems, *twice(list(row.cells), ours)]:
                raise InputError("; ".join(problems))
            cells = {name: value for name, value in zip(ours, row.cells.values(), strict=True) if name}
        else:
            cells = {ours: row.cells.get(theirs) for theirs, ours in names.items()}
        rules = self._file.cells
        if any(name.startswith(RESULT_PREFIX) for name in row.cells):  # a file of ours
            cells = {name: as_written(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}
            rules = rules.of_our_file()
        request = rules.values(cells)
        parts = [rules.value(OPPORTUNITY_ID.name, cell) for cell in columns.key_cells(row.cells)]
        texts = ["" if part is None else str(as_text(part)).strip() for part in parts]
        if texts and address_in(texts[0]) is None:
            if "" in texts:
                raise ValueError(f"{columns.key_columns[texts.index('')]} is empty, and is a part of the key")
            request[OPPORTUNITY_ID.name] = joined(texts)
        for name, value in columns.defaults.items():
            if request.get(name) is None or not str(request[name]).strip():
                request[name] = value
        return request


def _or_problem(work: Callable[..., T], *arguments: Any) -> T | str:
    """Return what work on a row gives, or what is wrong with the row; what was wrong before stays so."""
    if isinstance(arguments[0], str):
        return arguments[0]
    try:
        return work(*arguments)
    except (InputError, ValueError) as error:
        return str(error).rstrip(".")


def _key_in(request: Mapping[str, object] | str, columns: ColumnMapping) -> RecordKey | None:
    """Return the key in the place of an opportunity's id, where the file has such keys; an address stays one."""
    if isinstance(request, str) or not columns.key:
        return None
    value = request.get(OPPORTUNITY_ID.name)
    text = str(as_text(value)).strip() if value is not None else ""
    return RecordKey(OPPORTUNITY, columns.key, text) if text and address_in(text) is None else None


def _kept(row: FileRow, columns: ColumnMapping) -> dict[str, str]:
    return {
        name: as_written(str(as_text(value)))
        for name, value in row.cells.items()
        if value is not None and str(value) and columns.kept(name)
    }


def _content(intent: Intent) -> bytes:
    return blake2b(intent_text(intent).encode(), digest_size=8).digest()


def _contradiction(duplicate: DuplicateRow) -> str:
    return (
        f"the opportunity {duplicate.opportunity_id} contradicts row {duplicate.other}, which asks something else"
        " of it; keep the right one"
    )


class _Problems:
    """What is wrong with a file, up to a number that a person reads; `last` is the newest."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""
        self._sentences: list[str] = []
        self._kinds = Counter[str]()

    def add(self, number: int, line: int, problem: str) -> None:
        """Add what is wrong with a row."""
        self.count += 1
        self.last = problem
        kind = _VALUE.sub("", problem)
        if kind in self._kinds or len(self._sentences) < MOST_PROBLEMS:
            self._kinds[kind] += 1
        if 0 < self._kinds[kind] <= ALIKE and len(self._sentences) < MOST_PROBLEMS:
            where = f"row {number}" if number == line else f"row {number} (line {line})"
            self._sentences.append(f"{where}: {problem}")

    def error(self, name: str) -> InputError:
        """Return the problems as one sentence, or as a list."""
        remedy = "Correct them and try again. To close only the other rows, add --rejects FILE.csv."
        if self.count == 1:
            return InputError(
                f"{name}, {self._sentences[0]}. Nothing was touched.", remedy=remedy.replace("them", "it")
            )
        listed = "\n".join(f"  {problem}." for problem in self._sentences)
        more = self.count - len(self._sentences)
        alike = "" if len(self._sentences) == MOST_PROBLEMS else " like these"
        rest = f"\n  And {more:,} more{alike}." if more else ""
        return InputError(
            f"{name}: {self.count:,} rows cannot be used; nothing was touched.\n{listed}{rest}\n", remedy=remedy
        )
