"""The rules of the house, held: who may import whom, who may read the environment, and how large a thing may grow."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from http import HTTPStatus
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "connector"

MAY_IMPORT = {
    # room: what of ours it may import (prefixes, without `connector.`); a room may always import itself
    "errors": (),
    "handler": (),
    "clock": (),
    "settings": ("closing.bypass", "errors", "closing.model"),
    "closing": ("errors",),
    "ledger": ("closing", "clock", "errors"),
    "dataverse": (
        "closing.bypass",
        "closing.model",
        "closing.organization",
        "closing.record_keys",
        "closing.plan_checks",
        "handler",
        "clock",
        "errors",
    ),
    "bulk": ("closing", "ledger", "clock", "errors", "handler"),
    "service": ("closing", "ledger", "bulk", "clock", "errors", "handler"),
    "emulator": ("handler", "clock"),
    "organization": ("closing", "dataverse", "handler", "clock", "errors"),
    "rehearsal": (
        "bulk",
        "ledger",
        "closing",
        "dataverse.pacing",
        "organization",
        "emulator.limits",
        "emulator.stand_ins",
        "handler",
        "errors",
    ),
}
FREE = {"assembly", "cli", "__init__", "__main__"}
OUTSIDE = {
    # library: the only files that may import it
    "requests": (
        "dataverse/transport.py",
        "dataverse/pooled_adapter.py",
        "dataverse/sign_in/auth.py",
        "emulator/http/adapter.py",
    ),
    "msal": ("dataverse/sign_in/auth.py",),
    "msal_extensions": ("dataverse/sign_in/auth.py",),
    "click": ("cli/",),
}
EMULATOR = {
    # room: the rooms it may import, each listed above it; the files beside the rooms may import them all
    "rules": (),
    "http": (),
    "world": ("rules",),
    "odata": ("world", "rules"),
    "api": ("odata", "world", "rules", "http"),
    "identity": ("world", "http"),
    "limits": ("rules", "http"),
    "seeding": ("world", "rules", "identity", "limits"),
    "examples": (),
    "control": ("seeding", "world", "rules", "identity", "limits", "http"),
}
BUDGETS = {
    # rooms: lines aimed at, lines allowed until they come down to it
    ("closing",): (3_100, 4_421),
    ("ledger",): (3_350, 3_430),
    ("dataverse",): (5_000, 6_864),
    ("bulk",): (5_000, 6_717),
    ("service",): (7_100, 7_111),
    ("emulator",): (15_300, 16_432),
    ("organization",): (2_100, 2_285),
    ("rehearsal",): (900, 1_090),
    ("cli",): (4_200, 5_354),
    ("settings", "assembly", "errors", "handler", "clock", "__init__", "__main__"): (1_700, 2_353),
}
MOST_FILES = 315
"""Files aimed at: 220. The number only goes down."""
LONGEST_FUNCTION = 52
LARGEST_FILE = 390
# How many may be longer than we aim at: the numbers only go down.
LONG_FUNCTION, LONG_FUNCTIONS = 40, 1
LARGE_FILE, LARGE_FILES = 350, 5
BANNED_NAMES = {"utils", "helpers", "common", "base", "constants", "types", "interfaces"}
BANNED_LOCAL_NAMES = {"found", "one", "told", "wanted", "given", "asked", "said", "taken", "there"}
"""What a variable holds is its name: `row`, `quote`, `sentence`."""
STATUS_NUMBERS_LEFT = 0
LOCAL_NAMES_LEFT = 0
BANNED_ENDINGS = ("Manager", "Helper", "Processor", "Factory", "Orchestrator")

FIELD_TERMS = ROOT / "tests" / "field_terms.txt"
GLOSSARY = 60

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


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def classes(path: Path) -> Iterator[str]:
    yield from (node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def of_every_module(rule: Callable[[Path], None]) -> Callable[[], None]:
    """Make one test of a rule that every module keeps: a test of each module for each rule would be thousands."""

    def test() -> None:
        for path in MODULES:
            try:
                rule(path)
            except AssertionError as error:
                pytest.fail(f"{name(path)}: {error}")

    return test


def begins(imported: str, prefixes: tuple[str, ...]) -> bool:
    return any(imported == prefix or imported.startswith(f"{prefix}.") for prefix in prefixes)


@of_every_module
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    if room(path) in FREE:
        return
    ours = [imported.removeprefix("connector.") for imported in imports(path) if imported.startswith("connector.")]
    allowed = (room(path), *MAY_IMPORT[room(path)])
    assert [imported for imported in ours if not begins(imported, allowed)] == []


def test_the_rooms_of_the_emulator_import_in_one_direction() -> None:
    rooms = list(EMULATOR)
    for number, (_, allowed) in enumerate(EMULATOR.items()):
        assert set(allowed) <= set(rooms[:number])
    inside = [path for path in MODULES if path.match("connector/emulator/*/*.py")]
    assert {path.parent.name for path in inside} == set(rooms)
    for path in inside:
        allowed = ("handler", "clock", *(f"emulator.{one}" for one in (path.parent.name, *EMULATOR[path.parent.name])))
        ours = [imported.removeprefix("connector.") for imported in imports(path) if imported.startswith("connector.")]
        assert [imported for imported in ours if not begins(imported, allowed)] == [], name(path)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def only_for_types(path: Path) -> set[ast.AST]:
    """Return what stands under `if TYPE_CHECKING`."""
    return {
        inner
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(ast.Module(node.body, []))
    }


def imported_modules(path: Path, known: frozenset[str]) -> set[str]:
    """Return the modules of ours that `path` brings in when it runs, those within functions included."""
    typed, found = only_for_types(path), set()
    for node in ast.walk(tree(path)):
        if node in typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
    return (found & known) - {module(path)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = frozenset(module(path) for path in MODULES)
    graph = {module(path): imported_modules(path, known) for path in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"These import each other: {' <- '.join(error.args[1])}.")


@of_every_module
def test_nothing_but_the_command_line_imports_the_command_line(path: Path) -> None:
    if room(path) in {"cli", "__main__", "__init__"}:  # the public names include the command line
        return
    assert [imported for imported in imports(path) if begins(imported, ("connector.cli",))] == []


@of_every_module
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    for library, places in OUTSIDE.items():
        if any(name(path).startswith(place) for place in places):
            continue
        assert [imported for imported in imports(path) if begins(imported, (library,))] == []


@of_every_module
def test_only_settings_reads_the_environment(path: Path) -> None:
    if name(path) == "settings/environment.py":
        return
    reads = re.findall(r"os\.environ|os\.getenv|from os import .*environ", path.read_text(encoding="utf-8"))
    assert reads == []


@of_every_module
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("rooms", BUDGETS, ids=lambda rooms: rooms[0])
def test_a_room_stays_within_its_budget(rooms: tuple[str, ...]) -> None:
    used = sum(lines(path) for path in MODULES if room(path) in rooms)
    assert used <= BUDGETS[rooms][1]


def test_there_are_no_more_files_than_there_were() -> None:
    assert len(MODULES) <= MOST_FILES


def test_every_room_has_a_budget() -> None:
    assert {room(path) for path in MODULES} <= {name for rooms in BUDGETS for name in rooms}


@of_every_module
def test_nothing_is_too_large_to_fit_in_the_head(path: Path) -> None:
    assert [f"{node.name}: {length(node)} lines" for node in functions(path) if length(node) > LONGEST_FUNCTION] == []
    assert lines(path) <= LARGEST_FILE


def test_what_is_larger_than_we_aim_at_becomes_no_more() -> None:
    long = [
        f"{name(path)}: {node.name}" for path in MODULES for node in functions(path) if length(node) > LONG_FUNCTION
    ]
    large = [name(path) for path in MODULES if lines(path) > LARGE_FILE]
    assert len(long) <= LONG_FUNCTIONS, long
    assert len(large) <= LARGE_FILES, large


def doubles(names: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that stand at more than one place, with the places."""
    places: dict[str, list[str]] = {}
    for word, place in names:
        places.setdefault(word, []).append(place)
    return {word: found for word, found in places.items() if len(found) > 1}


