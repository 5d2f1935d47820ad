"""`connector emulator control` in hands that err: every mistake is one sentence, and the emulator goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.cli.emulator_command import ACTS
from connector.cli.program import program
from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import SettingsError


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEmulator]:
    with served(EmulatorOptions(seeded=5), SystemClock(), tmp_path_factory.mktemp("emulator")) as one:
        yield one


@pytest.fixture
def ready(emulator: ServedEmulator, tmp_path: Path) -> Path:
    path = tmp_path / "ready.json"
    path.write_text(json.dumps({"control_url": f"{emulator.url}/_emulator/", "ca_file": str(emulator.ca_file)}))
    return path


def asked(ready: Path, *arguments: str) -> object:
    """Run the command; return what it prints, raise what it raises."""
    done = CliRunner().invoke(
        program, ["emulator", "control", "--ready-file", str(ready), "--", *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(ready: Path, *arguments: str) -> str:
    with pytest.raises(SettingsError) as caught:
        asked(ready, *arguments)
    assert caught.value.remedy
    return str(caught.value)


def test_every_look_answers(ready: Path) -> None:
    for action in ("health", "closes", "referee", "rules", "switches", "limits", "faults", "scenarios", "clock"):
        assert asked(ready, action) is not None
    assert asked(ready, "journal") == asked(ready, "journal", "0")


def test_the_journal_is_asked_for_from_a_number_on_and_as_an_archive(ready: Path, emulator: ServedEmulator) -> None:
    emulator.emulator.reset()
    for _ in range(3):
        emulator.emulator.entra.owns("/")
        emulator.emulator.journal.next_number()
    archive = asked(ready, "har", "1")
    assert isinstance(archive, dict)
    assert archive["log"]["version"] == "1.2"
    assert asked(ready, "forget") == {}
    assert emulator.emulator.journal.number == 0


def test_limits_and_switches_are_set_by_name(ready: Path) -> None:
    limits = asked(ready, "limit", "requests=77")
    assert isinstance(limits, dict)
    assert limits["requests"] == 77
    switches = asked(ready, "switch", "actual_value_on_lost=zero")
    assert isinstance(switches, list)
    assert {one["name"]: one["value"] for one in switches}["actual_value_on_lost"] == "zero"
    asked(ready, "switch", "actual_value_on_lost=null")
    assert asked(ready, "revoke") == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reset", "now"), "reset takes no argument; 'now' was given."),
        (("snapshot",), "snapshot does nothing without NAME."),
        (("restore", "nothing"), "There is no snapshot 'nothing'"),
        (("scenario", "mars"), "There is no scenario 'mars'"),
        (("seed", "-5"), "The file -5 cannot be read: No such file or directory."),
        (("seed", "no-such.csv"), "The file no-such.csv cannot be read: No such file or directory."),
        (("plan", "/"), "The file / cannot be read: Is a directory."),
        (("switch", "actual_value_on_lost"), "it is written NAME=VALUE"),
        (("switch", "nonsense=1"), "There is no switch 'nonsense'; there are: open_quotes_block_close, draft_quote"),
        (("limit", "requests=many"), "'many' is no number, list or truth value in JSON"),
        (("limit", "requests=-1"), "-1 is no value for it"),
        (("limit", "window_seconds=0"), "The limit window_seconds is from 1 to 1000000, not 0."),
        (("limit", "servers=0"), "The limit servers is from 1 to 1000, not 0."),
        (("limit", "workers=0"), "The limit workers is from 1"),
        (("limit", "requests=1e400"), "Infinity is no value for it"),
        (("limit", "requests=true"), "true is no value for it"),
        (("limit", "execution_seconds=Infinity"), "Infinity is no value for it"),
        (("limit", "nonsense=1"), "There is no limit 'nonsense'; there are: servers, workers, requests"),
        (("advance", "soon"), "'soon' is nothing that advance takes: it is no number."),
        (("advance", "nan"), "Time goes forward"),
        (("advance", "inf"), "Time goes forward"),
        (("advance", "1e300"), "Time goes forward"),
        (("advance", "-5"), "Time goes forward"),
        (("journal", "first"), "'first' is nothing that journal takes: it is no whole number."),
        (("device", "WRONG"), "No device shows the code 'WRONG'."),
    ],
)
def test_a_mistake_is_told_in_a_sentence(ready: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(ready, *arguments)
    assert asked(ready, "health")


@pytest.mark.parametrize(
    ("action", "content", "said"),
    [
        ("seed", "not JSON", "The body is not JSON"),
        ("seed", "[1, 2]", "The body is not a JSON object."),
        ("seed", '{"nothings": []}', "nothings"),
        ("seed", '{"opportunity": [{"nothing": 1}]}', "nothing"),
        ("seed", '{"opportunity": 5, "opportunities": [{}]}', "a list of rows"),
        ("seed", '{"opportunities": "many"}', "many"),
        ("plan", "{", "fault"),
        ("plan", '{"faults": [{"do": "nothing"}]}', "nothing"),
        ("plan", '[{"do": "slow", "seconds": Infinity}]', "seconds is inf"),
        ("plan", '[{"do": "slow", "seconds": 1e10}]', "seconds is 10000000000"),
        ("plan", '[{"do": "status", "status": 99999}]', "from 400 to 599"),
        ("customize", '{"value": 5}', ""),
        ("customize", "\x00", "JSON"),
    ],
)
def test_a_file_that_is_no_such_thing_is_told_and_changes_nothing(
    ready: Path, tmp_path: Path, action: str, content: str, said: str
) -> None:
    before = asked(ready, "health")
    file = tmp_path / "given.json"
    file.write_text(content)
    assert said in refused(ready, action, str(file))
    after = asked(ready, "health")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["rows"] == before["rows"]


def test_a_csv_of_another_encoding_or_shape_is_told(ready: Path, tmp_path: Path) -> None:
    file = tmp_path / "opportunity.csv"
    for content in (
        b"name\n\xff\xfe\x00",
        b"name,nothing\nA,B\n",
        b"name\nA,B,C\n",
        b'name\n"open',
        b"\x00",
        b"",
        b"name,description\nA\n",
    ):
        file.write_bytes(content)
        assert refused(ready, "seed", str(file))
    assert asked(ready, "health")


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense", '{"control_url": 5, "ca_file": 6}', "\x00"])
def test_a_file_that_no_emulator_wrote_is_told(tmp_path: Path, content: str) -> None:
    ready = tmp_path / "ready.json"
    ready.write_text(content)
    assert "is none that an emulator wrote" in refused(ready, "health")


def test_an_emulator_that_has_gone_is_told(ready: Path, emulator: ServedEmulator, tmp_path: Path) -> None:
    gone = {"control_url": "https://localhost:9/_emulator/", "ca_file": str(emulator.ca_file)}
    ready.write_text(json.dumps(gone))
    assert "The emulator could not be asked" in refused(ready, "health")
    ready.write_text(json.dumps({**gone, "ca_file": str(tmp_path / "none.pem")}))
    assert "The emulator could not be asked" in refused(ready, "health")
    ready.write_text(json.dumps({**gone, "control_url": "http://localhost:9/"}))
    assert "https" in refused(ready, "health")


def test_the_help_names_everything_that_can_be_asked() -> None:
    shown = CliRunner().invoke(program, ["emulator", "control", "--help"]).output
    assert [action for action in ACTS if action not in shown] == []
