from __future__ import annotations

import re

import pytest

from connector.emulator.seeding.organization import SeededUser, add_user, define_role, role_id, row_id
from connector.emulator.world.callers import CLOSING_PRIVILEGES, Caller, all_privileges
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.world import Ref, Refused, World

CLOSER = "11111111-aaaa-4000-8000-000000000002"
READER = "11111111-aaaa-4000-8000-000000000003"
DISABLED = "11111111-aaaa-4000-8000-000000000004"
ROLELESS = "11111111-aaaa-4000-8000-000000000005"


@pytest.mark.parametrize(
    ("application", "code"),
    [("33333333-aaaa-4000-8000-000000000009", "0x80072560"), (DISABLED, "0x80040225"), (ROLELESS, "0x80042f09")],
)
def test_who_may_not_enter_is_told_why(world: World, application: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        world.caller_for(application_id=application)
    assert (refused.value.status, refused.value.code) == (403, code)


def test_a_person_is_known_by_object_id(world: World) -> None:
    assert world.caller_for(object_id="22222222-aaaa-4000-8000-000000000003").application_id == READER


def test_the_closing_role_is_enough_to_close_and_not_to_create(world: World, admin: Caller) -> None:
    closer = world.caller_for(application_id=CLOSER)
    assert closer.privileges == CLOSING_PRIVILEGES
    deal = Ref("opportunity", world.create(admin, "opportunity", {"name": "Deal"}))
    offer = Ref("quote", world.create(admin, "quote", {"name": "Offer", "opportunityid": deal}))
    world.update(closer, "quote", offer.id, {"statecode": 1})
    world.call(closer, "CloseQuote", {"QuoteClose": {"quoteid": offer}, "Status": 5})
    competitor = Ref("competitor", row_id(123, 1))
    close = {"opportunityid": deal, "competitorid": competitor}
    world.call(closer, "LoseOpportunity", {"OpportunityClose": close, "Status": 5})
    with pytest.raises(Refused) as refused:
        world.create(closer, "opportunity", {"name": "Another"})
    assert (refused.value.status, refused.value.code) == (403, "0x80040220")


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("WinOpportunity", ("prvWriteOpportunity", "prvAppendToOpportunity", "prvCreateActivity", "prvAppendActivity")),
        (
            "LoseOpportunity",
            ("prvWriteOpportunity", "prvAppendToOpportunity", "prvCreateActivity", "prvAppendActivity"),
        ),
        ("CloseQuote", ("prvWriteQuote", "prvAppendToQuote", "prvCreateActivity", "prvAppendActivity")),
        ("WinQuote", ("prvWriteQuote", "prvAppendToQuote", "prvCreateActivity", "prvAppendActivity")),
    ],
)
def test_each_privilege_of_a_message_is_needed(
    world: World, admin: Caller, message: str, missing: tuple[str, ...]
) -> None:
    deal = Ref("opportunity", world.create(admin, "opportunity", {"name": "Deal"}))
    offer = Ref("quote", world.create(admin, "quote", {"name": "Offer"}))
    world.update(admin, "quote", offer.id, {"statecode": 1})
    arguments: Arguments = (
        {"QuoteClose": {"quoteid": offer}, "Status": -1}
        if message.endswith("Quote")
        else {"OpportunityClose": {"opportunityid": deal}, "Status": -1}
    )
    role = row_id(1036, 77)
    for privilege in missing:
        define_role(world, role, "Nearly", all_privileges(world.schema) - {privilege})
        user = world.records.new_id()
        add_user(world, user, SeededUser("44444444-aaaa-4000-8000-000000000001", "Nearly All", role=None))
        world.store.associate("systemuserroles", {"systemuserid": user, "roleid": role})
        with pytest.raises(Refused) as refused:
            world.call(world.access.user(user), message, arguments)
        assert re.match(
            rf"Principal user \(Id={user}, type=8, .*is missing {privilege} privilege", refused.value.message
        )
    world.call(admin, message, arguments)


def test_a_reader_reads_and_writes_nothing(world: World, admin: Caller) -> None:
    reader = world.caller_for(application_id=READER)
    world.check_read(reader, "opportunity")
    deal = world.create(admin, "opportunity", {"name": "Deal"})
    with pytest.raises(Refused):
        world.update(reader, "opportunity", deal, {"name": "Changed"})
    with pytest.raises(Refused):
        world.delete(reader, "opportunity", deal)


def test_impersonation_needs_its_privilege_and_gives_no_more_than_both_have(world: World, admin: Caller) -> None:
    closer = world.caller_for(application_id=CLOSER)
    reader = world.caller_for(application_id=READER)
    with pytest.raises(Refused) as refused:
        world.impersonate(reader, user_id=closer.user_id)
    assert (refused.value.status, refused.value.code) == (403, "0x8004a110")
    acting = world.impersonate(admin, object_id=closer.azure_object_id)
    assert acting.privileges == closer.privileges
    assert (acting.user_id, acting.impersonating_user_id) == (closer.user_id, admin.user_id)
    deal = Ref("opportunity", world.create(admin, "opportunity", {"name": "Deal"}))
    world.call(acting, "WinOpportunity", {"OpportunityClose": {"opportunityid": deal}, "Status": 3})
    row = world.store.rows("SELECT createdby, createdonbehalfby FROM opportunityclose")
    assert row == [(closer.user_id, admin.user_id)]


def test_a_change_of_roles_counts_at_once(world: World) -> None:
    closer = world.caller_for(application_id=CLOSER)
    world.store.disassociate(
        "systemuserroles", {"systemuserid": closer.user_id, "roleid": role_id("Opportunity Closer")}
    )
    with pytest.raises(Refused):
        world.caller_for(application_id=CLOSER)
    world.store.associate("systemuserroles", {"systemuserid": closer.user_id, "roleid": role_id("Sales Reader")})
    assert "prvWriteQuote" not in world.caller_for(application_id=CLOSER).privileges
    world.store.update("usersettings", closer.user_id, {"timezonebias": 480})
    assert world.caller_for(application_id=CLOSER).utc_offset_minutes == -480


def disable_and_fail(world: World, caller: Caller) -> None:
    with world.store.transaction():
        world.store.update("systemuser", caller.user_id, {"isdisabled": 1})
        with pytest.raises(Refused):
            world.caller_for(application_id=CLOSER)
        raise ZeroDivisionError


def test_a_caller_found_in_an_undone_transaction_is_forgotten(world: World) -> None:
    closer = world.caller_for(application_id=CLOSER)
    with pytest.raises(ZeroDivisionError):
        disable_and_fail(world, closer)
    assert world.caller_for(application_id=CLOSER) == closer
