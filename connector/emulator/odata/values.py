"""Turns literals into stored values by the kind of their column, and refuses what does not fit it."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime

from connector.emulator.odata.expressions import Literal, LiteralKind
from connector.emulator.odata.lexer import ODataError
from connector.emulator.world.schema import FRACTION_KINDS, LOOKUP_KINDS, WHOLE_KINDS, Column, Kind

GUID = re.compile(r"\{?[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}?\Z")
ID_KINDS = LOOKUP_KINDS | {Kind.UUID, Kind.FILE}
TEXT = frozenset({Kind.STRING, Kind.MEMO, Kind.ENTITYNAME})

OPERATOR_KINDS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "gt": "GreaterThan",
    "ge": "GreaterThanOrEqual",
    "lt": "LessThan",
    "le": "LessThanOrEqual",
}

_LARGEST = 2**63


def fold(text: str | None) -> str | None:
    """Return `text` as filters and orders compare it: without case and accents.

    The collation of an English organization is _CI_AI (power-platform/admin/language-collations).
    """
    if text is None:
        return None
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()


def wildcard(text: str, function: str) -> str:
    """Return the GLOB pattern of contains, startswith or endswith; `%`, `_` and `[a-f]` are wildcards as documented.

    Source: https://learn.microsoft.com/power-apps/developer/data-platform/wildcard-characters.
    """
    pattern: list[str] = []
    folded = fold(text) or ""
    for position, character in enumerate(folded):
        if character == "%":
            pattern.append("*")
        elif character == "_":
            pattern.append("?")
        elif character in "*?" or (character == "[" and "]" not in folded[position + 2 :]):
            pattern.append(f"[{character}]")
        else:
            pattern.append(character)
    middle = "".join(pattern)
    before = "" if function == "startswith" else "*"
    after = "" if function == "endswith" else "*"
    return f"{before}{middle}{after}"


def moment_text(text: str) -> tuple[str, bool]:
    """Return a moment as stored (UTC, whole seconds) and whether a fraction was cut off. Raises ODataError."""
    try:
        moment = datetime.fromisoformat(_six_digits(text.upper()))
        inside = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ODataError(f"Unrecognized 'Edm.DateTimeOffset' literal '{text}'.") from None
    return inside.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"), inside.microsecond != 0


def _six_digits(text: str) -> str:
    """Cut a fraction of more than six digits, which datetime does not read, to six."""
    match = re.search(r"\.\d+", text)
    if match is None:
        return text
    digits = match.group()[:7].ljust(7, "0")
    return text[: match.start()] + digits + text[match.end() :]


def day_text(text: str) -> str:
    """Return a date as stored. Raises ODataError when the calendar has no such day."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ODataError(f"Unrecognized 'Edm.Date' literal '{text}'.") from None


def incompatible(column: Column, literal: Literal, operator: str) -> ODataError:
    """Return the refusal of a comparison between types that do not go together, in the words of OData."""
    return ODataError(
        "A binary operator with incompatible types was detected. Found operand types "
        f"'{column.kind.edm}' and '{literal.kind.value}' for operator kind '{OPERATOR_KINDS[operator]}'."
    )


def stored(  # noqa: PLR0911 - one line per kind of column
    column: Column, literal: Literal, operator: str = "eq"
) -> str | int | float:
    """Return the stored form of a literal compared with `column`; a fraction of a second is cut. Raises ODataError."""
    kind, value = column.kind, literal.value
    if kind in ID_KINDS and literal.kind in (LiteralKind.GUID, LiteralKind.STRING) and GUID.match(str(value)):
        return str(value).strip("{}").lower()
    if kind in TEXT and literal.kind is LiteralKind.STRING:
        return str(value)
    if (
        kind in WHOLE_KINDS | FRACTION_KINDS
        and isinstance(value, int | float)
        and literal.kind is not LiteralKind.BOOLEAN
    ):
        if abs(value) >= _LARGEST:
            raise incompatible(column, literal, operator)
        return value
    if kind is Kind.BOOLEAN and literal.kind is LiteralKind.BOOLEAN:
        return int(bool(value))
    if kind is Kind.DATEONLY and literal.kind is LiteralKind.DATE:
        return day_text(str(value))
    if kind is Kind.DATETIME and literal.kind is LiteralKind.DATE:
        return f"{day_text(str(value))}T00:00:00Z"
    if kind is Kind.DATETIME and literal.kind is LiteralKind.DATETIME:
        return moment_text(str(value))[0]
    raise incompatible(column, literal, operator)


def loosely(column: Column, literal: Literal) -> str | int | float:
    """Return the stored form of a value of a query function, which may be quoted (`["0","1"]`). Raises ODataError."""
    if literal.kind is not LiteralKind.STRING or column.kind in TEXT | ID_KINDS:
        return stored(column, literal)
    text = str(literal.value).strip()
    try:
        if column.kind in WHOLE_KINDS:
            return stored(column, Literal(LiteralKind.INTEGER, int(text)))
        if column.kind in FRACTION_KINDS:
            number = float(text)
            if number - number == 0.0:  # neither infinite nor no number
                return stored(column, Literal(LiteralKind.DECIMAL, number))
    except ValueError:
        pass
    if column.kind is Kind.BOOLEAN and text.lower() in ("true", "false", "1", "0"):
        return int(text.lower() in ("true", "1"))
    if column.kind in (Kind.DATEONLY, Kind.DATETIME):
        kind = LiteralKind.DATE if len(text) == len("2026-01-31") else LiteralKind.DATETIME
        if kind is LiteralKind.DATETIME and column.kind is Kind.DATEONLY:
            return moment_text(text)[0][:10]
        return stored(column, Literal(kind, text))
    raise ODataError(f"The value '{text}' does not fit the property '{column.name}' of type {column.kind.edm}.")