def double_classes(paths: list[Path]) -> dict[str, list[str]]:
    return doubles((cls, name(path)) for path in paths for cls in classes(path))


def double_stems(paths: list[Path]) -> dict[str, list[str]]:
    return doubles((path.stem, name(path)) for path in paths if path.stem != "__init__")


PRODUCT_MODULES = [path for path in MODULES if room(path) != "emulator"]
EMULATOR_MODULES = [path for path in MODULES if room(path) == "emulator"]


@pytest.mark.parametrize("paths", [PRODUCT_MODULES, EMULATOR_MODULES], ids=["product", "emulator"])
def test_no_name_stands_for_two_things(paths: list[Path]) -> None:
    assert double_classes(paths) == {}
    assert double_stems(paths) == {}


def singular(word: str) -> str:
    if word.endswith("ies"):
        return word.removesuffix("ies") + "y"
    if word.endswith(("sses", "ches", "uses")):
        return word.removesuffix("es")
    return word if word.endswith(("ss", "us", "is")) else word.removesuffix("s")


def field_terms() -> list[str]:
    lines_ = FIELD_TERMS.read_text(encoding="utf-8").splitlines()
    return [word for line in lines_ if not line.startswith("#") for word in line.split()]


def glossary() -> list[set[str]]:
    """Return the entries of the README's glossary, each a word with its other forms."""
    part = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Glossary\n")[2].partition("\n## ")[0]
    entries = re.findall(r"^- \*\*([a-z ]+)\*\*(?: \(([a-z, ]+)\))?: .+$", part, re.MULTILINE)
    assert len(entries) == part.count("\n- ")
    return [{word, *filter(None, forms.split(", "))} for word, forms in entries]


