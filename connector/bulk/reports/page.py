"""Pages that are one file: nothing in them is fetched from elsewhere, and whatever is put into them is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from connector.bulk.sheet_file import whole_file
from connector.bulk.words import reason_words
from connector.errors import InputError


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Write a page whole or not at all. Raises InputError."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise InputError(
            "Pages need a library that is not installed.",
            remedy="Install the connector with the extra report (`connector docs administrator`).",
        ) from error
    templates = Environment(
        loader=PackageLoader("connector.bulk.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"amount": _amount, "count": _count, "moment": _moment, "reason": reason_words}
    with whole_file(path) as aside:
        templates.get_template(template).stream(values).dump(str(aside), encoding="utf-8")


def _amount(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
