"""A release is the same bytes each time, says what is inside, and its wheel installs and runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build twice, with one environment."""
    folder = tmp_path_factory.mktemp("release")
    environment = os.environ | {"RELEASE_VENV": str(folder / "venv"), "RELEASE_PYTHON": sys.executable}
    for name in ("first", "second"):
        subprocess.run([ROOT / "scripts" / "release", folder / name], env=environment, check=True, capture_output=True)
    return folder / "first", folder / "second"


def test_two_builds_are_the_same_bytes_as_their_hashes_say(builds: tuple[Path, Path]) -> None:
    first, second = builds
    assert (first / "SHA256SUMS").read_text() == (second / "SHA256SUMS").read_text()
    for line in (first / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((first / name).read_bytes()).hexdigest() == digest
    assert {path.suffix for path in first.iterdir()} == {".whl", ".gz", ".json", ".md", ""}


def test_the_list_of_parts_names_every_pinned_dependency(builds: tuple[Path, Path]) -> None:
    sbom = json.loads((builds[0] / "sbom.cdx.json").read_text())
    assert sbom["metadata"]["component"]["name"] == "dataverse-close-connector"
    parts = {component["name"]: component for component in sbom["components"]}
    assert {"msal", "requests", "pydantic", "click", "rich"} <= set(parts)
    assert all(component["version"] for component in parts.values())


def test_the_notes_are_the_newest_entry_of_the_changelog(builds: tuple[Path, Path]) -> None:
    notes = (builds[0] / "notes.md").read_text()
    assert notes.startswith("## ")
    assert notes.count("\n## ") == 0


def test_the_wheel_has_the_pages_and_runs_where_it_is_installed(builds: tuple[Path, Path], tmp_path: Path) -> None:
    wheel = next(builds[0].glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert {"connector/docs/administrator.md", "connector/docs/llms.txt", "connector/py.typed"} <= set(names)
    assert [name for name in names if name.startswith(("tests/", "scripts/"))] == []
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installed = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(installed, check=True, capture_output=True)
    # The dependencies come from the environment of the tests; the connector itself from the wheel, which is first.
    own = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    paths = os.pathsep.join([own, sysconfig.get_path("purelib")])
    run = subprocess.run(
        [tmp_path / "venv" / "bin" / "connector", "plan", "00000003-0000-4000-8000-000000000001", "--won", "--json"],
        env={**os.environ, "PYTHONPATH": paths, "DATAVERSE_URL": "emulator:organization.db"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["digest"]
