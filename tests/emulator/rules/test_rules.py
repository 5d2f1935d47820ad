"""The rules against a small model of the documents, written without looking at the emulator's code."""

from __future__ import annotations

import csv
import json
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.emulator.limits.faults import OPERATION_FAULTS
from connector.emulator.rules.rule import Evidence, Switches, UnknownSwitch, rules, rules_data
from connector.emulator.world.callers import Caller, all_privileges
from connector.emulator.world.records import Values
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Store
from connector.emulator.world.world import Ref, Refused, World

PACKAGE = Path(__file__).parents[3] / "connector" / "emulator"
FORMATTED = {"fault.plugin"}
"""Ids that are put together."""
CODES = Path(__file__).parents[2] / "fixtures" / "error_codes.csv"
NOT_IN_THE_LIST = {
    "0x0": "errors of the service's OData parser (powerapps-docs: web-api-client-errors)",
    "0x80048d19": "ODataClientPayloadError (powerapps-docs: web-api-client-errors)",
    "0x80060888": "a body recorded in 2024",
}
"""Real codes that are newer than the list, or below it, each with where it was seen."""


def known_codes() -> set[str]:
    with CODES.open(encoding="utf-8") as lines:
        return {row["hex"] for row in csv.DictReader(lines)}


def test_no_code_is_invented() -> None:
    known = known_codes() | NOT_IN_THE_LIST.keys()
    assert {rule.code for rule in rules().values() if rule.code} <= known
    switch = next(one for one in Switches().describe() if one.name == "quote_not_active_code")
    assert set(switch.values) <= known


def test_every_rule_has_its_own_id_evidence_and_source() -> None:
    groups = json.loads((PACKAGE / "data" / "rules.json").read_text("utf-8"))
    assert sum(len(entries) for entries in groups.values()) == len(rules())
    for rule in rules().values():
        assert rule.evidence in Evidence
        assert rule.source
        assert rule.text.endswith(".")
        assert bool(rule.status) == bool(rule.message) or rule.status == 304, rule.id
    assert len(rules_data()) == len(rules())


def test_every_rule_that_refuses_is_used_and_every_rule_that_is_used_exists() -> None:
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        used |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', path.read_text("utf-8")))
        named = re.findall(r'refuse\(\s*"([^"]+)"', path.read_text("utf-8"))
        assert [one for one in named if one not in rules()] == [], path.name
    planned = {f"fault.{name}" for name in OPERATION_FAULTS}
    assert [rule.id for rule in rules().values() if rule.message and rule.id not in used | planned | FORMATTED] == []


def test_every_switch_a_rule_names_exists_and_has_a_documented_default() -> None:
    names = {one.name for one in fields(Switches)}
    assert {rule.switch for rule in rules().values() if rule.switch} <= names
    assert {one.name for one in Switches().describe()} == names
    for one in Switches().describe():
        assert one.value == one.values[0]
        assert one.evidence in set(Evidence)
        assert one.text
        assert one.source


def test_a_switch_is_set_by_name_and_every_mistake_is_named() -> None:
    assert Switches().with_values({"actual_value_on_lost": "zero"}).actual_value_on_lost == "zero"
    with pytest.raises(UnknownSwitch, match=r"no switch 'nonsense'.*actual_value_on_lost takes null"):
        Switches().with_values({"nonsense": "x", "actual_value_on_lost": "x"})


@dataclass
class Deal:
    """What the documents let one expect of an opportunity or quote: its state, and its close activities by state."""

    state: int = 0
    status: int = 1
    completed: int = 0
    canceled: int = 0


@dataclass
class Model:
    """Opportunities and quotes by number, after the tables of states in the documents."""

    deals: list[Deal] = field(default_factory=list)
    offers: list[Deal] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    def close_deal(self, number: int, outcome: int, status: int) -> bool:
        deal = self.deals[number]
        open_quote = any(
            offer.state in (0, 1) for offer, of in zip(self.offers, self.parents, strict=True) if of == number
        )
        fits = status in {1: (3,), 2: (4, 5)}[outcome]
        if deal.state != 0 or open_quote or not fits:
            return False
        deal.state, deal.status, deal.completed = outcome, status, deal.completed + 1
        return True

    def close_offer(self, number: int, outcome: int, status: int) -> bool:
        offer = self.offers[number]
        if offer.state != 1 or status not in {2: (4,), 3: (5, 6, 7)}[outcome]:
            return False
        offer.state, offer.status, offer.completed = outcome, status, offer.completed + 1
        return True

    def set_deal(self, number: int, state: int) -> bool:
        deal = self.deals[number]
        if state != 0:
            return False
        if deal.state != 0:
            deal.canceled, deal.completed = deal.canceled + deal.completed, 0
        deal.state, deal.status = 0, 1
        return True

    def set_offer(self, number: int, state: int) -> bool:
        offer = self.offers[number]
        if state in (2, 3) or (state == 1 and offer.state != 0):
            return False
        offer.state, offer.status = state, {0: 1, 1: 2}[state]
        return True


