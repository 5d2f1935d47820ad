"""The page for people: what was asked and answered, what is in the organization, what the referee saw.

Rendered on the server, one file, no script and no asset from elsewhere; it follows the reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from connector.emulator.control.controlled import ControlledEmulator
from connector.emulator.control.page_parts import Column, badge, empty, escape, table
from connector.emulator.control.page_requests import REFUSED, requests
from connector.emulator.control.page_rows import rows
from connector.emulator.control.page_style import STYLE
from connector.emulator.rules.rule import rules

View = Callable[[ControlledEmulator, Mapping[str, str]], str]
EXAMPLES = 3
_REFEREE = (Column("Finding"), Column("Times", "number"), Column("Advice", "wide"), Column("Examples"))
_RULES = (
    Column("Rule", "id"),
    Column("What it says", "wide"),
    Column("Evidence"),
    Column("Code", "when"),
    Column("Source"),
)
_SWITCHES = (Column("Name", "id"), Column("Value"), Column("Choices"), Column("What it decides", "wide"))
_LIMITS = (Column("Name", "id"), Column("Value", "wide"))


def render(emulator: ControlledEmulator, query: Mapping[str, str]) -> str:
    """Return the page; `view` picks a part of it, `entry` one request, `row` one opportunity."""
    views: Mapping[str, tuple[str, View]] = {
        "journal": ("Journal", requests),
        "data": ("Data", rows),
        "referee": ("Referee", _referee),
        "rules": ("Rules", _rules),
        "settings": ("Settings", _settings),
    }
    wanted = query.get("view", "journal")
    current = wanted if wanted in views else "journal"
    title, view = views[current]
    tabs = "".join(
        f'<a href="?view={name}"{" aria-current=page" if name == current else ""}>{one}</a>'
        for name, (one, _) in views.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{title} · Dataverse emulator</title><style>{STYLE}</style></head><body>"
        f"<header><h1>Dataverse emulator</h1><p>{escape(emulator.options.url)}</p><nav>{tabs}</nav></header>"
        f"<main>{_tiles(emulator)}{view(emulator, query)}</main></body></html>"
    )


def _tiles(emulator: ControlledEmulator) -> str:
    counts = emulator.organization.row_counts()
    failed = sum(count for status, count in emulator.journal.statuses.items() if status >= REFUSED)
    tiles = (
        ("Opportunities", counts.get("opportunity", 0)),
        ("Quotes", counts.get("quote", 0)),
        ("Close activities", counts.get("opportunityclose", 0) + counts.get("quoteclose", 0)),
        ("Requests", emulator.journal.number),
        ("Refused or failed", failed),
    )
    inner = "".join(f"<div><dt>{title}</dt><dd>{value:,}</dd></div>" for title, value in tiles)
    return f'<dl class="tiles">{inner}</dl>'


def _referee(emulator: ControlledEmulator, _query: Mapping[str, str]) -> str:
    report = emulator.referee.report()
    if not report:
        return empty("Nothing to say about the clients so far.")
    told = [
        (
            escape(one["kind"]),
            str(one["count"]),
            escape(one["advice"]),
            f"<small>{'<br>'.join(escape(example) for example in _listed(one['examples'])[:EXAMPLES])}</small>",
        )
        for one in report
    ]
    return table("What clients do that they should not", _REFEREE, told)


def _rules(_emulator: ControlledEmulator, _query: Mapping[str, str]) -> str:
    listed = [
        (
            f"<code>{escape(rule.id)}</code>",
            escape(rule.text),
            badge(rule.evidence, "good" if rule.evidence in ("document", "recording") else "plain"),
            f"<code>{escape(rule.code)}</code>" if rule.code else "",
            f"<small>{escape(rule.source)}</small>",
        )
        for rule in rules().values()
    ]
    return table("Rules and their evidence", _RULES, listed)


def _settings(emulator: ControlledEmulator, _query: Mapping[str, str]) -> str:
    switches = [
        (
            f"<code>{escape(switch.name)}</code>",
            f"<b>{escape(switch.value)}</b>",
            escape(", ".join(switch.values)),
            escape(switch.text),
        )
        for switch in emulator.organization.world.switches.describe()
    ]
    limits = [
        (f"<code>{escape(name)}</code>", escape(value)) for name, value in asdict(emulator.protection.limits).items()
    ]
    return table("Switches", _SWITCHES, switches) + table("Service protection limits", _LIMITS, limits)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
