"""How a file of rows is to be read, and its rows."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from connector.bulk.input.cell_values import CellRules, is_date_format
from connector.bulk.input.column_map import ColumnMapping, parse_renames
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.input.table_file import STANDARD_INPUT, FileFormat, readable
from connector.bulk.input.text_file import decoded
from connector.closing.intent import Intent
from connector.closing.record_keys import KeyLookup
from connector.errors import InputError
from connector.ledger.jobs import Row

Rows = Callable[[], Iterator[Row]]
"""The rows, read anew at each call."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file of rows is read: as `rows` says, but for its path; `tell` is told what was guessed or left out."""

    rows: RowFile
    tell: Callable[[str], None]

    @contextmanager
    def opened(
        self,
        file: Path,
        defaults: Mapping[str, object],
        check: Callable[[Intent], None],
        organization: KeyLookup,
        host: str = "",
    ) -> Iterator[Rows]:
        """Give the rows of `file`, with `defaults` where a cell is empty. Raises InputError.

        Keys are looked up in `organization`, whose host is `host`.
        """
        columns, name = replace(self.rows.columns, defaults=defaults), _name(file)
        with readable(file) as path:
            row_file = replace(self.rows, path=path, columns=columns, name=name, host=host)
            with RowReader(row_file, organization, check) as reader:
                notes_told = 0

                def rows() -> Iterator[Row]:
                    nonlocal notes_told
                    for row in reader.rows():
                        for note in reader.notes[notes_told:]:
                            self.tell(f"{name}: {note}")
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
        data = tomllib.loads(decoded(file.read_bytes()))
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
    """Return what the options of a command line say, by their names. Raises InputError."""
    if options["date_format"] and not is_date_format(options["date_format"]):
        raise InputError(
            f"--date-format {options['date_format']!r} does not say where year, month and day stand.",
            remedy="Write it as DD.MM.YYYY, MM/DD/YYYY, or as Python has it: '%d %b %Y'.",
        )
    nulls = frozenset(options["nulls"]) if options["nulls"] else None
    columns = ColumnMapping(
        parse_renames(options["renames"]), {}, options["keep"], options["ignore_others"], options["key"]
    )
    cells = CellRules(options["decimal"] or "", options["date_format"], nulls, read_values(options["values"]))
    form = FileFormat(options["kind"] or "", options["encoding"])
    return Reading(RowFile(Path(), form, columns, cells, options["rejects"]), tell)
