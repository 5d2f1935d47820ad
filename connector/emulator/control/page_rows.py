"""The page's view of rows: opportunities, and one of them with its quotes and close activities."""

from __future__ import annotations

from collections.abc import Mapping

from connector.emulator.control.controlled import ControlledEmulator
from connector.emulator.control.page_parts import Column, badge, empty, escape, facts, money, named, table
from connector.emulator.world.store import Store

SHOWN = 100
_STATES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "opportunity": (("Open", "plain"), ("Won", "good"), ("Lost", "bad")),
    "quote": (("Draft", "plain"), ("Active", "wait"), ("Won", "good"), ("Closed", "bad")),
    "close": (("Open", "plain"), ("Completed", "good"), ("Canceled", "bad")),
}
_OPPORTUNITIES = (
    Column("Name", "wide"),
    Column("State"),
    Column("Estimated", "number"),
    Column("Actual", "number"),
    Column("Quotes", "number"),
)
_QUOTES = (
    Column("Quote", "wide"),
    Column("Number"),
    Column("Revision", "number"),
    Column("State"),
    Column("Total", "number"),
)
_CLOSES = (Column("Close activity", "wide"), Column("About"), Column("State"), Column("Ended"))


def rows(emulator: ControlledEmulator, query: Mapping[str, str]) -> str:
    """Return the opportunities changed last, or one of them (`row=ID`)."""
    key = query.get("row", "").lower()
    return _opportunity(emulator, key) if key else _opportunities(emulator)


def _opportunities(emulator: ControlledEmulator) -> str:
    found = emulator.organization.world.store.rows(
        "SELECT o.name, o.statecode, o.estimatedvalue, o.actualvalue, "
        "(SELECT COUNT(*) FROM quote q WHERE q.opportunityid = o.opportunityid), o.opportunityid "
        "FROM opportunity o ORDER BY o.modifiedon DESC, o.name LIMIT ?",
        (SHOWN,),
    )
    if not found:
        return empty("There are no opportunities. Seed some: connector emulator control seed 300")
    listed = [
        (
            f'<a href="?view=data&amp;row={escape(key)}">{named(name)}</a>{_key(key)}',
            _state("opportunity", state),
            money(estimated),
            money(actual),
            str(quotes),
        )
        for name, state, estimated, actual, quotes, key in found
    ]
    return table("Opportunities, latest changes first", _OPPORTUNITIES, listed)


def _opportunity(emulator: ControlledEmulator, key: str) -> str:
    store = emulator.organization.world.store
    back = '<p class="links"><a href="?view=data">All opportunities</a></p>'
    row = store.get("opportunity", key)
    if row is None:
        return back + empty(f"There is no opportunity {key}.")
    told = facts(
        (
            ("Id", f"<code>{escape(key)}</code>"),
            ("Version", escape(row["versionnumber"])),
            ("Estimated", money(row["estimatedvalue"]) or "none"),
            ("Actual", money(row["actualvalue"]) or "none"),
            ("Closed on", escape(row["actualclosedate"] or "not closed")),
            ("Changed", escape(row["modifiedon"])),
        )
    )
    return (
        f"{back}<h2>{named(row['name'])} {_state('opportunity', row['statecode'])}</h2>{told}"
        f"{_quotes_of(store, key)}{_closes_of(store, key)}"
    )


def _quotes_of(store: Store, key: str) -> str:
    found = store.rows(
        "SELECT name, quotenumber, revisionnumber, statecode, totalamount, quoteid FROM quote WHERE opportunityid = ? "
        "ORDER BY quotenumber, revisionnumber",
        (key,),
    )
    listed = [
        (_titled(name, one), escape(number or ""), escape(revision), _state("quote", state), money(total))
        for name, number, revision, state, total, one in found
    ]
    return table("Quotes", _QUOTES, listed) if listed else empty("It has no quotes.")


def _closes_of(store: Store, key: str) -> str:
    """List the close activities of an opportunity and of its quotes, by when they ended."""
    found = store.rows(
        "SELECT subject, 'opportunity', statecode, actualend, activityid FROM opportunityclose WHERE opportunityid = ? "
        "UNION ALL SELECT c.subject, 'quote ' || q.name, c.statecode, c.actualend, c.activityid "
        "FROM quoteclose c JOIN quote q ON q.quoteid = c.quoteid WHERE q.opportunityid = ? ORDER BY 4",
        (key, key),
    )
    listed = [
        (_titled(subject, one), escape(about or ""), _state("close", state), escape(ended or ""))
        for subject, about, state, ended, one in found
    ]
    return table("Close activities", _CLOSES, listed) if listed else empty("Nothing of it was closed.")


def _titled(name: object, key: object) -> str:
    return named(name) + _key(key)


def _key(key: object) -> str:
    return f"<br><small><code>{escape(key)}</code></small>"


def _state(table_name: str, state: object) -> str:
    names = _STATES[table_name]
    return badge(*names[state]) if isinstance(state, int) and 0 <= state < len(names) else escape(state)
