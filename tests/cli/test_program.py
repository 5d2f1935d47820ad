"""The command line as a whole: its help, its start, its answer to what it does not understand."""

import json
import subprocess
import sys
from importlib import import_module

import click
import pytest

from connector.cli.program import BESIDE, SUMMARIES, run

HEAVY = {"rich", "pydantic", "requests", "msal", "cryptography", "sqlite3", "logging", "json", "traceback"}


def connector(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "connector", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys\n"
        "from connector.cli.program import run\n"
        "code = run(['--help'])\n"
        "print('\\n'.join(sorted(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert loaded & HEAVY == set()
    assert [name for name in SUMMARIES if f"connector.cli.{BESIDE.get(name, name)}_command" in loaded] == []
    assert [name for name in SUMMARIES if f"\n  {name} " not in done.stdout] == []


def test_every_command_in_the_help_exists_and_says_the_same_of_itself() -> None:
    for name, summary in SUMMARIES.items():
        command = getattr(import_module(f"connector.cli.{BESIDE.get(name, name)}_command"), name)
        assert isinstance(command, click.Command)
        assert command.get_short_help_str(limit=1000).rstrip(".") == summary.rstrip("."), name


def test_the_module_and_the_console_script_are_the_same_program() -> None:
    assert "Commands:" in connector("--help").stdout
    assert connector("--version").stdout.startswith("connector, version ")


@pytest.mark.parametrize("arguments", [["closse"], ["close", "--won", "--wno"], ["plan"], ["--nonsense"]])
def test_what_is_not_understood_is_answered_with_usage_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--help` shows how it is used" in said.err
    assert "Traceback" not in said.err


def test_wrong_usage_with_json_is_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--won", "--json", "42"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "failed"
    assert "'42' does not name one opportunity" in answer["error"]["message"]
