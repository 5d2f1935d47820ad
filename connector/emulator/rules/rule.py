"""What the emulated service refuses and on what evidence (rules), and what the sources leave open (switches)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any


class Evidence(StrEnum):
    """How a rule is known."""

    DOCUMENT = "document"
    RECORDING = "recording"
    FORUM = "forum"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the emulated service.

    A rule that refuses has the HTTP `status`, the service's `code` (always one of the documented list) and the wording
    with `{}` places; a rule about effects has none of them. `switch` names the switch that can turn it. `group` is what
    it is about: platform, sales, protocol or faults.
    """

    id: str
    group: str
    text: str
    evidence: Evidence
    source: str
    status: int = 0
    code: str = ""
    message: str = ""
    switch: str = ""


class Refused(Exception):
    """The service turned the operation down; everything it did in this transaction is undone.

    `status` is the HTTP status, `code` lower-case hexadecimal, `rule` the id of the rule that said no, `details` the
    error annotations that differ from the usual ones, by the end of their names.
    """

    def __init__(self, status: int, code: str, message: str, rule: str) -> None:
        super().__init__(message)
        self.details: Mapping[str, str] = {}
        self.status = status
        self.code = code
        self.message = message
        self.rule = rule


@cache
def rules() -> Mapping[str, Rule]:
    """Return every rule by its id, in the order of the ids."""
    text = (resources.files("connector.emulator") / "data" / "rules.json").read_text("utf-8")
    groups = json.loads(text).items()
    made = [
        Rule(key, group, **{**fields, "evidence": Evidence(fields["evidence"])})
        for group, entries in groups
        for key, fields in entries.items()
    ]
    return {rule.id: rule for rule in sorted(made, key=lambda rule: rule.id)}


def refuse(rule_id: str, *values: object, code: str = "") -> Refused:
    """Return the refusal of a rule, its wording filled with `values`; `code` is used instead of the rule's own."""
    rule = rules()[rule_id]
    return Refused(rule.status, code or rule.code, rule.message.format(*values), rule.id)


def rules_data() -> list[dict[str, object]]:
    """Return the rules as plain data."""
    return [asdict(rule) for rule in rules().values()]


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
    chosen_activity_id: str = "honor"
    minus_one_status: str = "accept"
    definitions_privilege: str = "none"
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
        return f"There is no switch {name!r}; there are: {', '.join(_switches())}."
    values = _switches()[name]["values"]
    return "" if value in values else f"{name} takes {', '.join(values)}, not {value!r}."
