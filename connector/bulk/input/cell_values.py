"""Cells as people and programs write them, as values that mean one thing only; what may mean two is refused.

Text has no type: `12.500` is twelve and a half or twelve thousand five hundred, `46053` is a day to Excel, `3.0` is a
status reason that passed through pandas, `NULL` is an empty cell or a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Self
from uuid import UUID

from connector.closing.field import FieldKind
from connector.closing.intent import FILE_COLUMNS
from connector.closing.request import shown

NULL_WORDS = frozenset({"null", "(null)", "nan", "<na>", "n/a", "#n/a", "\\n", "none"})
"""What programs write for an empty cell: refused unless `--null` says what it means."""

_KINDS = {field.name: field.kind for field in FILE_COLUMNS}
_NUMBERS = re.compile(r"(?P<year>\d{4}-)?\d{1,2}[./-]\d{1,2}(?:[./-]\d{2,4})?")
_COMPACT = re.compile(r"^(\d{4})(\d{2})(\d{2})$")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
_MOMENT = re.compile(rf"(\d{{4}}-\d{{2}}-\d{{2}})[T ]{_CLOCK}(?: ?Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?")
_SERIAL = re.compile(r"[2-7]\d{4}(?:\.\d+)?")
FIRST_SERIAL = date(1899, 12, 30)
"""From here Excel counts days, but for workbooks with the date system of 1904."""
_WHOLE = re.compile(r"\d+\.0+")
_TOKENS = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d"}
_TOKEN = re.compile(r"YYYY|YY|MM|M|DD|D", re.IGNORECASE)
_TIME_OF_DAY = re.compile(rf",?[ T]{_CLOCK}(?: ?[AP]M)?$", re.IGNORECASE)
_SEPARATED = re.compile("\\d[ \u00a0\u202f'\u2019]\\d")
_ISO_LIKE = re.compile(r"\d{4,}-\d{2}-\d{2}")
_ERROR = re.compile(r"#(?:[A-Z\u00c0-\u00de][A-Z\u00c0-\u00de_/0]*[!?]|N/A|NV|GETTING_DATA|#+)")
"""Errors of Excel, in its languages, and cells that are too narrow for their numbers."""
_FORMULA = re.compile(r"=[-+( ]*(?:\$?[A-Z]{1,3}\$?\d|[A-Z][\w.]*[(|!]|['\"{\[\d])", re.IGNORECASE)
_SHORTENED = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+\d{2,}")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
"""Characters that nobody sees, as web pages and chats leave them in what is copied."""
_SPACES = str.maketrans("", "", " \u00a0\u202f'\u2019")

_NO_WORDS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CellRules:
    """What the cells of a file mean.

    `decimal` is `point`, `comma` or empty (not said), `date_format` as `DD.MM.YYYY` or `%d.%m.%Y`. `nulls` are the
    words that stand for an empty cell, None where nobody said. `words` has our value by theirs, by our column. In a
    file that is `ours` every word is only a word.
    """

    decimal: str = ""
    date_format: str = ""
    nulls: frozenset[str] | None = None
    words: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _NO_WORDS)
    ours: bool = False

    def values(self, cells: Mapping[str, object]) -> dict[str, object]:
        """Return what cells say, by our columns; raises ValueError with what is wrong with any of them."""
        values, problems = dict[str, object](), list[str]()
        for name, cell in cells.items():
            try:
                values[name] = self.value(name, cell)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))
        return values

    def value(self, name: str, cell: object) -> object:
        """Return what a cell of our column `name` says, None for an empty one; raises ValueError with a sentence."""
        if isinstance(cell, CellError):
            raise ValueError(f"{name}: {cell.problem}")  # noqa: TRY004 - every wrong cell is one kind of error
        if self._is_empty(name, cell):
            return None
        kind = _KINDS.get(name)
        if isinstance(cell, str) and not self.ours:
            _refuse_unshown(name, cell.strip())
            cell = cell if kind in (None, FieldKind.TEXT) else cell.translate(_UNSEEN)
        cell = self._translated(name, _unpacked(name, cell))
        match kind:
            case FieldKind.AMOUNT:
                cell = self._amount(name, cell)
            case FieldKind.DAY:
                cell = self._day(name, cell)
            case FieldKind.REASON if isinstance(cell, str) and _WHOLE.fullmatch(cell.strip()):
                cell = int(float(cell))
            case FieldKind.TEXT | FieldKind.RECORD_NAME:
                cell = as_text(cell)
            case FieldKind.OUTCOME if str(cell).strip():
                cell = _outcome(name, cell)
        return cell

    def of_our_file(self) -> CellRules:
        """Return the rules for a file that we wrote: an empty cell is empty there, and a word is a word."""
        return replace(self, nulls=self.nulls or frozenset(), ours=True)

    def _is_empty(self, name: str, cell: object) -> bool:
        if isinstance(cell, float):
            return cell != cell  # noqa: PLR0124 - not a number
        return cell is None or (isinstance(cell, str) and self._is_null(name, cell.strip()))

    def _is_null(self, name: str, text: str) -> bool:
        if self.nulls is not None:
            return text in self.nulls
        if text.lower() in NULL_WORDS:
            raise ValueError(
                f"{name}: {text} may mean an empty cell or be text; say --null {text} if it is empty, --null '' if not"
            )
        return False

    def _translated(self, name: str, cell: object) -> object:
        words = self.words.get(name)
        if not words or isinstance(cell, bool):
            return cell
        text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
        return words.get(text.strip().casefold(), cell)

    def _amount(self, name: str, cell: object) -> object:
        if isinstance(cell, date | time | timedelta):
            raise ValueError(f"{name}: the cell holds a date or a time ({cell}), and no amount")  # noqa: TRY004 - see value
        if not isinstance(cell, str):
            return cell
        text = cell.strip()
        if not self.decimal:
            if _THOUSANDS.fullmatch(text):
                raise ValueError(
                    f"{name}: {text!r} may be {text.replace('.', '')} or {float(text):g}; say --decimal comma or point"
                )
            if "," in text:
                raise ValueError(f"{name}: {text!r} has a comma; say --decimal comma or point")
            if _SEPARATED.search(text):
                raise ValueError(f"{name}: {text!r} has separators of thousands; say --decimal comma or point")
            return cell
        point, thousands = (".", ",") if self.decimal == "point" else (",", ".")
        whole, _, rest = text.translate(_SPACES).partition(point)
        groups = rf"[+-]?(?:\d{{1,3}}(?:\{thousands}\d{{3}})+|\d*)"
        if not any(map(str.isdigit, text)):  # where the amount is to come from
            return cell
        if not re.fullmatch(groups, whole) or not re.fullmatch(r"\d*", rest):
            raise ValueError(f"{name}: {text!r} is no amount with a decimal {self.decimal}; write the number alone")
        return f"{whole.replace(thousands, '')}.{rest}" if rest else whole.replace(thousands, "")

    def _day(self, name: str, cell: object) -> object:
        if isinstance(cell, datetime):
            return cell.date()
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            cell = str(as_text(cell))
        if not isinstance(cell, str):
            return cell
        text = cell.strip()
        if self.date_format:
            with suppress(ValueError):
                return _day_in(_TIME_OF_DAY.sub("", text), _strptime_format(self.date_format))
        if _SERIAL.fullmatch(text):
            return FIRST_SERIAL + timedelta(days=int(float(text)))
        if (numbers := _NUMBERS.fullmatch(text)) and not numbers["year"]:
            problem = "is a date of which the order is not known; say --date-format DD.MM.YYYY or another"
            problem = f"is not as {self.date_format}, which --date-format says" if self.date_format else problem
            raise ValueError(f"{name}: {text!r} {problem}")
        moment = _MOMENT.fullmatch(text)
        plain = moment[1] if moment else _COMPACT.sub(r"\1-\2-\3", text)
        if plain and not _ISO_LIKE.fullmatch(plain):
            problem = "is not a date; say --date-format, as YYYY/MM/DD or '%d %b %Y'"
            problem = "has no time of a clock behind its day; write the day alone" if _ISO_LIKE.match(text) else problem
            raise ValueError(f"{name}: {text!r} {problem}")
        return plain


_OUTCOMES = {
    "won": "won, closed won, closed as won, gewonnen, vunnen, vunnet, vundet, gagné, gagnée, ganada, ganha, vinta",
    "lost": "lost, closed lost, closed as lost, verloren, förlorad, perdu, perdue, perdida, persa, tapt, tabt",
}
"""How an opportunity ends, in words of Salesforce and Dynamics 365 in the languages of their users."""


def _outcome(name: str, cell: object) -> str:
    plain = " ".join(str(cell).casefold().split())
    for outcome, words in _OUTCOMES.items():
        if plain in words.split(", "):
            return outcome
    words = "is not an outcome; say won or lost, or translate it with --values FILE.toml"
    raise ValueError(f"{name}: {shown(cell)} {words}")


def _strptime_format(text: str) -> str:
    """Return a format as Python has it, from `DD.MM.YYYY` or one that is so already."""
    return text if "%" in text else _TOKEN.sub(lambda token: _TOKENS[token[0].upper()], text)


def _day_in(text: str, form: str) -> date:
    return datetime.strptime(text, form).date()  # noqa: DTZ007 - a day only


def is_date_format(text: str) -> bool:
    """Return whether a format says year, month and day: a day that is written in it is read as the same day."""
    form, day, alike = _strptime_format(text), date(2031, 12, 23), date(2025, 12, 23)  # in all but the year
    with suppress(ValueError, re.error):
        return (written := day.strftime(form)) != alike.strftime(form) and _day_in(written, form) == day
    return False


def as_text(cell: object) -> object:
    """Return a number or a day as the text that a person sees for it."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return str(cell)
    return cell.isoformat() if isinstance(cell, date) else cell


