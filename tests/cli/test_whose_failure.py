"""Failures of the organization's own logic: about whom they are, and which ways out there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import Desk, Said

ANOTHER = "ab000000-0000-4000-8000-0000000000ff"
LOGIC = """
def plugin(context):
    if context.stage == "pre" and context.message == {message!r} and context.table == {table!r}:
        context.abort({text!r}.replace("ME", context.user_id), code={code!r}, status={status})
"""
LACKS = "Principal user (Id={user}, type=8, roleCount=1) is missing prvWriteOpportunity privilege on OTC=3"
TEXTS = {
    "a privilege": ("0x80040220", 403, LACKS),
    "a disabled user": ("0x80040225", 403, "The user with SystemUserId={user} is disabled."),
    "no roles": ("0x80042f09", 403, "The user with id {user} has no roles."),
    "access to the record": ("0x80048306", 403, "SecLib::AccessCheckEx failed. OwnerId: 1 and CallingUser: {user}."),
    "a plug-in that repeats it": ("0x80040265", 400, LACKS),
}


@pytest.fixture
def logic(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "logic.py"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(file))
    desk.run("list")
    return file


def close(desk: Desk, *arguments: str) -> Said:
    return desk.run("close", desk.opportunity(drafts=1, actives=1), "--won", "--yes", "--json", *arguments)


@pytest.mark.parametrize("what", list(TEXTS))
@pytest.mark.parametrize("whose", ["another", "ours"])
def test_a_refusal_about_another_user_is_not_laid_on_the_one_who_signed_in(
    desk: Desk, logic: Path, what: str, whose: str
) -> None:
    code, status, text = TEXTS[what]
    said = text.format(user=ANOTHER if whose == "another" else "ME")
    logic.write_text(LOGIC.format(message="WinOpportunity", table="opportunity", text=said, code=code, status=status))
    error = close(desk).data["error"]
    assert error["code"] == code
    assert (f"It is about the user {ANOTHER}" in error["message"]) is (whose == "another")
    assert ("the organization's own logic" in error["message"]) is (whose == "another")
    assert ("Enable that user or give it what it lacks" in error["remedy"]) is (whose == "another")
    assert error["effect"] == "none"


def test_a_doctor_names_the_plug_ins_of_a_file_while_they_are_there(desk: Desk, logic: Path) -> None:
    logic.write_text("def plugin(context): ...\n\n\ndef flow(context): ...", encoding="utf-8")
    for named in ("4 plug-in steps (logic.plugin)", "no plug-in steps"):
        own = next(check for check in desk.run("doctor", "--json").data["checks"] if check["name"] == "own logic")
        assert named in str(own)
        logic.write_text("def flow(context): ...", encoding="utf-8")


@pytest.mark.parametrize(("code", "status"), [("0x80040265", 400), ("0x80043b12", 400), ("0x80040203", 400)])
def test_whatever_keeps_a_draft_from_being_activated_the_ways_out_are_named(
    desk: Desk, logic: Path, code: str, status: int
) -> None:
    logic.write_text(LOGIC.format(message="Update", table="quote", text="Fill in Region.", code=code, status=status))
    error = close(desk).data["error"]
    assert "--drafts delete" in error["remedy"]
    assert "--drafts leave" in error["remedy"]
    assert close(desk, "--drafts", "delete").data["status"] == "closed"
