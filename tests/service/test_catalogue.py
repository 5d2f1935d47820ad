"""The catalogue of codes is complete: every code that the tree can answer with stands in it, with what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from connector.service.app import _CODES
from connector.service.operations.operation_results import FINAL
from connector.service.problems import STATUS

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "scripts" / "deploy" / "README.md"
MAKERS = {
    "Problem": 1,
    "declined": 1,
    "busy": 1,
    "unauthorized": 0,
    "forbidden": 0,
    "Refusal": 0,
    "_refuse": 0,
    "_refused": 1,
}
"""What makes an answer of a code, and at which place of its arguments the code is."""


def codes() -> Iterator[str]:
    """Yield every code that is written in the endpoint or in a plan's refusals."""
    for path in [*(ROOT / "connector/service").rglob("*.py"), *(ROOT / "connector/closing").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
                place = MAKERS[node.func.id]  # type: ignore[attr-defined]  # it has an id, or it would not be found
                code = node.args[place] if len(node.args) > place else None
                if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value.isidentifier():
                    yield code.value
    yield from _CODES.values()
    yield from (code for _, code in FINAL.values())
    yield from (code for _, _, code in STATUS)


def test_every_code_stands_in_the_catalogue() -> None:
    rows = [line for line in CATALOGUE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(codes()) - told == set()
