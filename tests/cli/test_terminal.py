"""What people see on terminals of all kinds, and in pipes and files that take less than a terminal does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.desk import Desk
from tests.cli.terminal import on_terminal

ESCAPE = "\x1b"
HOSTILE = "Caf\u00e9 \u4e2d\u6587 [bold]\x1b[31mred\x1b]0;title\x07 \u202eltr\u202c\r\nsecond line"


def name_it(desk: Desk, opportunity: str, name: str) -> None:
    desk.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", name, opportunity)


def program(desk: Desk, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "connector", *arguments],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=desk.file.parent,
        env={**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}", **environment},
    )


@pytest.mark.parametrize("columns", [60, 80])
def test_a_plan_and_its_report_fit_the_terminal_and_states_stay_in_one_piece(desk: Desk, columns: int) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    seen = on_terminal(
        "close", opportunity, "--won", columns=columns, folder=desk.file.parent, answer="y\n",
        DATAVERSE_URL=f"emulator:{desk.file}", NO_COLOR="1",
    )  # fmt: skip
    assert seen.code == 0, seen.text
    asked = [line for line in seen.lines if "[y/N]" in line]  # what waits for a key is broken by the terminal itself
    assert max(len(line) for line in seen.lines if line not in asked) <= columns
    table = seen.text.replace("\r\n", "\n").partition("Plan for")[2].partition("Closed:")[0].splitlines()
    assert any(line.rstrip().endswith("  result") for line in table)
    whole = columns >= 80
    assert sum("Active, In Progress" in line for line in table) == (4 if whole else 1)
    assert sum("Closed, Canceled" in line for line in table) == (4 if whole else 2)
    assert len([line for line in table if re.search(r"\bWon\b", line)]) == 2


@pytest.mark.parametrize(("answer", "code"), [("y\n", 3), ("3\n", 0), ("4\n", 3)])
def test_who_closes_what_a_query_finds_types_how_many_that_are(desk: Desk, answer: str, code: int) -> None:
    folder, query = desk.file.parent, ("--where", "estimatedvalue gt 0", "--limit", "3", "--lost", "--job", "query")
    store, url = str(folder / "jobs.db"), f"emulator:{desk.file}"
    seen = on_terminal(
        "bulk", "run", *query, columns=100, folder=folder, answer=answer, DATAVERSE_URL=url, CONNECTOR_STORE=store
    )
    assert "Close 3 opportunities (all as lost) of" in seen.text.replace("\r\n", " ")
    assert seen.code == code


@pytest.mark.parametrize(("answer", "code"), [("n\n", 3), ("\x04", 130)], ids=["no", "Ctrl-D"])
@pytest.mark.parametrize("command", ["close", "bulk"])
def test_who_does_not_agree_is_told_that_nothing_was_changed(desk: Desk, command: str, answer: str, code: int) -> None:
    opportunity, folder, before = desk.opportunity(actives=1), desk.file.parent, desk.rows()
    (folder / "rows.csv").write_text(f"opportunityid,outcome\n{opportunity},won\n", encoding="utf-8")
    arguments = ["close", opportunity, "--won"] if command == "close" else ["bulk", "run", "rows.csv"]
    store, url = str(folder / "jobs.db"), f"emulator:{desk.file}"
    seen = on_terminal(*arguments, columns=80, folder=folder, answer=answer, DATAVERSE_URL=url, CONNECTOR_STORE=store)
    assert seen.code == code
    assert seen.lines[-1] == "Not confirmed; nothing was changed."
    assert desk.rows() == before


def test_on_a_very_narrow_terminal_nothing_is_left_out(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    seen = on_terminal(
        "plan", opportunity, "--won", columns=30, folder=desk.file.parent, DATAVERSE_URL=f"emulator:{desk.file}"
    )
    assert seen.text.count("Closed, Canceled") == 2
    assert "Won" in seen.text


def test_headings_are_bold_and_verdicts_colored_on_a_terminal_only(desk: Desk) -> None:
    place: dict[str, Any] = {"columns": 100, "folder": desk.file.parent}
    url = f"emulator:{desk.file}"
    opportunity = desk.opportunity(drafts=1, actives=1)
    for arguments in (("plan", opportunity, "--won"), ("doctor",)):
        assert ESCAPE in on_terminal(*arguments, **place, DATAVERSE_URL=url).text
        assert ESCAPE not in on_terminal(*arguments, **place, DATAVERSE_URL=url, NO_COLOR="1").text
        assert ESCAPE not in on_terminal(*arguments, **place, DATAVERSE_URL=url, TERM="dumb").text
        assert ESCAPE.encode() not in program(desk, *arguments).stdout


def test_the_doctor_breaks_its_lines_between_words(desk: Desk) -> None:
    seen = on_terminal("doctor", columns=72, folder=desk.file.parent, DATAVERSE_URL=f"emulator:{desk.file}")
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in seen.lines]
    assert max(len(line) for line in plain) <= 72
    assert {line[:9] for line in plain} == {"ok       ", "skipped  ", " " * 9}


@pytest.mark.parametrize("columns", [80, 0], ids=["terminal", "pipe"])
def test_a_name_cannot_steer_the_terminal(desk: Desk, columns: int) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    name_it(desk, opportunity, HOSTILE)
    if columns:
        text = on_terminal(
            "close", opportunity, "--won", "--yes", columns=columns, folder=desk.file.parent,
            DATAVERSE_URL=f"emulator:{desk.file}", NO_COLOR="1",
        ).text  # fmt: skip
    else:
        text = program(desk, "close", opportunity, "--won", "--yes").stdout.decode()
    assert "Closed: 'Café 中文 [bold]" in text
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.mark.parametrize(
    "narrow",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252"},
    ],
    ids=["ascii", "C locale", "windows"],
)
def test_a_narrow_encoding_costs_letters_but_nothing_else(desk: Desk, narrow: dict[str, str]) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    name_it(desk, opportunity, "Café 中文 \N{MONEY-MOUTH FACE}")
    shown = program(desk, "plan", opportunity, "--won", **narrow)
    assert (shown.returncode, shown.stderr.count(b"\n")) == (0, 1), "the way on, for a person"
    assert b"?? ?'" in shown.stdout
    closed = program(desk, "close", opportunity, "--won", "--yes", "--json", **narrow)
    assert (closed.returncode, closed.stderr) == (0, b"")
    assert json.loads(closed.stdout)["status"] == "closed"


def test_a_reader_that_has_seen_enough_ends_it_quietly(desk: Desk) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "connector", "doctor"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}"},
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("shape", [[], ["--json"]])
def test_a_result_that_cannot_be_written_is_said_and_nothing_is_done_twice(desk: Desk, shape: list[str]) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "connector", "close", opportunity, "--won", "--yes", *shape],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}"},
        )
    assert process.returncode == 1
    assert process.stderr.startswith("Error: The operating system could not read or write something: No space left")
    assert "Traceback" not in process.stderr
    assert desk.run("close", opportunity, "--won", "--yes", "--json").data["status"] == "already_closed"


def without_streams(desk: Desk, *arguments: str) -> int:
    """Run the program as a shell does for `<&- >&- 2>&-`."""
    code = f"import os, sys\nfor n in (0, 1, 2): os.close(n)\nos.execv({sys.executable!r}, {[sys.executable, '-m', 'connector', *arguments]!r})"
    environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}"}
    return subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode


def test_closed_streams_are_no_reason_to_fail(desk: Desk) -> None:
    opportunity = desk.opportunity(actives=1)
    assert without_streams(desk, "close", opportunity, "--won") == 2
    assert without_streams(desk, "close", opportunity, "--won", "--yes") == 0
    assert desk.sql("SELECT statecode FROM opportunity WHERE opportunityid = ?", opportunity) == [(1,)]
