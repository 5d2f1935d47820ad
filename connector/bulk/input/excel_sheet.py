"""What the sheet of a workbook shows and what it hides: the library that reads it as a stream leaves this out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

from connector.bulk.input.cell_values import LONG_NUMBER, CellError
from connector.errors import InputError

_MOST_COLUMNS, _MOST_MERGED = 16_384, 100_000
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*>")
_COLUMN = re.compile(rb"<(?:\w+:)?col\b[^>]*>")
_MERGE = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*\bref=["']([A-Z]+\d+:[A-Z]+\d+)""")
_HIDDEN = re.compile(rb"""\b(?:hidden=["'](?:1|true)|(?:ht|width)=["']0(?:\.0*)?)["']""")
_NUMBER = re.compile(rb"""\br=["'](\d+)["']""")
_FROM_TO = re.compile(rb"""\bm(?:in|ax)=["'](\d+)["']""")
_DIGITS = re.compile(r"[0#?](?:\.([0#?]+))?(,*)[^0#?.,]*$")
_LARGEST_EXACT = 10**15
_DAYS_TO_1904 = 1462
"""Days between the beginnings of the two date systems of Excel."""


@dataclass(slots=True)
class SheetLook:
    """The numbers of the rows and columns that are hidden, and of the columns (from 1) in each row that are merged.

    The first cell of those that are merged has the value and is not among them.
    """

    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    merged: dict[int, set[int]] = field(default_factory=dict)


def look_of(path: Path, part: str) -> SheetLook:
    """Return how the sheet in this part of a workbook looks; raises InputError, and what reading a ZIP file raises."""
    look, place, rest = SheetLook(), 0, b""
    with ZipFile(path) as parts, parts.open(part) as sheet:
        while block := sheet.read(2**20):
            text = rest + block
            cut = text.rfind(b"<")
            text, rest = text[:cut], text[cut:]
            for tag in filter(_HIDDEN.search, _COLUMN.findall(text)):
                ends = [int(number) for number in _FROM_TO.findall(tag)]
                look.hidden_columns.update(range(min(ends, default=1), min(max(ends, default=0), _MOST_COLUMNS) + 1))
            for tag in _ROW.findall(text):
                number = _NUMBER.search(tag)
                place = int(number[1]) if number else place + 1
                if _HIDDEN.search(tag):
                    look.hidden_rows.add(place)
            for area in _MERGE.findall(text):
                _merge(path, look, area.decode())
    return look


def _merge(path: Path, look: SheetLook, area: str) -> None:
    from openpyxl.utils import range_boundaries

    left, top, right, bottom = range_boundaries(area)
    if (right - left + 1) * (bottom - top + 1) + sum(map(len, look.merged.values())) > _MOST_MERGED:
        raise InputError(f"{path} has more than {_MOST_MERGED:,} merged cells.", remedy="Undo the merge in Excel.")
    for line in range(top, bottom + 1):
        look.merged.setdefault(line, set()).update(range(left + (line == top), right + 1))


def counted_from_1900(value: object) -> object:
    """Return the number that stands for the same day where days are counted from 1900; anything else stays."""
    if type(value) in (int, float):
        return value + _DAYS_TO_1904  # type: ignore[operator]  # it is a number
    if isinstance(value, str) and re.fullmatch(r"\s*\d{5}(?:\.\d+)?\s*", value):
        return f"{float(value) + _DAYS_TO_1904:g}"
    return value


def shown(value: float, number_format: str) -> object:
    """Return a number as its number format shows it, or what is wrong with it."""
    if "%" in number_format:
        problem = f"{value:g} is shown as a percentage, which may mean two numbers; format the cells as Number"
        return CellError(str(value), problem)
    if re.fullmatch("0{2,}", number_format) and value == int(value):
        return f"{int(value):0{len(number_format)}d}"
    return CellError(str(value), f"{value!r} {LONG_NUMBER}") if abs(value) >= _LARGEST_EXACT else value


def is_rounded(value: float, number_format: str) -> bool:
    """Return whether Excel shows another number than the cell has."""
    digits = _DIGITS.search(number_format.split(";", maxsplit=1)[0])
    if not digits:
        return False
    return bool(digits[2]) or not math.isclose(round(value, len(digits[1] or "")), value, abs_tol=1e-9)
