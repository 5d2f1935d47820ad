"""Every rule of the emulator in one place, readable at run time."""

from __future__ import annotations

from dataclasses import asdict

from connector.emulator.rules.faults import FAULT_RULES
from connector.emulator.rules.platform import PLATFORM_RULES
from connector.emulator.rules.protocol import PROTOCOL_RULES
from connector.emulator.rules.rule import Rule
from connector.emulator.rules.sales import SALES_RULES


def all_rules() -> tuple[Rule, ...]:
    """Return every rule, those of planned failures included, ordered by id; ids are unique."""
    return tuple(sorted((*PLATFORM_RULES, *SALES_RULES, *PROTOCOL_RULES, *FAULT_RULES), key=lambda rule: rule.id))


def rules_data() -> list[dict[str, object]]:
    """Return the rules as plain data."""
    return [asdict(rule) for rule in all_rules()]
