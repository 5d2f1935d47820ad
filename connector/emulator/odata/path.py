"""Takes the path of a request apart: segments, keys, function arguments, casts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from connector.emulator.odata.lexer import ODataError, Reader, TokenKind

ROOT = re.compile(r"/api/data/v9\.[012](?:/|$)")
"""The base paths that are served; names in a path are case-sensitive."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path: a name, and what stands in parentheses after it.

    `key` is a GUID in lower case; `pairs` are `name=value` arguments as written (`'text'`, `1`, `@p1`); `called` tells
    whether parentheses were there at all.
    """

    name: str
    key: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    called: bool = False

    def key_by(self, primary_id: str) -> str | None:
        """Return the key, written bare or by the name of the primary key; None for anything else."""
        if len(self.pairs) == 1 and self.pairs[0][0] == primary_id:
            written = self.pairs[0][1].strip("'")
            return written.lower() if _GUID.fullmatch(written) else None
        return self.key


_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_STEP = re.compile(r"[A-Za-z_$][\w.$]*", re.ASCII)


@lru_cache(maxsize=4096)
def segments(path: str) -> tuple[Segment, ...]:
    """Return the segments of the percent-encoded `path` below the base path. Raises ODataError for what is no path."""
    text = unquote(path)
    parts: list[Segment] = []
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise ODataError(f"Syntax error at position {position} in '{text}'.")
        position = step.end()
        segment = Segment(step.group())
        if text[position : position + 1] == "(":
            close = _closing(text, position)
            segment = _with_arguments(segment.name, text[position + 1 : close])
            position = close + 1
        parts.append(segment)
        if position == len(text):
            break
        if text[position] != "/":
            raise ODataError(f"Syntax error at position {position} in '{text}'.")
        position += 1
    return tuple(parts)


def _closing(text: str, opening: int) -> int:
    """Return where the parenthesis at `opening` closes, quotes respected."""
    depth, quoted = 0, False
    for position in range(opening, len(text)):
        character = text[position]
        if character == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position
    raise ODataError(f"Found an unbalanced bracket expression in '{text}'.")


def _with_arguments(name: str, inside: str) -> Segment:
    reader = Reader(inside)
    if reader.now.kind is TokenKind.END:
        return Segment(name, called=True)
    if reader.now.kind is TokenKind.GUID:
        key = reader.take().text.lower()
        reader.need_end()
        return Segment(name, key=key, called=True)
    pairs: list[tuple[str, str]] = []
    while True:
        argument = reader.need_name()
        reader.need("=")
        text = _argument_text(reader)
        if argument in {taken for taken, _ in pairs}:
            raise ODataError(f"The key or argument '{argument}' was given more than once.")
        pairs.append((argument, text))
        if not reader.skip(","):
            break
    reader.need_end()
    return Segment(name, pairs=tuple(pairs), called=True)


def _argument_text(reader: Reader) -> str:
    """Take the value of an argument as written: a literal, an alias, an enumeration's value, or a list in brackets."""
    value = reader.take()
    if value.text == "[":
        parts = [value.text]
        while parts[-1] != "]":
            part = reader.take()
            if part.kind is TokenKind.END:
                raise reader.error("The end of a list expected")
            parts.append(part.text)
        return "".join(parts)
    if value.kind in (TokenKind.END, TokenKind.PUNCTUATION, TokenKind.SYSTEM):
        raise reader.error("A value expected")
    if value.kind is TokenKind.NAME and reader.now.kind is TokenKind.STRING and not reader.now.spaced:
        return value.text + reader.take().text
    return value.text


def text_of(written: str) -> str | None:
    """Return the text of a quoted value as written in a path (`'a''b'` is a'b); None when it is not quoted."""
    if len(written) > 1 and written[0] == written[-1] == "'":
        return written[1:-1].replace("''", "'")
    return None
