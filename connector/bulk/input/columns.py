"""The columns of a file: those of a request to close, other people's names for them, and what goes by unread."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from connector.closing.intent import FILE_COLUMNS
from connector.closing.request import OPPORTUNITY_PREFIX, PREFIXES, QUOTE_PREFIX
from connector.errors import InputError

RESULT_PREFIX = "result."
"""Columns whose names begin so are ours to write and are not read: a dead-letter file is input for the next run."""

FIELDS = tuple(field.name for field in FILE_COLUMNS)
REQUIRED = tuple(field.name for field in FILE_COLUMNS if field.required)

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns of a file are read.

    `renames` has our name by theirs, with nothing for a column that is not to be read; `defaults` a value by our name
    for where a cell is empty or the column absent. Names are compared without regard to case.
    """

    renames: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    defaults: Mapping[str, object] = field(default_factory=lambda: _NOTHING)

    def ours(self, theirs: str) -> str | None:
        """Return our name of a column, "" when it is not to be read, or None when it is not known."""
        plain = theirs.strip()
        lower = plain.lower()
        for name, ours in self.renames.items():
            if name.strip().lower() == lower:
                return ours
        if lower in FIELDS:
            return lower
        if lower.startswith(RESULT_PREFIX):
            return ""
        extra = next((prefix for prefix in PREFIXES if lower.startswith(prefix)), None)
        return None if extra is None else extra + plain[len(extra) :]

    def known(self, theirs: str) -> bool:
        """Return whether a column may be in a file."""
        return self.ours(theirs) is not None

    def read(self, file: str, columns: Sequence[str]) -> dict[str, str]:
        """Return our name by theirs of the columns to be read; raises InputError naming every problem there is."""
        found = {theirs: self.ours(theirs) for theirs in columns}
        problems = [unknown(theirs) for theirs, ours in found.items() if ours is None]
        problems += _twice(columns, [found[theirs] for theirs in columns])
        present = {ours for ours in found.values() if ours}
        problems += [
            f"there is no column {name}; {'say it with --map THEIRS=' + name if name != 'outcome' else _OUTCOME}"
            for name in REQUIRED
            if name not in present and not self.defaults.get(name)
        ]
        lower = {theirs.strip().lower() for theirs in columns}
        problems += [
            f"there is no column {theirs!r}, which --map names"
            for theirs in self.renames
            if theirs.strip().lower() not in lower
        ]
        if problems:
            there = f"Its columns are {', '.join(columns)}. " if len(columns) else ""
            raise InputError(
                f"{file}: {'; '.join(problems)}. Nothing was touched.",
                remedy=f"{there}The columns that are read are {', '.join(FIELDS)}, and extra columns as"
                f" {OPPORTUNITY_PREFIX}NAME or {QUOTE_PREFIX}NAME.",
            )
        return {theirs: ours for theirs, ours in found.items() if ours}


_OUTCOME = "add it, say --map THEIRS=outcome, or give one outcome for all rows with --won or --lost"


def parse_renames(given: Sequence[str]) -> dict[str, str]:
    """Return our name by theirs from `theirs=ours` texts; `theirs=` leaves a column unread. Raises InputError."""
    renames: dict[str, str] = {}
    for text in given:
        theirs, separator, ours = text.rpartition("=")
        plain = ours.strip()
        if not separator or not theirs.strip():
            raise InputError(f"--map {text!r} is not THEIRS=OURS.", remedy="Write it as --map 'Opp Id=opportunityid'.")
        if plain and not Columns().ours(plain):
            raise InputError(f"--map {text!r}: {unknown(plain)}.", remedy=f"OURS is one of {', '.join(FIELDS)}.")
        renames[theirs.strip()] = Columns().ours(plain) or ""
    return renames


def unknown(name: str) -> str:
    """Say that a column is not known, with the name it is nearest to."""
    near = difflib.get_close_matches(name.strip().lower(), FIELDS, n=1)
    return f"the column {name!r} is not known{f' (did you mean {near[0]}?)' if near else ''}"


def _twice(columns: Sequence[str], ours: Sequence[str | None]) -> list[str]:
    problems = []
    for name in dict.fromkeys(name for name in ours if name):
        places = [place for place, one in enumerate(ours) if one == name]
        if len(places) > 1:
            where = " and ".join(f"{columns[place]!r} ({place + 1})" for place in places)
            problems.append(f"the column {name} appears {len(places)} times: {where}")
    return problems
