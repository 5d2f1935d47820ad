"""What an emulator of the closing slice must do, point by point: every point is shown by tests that exist.

The points are in `checklist.json`. A check is a test of `tests/emulator` as `folder/module::test` (without their
`test_`), a test of another folder of `tests` as `clients/test_module.py::test`, or, for figures, the file of the
command that measures them. The first check of a point is the telling one.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SECTIONS: dict[str, list[dict[str, object]]] = json.loads(
    (TESTS / "emulator" / "checklist.json").read_text(encoding="utf-8")
)
POINTS = [
    pytest.param(str(row["point"]), row["checks"], id=f"{section}.{number}")
    for section, rows in SECTIONS.items()
    for number, row in enumerate(rows, 1)
]
CHECKS = [check for rows in SECTIONS.values() for row in rows for check in row["checks"]]  # type: ignore[attr-defined]


def place(check: str) -> tuple[Path, str]:
    """Return the file of a check and the name of its test, none for a figure."""
    file, _, name = check.partition("::")
    if not name:
        return TESTS.parent / file, ""
    if file.endswith(".py"):
        return TESTS / file, f"test_{name}"
    folder, _, module = file.partition("/")
    return TESTS / "emulator" / folder / f"test_{module}.py", f"test_{name}"


@cache
def named_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("point", "checks"), POINTS)
def test_a_point_is_shown_by_tests_that_exist(point: str, checks: list[str]) -> None:
    assert point
    assert checks
    for file, name in map(place, checks):
        assert file.exists(), file
        assert not name or name in named_in(file), (file, name)


def test_no_point_is_named_twice() -> None:
    points = [row["point"] for rows in SECTIONS.values() for row in rows]
    assert len(points) == len(set(points)) == len(POINTS) > 130


def test_every_file_of_a_strangers_tests_shows_a_point() -> None:
    shown = {place(check)[0] for check in CHECKS}
    assert set((TESTS / "emulator" / "stranger").glob("test_*.py")) <= shown
