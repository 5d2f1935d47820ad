"""What the sources leave open, as named switches: values, evidence and sources are in `data/switches.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class SwitchInfo:
    """A switch as people read it: its values (the default first), what it decides, and on what evidence."""

    name: str
    value: str
    values: tuple[str, ...]
    text: str
    evidence: str
    source: str


class UnknownSwitch(ValueError):
    """No switch has this name, or it does not take this value."""


@dataclass(frozen=True, slots=True)
class Switches:
    """How this emulated organization answers where documents are silent or disagree; here are the defaults."""

    open_quotes_block_close: str = "active_and_draft"
    draft_quote_close: str = "refuse"
    quote_not_active_code: str = "0x80040216"
    close_repeat_check: str = "state_first"
    default_closed_quote_status: str = "metadata"
    actual_value_on_lost: str = "null"
    close_activities_on_reopen: str = "cancel"
    actuals_on_reopen: str = "keep"
    reopen_open_opportunity: str = "accept"
    closed_opportunity_columns: str = "writable"
    close_date_zone: str = "user"
    bare_date: str = "utc"
    quote_closedon: str = "set"
    active_quote_edit: str = "administrators"
    activation_price_list: str = "optional"
    close_row_creation: str = "closes"
    revenue_currency: str = "enforce"
    caller_parameter: str = "accept"
    statecode_on_create: str = "ignore"
    read_only_columns: str = "ignore"
    required_columns: str = "enforce"
    actions_in_change_set: str = "accept"
    close_opportunity_message: str = "absent"
    project_operations: str = "off"
    project_win_and_opportunity: str = "stays_open"
    impersonation_refusal: str = "0x8004a110"
    unknown_path: str = "0x8006088a"
    query_error_code: str = "0x0"
    batch_line_ends: str = "strict"
    environment: str = "open"

    def with_values(self, values: Mapping[str, str]) -> Switches:
        """Return switches changed by name; raises UnknownSwitch naming every problem at once."""
        problems = [problem for name, value in values.items() if (problem := _problem(name, value))]
        if problems:
            raise UnknownSwitch(" ".join(problems))
        return replace(self, **values)

    def describe(self) -> tuple[SwitchInfo, ...]:
        """Return every switch with its present value, its choices and its evidence."""
        return tuple(
            SwitchInfo(name, getattr(self, name), **{**entry, "values": tuple(entry["values"])})
            for name, entry in _switches().items()
        )


@cache
def _switches() -> Mapping[str, Any]:
    text = (resources.files("connector.emulator") / "data" / "switches.json").read_text("utf-8")
    entries: Mapping[str, Any] = json.loads(text)
    return entries


def _problem(name: str, value: str) -> str:
    if name not in _switches():
        return f"There is no switch {name!r}."
    values = _switches()[name]["values"]
    return "" if value in values else f"{name} takes {', '.join(values)}, not {value!r}."
