"""How a file of rows is to be read, and its rows."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.bulk.input.cell_values import CellRules
from connector.bulk.input.column_map import ColumnMapping, parse_renames
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.input.table_file import STANDARD_INPUT, FileFormat, readable
from connector.closing.intent import Intent
from connector.closing.record_keys import KeyLookup
from connector.errors import InputError
from connector.ledger.jobs import Row

Rows = Callable[[], Iterator[Row]]
"""The rows, read anew at each call."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the options say about a file; `nulls` is None where none was named, `values` a file of words."""

    kind: str
    encoding: str
    renames: tuple[str, ...]
    keep: tuple[str, ...]
    ignore_others: bool
    decimal: str
    date_format: str
    nulls: frozenset[str] | None
    values: Path | None
    rejects: Path | None
    tell: Callable[[str], None]
    key: str = ""

    @contextmanager
    def opened(
        self,
        file: Path,
        defaults: Mapping[str, object],
        check: Callable[[Intent], None],
        organization: KeyLookup,
        host: str = "",
    ) -> Iterator[Rows]:
        """Give the rows of `file`; `tell` is told what was guessed, when they were read once. Raises InputError.

        Keys are looked up in `organization`, whose host is `host`.
        """
        columns = ColumnMapping(parse_renames(self.renames), defaults, self.keep, self.ignore_others, self.key)
        cells = CellRules(self.decimal, self.date_format, self.nulls, read_values(self.values))
        form = FileFormat(self.kind, self.encoding)
        with (
            readable(file) as path,
            RowReader(
                RowFile(path, form, columns, cells, self.rejects, _name(file), host), organization, check
            ) as reader,
        ):
            notes_told = 0

            def rows() -> Iterator[Row]:
                nonlocal notes_told
                for row in reader.rows():
                    for note in reader.notes[notes_told:]:
                        self.tell(f"{_name(file)}: {note}")
                    notes_told = len(reader.notes)
                    yield row

            yield rows


def _name(file: Path) -> str:
    return "standard input" if file == STANDARD_INPUT else str(file)


def read_values(file: Path | None) -> dict[str, dict[str, str]]:
    """Return our values by theirs, by the names of our columns, from a TOML file. Raises InputError."""
    if file is None:
        return {}
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.", remedy=_EXAMPLE) from None
    except ValueError as error:
        raise InputError(f"{file} is not TOML: {error}.", remedy=_EXAMPLE) from None
    values: dict[str, dict[str, str]] = {}
    for column, words in data.items():
        if not isinstance(words, dict):
            raise InputError(f"{file}: {column} is not a table of words.", remedy=_EXAMPLE)
        values[column] = {theirs.casefold(): str(ours) for theirs, ours in words.items()}
    return values


_EXAMPLE = 'Write a table for each column, as [outcome], and under it lines as "Closed Won" = "won".'


def reading_of(options: Mapping[str, Any], tell: Callable[[str], None]) -> Reading:
    """Return what the options of a command line say, by their names."""
    nulls = frozenset(options["nulls"]) if options["nulls"] else None
    return Reading(
        kind=options["kind"] or "",
        encoding=options["encoding"],
        renames=options["renames"],
        keep=options["keep"],
        ignore_others=options["ignore_others"],
        decimal=options["decimal"] or "",
        date_format=options["date_format"],
        nulls=nulls,
        values=options["values"],
        rejects=options["rejects"],
        tell=tell,
        key=options["key"],
    )
