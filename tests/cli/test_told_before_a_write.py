"""What an organization's metadata tells is told by the plan, before anything is written, at every door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.emulator.background import ServedEmulator
from connector.emulator.control.users import change_user
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.world.customization import Customization
from connector.emulator.world.world import World
from tests.cli.desk import Desk, Said
from tests.cli.signing import by_secret, organization_of, rows

OPPORTUNITY = "0c000000-0000-4000-8000-000000000001"
QUOTES = tuple(f"0d000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
NOBODY = "0e000000-0000-4000-8000-00000000000e"
OWN = {
    "columns": [
        {"table": "opportunityclose", "name": "new_reason", "kind": "picklist", "labels": {"1033": "Reason"},
         "options": [{"value": 1, "labels": {"1033": "Price", "1031": "Preis"}},
                     {"value": 2, "labels": {"1033": "Quality"}}]},
        {"table": "opportunityclose", "name": "new_tags", "kind": "choices", "labels": {"1033": "Tags"},
         "options": [{"value": 1, "labels": {"1033": "Price"}}, {"value": 2, "labels": {"1033": "Time", "1031": "Zeit"}}]},
        {"table": "opportunityclose", "name": "new_total", "kind": "decimal", "calculated": True, "labels": {"1033": "T"}},
        {"table": "opportunityclose", "name": "new_count", "kind": "integer", "labels": {"1033": "Count"}},
        {"table": "opportunityclose", "name": "new_fee", "kind": "money", "labels": {"1033": "Fee"}},
        {"table": "opportunityclose", "name": "new_final", "kind": "boolean", "labels": {"1033": "Final"}},
        {"table": "opportunityclose", "name": "new_signed", "kind": "dateonly", "labels": {"1033": "Signed"}},
        {"table": "opportunityclose", "name": "new_note", "kind": "string", "max_length": 5, "labels": {"1033": "N"}},
        {"table": "opportunityclose", "name": "new_secret", "kind": "string", "labels": {"1033": "Secret"}},
        {"table": "opportunityclose", "name": "new_reviewer", "schema_name": "new_Reviewer", "kind": "lookup",
         "targets": ["account", "contact"], "labels": {"1033": "Reviewer"}},
        {"table": "quoteclose", "name": "new_rival", "schema_name": "new_Rival", "kind": "lookup",
         "targets": ["competitor"], "labels": {"1033": "Rival"}},
    ],
    "secured": [["opportunityclose", "new_secret"]],
}  # fmt: skip


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    """An organization with columns of its own, and one opportunity that has a draft and an active quote."""
    with organization_of(local_tenant(), tmp_path / "tenant", seeded=3) as emulator:
        organization = emulator.emulator.organization
        organization.world.customize(Customization.from_json(json.dumps(OWN)))
        opportunity = {"opportunityid": OPPORTUNITY, "name": "One", "statecode": 0, "statuscode": 1}
        organization.load_rows("opportunity", [opportunity])
        for number, (key, state) in enumerate(zip(QUOTES, (0, 1), strict=True), start=1):
            quote = {"quoteid": key, "name": f"Quote {number}", "quotenumber": f"QUO-{number}", "statecode": state}
            organization.load_rows("quote", [{**quote, "opportunityid": OPPORTUNITY, "statuscode": state + 1}])
        yield emulator


def world_of(emulator: ServedEmulator) -> World:
    return emulator.emulator.organization.world


def column(emulator: ServedEmulator, name: str, table: str = "opportunityclose") -> object:
    statement = f"SELECT {name} FROM {table} WHERE createdon = (SELECT max(createdon) FROM {table})"
    return emulator.emulator.organization.store.rows(statement)[0][0]


def some(emulator: ServedEmulator, table: str) -> str:
    return str(emulator.emulator.organization.store.rows(f"SELECT {table}id FROM {table} ORDER BY 1")[0][0])


def close(desk: Desk, emulator: ServedEmulator, *arguments: str, **settings: str) -> Said:
    return desk.run("close", OPPORTUNITY, "--won", *arguments, "--yes", "--json", **by_secret(emulator), **settings)


WRONG = {
    "unknown": ("new_resaon=1", "there is no such column; like it are new_reason"),
    "not one of several choices": ("new_tags=1,3", "'3' is not one of its choices: 1 Price, 2 Time"),
    "calculated": ("new_total=1", "it cannot be set"),
    "not settable": ("createdon=2026-01-31", "it cannot be set"),
    "no choice": ("new_reason:int=7", "7 is not one of its choices: 1 Price, 2 Quality"),
    "no label of a choice": ("new_reason=Prize", "'Prize' is not one of its choices"),
    "no number": ("new_count=many", "'many' is not a whole number"),
    "too large a number": ("new_count:int=3000000000", "3000000000 is not between"),
    "a number beyond the column's own limits": ("actualdurationminutes=-5", "-5 is not between 0 and 2,147,483,647"),
    "no amount": ("new_fee=12,50", "'12,50' is not a number"),
    "no truth": ("new_final=perhaps", "'perhaps' is neither true nor false"),
    "no day": ("new_signed=2026-02-30", "'2026-02-30' is not a date, as 2026-01-31"),
    "no text": ("new_note:int=7", "7 is not a text"),
    "too long a text": ("new_note=abcdef", "it has 6 characters; at most 5 fit"),
    "too long as the service counts": ("new_note=😀😀😀", "it has 6 characters; at most 5 fit"),
    "secured": ("new_secret=x", "it is secured, and the user may not set it"),
    "no row": ("new_reviewer=me", "'me' is no row"),
    "another table": (f"new_reviewer=competitors({NOBODY})", "it points at accounts, contacts, not at competitors"),
    "nobody": (f"new_reviewer=accounts({NOBODY})", f"there is no account {NOBODY} that the application user can see"),
}


@pytest.mark.parametrize("atomic", ["auto", "off"])
@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_column_that_does_not_fit_is_refused_before_any_write(
    desk: Desk, emulator: ServedEmulator, wrong: str, atomic: str
) -> None:
    if wrong == "secured":
        change_user(world_of(emulator), {"user": emulator.client_id, "role": "Opportunity Closer"})
    given, sentence = WRONG[wrong]
    before = rows(emulator)
    said = close(desk, emulator, "--opportunity-column", given, DATAVERSE_ATOMIC=atomic)
    assert said.code == 2, said.err
    assert f"opportunityclose.{given.partition('=')[0].partition(':')[0]}: {sentence}" in said.data["error"]["message"]
    assert said.data["error"]["effect"] == "none"
    assert rows(emulator) == before
    plan = desk.run("plan", OPPORTUNITY, "--won", "--opportunity-column", given, **by_secret(emulator))
    assert plan.code == 2


@pytest.mark.parametrize(
    ("given", "name", "stored"),
    [
        ("new_reason=preis", "new_reason", 1),
        ("new_count=3", "new_count", 3),
        ("new_tags=zeit;1", "new_tags", "2,1"),
        ("new_fee=12.5", "new_fee", 12.5),
        ("new_final=yes", "new_final", 1),
        ("new_signed=2026-01-31", "new_signed", "2026-01-31"),
        ("new_note=abcde", "new_note", "abcde"),
    ],
)
def test_a_text_is_read_as_its_column_wants_it(
    desk: Desk, emulator: ServedEmulator, given: str, name: str, stored: object
) -> None:
    said = close(desk, emulator, "--opportunity-column", given)
    assert said.code == 0, said.err
    assert column(emulator, name) == stored


def test_a_column_that_only_forms_require_is_named_by_the_plan(desk: Desk, emulator: ServedEmulator) -> None:
    required = {"required": [["opportunityclose", "new_count"], ["quoteclose", "new_rival"]]}
    world_of(emulator).customize(Customization.from_json(json.dumps(OWN | required)))
    note = "The organization's forms require opportunityclose.new_count, quoteclose.new_rival, which this close leaves"
    rival = f"new_rival=competitors({some(emulator, 'competitor')})"
    plan = desk.run("plan", OPPORTUNITY, "--won", **by_secret(emulator))
    assert note in " ".join(plan.out.split())
    given = ("--opportunity-column", "new_count=3", "--quote-column", rival)
    assert "forms require" not in desk.run("plan", OPPORTUNITY, "--won", *given, **by_secret(emulator)).out
    assert "Rival is required to create" in close(desk, emulator).data["error"]["detail"]
    emulator.emulator.control.set_switches({"required_columns": "off"})
    assert close(desk, emulator).code == 0


@pytest.mark.parametrize("name", ["new_reviewer", "new_Reviewer", "new_reviewer@odata.bind", "new_Reviewer_contact"])
def test_a_lookup_is_named_by_its_logical_name_or_by_any_of_its_navigation_properties(
    desk: Desk, emulator: ServedEmulator, name: str
) -> None:
    account, competitor = some(emulator, "account"), some(emulator, "competitor")
    said = close(
        desk, emulator, "--opportunity-column", f"{name}=accounts({account})",
        "--quote-column", f"new_rival=/competitors({competitor})",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert column(emulator, "new_reviewer") == account
    assert column(emulator, "new_rival", "quoteclose") == competitor


def test_a_competitor_that_is_not_there_is_told_before_any_write(desk: Desk, emulator: ServedEmulator) -> None:
    before = rows(emulator)
    said = desk.run("close", OPPORTUNITY, "--lost", "--competitor", NOBODY, "--yes", "--json", **by_secret(emulator))
    assert said.code == 2
    assert f"there is no competitor {NOBODY}" in said.data["error"]["message"]
    assert rows(emulator) == before


@pytest.mark.parametrize("atomic", ["auto", "off"])
@pytest.mark.parametrize(
    ("privilege", "use", "arguments"),
    [
        ("prvWriteOpportunity", "close opportunity", ()),
        ("prvCreateActivity", "close quote", ()),
        ("prvDeleteQuote", "delete quote", ("--drafts", "delete")),
    ],
)
def test_a_privilege_that_a_step_lacks_is_told_before_any_write(
    desk: Desk, emulator: ServedEmulator, atomic: str, privilege: str, use: str, arguments: tuple[str, ...]
) -> None:
    change_user(world_of(emulator), {"user": emulator.client_id, "without": [privilege]})
    before = rows(emulator)
    said = close(desk, emulator, *arguments, DATAVERSE_ATOMIC=atomic)
    assert said.code == 1
    assert f"The user lacks {privilege} (to " in said.data["error"]["message"]
    assert use in said.data["error"]["message"]
    assert said.data["error"]["effect"] == "none"
    assert rows(emulator) == before


@pytest.mark.parametrize("atomic", ["auto", "off"])
def test_a_status_reason_that_a_transition_forbids_is_refused(
    desk: Desk, emulator: ServedEmulator, atomic: str
) -> None:
    rules = {
        "status_reasons": [
            {"table": "opportunity", "value": 1, "label": "In Progress", "state": 0, "transitions": [2, 4]},
            {"table": "opportunity", "value": 2, "label": "On Hold", "state": 0, "transitions": [1]},
        ],
        "enforce_transitions": ["opportunity"],
    }
    world_of(emulator).customize(Customization.from_json(json.dumps(rules)))
    before = rows(emulator)
    said = close(desk, emulator, DATAVERSE_ATOMIC=atomic)
    assert (said.code, said.data["reason_code"]) == (3, "transition_forbidden")
    assert "3 Won follow 1 In Progress" in said.data["reason"]
    assert rows(emulator) == before
    lost, settings = ("close", OPPORTUNITY, "--lost", "--yes", "--json"), by_secret(emulator)
    said = desk.run(*lost, "--status", "5", **settings)
    assert "Of that state only these may: 4 Canceled." in said.data["reason"]
    assert desk.run(*lost, **settings).code == 0


def test_a_draft_passes_through_the_active_reason_that_its_transitions_allow(
    desk: Desk, emulator: ServedEmulator
) -> None:
    rules = {
        "status_reasons": [{"table": "quote", "value": 1, "label": "In Progress", "state": 0, "transitions": [3]}],
        "enforce_transitions": ["quote"],
    }
    world_of(emulator).customize(Customization.from_json(json.dumps(rules)))
    said = close(desk, emulator)
    assert said.code == 0, said.err
    assert said.data["steps"][0]["status_reason"] == 3


@pytest.mark.parametrize("given", [(), ("--opportunity-column", "new_resaon=1")])
def test_who_may_not_read_definitions_is_told_what_was_not_checked(
    desk: Desk, emulator: ServedEmulator, given: tuple[str, ...]
) -> None:
    emulator.emulator.control.set_switches({"definitions_privilege": "prvReadEntity"})
    change_user(world_of(emulator), {"user": emulator.client_id, "without": ["prvReadEntity"]})
    plan = desk.run("plan", OPPORTUNITY, "--won", *given, "--json", **by_secret(emulator))
    assert plan.code == 0, plan.err
    notes = " ".join(plan.data["notes"])
    assert "prvReadEntity" in notes
    assert ("extra columns were not checked" in notes) is bool(given)
    assert close(desk, emulator, *given).code == (1 if given else 0)


def test_a_doctor_names_the_secured_columns_and_what_cannot_be_checked(desk: Desk, emulator: ServedEmulator) -> None:
    secured = Customization.from_json(json.dumps({"secured": [["opportunity", "actualvalue"]]}))
    world_of(emulator).customize(secured)
    change_user(world_of(emulator), {"user": emulator.client_id, "role": "Opportunity Closer"})
    doctor = desk.run("doctor", **by_secret(emulator)).out
    assert "not for this user to read: opportunity.actualvalue, opportunityclose.new_secret." in doctor
    plan = desk.run("plan", OPPORTUNITY, "--won", "--actual-revenue", "5", **by_secret(emulator)).out
    assert "opportunity.actualvalue is secured, the user may not read it" in " ".join(plan.split())
    emulator.emulator.control.set_switches({"definitions_privilege": "prvReadEntity"})
    change_user(world_of(emulator), {"user": emulator.client_id, "without": ["prvReadEntity"]})
    assert "checks before a write: The user may not read definitions of tables" in " ".join(
        desk.run("doctor", **by_secret(emulator)).out.split()
    )
