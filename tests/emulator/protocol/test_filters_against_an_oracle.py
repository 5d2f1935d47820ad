"""Filters answered by the emulator and by another parser (odata-query) with a few lines of evaluation must agree."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odata_query import ast
from odata_query.grammar import ODataLexer, ODataParser

from tests.emulator.protocol.client import Client

ROWS: list[dict[str, Any]] = [
    {
        "name": "Contoso Ltd",
        "numberofemployees": 10,
        "revenue": 5.5,
        "creditonhold": False,
        "description": "Old friend",
    },
    {"name": "contoso ltd", "numberofemployees": 0, "revenue": None, "creditonhold": True, "description": None},
    {"name": "Fourth Coffee", "numberofemployees": None, "revenue": 100.0, "creditonhold": False, "description": "x"},
    {"name": "Café Olé", "numberofemployees": -3, "revenue": 0.0, "creditonhold": True, "description": "it's"},
    {"name": "Z", "numberofemployees": 10, "revenue": 5.5, "creditonhold": False, "description": ""},
]
TEXTS = st.sampled_from(["Contoso Ltd", "CONTOSO", "cafe", "é", "it's", "x", "Z", "", "friend", "o"])
NUMBERS = st.sampled_from(["10", "0", "-3", "5.5", "100", "7"])
OPERATORS = st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def leaves() -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(
            lambda c, o, v: f"{c} {o} {v}", st.sampled_from(["numberofemployees", "revenue"]), OPERATORS, NUMBERS
        ),
        st.builds(lambda c, o, v: f"{c} {o} {quoted(v)}", st.sampled_from(["name", "description"]), OPERATORS, TEXTS),
        st.builds(
            lambda o, v: f"creditonhold {o} {v}", st.sampled_from(["eq", "ne"]), st.sampled_from(["true", "false"])
        ),
        st.builds(
            lambda c, o: f"{c} {o} null",
            st.sampled_from(["name", "description", "revenue", "numberofemployees"]),
            st.sampled_from(["eq", "ne"]),
        ),
        st.builds(
            lambda f, c, v: f"{f}({c},{quoted(v)})",
            st.sampled_from(["contains", "startswith", "endswith"]),
            st.sampled_from(["name", "description"]),
            TEXTS,
        ),
        st.just("name ne description"),
    )


FILTERS = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"{a} and {b}", inner, inner),
        st.builds(lambda a, b: f"({a} or {b})", inner, inner),
        st.builds(lambda a: f"not ({a})", inner),
    ),
    max_leaves=6,
)


def plain(value: object) -> object:
    """Text as a database without regard for case and accents sees it."""
    if not isinstance(value, str):
        return value
    decomposed = unicodedata.normalize("NFKD", value.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one))


def value_of(node: Any, row: dict[str, Any]) -> Any:
    if isinstance(node, ast.Identifier):
        return plain(row[node.name])
    if isinstance(node, ast.Null):
        return None
    return plain(node.py_val)


def compared(operator: Any, left: Any, right: Any) -> bool:
    if isinstance(operator, ast.Eq):
        return bool(left == right)
    if isinstance(operator, ast.NotEq):
        return bool(left != right)
    if left is None or right is None:
        return False
    tests = {ast.Gt: left > right, ast.GtE: left >= right, ast.Lt: left < right, ast.LtE: left <= right}
    return bool(tests[type(operator)])


def holds(node: Any, row: dict[str, Any]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And()):
            return holds(node.left, row) and holds(node.right, row)
        case ast.BoolOp():
            return holds(node.left, row) or holds(node.right, row)
        case ast.UnaryOp():
            return not holds(node.operand, row)
        case ast.Compare():
            return compared(node.comparator, value_of(node.left, row), value_of(node.right, row))
        case ast.Call():
            value, text = (value_of(one, row) for one in node.args)
            tests = {"contains": "__contains__", "startswith": "startswith", "endswith": "endswith"}
            return value is not None and bool(getattr(value, tests[node.func.name])(text))
    raise AssertionError(node)


@pytest.fixture(scope="module")
def named_rows() -> list[dict[str, Any]]:
    return [{**row, "number": index} for index, row in enumerate(ROWS)]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=FILTERS)
def test_both_find_the_same_rows(client: Client, named_rows: list[dict[str, Any]], text: str) -> None:
    if not client.world.store.rows("SELECT 1 FROM account WHERE accountnumber = '#0'"):
        for row in named_rows:
            values = {key: value for key, value in row.items() if key != "number"}
            client.create("accounts", {**values, "accountnumber": f"#{row['number']}"})
    tree = ODataParser().parse(ODataLexer().tokenize(text))
    expected = {f"#{row['number']}" for row in named_rows if holds(tree, row)}
    encoded = f"startswith(accountnumber,'#') and ({text})".replace("#", "%23")
    found = {one["accountnumber"] for one in client.get(f"accounts?$select=accountnumber&$filter={encoded}")["value"]}
    assert found == expected


def test_moments_compare_in_every_zone_and_fraction(client: Client) -> None:
    client.create("accounts", {"name": "dated"})
    now = client.world.clock.now()
    assert now == datetime(2026, 1, 1, tzinfo=UTC)
    for text, held in {
        "createdon eq 2026-01-01T00:00:00Z": True,
        "createdon eq 2026-01-01T02:00:00%2B02:00": True,
        "createdon eq 2026-01-01T00:00:00.5Z": False,
        "createdon ge 2026-01-01T00:00:00.5Z": False,
        "createdon lt 2026-01-01T00:00:00.5Z": True,
        "createdon ge 2026-01-01": True,
        "createdon gt 2026-01-01": False,
    }.items():
        found = client.get(f"accounts?$select=name&$filter=name eq 'dated' and {text}")["value"]
        assert bool(found) == held, text
