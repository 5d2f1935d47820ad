"""The rules of the house, held: who may import whom, who may read the environment, and how large a thing may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "connector"

MAY_IMPORT = {
    # room: what of ours it may import (prefixes, without `connector.`); a room may always import itself
    "errors": (),
    "handler": (),
    "clock": (),
    "settings": ("errors", "closing.model", "settings_file", "settings_names", "settings_service"),
    "settings_file": (),
    "settings_names": ("closing.model", "settings_service"),
    "settings_service": (),
    "closing": ("errors",),
    "dataverse": ("closing.model", "closing.organization", "handler", "clock", "errors"),
    "bulk": ("closing", "clock", "errors", "handler"),
    "service": ("closing", "bulk", "clock", "errors", "handler"),
    "emulator": ("handler", "clock"),
}
FREE = {"assembly", "cli", "doctor", "demo", "__init__", "__main__"}
OUTSIDE = {
    # library: the only files that may import it
    "requests": ("dataverse/transport.py", "dataverse/auth.py", "emulator/adapter.py"),
    "msal": ("dataverse/auth.py",),
    "msal_extensions": ("dataverse/auth.py",),
    "click": ("cli/",),
}
LONGEST_FUNCTION = 60
LARGEST_FILE = 600
BANNED_NAMES = {"utils", "helpers", "common", "base", "constants", "types", "interfaces"}
BANNED_ENDINGS = ("Manager", "Helper", "Processor", "Factory", "Orchestrator")

MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def begins(imported: str, prefixes: tuple[str, ...]) -> bool:
    return any(imported == prefix or imported.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    if room(path) in FREE:
        return
    ours = [imported.removeprefix("connector.") for imported in imports(path) if imported.startswith("connector.")]
    allowed = (room(path), *MAY_IMPORT[room(path)])
    assert [imported for imported in ours if not begins(imported, allowed)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_but_the_command_line_imports_the_command_line(path: Path) -> None:
    if room(path) in {"cli", "__main__"}:
        return
    assert [imported for imported in imports(path) if begins(imported, ("connector.cli",))] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    for library, places in OUTSIDE.items():
        if any(name(path).startswith(place) for place in places):
            continue
        assert [imported for imported in imports(path) if begins(imported, (library,))] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if name(path) == "settings.py":
        return
    reads = re.findall(r"os\.environ|os\.getenv|from os import .*environ", path.read_text(encoding="utf-8"))
    assert reads == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_too_large_to_fit_in_the_head(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in functions(path)
        if node.end_lineno and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LARGEST_FILE


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    classes = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert [cls for cls in classes if cls.endswith(BANNED_ENDINGS)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_passed_through_unnamed(path: Path) -> None:
    assert [node.name for node in functions(path) if node.args.kwarg] == []


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run(  # noqa: S603 - our own interpreter and our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.split())


HEAVY = {"requests", "msal", "pydantic", "rich", "cryptography", "fastapi", "procrastinate", "sqlite3", "openpyxl"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import connector") & HEAVY == set()


def test_asking_for_help_loads_nothing_heavy() -> None:
    help_in_silence = """
import contextlib, io
from connector.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert loaded_by(help_in_silence) & HEAVY == set()


def test_nothing_stands_at_the_top_that_does_not_belong_there() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S607 - git as found
    top = {line.split("/")[0] for line in listed.splitlines()}
    assert {entry for entry in top if not entry.startswith(".")} <= {
        "connector",
        "scripts",
        "tests",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
