"""Whatever is wrong is one clear sentence with what to do about it, and changes nothing."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.cli.desk import Desk

NOT_THERE = str(uuid.UUID(int=42))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["42", "--won"], 2, "'42' does not name one opportunity"),
        ([NOT_THERE, "--won"], 1, f"There is no opportunity {NOT_THERE}"),
        (["OPEN"], 2, "Say how it ends: --won or --lost"),
        (["OPEN", "--won", "--lost"], 2, "with --won or with --lost, not with both"),
        (["OPEN", "--won", "--status", "Abandoned"], 2, "The opportunity has no status reason 'Abandoned'"),
        (["OPEN", "--won", "--status", "4"], 2, "is not one for opportunity won"),
        (["OPEN", "--won", "--quote-status", "Won"], 2, "is not one for quote closed"),
        (["OPEN", "--won", "--closed-on", "31.1.2026"], 2, "--closed-on: '31.1.2026' is not a date"),
        (["OPEN", "--won", "--actual-revenue", "1,5"], 2, "--actual-revenue: '1,5' is not an amount"),
        (["OPEN", "--won", "--drafts", "burn"], 2, "'burn' is not one of"),
        (["OPEN", "--won", "--winning-quote", "none"], 3, "The winning quote none is not a quote of this opportunity"),
        (["OPEN", "--won", "--winning-quote", NOT_THERE], 3, "is not a quote of this opportunity"),
        (["OPEN", "--lost", "--winning-quote", NOT_THERE], 3, "A winning quote was named for a lost opportunity"),
        (["OPEN", "--won", "--drafts", "leave"], 3, "Draft quotes are left alone"),
        (["OPEN", "--won", *2 * ["--quote-column", "a=1"], "--quote-column", "a=2"], 2, "a is given two values"),
        (["OPEN", "--won", "--opportunity-column", "new_reason"], 2, "'new_reason' is not of the form COLUMN=VALUE"),
        (["OPEN", "--won", "--opportunity-column", "actualend=x"], 2, "Use the field closed_on"),
        (["OPEN", "--won", "--opportunity-column", "new_reason:int=many"], 2, "'many' is not of type int"),
    ],
)
def test_bad_input_is_answered_with_a_sentence_and_changes_nothing(
    desk: Desk, arguments: list[str], code: int, sentence: str
) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    given = [opportunity if argument == "OPEN" else argument for argument in arguments]
    before = desk.rows()
    for_people = desk.run("close", *given, "--yes")
    for_programs = desk.run("close", *given, "--yes", "--json")
    assert (for_people.code, for_programs.code) == (code, code)
    assert sentence in for_people.out + for_people.err
    answer = for_programs.data
    assert answer["status"] == ("refused" if code == 3 else "failed")
    assert sentence in str(answer.get("reason")) + str(answer.get("error", {}).get("message"))
    assert "Traceback" not in for_people.err + for_programs.err
    assert desk.rows() == before


@pytest.mark.parametrize("shape", [[], ["--json"]], ids=["for people", "for programs"])
def test_what_the_organization_said_reaches_whoever_runs_it_but_no_result(desk: Desk, shape: list[str]) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    run = desk.run("close", opportunity, "--lost", "--drafts", "direct", "--yes", *shape)
    assert run.code == 1
    assert "0x80040216" in run.err
    assert "The organization said: " in run.err
    assert "The organization said: " not in run.out


def test_all_missing_settings_are_named_at_once(desk: Desk) -> None:
    said = desk.run("plan", NOT_THERE, "--won", DATAVERSE_URL="https://contoso.crm.dynamics.com")
    assert said.code == 2
    assert "DATAVERSE_CLIENT_ID" in said.err
    assert "DATAVERSE_CLIENT_SECRET" in said.err
    assert "`connector init` writes settings that work" in said.err
    assert desk.run("plan", NOT_THERE, "--won", "--json", DATAVERSE_URL="").data["error"]["kind"] == "SettingsError"


def test_a_missing_application_user_is_named_as_such(desk: Desk) -> None:
    desk.sql("UPDATE systemuser SET applicationid = NULL, azureactivedirectoryobjectid = NULL")
    before = desk.rows()
    said = desk.run("close", desk.opportunity(actives=1), "--won", "--yes", "--json")
    assert said.code == 1
    assert said.data["error"]["code"] == "0x80072560"
    assert said.data["error"]["request_id"]
    assert "application user" in said.data["error"]["message"] + said.data["error"]["remedy"]
    assert desk.rows() == before


def test_a_missing_privilege_is_named(desk: Desk) -> None:
    desk.sql("DELETE FROM _roleprivileges WHERE privilege = 'prvWriteQuote'")
    before = desk.rows()
    said = desk.run("close", desk.opportunity(drafts=1, actives=1), "--won", "--yes")
    assert said.code == 1
    assert "The user lacks prvWriteQuote (to activate quote and close quote)" in said.err
    assert "For support" not in said.err, "nothing was asked that support could look for"
    assert desk.rows() == before


def test_an_unreachable_host_is_named(desk: Desk) -> None:
    settings = {
        "DATAVERSE_URL": "https://localhost:9",
        "DATAVERSE_CLIENT_ID": str(uuid.UUID(int=1)),
        "DATAVERSE_CLIENT_SECRET": "local-emulator-secret",
        "DATAVERSE_CA_FILE": __file__,
    }
    said = desk.run("close", NOT_THERE, "--won", "--yes", **settings)
    assert said.code in {1, 2}
    assert "localhost" in said.err or "DATAVERSE_CA_FILE" in said.err


def test_settings_of_a_real_organization_do_not_reach_an_emulator_unnoticed(desk: Desk) -> None:
    said = desk.run(
        "plan", NOT_THERE, "--won", DATAVERSE_URL=f"emulator:{desk.file}", DATAVERSE_CLIENT_SECRET="a real one"
    )
    assert said.code == 2
    assert "DATAVERSE_CLIENT_SECRET" in said.err
    assert "a real one" not in said.err


def test_what_should_not_happen_is_a_sentence_and_a_traceback_only_on_request(desk: Desk) -> None:
    desk.file.write_bytes(b"this is not a database" * 1000)
    quiet = desk.run("plan", NOT_THERE, "--won")
    assert quiet.code in {1, 2}
    assert "Traceback" not in quiet.err


def test_the_address_of_a_record_of_another_organization_is_refused_as_copies_have_the_same_ids(desk: Desk) -> None:
    address = f"https://sandbox.crm4.dynamics.com/main.aspx?etn=opportunity&id={desk.opportunity(actives=1)}"
    ours = {
        "DATAVERSE_URL": "https://ours.crm4.dynamics.com",
        "DATAVERSE_CLIENT_ID": str(uuid.uuid4()),
        "DATAVERSE_CLIENT_SECRET": "made-up",
    }
    said = desk.run("close", address, "--won", "--yes", **ours)
    assert said.code == 2
    assert (
        "is of sandbox.crm4.dynamics.com, but DATAVERSE_URL names ours.crm4.dynamics.com; nothing was done" in said.err
    )


def test_an_endpoint_without_its_libraries_says_what_to_install(desk: Desk) -> None:
    desk.monkeypatch.setitem(sys.modules, "mcp", None)
    said = desk.run("serve")
    assert said.code == 2
    assert "The endpoint needs libraries that are not installed (mcp)." in said.err
    assert "with the extra service" in said.err


def test_a_job_store_that_belongs_to_another_program_is_left_alone(desk: Desk) -> None:
    url = f"emulator:{desk.file}"
    said = desk.run("bulk", "status", DATAVERSE_URL=url, CONNECTOR_STORE=str(desk.file))
    assert said.code == 1
    assert "holds the tables of another program" in said.err
    said = desk.run("bulk", "status", DATAVERSE_URL=url, CONNECTOR_STORE="mysql://user:pass-word@host/jobs")
    assert said.code == 2
    assert "CONNECTOR_STORE must be the path of a file, or an address that begins with postgresql://" in said.err
    assert "pass-word" not in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device stands in for a full disk")
@pytest.mark.parametrize("command", [("org", "capture"), ("init", "--from", "emulator")], ids=" ".join)
def test_a_file_that_cannot_be_written_is_named_where_nothing_can_be_removed_either(
    desk: Desk, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "new"
    said = desk.run(*command, "--out", str(place))
    assert (said.code, f"{place} cannot be written: " in said.err) == (2, True), said.err


def test_a_result_that_cannot_be_written_is_a_failure_told_once(desk: Desk) -> None:
    environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "connector", "plan", desk.opportunity(actives=1), "--won"],
            stdout=full, stderr=subprocess.PIPE, check=False, env=environment,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Exception ignored" not in done.stderr
