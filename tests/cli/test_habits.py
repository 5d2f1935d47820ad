"""What people try without reading anything: -h, help, a misspelt name, --dry-run, completion, quotes of their shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from connector.bulk.words import command_line, file_name
from connector.cli.program import program, run
from tests.cli.desk import Desk


def commands() -> list[tuple[str, ...]]:
    """Return the words of every command there is."""
    context = click.Context(program, info_name="connector")
    found: list[tuple[str, ...]] = []
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_a_command_is_found_by_h_and_by_help_and_has_examples(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "-h"]) == 0
    by_option = capsys.readouterr().out
    assert run(["help", *words]) == 0
    assert capsys.readouterr().out == by_option
    assert words == ("bulk",) or f"  connector {' '.join(words)}" in by_option.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("clsoe",), "close"),
        (("bulk", "statsu"), "status"),
        (("undo",), "bulk undo"),
        (("bulk", "list"), "connector list"),
        (("emulator", "contorl"), "control"),
    ],
)
def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(
    words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert f"There is no command '{words[-1]}'. Did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("close", "--won"), ("close", "--lost")])
def test_a_dry_run_shows_the_plan_and_changes_nothing(desk: Desk, verb: tuple[str, ...]) -> None:
    opportunity, before = desk.opportunity(drafts=1, actives=1), desk.rows()
    assert desk.run("plan", opportunity, *verb[1:]).out == desk.run(verb[0], opportunity, *verb[1:], "--dry-run").out
    assert desk.rows() == before


def test_a_dry_run_of_a_job_is_its_plan(desk: Desk) -> None:
    before = desk.rows()
    said = desk.run("bulk", "run", "--where", "estimatedvalue gt 0", "--lost", "--job", "stale", "--dry-run")
    assert said.out.endswith("connector bulk run stale.plan.jsonl\n")
    assert desk.rows() == before


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_a_shell_is_given_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_CONNECTOR_COMPLETE" in capsys.readouterr().out


def test_the_names_of_jobs_are_completed(desk: Desk, tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db")
    query = ("--where", "estimatedvalue gt 0", "--limit", "1", "--lost", "--job", "june", "--yes")
    desk.run("bulk", "run", *query, DATAVERSE_URL=f"emulator:{desk.file}", CONNECTOR_STORE=store)
    asked = {"COMP_WORDS": "connector bulk resume j", "COMP_CWORD": "3", "_CONNECTOR_COMPLETE": "zsh_complete"}
    done = subprocess.run(
        [sys.executable, "-c", "from connector.cli import main; main()"],
        env={**os.environ, **asked, "CONNECTOR_STORE": store},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "june" in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("system", "word", "quoted"),
    [
        ("posix", "our june", "'our june'"),
        ("nt", "our june", '"our june"'),
        ("posix", "name eq 'x'", "\"name eq 'x'\""),
        ("posix", "it's $5", "'it'\"'\"'s $5'"),
    ],
)
def test_a_command_to_type_has_the_quotes_of_the_shell(
    system: str, word: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.bulk.words.WINDOWS", system == "nt")
    assert command_line("bulk", "resume", word) == f"connector bulk resume {quoted}"


@pytest.mark.parametrize(
    ("job", "file"),
    [
        ("june", "june.html"),
        ("a/b:c", "a-b-c.html"),
        ("..\\x", "..-x.html"),
        ("CON", "_CON.html"),
        ("aux.csv", "_aux.csv.html"),
        ("lpt1", "_lpt1.html"),
        ("console", "console.html"),
    ],
)
def test_the_name_of_a_job_makes_a_name_that_every_system_takes(job: str, file: str) -> None:
    assert file_name(job, ".html") == file
