"""`connector init` writes settings that work, for their owner alone; what does not work is not written."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from connector.cli import init_command
from connector.cli.init_command import write_private
from connector.cli.program import run
from connector.clock import VirtualClock
from connector.dataverse.sign_in.azure_cli import azure_cli_tokens
from connector.errors import SignInError
from connector.settings.environment import SETTINGS, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, without settings in the environment."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of that name in front of all others."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")


def test_it_writes_commented_settings_that_work_and_ends_with_the_doctor(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--from", "emulator"]) == 0
    assert "Written to .env, readable by you alone." in capsys.readouterr().out
    text = (folder / ".env").read_text(encoding="utf-8")
    assert all(f"{name}=" in text for name in SETTINGS)
    assert load({}, folder / ".env").emulator == Path(".state/emulator.db")
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert not (folder / ".env.new").exists()


@pytest.mark.parametrize("answers", ["7\n", "emulator\n", "8\nsecretly\n7\n"])
def test_a_way_to_sign_in_is_chosen_by_number_or_name(
    folder: Path, answers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    assert run(["init"]) == 0
    assert capsys.readouterr().err.count("Give a number from 1 to 7") == answers.count("\n") - 1
    assert load({}, folder / ".env").emulator is not None


@pytest.mark.parametrize(("url", "code"), [("http://org.crm.dynamics.com", 2), ("contoso", 2), (None, 130)])
def test_an_address_that_is_none_is_told_before_anything_else_is_asked(
    url: str | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("contoso\n" if url is None else ""))
    assert run(["init", "--from", "secret", *(["--url", url] if url else [])]) == code
    said = capsys.readouterr().err
    assert "The address must be the organization's own address" in said
    assert "client" not in said


def test_what_is_there_is_replaced_only_when_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("mine", encoding="utf-8")
    assert run(["init", "--from", "emulator"]) == 2
    assert "Give --force to replace it" in capsys.readouterr().err
    assert (folder / ".env").read_text(encoding="utf-8") == "mine"
    assert run(["init", "--from", "emulator", "--force"]) == 0


def test_what_does_not_work_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(folder, "az", "import sys; sys.exit('Please run az login to set up an account.')", monkeypatch)
    assert run(["init", "--from", "az", "--url", "https://org.crm4.dynamics.com"]) == 1
    said = capsys.readouterr().err
    assert "The Azure CLI gave no token: Please run az login" in said
    assert "Run `az login`." in said
    assert [path.name for path in folder.iterdir()] == ["bin"]


def test_the_token_of_the_azure_cli_is_kept_until_it_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import json, sys; print(json.dumps({'accessToken': ' '.join(sys.argv[1:]), 'expires_on': 1767229200}))"
    program(folder, "az", code, monkeypatch)
    tokens = azure_cli_tokens("https://org.crm4.dynamics.com", "contoso.com", VirtualClock())
    expected = "account get-access-token --output json --resource https://org.crm4.dynamics.com --tenant contoso.com"
    assert tokens.token() == expected
    program(folder, "az", "raise SystemExit(1)", monkeypatch)
    assert tokens.token() == expected


@pytest.mark.parametrize("code", ["print('no JSON')", "print('{}')", "print('[]')"])
def test_an_answer_of_the_azure_cli_that_is_none_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    program(folder, "az", code, monkeypatch)
    with pytest.raises(SignInError, match="not understood"):
        azure_cli_tokens("https://org.crm4.dynamics.com", "", VirtualClock()).token()


def test_on_windows_the_access_list_keeps_others_out_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(folder, "icacls", "import sys; print(open(sys.argv[1]).read(), *sys.argv[1:], file=open('seen','w'))",
            monkeypatch)  # fmt: skip
    umlaut = 'import sys; sys.stdout.buffer.write(b\'"corp\\\\j\\x81rg","S-1-5-21-7-1001"\')'  # of code page 850
    program(folder, "whoami", umlaut, monkeypatch)
    monkeypatch.setattr(init_command, "WINDOWS", True)
    write_private(folder / "secret", "content")
    seen = (folder / "seen").read_text(encoding="utf-8")
    assert seen.split() == [str(folder / "secret"), "/inheritance:r", "/grant:r", "*S-1-5-21-7-1001:F"]
    program(folder, "icacls", "raise SystemExit(5)", monkeypatch)
    with pytest.raises(OSError, match="icacls"):
        write_private(folder / "secret", "content")


def test_the_example_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--example"]) == 0
    shown = capsys.readouterr().out
    assert all(f"#{name}=" in shown for name in SETTINGS)
