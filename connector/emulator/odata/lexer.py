"""Cuts the text of an OData query option into tokens; what is no token is refused with its position."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class ODataError(Exception):
    """The text of a query option cannot be understood; the message is the service's own where one is known."""


class TokenKind(Enum):
    """The kinds of token."""

    GUID = "guid"
    DATETIME = "datetime"
    DATE = "date"
    DECIMAL = "decimal"
    INTEGER = "integer"
    STRING = "string"
    QUOTED = "quoted"
    ALIAS = "alias"
    NAME = "name"
    SYSTEM = "system"
    PUNCTUATION = "punctuation"
    END = "end"


class Token(NamedTuple):
    """One token: its kind, its text as written, where it begins, and whether a space stands before it."""

    kind: TokenKind
    text: str
    position: int
    spaced: bool


# One alternative can match at each position and none nests a repetition, so a scan is linear in the text.
_SCAN = re.compile(
    r"""[ \t\r\n]*+(?:
      (?P<guid>[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})(?![\w-])
    | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:[Zz]|[+-]\d\d:\d\d))(?!\w)
    | (?P<date>\d{4}-\d\d-\d\d)(?![\w-])
    | (?P<decimal>[+-]?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+))(?![\w.])
    | (?P<integer>[+-]?\d+)(?![\w.])
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"[^"\\]*")
    | (?P<alias>@[A-Za-z_]\w*)
    | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<system>\$[a-z]+)
    | (?P<punctuation>[()\[\],;:/=*])
    )""",
    re.VERBOSE | re.ASCII,
)
_SPACES = " \t\r\n"
_KINDS = {kind.value: kind for kind in TokenKind}
LONGEST = 65_536
"""Characters of the longest text looked at: the documented limit of a URL inside a batch."""
NO_COMMA = (
    "Invalid JSON. A comma character ',' was expected in scope 'Array'. Every two elements in an array and properties "
    "of an object must be separated by commas."
)
"""What is said of an array in whose text a single quote stands (filter-rows, Manage single quotes)."""


def tokens(text: str) -> list[Token]:
    """Return the tokens of `text` with an END token last; raises ODataError at the first character that fits none."""
    if len(text) > LONGEST:
        raise ODataError(f"The expression is longer than {LONGEST} characters.")
    read: list[Token] = []
    position = 0
    while match := _SCAN.match(text, position):
        kind = match.lastgroup or ""
        start = match.start(kind)
        read.append(Token(_KINDS[kind], match[kind], start, start > position))
        position = match.end()
    start = len(text) - len(text[position:].lstrip(_SPACES))
    if start < len(text):
        raise ODataError(_unread(text, start, glued=bool(read) and position == start))
    return [*read, Token(TokenKind.END, "", start, start > position)]


def _unread(text: str, start: int, *, glued: bool) -> str:
    """Return why a text cannot be read on, in the words of filter-rows; `glued` is whether a token ends just there."""
    if text[0] == "[":
        return NO_COMMA
    if text[start] == "'":
        return f"There is an unterminated {'' if glued else 'string '}literal at position {len(text)} in '{text}'."
    return f"Syntax error at position {start} in '{text}'."


class Reader:
    """A place in a list of tokens, with the few moves a parser makes."""

    __slots__ = ("_at", "_tokens", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokens(text)
        self._at = 0

    @property
    def now(self) -> Token:
        """The current token."""
        return self._tokens[self._at]

    @property
    def following(self) -> Token:
        """The token after the current one."""
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Return the current token and move past it."""
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token

    def skip(self, text: str) -> bool:
        """Move past the current token when its text is `text`; tell whether it was."""
        token = self._tokens[self._at]
        if token.text != text or token.kind not in (TokenKind.PUNCTUATION, TokenKind.NAME, TokenKind.SYSTEM):
            return False
        self._at += 1
        return True

    def need(self, text: str) -> None:
        """Move past `text` or raise ODataError."""
        if not self.skip(text):
            raise self.error(f"'{text}' expected")

    def need_name(self) -> str:
        """Return the current name and move past it, or raise ODataError."""
        if self.now.kind is not TokenKind.NAME:
            raise self.error("A name expected")
        return self.take().text

    def need_end(self) -> None:
        """Raise ODataError unless everything was read."""
        if self.now.kind is not TokenKind.END:
            raise self.error(f"'{self.now.text}' was not expected")

    def error(self, what: str) -> ODataError:
        """Return the refusal of the current token."""
        return ODataError(f"{what} at position {self.now.position} in '{self.text}'.")
