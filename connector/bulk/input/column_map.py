"""The columns of a file: those of a request to close, other people's names for them, and what is not read."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

from connector.closing.intent import FILE_COLUMNS, OPPORTUNITY_ID
from connector.closing.request import OPPORTUNITY_PREFIX, PREFIXES, QUOTE_PREFIX
from connector.errors import InputError

RESULT_PREFIX = "result."
"""Columns whose names begin so are ours to write and are not read: a dead-letter file is input for the next run."""

FIELDS = tuple(field.name for field in FILE_COLUMNS)
REQUIRED = tuple(field.name for field in FILE_COLUMNS if field.required)
_EXPORT = re.compile(r"(\([^()]+\)) .+")
"""The name of a column that an export of Dynamics 365 does not want changed, in the language of its user.

The first three are the id, the checksum and the moment of the last change, `(Do Not Modify) Opportunity` and so on; its
other columns show the record as it is.
"""

_NO_LETTERS = re.compile(r"[\W_]")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _letters(name: str) -> str:
    """Return the letters of a name without their accents, which programs write in several ways."""
    return _NO_LETTERS.sub("", unicodedata.normalize("NFKD", name.casefold()))


_TRANSLATED = {
    "actual_revenue": (
        "Actual revenue, Tatsächlicher Umsatz, Tats. Umsatz, Ist-Umsatz, Revenu réel, Chiffre d'affaires réel,"
        " CA réel, Ingresos reales, Ingreso real, Faktisk intäkt, Faktiska intäkter, Faktisk omsättning,"
        " Ricavi effettivi, Ricavo effettivo, Fatturato effettivo, Werkelijke opbrengst, Werkelijke omzet,"
        " Faktisk omsætning, Faktisk indtægt, Faktisk inntekt, Faktisk omsetning, Receita real, Receita efetiva,"
        " Rzeczywisty przychód, Toteutunut tuotto, Todellinen tuotto, Skutečný výnos, Фактический доход, 実際の売上"
    ),
    "closed_on": (
        "Actual close date, Tatsächliches Abschlussdatum, Tats. Abschlussdatum, Date de clôture réelle,"
        " Date de fermeture réelle, Date de conclusion réelle, Fecha de cierre real, Fecha real de cierre,"
        " Faktiskt slutdatum, Faktiskt avslutsdatum, Faktiskt avslutningsdatum, Faktiskt stängningsdatum,"
        " Data di chiusura effettiva, Data chiusura effettiva, Werkelijke sluitingsdatum, Werkelijke afsluitdatum,"
        " Faktisk lukkedato, Faktisk afslutningsdato, Faktisk avslutningsdato, Data de fechamento real,"
        " Data de fecho real, Rzeczywista data zamknięcia, Todellinen päättymispäivä, Todellinen sulkemispäivä,"
        " Skutečné datum uzavření, Фактическая дата закрытия, 実際の完了日, 実際のクローズ日"
    ),
}
"""Revenue and day of the close as exports name them in the languages of their users, by our names."""
_EXPORT_ALIASES = {_letters(name): ours for ours, names in _TRANSLATED.items() for name in names.split(", ")}
_ALIASES = _EXPORT_ALIASES | (
    {_letters(field.label): field.name for field in FILE_COLUMNS}
    | {_letters(name): name for name in FIELDS}
    | {"opportunityguid": "opportunityid", "oppid": "opportunityid", "closedate": "closed_on"}
)
_ASKED_OF_EXPORT = frozenset(FIELDS) - {"status", "description"}  # which an export shows of the record itself


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How the columns of a file are read.

    `renames` has our name by theirs, with nothing for a column that is not to be read; `defaults` a value by our name
    for where a cell is empty or the column absent. Names are compared without regard to case. `keep` are columns of the
    file that go into plan, report and dead letters as they are. `ignore_others` leaves unread what is not known. `key`
    is the column of opportunities whose values stand in the place of their ids, or several with commas between them, if
    it is so; those are kept too.
    """

    renames: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    defaults: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    keep: tuple[str, ...] = ()
    ignore_others: bool = False
    key: str = ""

    def ours(self, theirs: str) -> str | None:
        """Return our name of a column, "" when it is not to be read, or None when it is not known."""
        plain = theirs.strip()
        lower = plain.lower()
        for name, ours in self.renames.items():
            if name.strip().lower() == lower:
                return ours
        if lower in FIELDS:
            return lower
        if lower in self.key_columns:
            return "" if self.key_columns.index(lower) else OPPORTUNITY_ID.name
        if lower.startswith(RESULT_PREFIX) or self._is_listed(theirs):
            return ""
        extra = next((prefix for prefix in PREFIXES if lower.startswith(prefix)), None)
        return _ALIASES.get(_letters(plain)) if extra is None else extra + plain[len(extra) :]

    @property
    def key_columns(self) -> list[str]:
        """Return the columns of the key, in lower case: several where there are commas in it."""
        return [name.strip().lower() for name in self.key.split(",") if name.strip()]

    def key_cells(self, cells: Mapping[str, object]) -> list[object]:
        """Return the cells of a key of several columns; none where the row lacks them, and has the key as one text."""
        by_name = {name.strip().lower(): cell for name, cell in cells.items()}
        return [by_name[name] for name in self.key_columns if name in by_name] if len(self.key_columns) > 1 else []

    def kept(self, theirs: str) -> bool:
        """Return whether a column goes into plan, report and dead letters as it is."""
        of_key = theirs.strip().lower() in self.key_columns or self.ours(theirs) == OPPORTUNITY_ID.name
        return self._is_listed(theirs) or (bool(self.key) and of_key)

    def _is_listed(self, theirs: str) -> bool:
        return bool(self.keep) and theirs.strip().lower() in {name.strip().lower() for name in self.keep}

    def known(self, theirs: str) -> bool:
        """Return whether a column may be in a file."""
        return self.ours(theirs) is not None

    def of_file(self, columns: Sequence[str]) -> tuple[ColumnMapping, list[str]]:
        """Return the map for a file with these columns, and what to say: exports and our own files are special.

        What an export of Dynamics shows of a record is not what is asked of it, but for the revenue and the day of the
        close. Our own reports keep the columns that they were told to keep.
        """
        lower = {name.strip().lower() for name in columns}
        marks = [match[1].lower() if (match := _EXPORT.fullmatch(name.strip())) else "" for name in columns[:3]]
        if marks[:1] == ["(do not modify)"] or (marks in ([mark] * 3 for mark in marks if mark)):
            return self._of_export(columns, marks[0])
        if f"{RESULT_PREFIX}status" in lower:
            others = [name for name in columns if name.strip().lower() in self.key_columns]  # the ids are there too
            return replace(self, key="", keep=(*self.keep, *self._unknown(columns), *others)), []
        if not self.ignore_others:
            return self, []
        others = self._unknown(columns)
        ignored = replace(self, renames={**dict.fromkeys(others, ""), **self.renames})
        return ignored, [f"Columns that are not read: {', '.join(others)}."] if others else []

    def _unknown(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if not self.known(name)]

    def _of_export(self, columns: Sequence[str], mark: str) -> tuple[ColumnMapping, list[str]]:
        mapped = {name.strip().lower() for name in self.renames}
        renames, others = dict(self.renames), list[str]()
        for place, name in enumerate(columns):
            lower = name.strip().lower()
            if lower in mapped or lower in _ASKED_OF_EXPORT or lower.startswith(PREFIXES):
                continue
            if lower.startswith(mark):
                renames[name] = "" if place or self.key else OPPORTUNITY_ID.name
                continue
            renames[name] = _EXPORT_ALIASES.get(_letters(name), "outcome" if lower == "outcome" else "")
            if not renames[name] and not self.kept(name):
                others.append(name)
        note = f"This is an export of Dynamics 365. Columns that are not read: {', '.join(others)}."
        missing = [name for name in _TRANSLATED if name not in {*renames.values(), *columns}]
        hints = " or ".join(f"--map '{others[-1]}={name}'" for name in missing or ["status"]) if others else ""
        hint = f" Read one with --map, as {hints}."
        return replace(self, renames=renames, ignore_others=False), [note + hint] if others else []

    def read(self, file: str, columns: Sequence[str]) -> dict[str, str]:
        """Return our name by theirs of the columns to be read; raises InputError naming every problem there is."""
        if any(_is_id(theirs) for theirs in columns):
            raise InputError(
                f"{file}: the first line is a row, and does not name the columns. Nothing was touched.",
                remedy="Write the names of the columns above it, as opportunityid,outcome.",
            )
        names = {theirs: self.ours(theirs) for theirs in columns}
        others = [theirs for theirs, ours in names.items() if ours is None]
        problems = [unknown(*others)] if others else []
        problems += twice(columns, [names[theirs] for theirs in columns])
        problems += twice(columns, [theirs if self.kept(theirs) and not names[theirs] else None for theirs in columns])
        present = {ours for ours in names.values() if ours}
        missing = [name for name in REQUIRED if name not in present and not self.defaults.get(name)]
        problems += [f"there is no column {' and none for '.join(missing)}"] if missing else []
        lower = {theirs.strip().lower() for theirs in columns}
        problems += [
            f"there is no column {theirs!r}, which {option} names"
            for option, theirs_named in (("--map", self.renames), ("--keep", self.keep))
            for theirs in theirs_named
            if theirs.strip().lower() not in lower
        ]
        parts = [name for name in self.key_columns if name not in lower]
        if parts and len(parts) < len(self.key_columns):
            problems.append(f"there is no column {parts[0]!r}, which is a part of the key")
        if problems:
            maps = "".join(f" --map THEIRS={name}" for name in missing)
            maps = f"Say which they are:{maps}{_OUTCOME if 'outcome' in missing else ''}. " if missing else ""
            listed = f"Its columns are {', '.join(columns)}. " if len(columns) > len(others) else ""
            raise InputError(
                f"{file}: {'; '.join(problems)}. Nothing was touched.",
                remedy=f"{maps}{listed}The columns that are read are {', '.join(FIELDS)}, and extra columns as"
                f" {OPPORTUNITY_PREFIX}NAME or {QUOTE_PREFIX}NAME. Leave others unread with --ignore-other-columns, or"
                " carry them along with --keep NAME.",
            )
        return {theirs: ours for theirs, ours in names.items() if ours}


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text.strip()))
    except ValueError:
        return False


