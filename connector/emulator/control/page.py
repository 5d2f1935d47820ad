"""The page for people: what was asked and answered, what is in the organization, what the referee saw.

Rendered on the server from `data/page.html`: one file, no script, nothing from elsewhere; it follows the reader's light
or dark scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from connector.emulator.control.journal import Journal, masked
from connector.emulator.control.referee import Referee
from connector.emulator.http.tls import ExtraMissing
from connector.emulator.identity.bearer import Bearer
from connector.emulator.identity.grants import Grants
from connector.emulator.limits.faults import Faults
from connector.emulator.limits.protection import Protection
from connector.emulator.rules.rule import rules
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import Organization, TravelClock

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


class ControlledEmulator(Protocol):
    """An emulator as its control interface sees it."""

    options: EmulatorOptions
    clock: TravelClock
    organization: Organization
    protection: Protection
    bearer: Bearer
    grants: Grants
    faults: Faults
    journal: Journal
    referee: Referee
    authority_file: Path | None

    def reset(self) -> None:
        """Put rows and switches back as they were at the start and forget everything counted."""

    def set_faults(self, faults: Faults) -> None:
        """Put another fault plan to work."""


Context = Mapping[str, Any]
SHOWN = 100
"""Rows of a list."""
REFUSED = HTTPStatus.BAD_REQUEST
"""HTTP: from here on an answer is a refusal or a failure."""
_TITLES = {"journal": "Journal", "data": "Data", "referee": "Referee", "rules": "Rules", "settings": "Settings"}
_STATES: Mapping[str, Mapping[int, tuple[str, str]]] = {
    "opportunity": {0: ("Open", "plain"), 1: ("Won", "good"), 2: ("Lost", "bad")},
    "quote": {0: ("Draft", "plain"), 1: ("Active", "wait"), 2: ("Won", "good"), 3: ("Closed", "bad")},
    "close": {0: ("Open", "plain"), 1: ("Completed", "good"), 2: ("Canceled", "bad")},
}
_OPPORTUNITIES = (
    "SELECT o.name, o.statecode, o.estimatedvalue, o.actualvalue, "
    "(SELECT COUNT(*) FROM quote q WHERE q.opportunityid = o.opportunityid), o.opportunityid "
    "FROM opportunity o ORDER BY o.modifiedon DESC, o.name LIMIT ?"
)
_QUOTES = (
    "SELECT name, quotenumber, revisionnumber, statecode, totalamount, quoteid FROM quote WHERE opportunityid = ? "
    "ORDER BY quotenumber, revisionnumber"
)
_CLOSES = (
    "SELECT subject, 'opportunity', statecode, actualend, activityid FROM opportunityclose WHERE opportunityid = ? "
    "UNION ALL SELECT c.subject, 'quote ' || q.name, c.statecode, c.actualend, c.activityid "
    "FROM quoteclose c JOIN quote q ON q.quoteid = c.quoteid WHERE q.opportunityid = ? ORDER BY 4"
)


def render(emulator: ControlledEmulator, query: Mapping[str, str]) -> str:
    """Return the page; `view` picks a part, `entry` one request, `row` one opportunity. Raises ExtraMissing."""
    view = query.get("view", "")
    view = view if view in _TITLES else "journal"
    views = {"journal": _journal, "data": _data}
    return _template().render(
        view=view,
        titles=_TITLES,
        states=_STATES,
        rules=rules(),
        url=emulator.options.url,
        tiles=_tiles(emulator),
        **views.get(view, _settings)(emulator, query),
    )


@cache
def _template() -> Template:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ExtraMissing(error) from error
    files = resources.files("connector.emulator") / "data"
    sources = {name: (files / name).read_text("utf-8") for name in ("page.html", "page.css")}
    environment = jinja2.Environment(autoescape=True, loader=jinja2.DictLoader(sources))
    environment.filters |= {"breakable": _breakable, "utf8_length": lambda text: len(text.encode())}
    return environment.get_template("page.html")


def _breakable(text: str) -> Markup:
    """Return an address with places to break at, after every part of it."""
    from markupsafe import Markup, escape

    html = str(escape(text))
    for mark, with_break in (("/", "/<wbr>"), ("?", "?<wbr>"), ("&amp;", "&amp;<wbr>"), ("(", "<wbr>(")):
        html = html.replace(mark, with_break)
    return Markup(html)  # noqa: S704 - escaped above


def _tiles(emulator: ControlledEmulator) -> tuple[tuple[str, int], ...]:
    counts = emulator.organization.row_counts()
    return (
        ("Opportunities", counts.get("opportunity", 0)),
        ("Quotes", counts.get("quote", 0)),
        ("Close activities", counts.get("opportunityclose", 0) + counts.get("quoteclose", 0)),
        ("Requests", emulator.journal.number),
        ("Refused or failed", sum(n for status, n in emulator.journal.statuses.items() if status >= REFUSED)),
    )


def _journal(emulator: ControlledEmulator, query: Mapping[str, str]) -> Context:
    """Return the latest requests, only those refused or failed (`only=failed`), or one of them (`entry=N`)."""
    number = query.get("entry", "")
    failed = query.get("only") == "failed"
    entries = emulator.journal.latest(emulator.options.journal_size)
    if number:
        entry = next((entry for entry in entries if str(entry.number) == number), None)
        if entry is not None:
            return {"entry": entry, "entry_body": masked(entry.request)}
        return {"nothing": f"The journal no longer has a request {number}."}
    return {
        "failed": failed,
        "entries": [entry for entry in entries if not failed or entry.status >= REFUSED][:SHOWN],
        "nothing": "Nothing was refused and nothing failed." if failed else "No requests yet. Point a client here.",
    }


def _data(emulator: ControlledEmulator, query: Mapping[str, str]) -> Context:
    """Return the opportunities changed last, or one of them (`row=ID`) with its quotes and close activities."""
    store, key = emulator.organization.world.store, query.get("row", "").lower()
    if not key:
        return {"opportunities": store.rows(_OPPORTUNITIES, (SHOWN,))}
    return {
        "row": store.get("opportunity", key),
        "quotes": store.rows(_QUOTES, (key,)),
        "closes": store.rows(_CLOSES, (key, key)),
        "nothing": f"There is no opportunity {key}.",
    }


def _settings(emulator: ControlledEmulator, _query: Mapping[str, str]) -> Context:
    return {
        "report": emulator.referee.report(),
        "switches": emulator.organization.world.switches.describe(),
        "limits": asdict(emulator.protection.limits),
    }