def words_of_classes() -> dict[str, set[str]]:
    """Return the words of which the names of classes consist, in singular, with the names."""
    found: dict[str, set[str]] = {}
    terms = set(field_terms())
    for path in MODULES:
        for cls in classes(path):
            for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", cls):
                plain = word.lower()
                found.setdefault(plain if plain in terms else singular(plain), set()).add(cls)
    return found


def test_every_class_is_named_in_the_fields_words_or_in_those_of_the_glossary() -> None:
    ours = {singular(word) for forms in glossary() for word in forms}
    known = ours | set(field_terms())
    strange = {word: names for word, names in words_of_classes().items() if word not in known}
    assert strange == {}, "Take the field's word (tests/field_terms.txt); one of ours goes into the README's glossary."


def test_the_glossary_is_short_and_every_word_of_it_and_of_the_field_is_used() -> None:
    used, terms = words_of_classes(), field_terms()
    assert 0 < len(glossary()) <= GLOSSARY
    assert [forms for forms in glossary() if not {singular(word) for word in forms} & set(used)] == []
    assert sorted(set(terms) - set(used)) == [], "No class uses these words any more: take them out."
    assert len(terms) == len(set(terms))
    assert {singular(word) for forms in glossary() for word in forms} & set(terms) == set()


@of_every_module
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    assert [cls for cls in classes(path) if cls.endswith(BANNED_ENDINGS)] == []


def local_names(path: Path) -> Iterator[str]:
    """Yield the variables and parameters that a module binds; the fields of its classes are none."""
    fields = {
        part.target
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.AnnAssign)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in fields:
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def test_variables_say_what_they_hold() -> None:
    vague = [f"{name(path)}: {local}" for path in MODULES for local in local_names(path) if local in BANNED_LOCAL_NAMES]
    assert len(vague) <= LOCAL_NAMES_LEFT, vague


def statuses_among(nodes: Iterable[ast.AST | None]) -> list[tuple[int, int]]:
    """Return the numbers among `nodes` that are statuses of HTTP, each with its line."""
    return [
        (node.value, node.lineno)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value in set(HTTPStatus)
    ]


def last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def statuses_as_numbers(path: Path) -> Iterator[int]:
    """Yield the lines where a status stands as a number: compared, handed in, in a table, beside the code of an error."""
    for node in ast.walk(tree(path)):
        numbers: list[tuple[int, int]] = []
        if isinstance(node, ast.Compare) and any(
            "status" in last_name(side) for side in (node.left, *node.comparators)
        ):
            numbers = statuses_among(ast.walk(node))
        elif isinstance(node, ast.keyword) and node.arg and ("status" in node.arg or node.arg == "failures"):
            numbers = statuses_among(ast.walk(node.value))
        elif isinstance(node, ast.Call) and last_name(node.func) in {"Response", "Problem", "declined"}:
            numbers = statuses_among(node.args[:1])
        elif isinstance(node, ast.Dict) and len(statuses_among(node.keys)) == len(node.keys):
            numbers = statuses_among(node.keys)
        elif isinstance(node, ast.Tuple) and any(isinstance(getattr(part, "value", None), str) for part in node.elts):
            numbers = [found for found in statuses_among(node.elts) if found[0] >= HTTPStatus.BAD_REQUEST]
        yield from (line for _, line in numbers)


def test_statuses_of_http_have_names() -> None:
    numbers = [f"{name(path)}:{line}" for path in MODULES for line in statuses_as_numbers(path)]
    assert len(numbers) <= STATUS_NUMBERS_LEFT, numbers


@of_every_module
def test_nothing_is_passed_through_unnamed(path: Path) -> None:
    through = [
        node.name
        for node in functions(path)
        if node.args.kwarg
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == node.args.kwarg.arg
    ]
    assert through == []


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
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
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    assert {entry for entry in top if not entry.startswith(".")} <= {
        "connector",
        "scripts",
        "tests",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