_OUTCOME = " (or one outcome for all rows: --won or --lost)"


def parse_renames(options: Sequence[str]) -> dict[str, str]:
    """Return our name by theirs from `theirs=ours` texts; `theirs=` leaves a column unread. Raises InputError."""
    renames: dict[str, str] = {}
    for text in options:
        theirs, separator, ours = text.rpartition("=")
        plain = ours.strip()
        if not separator or not theirs.strip():
            raise InputError(f"--map {text!r} is not THEIRS=OURS.", remedy="Write it as --map 'Opp Id=opportunityid'.")
        if plain and not ColumnMapping().ours(plain):
            raise InputError(f"--map {text!r}: {unknown(plain)}.", remedy=f"OURS is one of {', '.join(FIELDS)}.")
        renames[theirs.strip()] = ColumnMapping().ours(plain) or ""
    return renames


def unknown(*names: str) -> str:
    """Say that columns are not known, with the names they are nearest to."""
    near = [each for name in names for each in difflib.get_close_matches(name.strip().lower(), FIELDS, 1, 0.75)]
    listed = ", ".join(map(repr, names))
    subject = f"the column {listed} is" if len(names) == 1 else f"the columns {listed} are"
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    return f"{subject} not known{hint}"


def twice(columns: Sequence[str], ours: Sequence[str | None]) -> list[str]:
    """Say which of our columns appear more than once, with their names in the file."""
    problems = []
    for name in dict.fromkeys(name for name in ours if name):
        places = [place for place, each in enumerate(ours) if each == name]
        if len(places) > 1:
            where = " and ".join(f"{columns[place]!r} ({place + 1})" for place in places)
            problems.append(f"the column {name} appears {len(places)} times: {where}")
    return problems