class Pair:
    """The emulator and the model, driven by the same steps."""

    def __init__(self) -> None:
        schema = load_schema()
        self.world = World(schema, Store(":memory:", schema), Switches(), VirtualClock(), random.Random(3))
        self.caller = Caller("00000008-0000-4000-8000-000000000001", "", "", all_privileges(schema))
        self.model = Model()
        self.deals: list[Ref] = []
        self.offers: list[Ref] = []
        for number in range(3):
            self.deals.append(Ref("opportunity", self.world.create(self.caller, "opportunity", {"name": f"{number}"})))
            self.model.deals.append(Deal())
        for number in range(5):
            values: Values = {"name": f"{number}", "opportunityid": self.deals[number % 3]}
            self.offers.append(Ref("quote", self.world.create(self.caller, "quote", values)))
            self.model.offers.append(Deal())
            self.model.parents.append(number % 3)

    def emulate(self, step: tuple[str, int, int, int]) -> bool:
        kind, number, outcome, status = step
        try:
            if kind == "close_deal":
                message = {1: "WinOpportunity", 2: "LoseOpportunity"}[outcome]
                close = {"opportunityid": self.deals[number]}
                self.world.call(self.caller, message, {"OpportunityClose": close, "Status": status})
            elif kind == "close_offer":
                message = {2: "WinQuote", 3: "CloseQuote"}[outcome]
                self.world.call(
                    self.caller, message, {"QuoteClose": {"quoteid": self.offers[number]}, "Status": status}
                )
            else:
                row = self.deals[number] if kind == "set_deal" else self.offers[number]
                self.world.update(self.caller, row.table, row.id, {"statecode": outcome})
        except Refused:
            return False
        return True

    def expect(self, step: tuple[str, int, int, int]) -> bool:
        kind, number, outcome, status = step
        if kind == "close_deal":
            return self.model.close_deal(number, outcome, status)
        if kind == "close_offer":
            return self.model.close_offer(number, outcome, status)
        return self.model.set_deal(number, outcome) if kind == "set_deal" else self.model.set_offer(number, outcome)

    def emulated(self, row: Ref, close_table: str) -> Deal:
        found = self.world.store.get(row.table, row.id, ("statecode", "statuscode"))
        assert found is not None
        rows = self.world.store.rows(
            f"SELECT statecode, count(*) FROM {close_table} WHERE {row.table}id = ? GROUP BY 1", (row.id,)
        )
        counts = {state: int(str(count)) for state, count in rows}
        state, status = int(str(found["statecode"])), int(str(found["statuscode"]))
        return Deal(state, status, counts.get(1, 0), counts.get(2, 0))


STEPS = st.one_of(
    st.tuples(st.just("close_deal"), st.integers(0, 2), st.sampled_from((1, 2)), st.sampled_from((1, 2, 3, 4, 5, 9))),
    st.tuples(st.just("close_offer"), st.integers(0, 4), st.sampled_from((2, 3)), st.integers(1, 8)),
    st.tuples(st.just("set_deal"), st.integers(0, 2), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("set_offer"), st.integers(0, 4), st.integers(0, 3), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_any_sequence_of_steps_leaves_what_the_documents_say(steps: list[tuple[str, int, int, int]]) -> None:
    pair = Pair()
    for step in steps:
        assert pair.emulate(step) == pair.expect(step), step
    for row, deal in zip(pair.deals, pair.model.deals, strict=True):
        assert pair.emulated(row, "opportunityclose") == deal
    for row, offer in zip(pair.offers, pair.model.offers, strict=True):
        assert pair.emulated(row, "quoteclose") == offer


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=15), st.lists(STEPS, max_size=15))
def test_a_refused_step_changes_nothing_and_an_undone_transaction_neither(
    steps: list[tuple[str, int, int, int]], undone: list[tuple[str, int, int, int]]
) -> None:
    pair = Pair()

    def everything() -> list[object]:
        tables = ("opportunity", "quote", "opportunityclose", "quoteclose")
        return [pair.world.store.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]

    for step in steps:
        before = everything()
        if not pair.emulate(step):
            assert everything() == before, step
    before = everything()
    with suppress(ZeroDivisionError), pair.world.store.transaction():
        for step in undone:
            pair.emulate(step)
        raise ZeroDivisionError
    assert everything() == before
