from __future__ import annotations

import ast
import doctest
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import UUID

import pytest

import connector
from connector import Intent, Outcome, Query, ReopenIntent, connect, load_settings, run_command
from connector.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_loads_and_there_are_at_most_twenty_five() -> None:
    assert len(connector.__all__) <= 25
    assert set(connector.__all__) == set(connector._HOMES)
    for name in connector.__all__:
        assert callable(getattr(connector, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(connector, "close_everything")


def test_those_who_check_types_find_ours() -> None:
    assert (files("connector") / "py.typed").is_file()


def test_text_in_the_place_of_an_id_or_an_outcome_is_told_before_anything_is_asked() -> None:
    text = "00000003-0000-4000-8000-000000000001"
    for make in (lambda: Intent(text, Outcome.WON), lambda: ReopenIntent(text)):  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"which is no UUID\. Give uuid\.UUID\('\.\.\.'\)"):
            make()
    with pytest.raises(InputError, match=r"outcome is 'won'\. Give Outcome\.WON or Outcome\.LOST"):
        Intent(UUID(text), "won")  # type: ignore[arg-type]


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_the_scripts_import_public_names_only(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("connector")]
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "connector":
            assert node.module == "connector"
            assert {alias.name for alias in node.names} <= set(connector.__all__)


@pytest.fixture
def example_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return what the examples may use: the public names, an open opportunity, and a finished job named example."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAVERSE_URL", f"emulator:{tmp_path / 'organization.db'}")
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    with connect(load_settings()) as connection:
        first, second, *_ = connection.organization.find(Query(where="name ne null"))
    rows = tmp_path / "rows.csv"
    rows.write_text(f"opportunityid,outcome\n{first},won\n", encoding="utf-8")
    assert run_command(["bulk", "run", str(rows), "--job", "example", "--yes", "--json"]) == 0
    public = {name: getattr(connector, name) for name in connector.__all__}
    return {**public, "opportunity_id": second, "folder": tmp_path, "datetime": datetime, "UTC": UTC, "UUID": UUID}


@pytest.mark.parametrize("name", connector.__all__)
def test_every_public_name_has_an_example_that_runs(
    name: str, example_names: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    documented = doctest.DocTestFinder(recurse=False).find(getattr(connector, name), name, globs=example_names)
    assert documented
    assert documented[0].examples
    capsys.readouterr()
    runner = doctest.DocTestRunner(verbose=False)
    told: list[str] = []
    failed, tried = runner.run(documented[0], out=told.append)
    assert tried
    assert failed == 0, "".join(told)
