"""`connector doctor` against an organization that is well, and against one that is not."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from connector.cli.demo_command import running_emulator
from connector.cli.doctor_checks import NEEDED_PRIVILEGES
from tests.cli.desk import Desk, Said


def verdicts(said: Said) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in said.data["checks"]}


def hold(desk: Desk, *privileges: str) -> None:
    """Give every role just these privileges."""
    desk.sql("DELETE FROM _roleprivileges")
    for privilege in privileges:
        desk.sql("INSERT INTO _roleprivileges SELECT roleid, ? FROM role", privilege)


def test_a_healthy_organization_gets_a_line_for_each_thing_looked_at(desk: Desk) -> None:
    said = desk.run("doctor")
    assert (said.code, said.err) == (0, "")
    names = [line[9:].split(":")[0] for line in said.out.splitlines()]
    assert names == [
        "settings",
        "sign-in",
        "organization",
        "application user",
        "privileges",
        "status reasons of opportunity",
        "status reasons of quote",
        "messages",
        "Project Operations",
        "batches",
        "today",
        "currencies",
        "own logic",
        "clock",
        "limits",
        "answers",
    ]
    assert {line.split()[0] for line in said.out.splitlines() if not line[9:].startswith("answers")} == {"ok"}


def test_looking_changes_nothing(desk: Desk) -> None:
    before = desk.rows()
    desk.run("doctor", "--json")
    assert desk.rows() == before


def test_what_the_doctor_calls_needed_is_all_that_a_close_and_a_reopening_need(desk: Desk) -> None:
    hold(desk, *NEEDED_PRIVILEGES)
    opportunity = desk.opportunity(drafts=1, actives=1)
    close = desk.run("close", opportunity, "--won", "--yes", "--json")
    assert (close.code, close.data["status"]) == (0, "closed"), close.out
    assert desk.run("reopen", opportunity, "--yes", "--json").data["status"] == "reopened"


@pytest.mark.parametrize("missing", NEEDED_PRIVILEGES)
def test_each_missing_privilege_is_named_with_what_it_is_for(desk: Desk, missing: str) -> None:
    hold(desk, "prvReadUser", *(name for name in NEEDED_PRIVILEGES if name != missing))
    said = desk.run("doctor")
    assert said.code == 1
    (line,) = (line for line in said.out.splitlines() if line.startswith(f"FAILED   privilege {missing}:"))
    assert f"Missing {missing}, needed for {NEEDED_PRIVILEGES[missing]}." in line
    assert "security role" in line


def test_a_user_that_the_organization_does_not_know_is_found_among_several(desk: Desk, tmp_path: Path) -> None:
    with running_emulator(tmp_path, "default") as ready:
        identities = tmp_path / "identities.toml"
        identities.write_text(
            f'[[identity]]\nname = "second"\nclient_id = "{uuid4()}"\nclient_secret = "{ready.client_secret}"\n',
            encoding="utf-8",
        )
        settings = ready.env_file.read_text(encoding="utf-8") + f"DATAVERSE_IDENTITIES={identities}\n"
        ready.env_file.write_text(settings, encoding="utf-8")
        said = desk.run("doctor", "--json", "--env-file", str(ready.env_file), CONNECTOR_LOG_LEVEL="ERROR")
    found = {check["name"]: check for check in said.data["checks"]}
    assert (said.code, found["sign-in"]["verdict"], found["identity second"]["verdict"]) == (1, "ok", "failed")
    assert all("doctor" not in check["remedy"] for name, check in found.items() if name != "answers")


def test_what_only_some_closes_need_is_a_warning_when_it_is_missing(desk: Desk) -> None:
    hold(desk, "prvReadUser", *NEEDED_PRIVILEGES)
    said = desk.run("doctor", "--json")
    found = verdicts(said)
    assert (said.code, found["privilege prvReadSdkMessage"], found["privilege prvDeleteQuote"]) == (
        0,
        "warning",
        "warning",
    )
    closed = desk.run("close", desk.opportunity(drafts=1, actives=1), "--won", "--yes")
    assert closed.code == 0


def test_a_missing_application_user_is_told_apart_from_a_failed_sign_in(desk: Desk) -> None:
    desk.sql("UPDATE systemuser SET applicationid = NULL, azureactivedirectoryobjectid = NULL")
    said = desk.run("doctor", "--json")
    assert said.code == 1
    assert said.data["status"] == "failed"
    found = verdicts(said)
    assert (found["sign-in"], found["organization"], found["application user"]) == ("ok", "ok", "failed")
    assert found["privileges"] == "skipped"


def test_a_close_action_that_is_not_there_is_named(desk: Desk) -> None:
    settings = {"DATAVERSE_URL": f"emulator:{desk.file}", "DATAVERSE_CLOSE_ACTION": "new_CloseOpportunity"}
    said = desk.run("doctor", **settings)
    assert said.code == 1
    assert "The organization has no action new_CloseOpportunity." in said.out


def test_all_that_is_wrong_with_the_settings_is_said_at_once(desk: Desk) -> None:
    said = desk.run("doctor", "--json", DATAVERSE_URL="https://contoso.crm.dynamics.com", DATAVERSE_ATOMIC="perhaps")
    assert said.code == 1
    problems = [check["sentence"] for check in said.data["checks"] if check["name"] == "settings"]
    assert any("DATAVERSE_ATOMIC" in problem for problem in problems)
    assert verdicts(said)["sign-in"] == "skipped"
