"""The checklist: every row has checks that exist, and the PAGE shows it as it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.service.checklist import ROWS, Row

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "connector" / "docs" / "endpoint.md").read_text(encoding="utf-8")


def place(check: str) -> tuple[Path, str]:
    """Return the file and the name of a check."""
    file, _, name = check.partition("::")
    return (TESTS / file, name) if file.endswith(".py") else (TESTS / "service" / f"test_{file}.py", f"test_{name}")


def named_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_the_rows_are_numbered_from_one_on() -> None:
    assert [row.number for row in ROWS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_a_row_is_shown_by_tests_that_exist(row: Row) -> None:
    assert row.checks
    for file, name in map(place, row.checks):
        assert name in named_in(file), (file, name)


def test_the_readme_tells_of_each_row_and_its_telling_check() -> None:
    told = re.findall(r"^\| (\d+) \| (.+) \| `([\w:.]+)` \|$", PAGE, re.MULTILINE)
    assert told == [(str(row.number), row.what, row.checks[0]) for row in ROWS]
