"""What the doctor says of an organization beside what may be missing: the day, the currencies, what runs on a close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connector.closing.model import OrganizationMetadata
from connector.organization.capture_model import Coverage, CurrencyFact, Section, StepFact
from connector.organization.capture_reading import CaptureReading
from connector.organization.side_effects import STATE_COLUMNS

_CLOSES = frozenset({"opportunityclose", "quoteclose"})
_MOST_NAMES = 6


def facts_of(reading: CaptureReading, metadata: OrganizationMetadata) -> Iterator[tuple[str, str, bool]]:
    """Yield what is known: its name, a sentence, and whether all of it could be read. Raises ConnectorError."""
    today = f"A close without a date gets {metadata.today}, the day it is now by {metadata.day_of}."
    hint = "" if "DATAVERSE_TIME_ZONE" in metadata.day_of else " DATAVERSE_TIME_ZONE can name another zone."
    yield "today", today + hint, True
    currencies, logic = reading.currencies(), reading.logic()
    steps, processes, flows = logic.steps, logic.processes, logic.flows
    yield "currencies", _currencies(currencies), currencies.read is Coverage.ALL
    own = [step for step in steps.rows if step.origin != "microsoft" and _runs(step)]
    real_time = [process for process in processes.rows if process.real_time and process.kind == "workflow"]
    named = [
        _named("plug-in steps", steps, [step.plug_in or step.name for step in own]),
        _named("real-time workflows", processes, [process.name for process in real_time]),
        _named("flows", flows, [flow.name for flow in flows.rows if flow.table in (*_CLOSES, "opportunity", "quote")]),
    ]
    whole = all(section.read is Coverage.ALL for section in (steps, processes, flows))
    yield "own logic", f"The organization lists, as set off by a close: {'; '.join(named)}.", whole


def _currencies(section: Section[CurrencyFact]) -> str:
    if section.read is not Coverage.ALL:
        return f"They could not be read: {section.why}"
    decimals = ", ".join(f"{row.code} {row.precision}" for row in section.rows)
    return f"Amounts are rounded to the decimals of their currency: {decimals or 'there is no currency'}."


def _runs(step: StepFact) -> bool:
    """Return whether a step runs on a close: on its messages, on the change of a state, or on a close activity."""
    if step.message == "Update":
        return not step.columns or bool(STATE_COLUMNS & set(step.columns))
    return step.message != "Delete" and (step.message != "Create" or step.table in ("", *_CLOSES))


def _named(what: str, section: Section[Any], names: Sequence[str]) -> str:
    if section.read is Coverage.REFUSED:
        return f"{what} that this user may not list"
    some = ", ".join(sorted(set(names))[:_MOST_NAMES])
    more = ", and others" if len(set(names)) > _MOST_NAMES else ""
    seen = " that this user sees" if section.read is not Coverage.ALL else ""
    return f"{len(names)} {what}{seen} ({some}{more})" if names else f"no {what}{seen}"
