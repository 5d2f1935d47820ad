"""The page's view of requests: the journal, and one request of it."""

from __future__ import annotations

from collections.abc import Mapping

from connector.emulator.control.controlled import ControlledEmulator
from connector.emulator.control.journal import Entry, masked
from connector.emulator.control.page_parts import Column, badge, empty, escape, facts, status_badge, table
from connector.emulator.rules.rule import rules

SHOWN = 100
REFUSED = 400
"""HTTP: from here on an answer is a refusal or a failure."""
_JOURNAL = (Column("No.", "when"), Column("Time", "when"), Column("Request", "wide"), Column("Answer"), Column("Rule"))
_OPERATIONS = (Column("Message"), Column("Table"), Column("Row", "id"), Column("Answer"), Column("Rule", "wide"))


def requests(emulator: ControlledEmulator, query: Mapping[str, str]) -> str:
    """Return the latest requests, only those refused or failed (`only=failed`), or one of them (`entry=N`)."""
    number = query.get("entry", "")
    if number:
        chosen = [
            entry
            for entry in emulator.journal.entries(limit=emulator.options.journal_size)
            if str(entry.number) == number
        ]
        return _entry(chosen[0]) if chosen else empty(f"The journal no longer has a request {number}.")
    failed = query.get("only") == "failed"
    entries = [
        one for one in emulator.journal.latest(emulator.options.journal_size) if not failed or one.status >= REFUSED
    ][:SHOWN]
    if not entries:
        return empty("Nothing was refused and nothing failed." if failed else "No requests yet. Point a client here.")
    links = (
        f'<p class="links"><a href="?view=journal"{_current(not failed)}>All</a>'
        f'<a href="?view=journal&amp;only=failed"{_current(failed)}>Refused or failed</a>'
        '<a href="/_emulator/har" download="journal.har">Download as HAR</a></p>'
    )
    return links + table("Latest requests", _JOURNAL, [_row(entry) for entry in entries], "cards log")


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        f'<a href="?view=journal&amp;entry={entry.number}">{entry.number}</a>',
        f"{entry.at:%H:%M:%S}",
        f"<b>{escape(entry.title)}</b><br><small>{escape(entry.request.method)} {_target(entry)}</small>",
        status_badge(entry.status) + (f" {badge(entry.fault, 'plan')}" if entry.fault else ""),
        f"{escape(entry.rule)}{_small(entry.error)}",
    )


def _entry(entry: Entry) -> str:
    told = facts(
        (
            ("Time", entry.at.strftime("%Y-%m-%d %H:%M:%S UTC")),
            ("Request", f"{escape(entry.request.method)} {_target(entry)}"),
            ("Caller", escape(entry.user or "not signed in")),
            ("Web server", str(entry.server)),
            ("Fault", escape(entry.fault or "none")),
            ("Waited", f"{entry.seconds:.3f} s"),
            ("Error", escape(entry.error or "none")),
            ("Referee", escape(", ".join(entry.findings) or "nothing to say")),
        )
    )
    texts = {rule.id: rule.text for rule in rules().values()}
    operations = [
        (
            escape(operation.message),
            escape(operation.table),
            f"<code>{escape(operation.record_id)}</code>",
            status_badge(operation.status),
            f"{escape(operation.rule)}{_small(texts.get(operation.rule, ''))}",
        )
        for operation in entry.operations
    ]
    return (
        f'<p class="links"><a href="?view=journal">All requests</a></p>'
        f"<h2>Request {entry.number} {status_badge(entry.status)}</h2>{told}"
        + (table("Operations", _OPERATIONS, operations) if operations else "")
        + _text("Body", masked(entry.request), entry.request_size)
        + _text("Answer", entry.response.body.decode(errors="replace"), entry.response_size)
    )


def _text(title: str, text: str, size: int) -> str:
    if not text:
        return ""
    cut = f"<small>the beginning of {size:,} bytes</small>" if size > len(text.encode()) else ""
    return f"<h2>{title} {cut}</h2><pre>{escape(text)}</pre>"


def _target(entry: Entry) -> str:
    """Return path and query with places to break at, after every part of them."""
    return (
        escape(entry.target)
        .replace("/", "/<wbr>")
        .replace("?", "?<wbr>")
        .replace("&amp;", "&amp;<wbr>")
        .replace("(", "<wbr>(")
    )


def _small(text: str) -> str:
    return f"<br><small>{escape(text)}</small>" if text else ""


def _current(yes: bool) -> str:  # noqa: FBT001 - the fact itself
    return " aria-current=true" if yes else ""
