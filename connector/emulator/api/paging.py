"""The paging cookie of next links, in the service's own form, and the place in an order that it stands for.

`$skiptoken=<cookie pagenumber="2" pagingcookie="..." istracking="False" />` carries, percent-encoded once more, the key
(and the sorted columns) of the first and the last row of the page before (page-results.md; Web API query sample).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import quote, unquote, unquote_plus

from connector.emulator.rules.rule import refuse
from connector.emulator.world.store import Value

_OUTER = re.compile(
    r'<cookie pagenumber="([1-9]\d{0,8})" pagingcookie="([^"]{1,16000})"(?: istracking="(?:False|True)")? ?/>'
)
_INNER = re.compile(r'<cookie page="(\d{1,9})">((?:<[\w.]+(?: (?:last|first)(?:null)?="[^"]*"){2} ?/>)+)</cookie>')
_TERM = re.compile(r'<([\w.]+) last(null)?="([^"]*)" first(?:null)?="[^"]*" ?/>')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class SortKey:
    """One thing that rows are sorted by: its name in the cookie, its SQL, its direction."""

    name: str
    sql: str
    descending: bool
    text: bool
    """Whether its values are text (dates and ids included) and not numbers."""


@dataclass(frozen=True, slots=True)
class PagingCookie:
    """Where to go on: the number of the page asked for, and what its predecessor's last row was sorted by."""

    page: int
    last: tuple[Value, ...]


FIRST_PAGE = PagingCookie(1, ())


def next_token(
    page: int, order: Sequence[SortKey], first: Sequence[Value], last: Sequence[Value], tracking: str = "False"
) -> str:
    """Return the percent-encoded `$skiptoken` of the page after `page`, whose rows were sorted by `first` to `last`.

    `tracking` is what the cookie says of change tracking, `True` or `False`.
    """
    terms = "".join(
        f"<{sort_key.name} {_attribute('last', end)} {_attribute('first', begin)} />"
        for sort_key, begin, end in zip(order, first, last, strict=True)
    )
    inner = f'<cookie page="{page}">{terms}</cookie>'
    encoded = re.sub("%[0-9A-F]{2}", lambda value: value.group().lower(), quote(inner, safe=""))
    outer = f'<cookie pagenumber="{page + 1}" pagingcookie="{encoded}" istracking="{tracking}" />'
    return quote(outer, safe="=/")


def next_link(url: str, query: str, token: str) -> str:
    """Return the address of the page that `token` stands for: `url` with what was asked in `query`."""
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != "$skiptoken"]
    return f"{url}?" + "&".join([*kept, f"$skiptoken={token}"])


def _attribute(name: str, value: Value) -> str:
    if value is None:
        return f'{name}null="1"'
    text = escape(str(value))
    return f'{name}="{{{text.upper()}}}"' if _GUID.fullmatch(text) else f'{name}="{text}"'


_GUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def read_token(token: str, order: Sequence[SortKey]) -> PagingCookie:
    """Return what a decoded `$skiptoken` says; raises Refused when it was changed or belongs to another order."""
    outer = _OUTER.fullmatch(token)
    inner = _INNER.fullmatch(unquote(outer.group(2))) if outer else None
    if outer is None or inner is None or int(outer.group(1)) != int(inner.group(1)) + 1:
        raise refuse("paging.cookie")
    terms = _TERM.findall(inner.group(2))
    if [name for name, _, _ in terms] != [sort_key.name for sort_key in order]:
        raise refuse("paging.order")
    last = tuple(_value(sort_key, null, text) for sort_key, (_, null, text) in zip(order, terms, strict=True))
    return PagingCookie(int(outer.group(1)), last)


def _value(sort_key: SortKey, null: str, text: str) -> Value:
    if null:
        return None
    plain = unescape(text)
    if sort_key.text:
        bare = plain.strip("{}").lower()
        return bare if _GUID.fullmatch(bare) else plain
    if not _NUMBER.fullmatch(plain):
        raise refuse("paging.cookie")
    return float(plain) if "." in plain or "e" in plain else int(plain)


def beyond(order: Sequence[SortKey], last: Sequence[Value]) -> tuple[str, list[Value]]:
    """Return the SQL condition (and its parameters) of rows that come after `last`; nulls sort as the lowest value."""
    alternatives: list[str] = []
    parameters: list[Value] = []
    for position, sort_key in enumerate(order):
        step = _step(sort_key, last[position])
        if step is None:
            continue
        before = [f"{earlier.sql} IS ?" for earlier in order[:position]]
        parameters += list(last[:position])
        test, values = step
        parameters += values
        alternatives.append(" AND ".join([*before, test]))
    if not alternatives:
        return "0", []
    return "(" + " OR ".join(f"({sort_key})" for sort_key in alternatives) + ")", parameters


def _step(sort_key: SortKey, value: Value) -> tuple[str, list[Value]] | None:
    if value is None:
        return None if sort_key.descending else (f"{sort_key.sql} IS NOT NULL", [])
    if sort_key.descending:
        return f"({sort_key.sql} < ? OR {sort_key.sql} IS NULL)", [value]
    return f"{sort_key.sql} > ?", [value]
