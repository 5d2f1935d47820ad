"""What the emulated service refuses, and on what evidence: the rules of `data/rules.json`, by their ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from importlib import resources


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