def _unpacked(name: str, cell: object) -> object:
    """Return the id of a record that Parquet holds as bytes; anything else stays."""
    records = _KINDS.get(name) in (FieldKind.RECORD_ID, FieldKind.RECORD_NAME)
    return UUID(bytes=cell) if records and isinstance(cell, bytes) and len(cell) == 16 else cell


LONG_NUMBER = "is a number of more digits than Excel keeps; format the cells as Text and fill them in again"


def _refuse_unshown(name: str, text: str) -> None:
    """Raise ValueError for text in which Excel shows that it has no value, or no longer all of it."""
    if text.lower() not in NULL_WORDS and _ERROR.fullmatch(text):
        raise ValueError(f"{name}: the cell holds the error {text}")
    if _FORMULA.match(text):
        raise ValueError(f"{name}: the cell holds the text of a formula, {text}, and not its result; write the result")
    if _SHORTENED.fullmatch(text):
        raise ValueError(f"{name}: {text!r} {LONG_NUMBER}")


class CellError(str):
    """A cell that shows no value in Excel, or another than it has: what stands in it, and its `problem`."""

    __slots__ = ("problem",)

    problem: str

    def __new__(cls, text: str, problem: str) -> Self:
        """Make it of what stands in the cell."""
        error = super().__new__(cls, text)
        error.problem = problem
        return error
