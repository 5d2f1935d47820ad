"""`connector emulator` in hands that err: whatever is wrong with a file, a port or a plan is told before serving."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.cli.program import program
from connector.emulator.http.tls import certificates, write_private
from connector.emulator.identity.jwt import SigningKey
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Store
from connector.errors import SettingsError


def refused(*arguments: str | Path) -> str:
    """Run the command, which must refuse; return the sentence and the remedy."""
    with pytest.raises(SettingsError) as caught:
        CliRunner().invoke(program, ["emulator", *map(str, arguments)], catch_exceptions=False)
    assert caught.value.remedy
    return str(caught.value)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Certificates and a key that are there already: making them is not the subject."""
    certificates(tmp_path / "keys")
    SigningKey.kept(tmp_path / "keys" / "signing.pem")
    return tmp_path / "keys"


def tables_of(path: Path) -> list[str]:
    with sqlite3.connect(path) as file:
        found = [str(name) for (name,) in file.execute("SELECT name FROM sqlite_master ORDER BY 1")]
    file.close()
    return found


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 2000)
    said = refused("--db", path, "--folder", keys)
    assert f"The file {path} cannot be used: file is not a database." in said
    assert path.read_text() == "Dear diary, " * 2000


def test_the_database_of_another_program_is_told_and_left_alone(tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE photos (id INTEGER)")
    file.close()
    assert "it holds the tables of another program" in refused("--db", path, "--folder", keys)
    assert tables_of(path) == ["photos"]


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path, keys: Path) -> None:
    assert "unable to open database file" in refused("--db", tmp_path, "--folder", keys)


@pytest.mark.parametrize("version", [1, 99])
def test_the_file_of_an_older_or_newer_emulator_is_told_and_left_alone(
    tmp_path: Path, keys: Path, version: int
) -> None:
    path = tmp_path / "rows.db"
    store = Store(path, load_schema())
    store.db.execute(f"PRAGMA user_version = {version}")
    store.close()
    before = path.read_bytes()
    assert f"another version of the emulator wrote it (store version {version}, wanted" in refused(
        "--db", path, "--folder", keys
    )
    assert path.read_bytes() == before


def test_a_damaged_file_is_told(tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "rows.db"
    Store(path, load_schema()).close()
    os.truncate(path, 40_000)
    assert f"The file {path} cannot be used: database disk image is malformed." in refused(
        "--db", path, "--folder", keys
    )


def test_a_port_in_use_and_an_address_of_another_machine_are_told(tmp_path: Path, keys: Path) -> None:
    del tmp_path
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("--port", str(port), "--folder", keys)
    assert f"The emulator cannot listen on 127.0.0.1, port {port}: Address already in use." in said
    assert "cannot listen on 203.0.113.7" in refused("--host", "203.0.113.7", "--folder", keys)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "ready.json"
    assert f"The emulator cannot use {inside}" in refused("--ready-file", inside, "--folder", keys)
    assert f"The emulator cannot use {inside}" in refused("--env-file", inside, "--folder", keys)
    assert "The emulator cannot use" in refused("--folder", tmp_path / "file" / "keys")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"faults": [', "not JSON"),
        (os.urandom(0) + b"\x80\x81\x82", "not JSON"),
        (b'[{"do": "explode"}]', "do is 'explode'"),
        (b'[{"do": "status", "nth": 0}]', "nth is 0"),
    ],
)
def test_a_fault_plan_that_is_none_is_told(tmp_path: Path, keys: Path, content: bytes, said: str) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(content)
    assert said in refused("--fault-plan", plan, "--folder", keys)


def test_a_scenario_there_is_not_is_told_with_those_there_are(keys: Path) -> None:
    said = refused("--scenario", "mars", "--folder", keys)
    assert "mars" in said
    assert "project-operations" in said


def test_what_was_half_written_is_removed_and_the_file_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"ready\.json") as caught:
        write_private(tmp_path / "none" / "ready.json", b"secret")
    assert caught.value.filename == str(tmp_path / "none" / "ready.json")
    (tmp_path / "ready.json").mkdir()
    with pytest.raises(OSError, match=r"ready\.json"):
        write_private(tmp_path / "ready.json", b"secret")
    assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]
    write_private(tmp_path / "mine", b"secret")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600
