"""The rows of sdkmessage and sdkmessagefilter: which messages the organization has, and for which tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID, uuid5

from connector.emulator.world.records import Records
from connector.emulator.world.schema import Message
from connector.emulator.world.store import Row

_IDS = UUID("9b1b4a3c-53ef-5c12-8e0d-3a60d4cf9a77")
_PLATFORM = {
    "Create": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "Update": ("opportunity", "quote", "account", "contact", "competitor"),
    "Delete": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "Retrieve": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "RetrieveMultiple": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "CreateMultiple": ("opportunity", "quote", "account", "contact", "competitor"),
    "UpdateMultiple": ("opportunity", "quote", "account", "contact", "competitor"),
    "Associate": (),
    "Disassociate": (),
    "WhoAmI": (),
    "SetState": ("opportunity", "quote"),
}
_EVENTS = {"Win": ("opportunity", "quote"), "Lose": ("opportunity",), "Close": ("quote",), "Revise": ("quote",)}
"""Under these names plug-ins register for the close messages (nishantrana.me: invalidpluginexecutionexception)."""


def write_message_rows(records: Records, messages: Mapping[str, Message]) -> None:
    """Make the rows of both tables agree with the messages that exist; writes nothing when they do already."""
    tables_by_message: dict[str, tuple[str, ...]] = {**_PLATFORM, **_EVENTS}
    tables_by_message |= {name: (message.table,) if message.table else () for name, message in messages.items()}
    ids = {str(key) for (key,) in records.store.rows("SELECT sdkmessageid FROM sdkmessage")}
    rows = {message_id(name): name for name in tables_by_message}
    if ids == rows.keys():
        return
    with records.store.transaction():
        for gone in sorted(ids - rows.keys()):
            _remove(records, gone)
        for key in sorted(rows.keys() - ids):
            _add(records, "sdkmessage", _message_row(key, rows[key]))
            for row in _filter_rows(key, rows[key], tables_by_message[rows[key]]):
                _add(records, "sdkmessagefilter", row)


def message_id(name: str) -> str:
    """Return the id of the sdkmessage row of this name."""
    return str(uuid5(_IDS, name))


def _message_row(key: str, name: str) -> Row:
    return {"sdkmessageid": key, "name": name, "categoryname": "CRM", "isactive": 1, "isprivate": 0}


def _filter_rows(key: str, name: str, tables: Iterable[str]) -> Iterator[Row]:
    for table in tables:
        yield {
            "sdkmessagefilterid": str(uuid5(_IDS, f"{name}:{table}")),
            "sdkmessageid": key,
            "primaryobjecttypecode": table,
            "isvisible": 1,
            "iscustomprocessingstepallowed": 1,
        }


def _add(records: Records, table: str, row: Row) -> None:
    records.store.insert(table, row)


def _remove(records: Records, key: str) -> None:
    rows = records.store.rows("SELECT sdkmessagefilterid FROM sdkmessagefilter WHERE sdkmessageid = ?", (key,))
    for (filter_id,) in rows:
        records.store.delete("sdkmessagefilter", str(filter_id), records.now())
    records.store.delete("sdkmessage", key, records.now())
