"""Where each field of a fact is in a row of the Web API: declared beside the field, read in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

FactModel = TypeVar("FactModel", bound=BaseModel)
_FOLLOWERS = re.compile(r"tostatusid=['\"](\d{1,10})['\"]")


@dataclass(frozen=True, slots=True)
class FactSource:
    """The names that lead to a value in a row, with points between, and what reads it."""

    path: str
    read: Callable[[Any], object] = lambda value: value


def fact_of(kind: type[FactModel], row: Mapping[str, Any], /, **known: object) -> FactModel:
    """Return the fact in a row; `known` are the fields that the row does not tell.

    A field that has a default may be missing or empty in the row. Raises KeyError, TypeError or ValueError.
    """
    values = dict(known)
    for name, field in kind.model_fields.items():
        for source in (mark for mark in field.metadata if isinstance(mark, FactSource)):
            value: Any = row
            for part in source.path.split("."):
                value = value[part] if field.is_required() else (value or {}).get(part)
            if value is not None or field.is_required():
                values[name] = source.read(value)
    return kind(**values)


def text(value: object) -> object:
    """Return a text; an empty one where there is none."""
    return value or ""


def table_name(name: str) -> str:
    """Return the name of a table; `none` is that of no table."""
    return "" if name == "none" else name


def listed(names: str) -> tuple[str, ...]:
    """Return names that have commas between them, in order."""
    return tuple(sorted(name.strip() for name in names.split(",") if name.strip()))


def followers(data: str) -> tuple[int, ...]:
    """Return the status reasons that may follow, by the XML of a transition."""
    return tuple(sorted({int(value) for value in _FOLLOWERS.findall(data)}))


def texts_by_language(label: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a Label by language code, in the order of the codes."""
    entries = label.get("LocalizedLabels") or []
    return dict(sorted((str(entry["LanguageCode"]), str(entry["Label"])) for entry in entries if entry["Label"]))
