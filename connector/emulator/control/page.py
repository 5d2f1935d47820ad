"""The page for people: what was asked and answered, what is in the organization, what the referee saw.

Rendered on the server, one file, no script and no asset from elsewhere; it follows the reader's light or dark scheme.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from connector.emulator.control.controlled import Controlled
from connector.emulator.control.journal import Entry, masked
from connector.emulator.control.page_style import STYLE
from connector.emulator.rules.registry import all_rules

VIEWS = {"journal": "Journal", "data": "Data", "referee": "Referee", "rules": "Rules", "settings": "Settings"}
SHOWN = 100
_STATES = {"opportunity": ("Open", "Won", "Lost"), "quote": ("Draft", "Active", "Won", "Closed")}


def render(emulator: Controlled, query: Mapping[str, str]) -> str:
    """Return the page; `view` picks a part, `entry` one request."""
    view = query.get("view", "journal")
    views = {"data": _data, "referee": _referee, "rules": _rules, "settings": _settings}
    body = views[view](emulator) if view in views else _journal(emulator, query.get("entry", ""))
    current = view if view in VIEWS else "journal"
    tabs = "".join(
        f'<a href="?view={name}"{" aria-current=page" if name == current else ""}>{title}</a>'
        for name, title in VIEWS.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{VIEWS[current]} · Dataverse emulator</title><style>{STYLE}</style></head><body>"
        f"<header><h1>Dataverse emulator</h1><p>{_e(emulator.options.url)}</p><nav>{tabs}</nav></header>"
        f"<main>{_tiles(emulator)}{body}</main></body></html>"
    )


def _tiles(emulator: Controlled) -> str:
    counts = emulator.organization.row_counts()
    statuses = emulator.journal.statuses
    failed = sum(count for status, count in statuses.items() if status >= 400)  # noqa: PLR2004 - HTTP errors
    tiles = (
        ("Opportunities", counts.get("opportunity", 0)),
        ("Quotes", counts.get("quote", 0)),
        ("Close activities", counts.get("opportunityclose", 0) + counts.get("quoteclose", 0)),
        ("Requests", emulator.journal.number),
        ("Refused or failed", failed),
    )
    inner = "".join(f"<div><dt>{title}</dt><dd>{value:,}</dd></div>" for title, value in tiles)
    return f'<dl class="tiles">{inner}</dl>'


def _journal(emulator: Controlled, number: str) -> str:
    chosen = [one for one in emulator.journal.entries(limit=10**9) if str(one.number) == number]
    if chosen:
        return _entry(chosen[0])
    entries = emulator.journal.latest(SHOWN)
    if not entries:
        return '<p class="empty">No requests yet. Point a client at the address above.</p>'
    rows = (
        (
            f'<a href="?view=journal&amp;entry={one.number}">{one.number}</a>',
            f'<span class="number">{one.at:%H:%M:%S}</span>',
            f"<b>{_e(one.title)}</b><br><small>{_e(one.request.method)} {_e(_target(one))}</small>",
            _status(one.status) + (f" <mark>{_e(one.fault)}</mark>" if one.fault else ""),
            _e(one.rule) + (f"<br><small>{_e(one.error)}</small>" if one.error else ""),
        )
        for one in entries
    )
    return _table("Latest requests", ("No.", "Time", "Request", "Answer", "Rule"), rows)


def _entry(entry: Entry) -> str:
    facts = (
        ("Time", entry.at.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("Request", f"{entry.request.method} {_target(entry)}"),
        ("Caller", entry.user or "not signed in"),
        ("Web server", str(entry.server)),
        ("Fault", entry.fault or "none"),
        ("Waited", f"{entry.seconds:.3f} s"),
        ("Error", entry.error or "none"),
        ("Referee", ", ".join(entry.findings) or "nothing to say"),
    )
    listed = "".join(f"<div><dt>{name}</dt><dd>{_e(value)}</dd></div>" for name, value in facts)
    rules = {rule.id: rule for rule in all_rules()}
    operations = (
        (
            _e(one.message),
            _e(one.table),
            f"<code>{_e(one.record_id)}</code>",
            _status(one.status),
            _e(one.rule) + (f"<br><small>{_e(rules[one.rule].text)}</small>" if one.rule in rules else ""),
        )
        for one in entry.operations
    )
    body = masked(entry.request)
    return (
        f'<p><a href="?view=journal">All requests</a></p><h2>Request {entry.number} {_status(entry.status)}</h2>'
        f'<dl class="facts">{listed}</dl>'
        + _table("Operations", ("Message", "Table", "Row", "Answer", "Rule"), operations)
        + (f"<h2>Body</h2><pre>{_e(body)}</pre>" if body else "")
    )


def _data(emulator: Controlled) -> str:
    store = emulator.organization.world.store
    opportunities = store.rows(
        "SELECT o.name, o.statecode, o.estimatedvalue, o.actualvalue, COUNT(q.quoteid), o.opportunityid "
        "FROM opportunity o LEFT JOIN quote q ON q.opportunityid = o.opportunityid "
        "GROUP BY o.opportunityid ORDER BY o.modifiedon DESC, o.name LIMIT ?",
        (SHOWN,),
    )
    rows = (
        (
            f"{_e(name)}<br><small><code>{_e(key)}</code></small>",
            _state("opportunity", state),
            f'<span class="number">{_money(estimated)}</span>',
            f'<span class="number">{_money(actual)}</span>',
            f'<span class="number">{quotes}</span>',
        )
        for name, state, estimated, actual, quotes, key in opportunities
    )
    return _table("Opportunities, latest changes first", ("Name", "State", "Estimated", "Actual", "Quotes"), rows)


def _referee(emulator: Controlled) -> str:
    report = emulator.referee.report()
    if not report:
        return '<p class="empty">Nothing to say about the clients so far.</p>'
    rows = (
        (
            _e(row["kind"]),
            f'<span class="number">{row["count"]}</span>',
            _e(row["advice"]),
            f"<small>{'<br>'.join(_e(one) for one in _listed(row['examples'])[:3])}</small>",
        )
        for row in report
    )
    return _table("What clients do that they should not", ("Finding", "Times", "Advice", "Examples"), rows)


def _rules(_emulator: Controlled) -> str:
    rows = (
        (
            f"<code>{_e(rule.id)}</code>",
            _e(rule.text),
            _e(rule.evidence),
            f"<code>{_e(rule.code)}</code>",
            _e(rule.source),
        )
        for rule in all_rules()
    )
    return _table("Rules and their evidence", ("Rule", "What it says", "Evidence", "Code", "Source"), rows)


def _settings(emulator: Controlled) -> str:
    switches = (
        (f"<code>{_e(one.name)}</code>", _e(one.value), _e(", ".join(one.values)), _e(one.text))
        for one in emulator.organization.world.switches.describe()
    )
    limits = ((f"<code>{_e(name)}</code>", _e(value)) for name, value in asdict(emulator.protection.limits).items())
    return _table("Switches", ("Name", "Value", "Choices", "What it decides"), switches) + _table(
        "Service protection limits", ("Name", "Value"), limits
    )


def _table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _status(status: int) -> str:
    kind = "good" if status < 400 else ("wait" if status == 429 else "bad")  # noqa: PLR2004 - HTTP statuses
    return f'<span class="badge {kind}">{status}</span>'


def _state(table: str, state: object) -> str:
    names = _STATES[table]
    return _e(names[state]) if isinstance(state, int) and 0 <= state < len(names) else _e(state)


def _money(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, int | float) else ""


def _target(entry: Entry) -> str:
    return "/" + entry.request.url.partition("://")[2].partition("/")[2]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _e(value: object) -> str:
    return html.escape(str(value), quote=True)
