"""What a reader of any kind of file gives: the names of the columns, and rows of cells by these names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connector.closing.intent import OPPORTUNITY_ID
from connector.errors import InputError

OurName = Callable[[str], str | None]
"""Our name of a column of a file, empty for one that is not read, None for one that may not be in a file."""

FIRST_LINES = 20
"""Lines among which the names of the columns may stand, below a title."""

_LINE = re.compile(r"\s*-{2,}\s*")


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a file: its number from 1, the line it stands on, and its cells, or what is wrong with it."""

    number: int
    line: int
    cells: Mapping[str, object]
    problem: str = ""

    def is_of_header(self) -> bool:
        """Return whether it has the names of the columns once more, as where files were put together, or underlines."""
        repeated = all(str(cell).strip() == name for name, cell in self.cells.items())
        return bool(self.cells) and (repeated or all(_LINE.fullmatch(str(cell)) for cell in self.cells.values()))


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file that is open: the names of its columns (None where every row has its own), its rows, and what to say.

    What is to be said is complete when the rows have been read.
    """

    columns: tuple[str, ...] | None
    rows: Iterator[FileRow]
    notes: list[str] = field(default_factory=list)


def is_header(names: Sequence[str], our_name: OurName) -> bool:
    """Return whether these are the names of the columns: one is that of the opportunity."""
    return any(our_name(name) == OPPORTUNITY_ID.name for name in names)


def above_header(line: int, titles: Sequence[str]) -> list[str]:
    """Say what stands above the names of the columns, which are on `line`."""
    shown = ", ".join(repr(title) for title in titles[:3])
    return [f"The names of the columns are on line {line}; what is above is not read: {shown}."] if titles else []


def missing_library(path: Path, what: str, extra: str) -> InputError:
    """Return what to tell who lacks the library of a format."""
    return InputError(
        f"{path}: reading {what} files needs a library that is not installed.",
        remedy=f"Install the connector with the extra {extra} (`connector docs administrator`), or save it as CSV.",
    )
