"""OData filters of flows, evaluated on what is known of a row: true, false, or not known. Pure.

Understood: eq ne gt ge lt le, and or not, parentheses, null, numbers, texts, true and false, contains, startswith,
endswith. What a flow's filter says beyond that is not known, and so is every column that a plan does not set or read.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

Known = bool | None
"""True, false, or None: it cannot be told."""
Value = str | Decimal | bool | None

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?(?![\w-]))|(?P<word>[A-Za-z0-9_@./:-]+)|(?P<mark>[(),]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le
}  # fmt: skip
_TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_UNKNOWN = object()
DEEPEST = 50
"""Parentheses in parentheses that are followed."""


def holds(text: str, row: Mapping[str, object]) -> Known:
    """Return whether a filter holds of `row`, whose columns have the names that the Web API gives them.

    None where that depends on a column that `row` does not have, or on something that is not understood.
    """
    if not text.strip():
        return True
    try:
        reader = _FilterReader(_tokens(text), row)
        value = reader.either(0)
    except (ValueError, IndexError, InvalidOperation):
        return None
    return value if reader.at_end else None


@lru_cache(maxsize=512)
def _tokens(text: str) -> tuple[str, ...]:
    tokens, position, text = list[str](), 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(text[position:])
        tokens.append(match[0].strip())
        position = match.end()
    return tuple(tokens)


class _FilterReader:
    """Reads a filter by recursive descent and evaluates it at once, in three-valued logic."""

    def __init__(self, tokens: Sequence[str], row: Mapping[str, object]) -> None:
        self._tokens = tokens
        self._row = row
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def either(self, depth: int) -> Known:
        value = self._both(depth)
        while self._next_is("or"):
            other = self._both(depth)
            value = True if value or other else None if value is None or other is None else False
        return value

    def _both(self, depth: int) -> Known:
        value = self._single(depth)
        while self._next_is("and"):
            other = self._single(depth)
            value = False if value is False or other is False else None if value is None or other is None else True
        return value

    def _single(self, depth: int) -> Known:
        if depth > DEEPEST:
            raise ValueError(depth)
        if self._next_is("not"):
            value = self._single(depth + 1)
            return None if value is None else not value
        if self._next_is("("):
            value = self.either(depth + 1)
            self._expect(")")
            return value
        if self._tokens[self._at] in _TEXT and self._tokens[self._at + 1] == "(":
            return self._text()
        left, word, right = self._operand(), self._take(), self._operand()
        return _compared(left, word, right)

    def _text(self) -> Known:
        function = _TEXT[self._take()]
        self._expect("(")
        value = self._operand()
        self._expect(",")
        part = self._operand()
        self._expect(")")
        if value is _UNKNOWN or not isinstance(part, str):
            return None
        return isinstance(value, str) and function(value.lower(), part.lower())

    def _operand(self) -> object:
        token = self._take()
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token in ("null", "true", "false"):
            return {"null": None, "true": True, "false": False}[token]
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return Decimal(token)
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", token):
            return token.lower()
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            raise ValueError(token)
        value = self._row.get(token, _UNKNOWN)
        return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _next_is(self, token: str) -> bool:
        here = self._at < len(self._tokens) and self._tokens[self._at] == token
        self._at += here
        return here

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise ValueError(token)


def _compared(left: object, word: str, right: object) -> Known:
    if left is _UNKNOWN or right is _UNKNOWN:
        return None
    if word in ("eq", "ne"):
        same = left.lower() == right.lower() if isinstance(left, str) and isinstance(right, str) else left == right
        return same == (word == "eq")
    compare = _COMPARE.get(word)
    if compare is None or type(left) is not type(right) or isinstance(left, bool):
        return False if compare is not None and None in (left, right) else None
    return None if left is None else compare(left, right)
