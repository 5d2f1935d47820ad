from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulator.api.preferences import preferences
from connector.emulator.odata.expressions import (
    Comparison,
    Lambda,
    Literal,
    LiteralKind,
    Logical,
    Not,
    Path,
    QueryFunction,
)
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.parse import OPTION_RULES, parse_option
from connector.emulator.odata.path import options, segments

PIECES = st.sampled_from(
    [
        "name",
        "statecode",
        "(",
        ")",
        "'",
        "''",
        "'x'",
        "eq",
        "ne",
        "and",
        "or",
        "not",
        "/",
        ",",
        ";",
        "=",
        "$",
        "@p",
        "any",
        "all",
        ":",
        "[",
        "]",
        '"a"',
        "null",
        "true",
        "1",
        "-2.5",
        "2026-01-31",
        "é",
        "%",
        "$select",
        "2026-01-31T10:00:00Z",
        "contains",
        "Microsoft.Dynamics.CRM.In",
        "PropertyName",
        "00000000-0000-0000-0000-000000000001",
        "$ref",
    ]
)
NOISE = st.one_of(
    st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=30).map(" ".join)
)


def filtered(text: str) -> object:
    return parse_option("$filter", text)


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    tree = filtered("a eq 1 or b eq 2 and not c eq 3")
    assert isinstance(tree, Logical)
    assert tree.operator == "or"
    second = tree.operands[1]
    assert isinstance(second, Logical)
    assert isinstance(second.operands[1], Not)


def test_a_doubled_quote_is_one() -> None:
    assert filtered("name eq 'O''Neil & co'") == Comparison(
        "eq", Path(("name",)), Literal(LiteralKind.STRING, "O'Neil & co")
    )


def test_lambdas_nest() -> None:
    tree = filtered("quotes/any(q:q/lines/all(l:l/amount gt 5) and q/name ne null)")
    assert isinstance(tree, Lambda)
    assert isinstance(tree.body, Logical)


def test_an_alias_without_a_value_is_null_and_an_alias_may_be_a_property() -> None:
    used: set[str] = set()
    tree = parse_option("$filter", "@p1 ne @p3", {"@p1": "revenue"}, used)
    assert tree == Comparison("ne", Path(("revenue",)), Literal(LiteralKind.NULL, None))
    assert used == {"@p1", "@p3"}


@pytest.mark.parametrize("values", ["['0','1']", '["0","1"]', "[0,1]"])
def test_query_functions_take_lists_in_every_spelling(values: str) -> None:
    tree = filtered(f"Microsoft.Dynamics.CRM.In(PropertyName='statecode',PropertyValues={values})")
    assert isinstance(tree, QueryFunction)
    assert [str(one.value) for one in tree.values] == ["0", "1"]


@pytest.mark.parametrize(
    "text",
    [
        "statecode in (0,1)",
        "totalamount add 5 gt 10",
        "tolower(name) eq 'x'",
        "statecode EQ 0",
        "statecode eq 0 statuscode eq 1",
        "statecode eq",
        "(statecode eq 0",
        "name eq 'open",
        "contains(name)",
        "contains('x',name)",
        "contains(name,5)",
        "name",
        "not",
        "Microsoft.Dynamics.CRM.In(PropertyName='a',PropertyName='b')",
        "Microsoft.Dynamics.CRM.In(Property='a',PropertyValues=['1'])",
        "createdon ge 2026-01-31T10:00:00",
        "any(q:q/a eq 1)",
        "a eq 1 and",
        "a eq 1;",
    ],
)
def test_what_the_documents_do_not_list_is_refused(text: str) -> None:
    with pytest.raises(ODataError):
        filtered(text)


def test_depth_is_bounded() -> None:
    with pytest.raises(ODataError, match="Recursion depth"):
        filtered("(" * 5000 + "a eq 1" + ")" * 5000)


def test_expand_options_nest_and_keep_their_text() -> None:
    (one,) = parse_option(
        "$expand", "quotes($select=a,b;$filter=contains(a,';)');$expand=lines($top=2);$orderby=a desc,b)"
    )
    assert one.query.select == ("a", "b")
    assert one.query.expand[0].query.top == 2
    assert [term.descending for term in one.query.orderby] == [True, False]
    assert one.options.startswith("$select=a,b;")


@given(NOISE)
def test_noise_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    for name in OPTION_RULES:
        with contextlib.suppress(ODataError):
            parse_option(name, text)
    for read in (segments, options, preferences):
        with contextlib.suppress(ODataError):
            read(text)
