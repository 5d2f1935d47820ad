"""What a reader of any kind of file gives: the names of the columns, and rows of cells by these names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Known = Callable[[str], bool]
"""Whether a column is one that may be in a file."""

Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a file: its number from 1, the line it stands on, and its cells, or what is wrong with it."""

    number: int
    line: int
    cells: Cells
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file that is open: the names of its columns (None where every row has its own), its rows, and what to say."""

    columns: tuple[str, ...] | None
    rows: Iterator[FileRow]
    notes: list[str] = field(default_factory=list)
