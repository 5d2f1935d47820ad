"""What the emulator's page is built of: tables that become cards on a narrow screen, badges, facts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `look` is a class of the style: `number`, `id`, `wide` or none."""

    title: str
    look: str = ""


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], look: str = "cards") -> str:
    """Return a table of cells that are HTML already. Roles are named because cards take them from the elements."""
    head = "".join(
        f'<th scope="col" role="columnheader"{_class(column.look)}>{column.title}</th>' for column in columns
    )
    body = "".join(
        f"<tr role=row>{''.join(_cell(column, cell) for column, cell in zip(columns, row, strict=True))}</tr>"
        for row in rows
    )
    return (
        f'<div class="sheet"><table role="table" class="{look}"><caption>{caption}</caption>'
        f"<thead role=rowgroup><tr role=row>{head}</tr></thead><tbody role=rowgroup>{body}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values; the values are HTML already."""
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{listed}</dl>'


def status_badge(status: int) -> str:
    """Return an HTTP status: good, to wait for, or bad."""
    kind = "good" if status < 400 else ("wait" if status == 429 else "bad")
    return badge(str(status), kind)


def badge(text: str, kind: str) -> str:
    """Return a word in a coloured field; `kind` is `good`, `wait`, `bad` or `plain`."""
    return f'<span class="badge {kind}">{escape(text)}</span>'


def empty(sentence: str) -> str:
    """Return what stands where there is nothing to show."""
    return f'<p class="empty">{escape(sentence)}</p>'


def named(value: object) -> str:
    """Return the name of a row; rows may have none."""
    return escape(value) if value not in (None, "") else "<i>no name</i>"


def money(value: object) -> str:
    """Return an amount, or nothing."""
    return f"{value:,.2f}" if isinstance(value, int | float) else ""


def escape(value: object) -> str:
    """Return text as HTML."""
    return html.escape(str(value), quote=True)


def _cell(column: Column, cell: str) -> str:
    return f'<td role=cell data-label="{column.title}"{_class(column.look)}>{cell}</td>'


def _class(look: str) -> str:
    return f' class="{look}"' if look else ""
