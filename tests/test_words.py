"""What people read is plain: phrases over which readers stumbled do not come back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "connector" / "docs").glob("*.md")))
MODULES = [path for path in sorted((ROOT / "connector").rglob("*.py")) if "emulator" not in path.parts]
BANNED = (
    "not as the job says",
    "stands in the plan file",
    "operations of the entitlement",
    "could not be done; its error says",
    "page for people",
    "bound by a retry-after",
    "taken for true",
    "something is in the way",
    "nobody signed in",
    "whoever looks after",
    "anew",
    "goes on from what stands",
    "leave unread what",
    "turned down two",
    "what shapes a close",
    "else .env",
    "at most so many",
    "is told of the rest",
    "about 1 requests",
)


def said(path: Path) -> Iterator[str]:
    """Yield the texts of a module that may reach somebody: all but docstrings, the pieces of an f-string joined."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for parent in ast.walk(tree)
        if isinstance(parent, ast.Expr | ast.JoinedStr)
        for node in ast.iter_child_nodes(parent)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


@cache
def texts() -> list[tuple[str, str]]:
    """Return all that people read, each text in one line of small letters, with the name of its file."""
    found = [(path.name, text) for path in MODULES for text in said(path)]
    found += [(page.name, page.read_text(encoding="utf-8")) for page in PAGES]
    return [(name, " ".join(text.split()).lower()) for name, text in found]


@pytest.mark.parametrize("phrase", BANNED)
def test_a_phrase_over_which_readers_stumbled_is_nowhere(phrase: str) -> None:
    assert [(name, text[:120]) for name, text in texts() if f" {phrase}" in f" {text}"] == []
