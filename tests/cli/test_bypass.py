"""Leaving out the organization's own logic on purpose: asked for, shown, bound into the digest, and allowed or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import Desk, Said

LOGIC = """
def plugin(context):
    if context.message == "WinOpportunity" and context.stage == "pre":
        context.abort("Approval is missing.")


def flow(context):
    if context.message == "WinOpportunity":
        context.create("account", {"name": "made by a flow"})
"""


class Organization:
    """The desk, in front of an organization whose own logic refuses each win and starts a flow."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.logic = folder / "logic.py"
        self.logic.write_text(LOGIC, encoding="utf-8")

    def run(self, *arguments: str) -> Said:
        emulator = f"emulator:{self.desk.file}"
        return self.desk.run(*arguments, DATAVERSE_URL=emulator, DATAVERSE_EMULATOR_PLUGINS=str(self.logic))

    def flows(self) -> int:
        return int(self.desk.sql("SELECT count(*) FROM account WHERE name = 'made by a flow'")[0][0])


@pytest.fixture
def organization(desk: Desk, tmp_path: Path) -> Organization:
    return Organization(desk, tmp_path)


def test_a_close_that_custom_logic_refuses_goes_through_without_that_logic(organization: Organization) -> None:
    opportunity = organization.desk.opportunity(actives=1)
    refused = organization.run("close", opportunity, "--won", "--yes")
    assert (refused.code, "Approval is missing." in refused.err) == (1, True)
    assert organization.run("close", opportunity, "--won", "--yes", "--bypass", "sync").code == 0
    assert organization.flows() == 1


def test_flows_are_left_out_when_they_are_named(organization: Organization) -> None:
    opportunity = organization.desk.opportunity(actives=1)
    assert organization.run("close", opportunity, "--won", "--yes", "--bypass", "sync, FLOWS").code == 0
    assert organization.flows() == 0


def test_the_plan_says_what_is_left_out_and_its_digest_covers_it(organization: Organization) -> None:
    opportunity = organization.desk.opportunity(actives=1)
    plain = organization.run("plan", opportunity, "--won", "--json").data
    bypassing = organization.run("plan", opportunity, "--won", "--bypass", "sync,flows", "--tag", "june", "--json").data
    assert bypassing["bypass"] == "leaves out sync, flows; tag june"
    assert "bypass" not in plain
    assert bypassing["digest"] != plain["digest"]
    other = organization.run(
        "close", opportunity, "--won", "--if-plan", bypassing["digest"], "--bypass", "sync", "--yes", "--json"
    )
    assert (other.code, other.data["reason_code"]) == (3, "plan_changed")


def test_a_job_leaves_out_what_it_is_told_to(organization: Organization, tmp_path: Path) -> None:
    rows = tmp_path / "june.csv"
    rows.write_text(f"opportunityid,outcome\n{organization.desk.opportunity(actives=1)},won\n", encoding="utf-8")
    assert organization.run("bulk", "run", str(rows), "--yes", "--bypass", "sync,flows").code == 0
    assert organization.flows() == 0


def test_without_the_privilege_nothing_is_written(organization: Organization) -> None:
    opportunity = organization.desk.opportunity(actives=1)
    organization.desk.sql("DELETE FROM _roleprivileges WHERE privilege = 'prvBypassCustomBusinessLogic'")
    before = organization.desk.rows()
    refused = organization.run("close", opportunity, "--won", "--yes", "--bypass", "sync")
    assert refused.code == 2
    assert "prvBypassCustomBusinessLogic is missing. Nothing was changed." in refused.err
    assert organization.desk.rows() == before


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--bypass", "quick", "Invalid value for '--bypass': quick is none of sync, async, flows"),
        ("--bypass-steps", "one", "is not a list of step ids"),
        ("--bypass-steps", ",".join(f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)), "at most 3"),
        ("--tag", "Ümlaut", "plain (ASCII)"),
        ("--tag", "x" * 101, "at most 100"),
    ],
)
def test_what_cannot_be_left_out_is_named(organization: Organization, option: str, value: str, told: str) -> None:
    said = organization.run("plan", organization.desk.opportunity(actives=1), "--won", option, value)
    assert (said.code, told in said.err) == (2, True)


def test_a_plan_file_keeps_what_is_left_out_and_is_refused_with_anything_else(
    organization: Organization, tmp_path: Path
) -> None:
    rows = tmp_path / "june.csv"
    rows.write_text(f"opportunityid,outcome\n{organization.desk.opportunity(actives=1)},won\n", encoding="utf-8")
    assert organization.run("bulk", "plan", str(rows), "--bypass", "sync,flows").code == 0
    other = organization.run("bulk", "run", "june.plan.jsonl", "--yes", "--job", "other", "--bypass", "sync", "--json")
    assert (other.code, other.data["refused"]) == (3, 1)
    assert organization.run("bulk", "run", "june.plan.jsonl", "--yes").code == 0
    assert organization.flows() == 0


def test_a_job_is_taken_up_again_with_what_it_left_out(organization: Organization, tmp_path: Path) -> None:
    rows = tmp_path / "june.csv"
    rows.write_text(f"opportunityid,outcome\n{organization.desk.opportunity(actives=1)},won\n", encoding="utf-8")
    assert organization.run("bulk", "run", str(rows), "--yes", "--bypass", "flows", "--tag", "june").code == 1
    status = organization.run("bulk", "status", "june", "--json").data
    assert (status["failed"], status["bypass"]) == (1, "leaves out flows; tag june")
    organization.logic.write_text(LOGIC.replace('context.abort("Approval is missing.")', "pass"), encoding="utf-8")
    assert organization.run("bulk", "retry", "june", "--yes").code == 0
    assert organization.flows() == 0


def test_the_same_file_again_says_what_came_of_it_and_offers_the_next_step(
    organization: Organization, tmp_path: Path
) -> None:
    rows = tmp_path / "june.csv"
    rows.write_text(f"opportunityid,outcome\n{organization.desk.opportunity(actives=1)},won\n", encoding="utf-8")
    organization.run("bulk", "run", str(rows), "--yes")
    again = organization.run("bulk", "run", str(rows), "--yes")
    assert "UTC (1 failed), " in again.err
    assert "To try the 1 row again: connector bulk retry june." in again.err
