"""Takes the address of a request apart: path (segments, keys, function arguments, casts) and query options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

from connector.emulator.odata.lexer import ODataError, Reader, TokenKind
from connector.emulator.odata.parse import once
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import names

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
        if argument in {bound for bound, _ in pairs}:
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


OPTIONS = frozenset(
    names(
        "$select $filter $orderby $expand $top $count $skiptoken $deltatoken $id annotations savedQuery userQuery "
        "fetchXml"
    )
)
"""Options that some resource understands; each resource says which of them it takes."""

IGNORED_OPTIONS = {
    "tag": "A shared variable for plug-ins (optional-parameters.md); the plug-ins here do not read it.",
    "LabelLanguages": "Labels come in one language here.",
}
"""Options that are accepted and change nothing, each with the reason."""

REFUSED_OPTIONS = {
    "$skip": "Skip Clause is not supported in CRM",
    **{
        f"${name}": f"The query option '${name}' is not supported."
        for name in names("search format compute index levels")
    },
}
"""Options that are refused by name. `$skip`: the service's own words, seen in recordings; the rest are ours."""


OPTIONS_NOT_IMPLEMENTED = {"$apply": "aggregation ($apply)", "sql": "SQL queries (sql)"}
"""Options that the service has and the emulator has not."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one query string: values by name, decoded, and the parameter aliases (`@p1`)."""

    values: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def allow(self, *names: str) -> None:
        """Raise ODataError when an option other than `names` and the ignorable ones is given."""
        for name in self.values:
            if name not in names and name not in IGNORED_OPTIONS:
                raise ODataError(f"The query option '{name}' is not supported for this resource.")

    def allow_aliases(self, used: set[str]) -> None:
        """Raise ODataError when an alias is given that nothing in the request uses."""
        for name in self.aliases:
            if name not in used:
                raise ODataError(f"The parameter alias '{name}' is not used in the request.")


NO_OPTIONS = Options()


@lru_cache(maxsize=2048)
def options(query: str) -> Options:
    """Return the options of the percent-encoded `query`; a `+` is a space. Raises ODataError and Refused.

    The value is shared between calls: do not change it.
    """
    if not query:
        return NO_OPTIONS
    values: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair.strip():
            continue
        written, equals, encoded = pair.partition("=")
        name, value = unquote_plus(written).strip(), unquote_plus(encoded)
        _check(name, equals)
        into = aliases if name.startswith("@") else values
        if name in into:
            raise once(name)
        into[name] = value.strip() if name.startswith("$") else value
    return Options(values, aliases)


def _check(name: str, equals: str) -> None:
    if name in OPTIONS_NOT_IMPLEMENTED:
        raise refuse("emulator.not_implemented", OPTIONS_NOT_IMPLEMENTED[name])
    if name in REFUSED_OPTIONS:
        raise ODataError(REFUSED_OPTIONS[name])
    if not name.startswith("@") and name not in OPTIONS and name not in IGNORED_OPTIONS:
        raise ODataError(f"The query parameter '{name}' is not supported.")
    if not equals:
        raise ODataError(f"The query option '{name}' has no value.")
