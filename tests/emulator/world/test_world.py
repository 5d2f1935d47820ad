from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from connector.emulator.seeding.organization import EURO_ID, US_DOLLAR_ID, row_id
from connector.emulator.world.callers import Caller
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import TypedValue
from connector.emulator.world.world import Ref, Refused, World

ACTIVITY = "99999999-0000-4000-8000-000000000001"
ACCOUNT = Ref("account", row_id(1, 1))
COMPETITOR = Ref("competitor", row_id(123, 1))


def code(refused: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    return refused.value.status, refused.value.code


def opportunity(world: World, caller: Caller, **values: TypedValue) -> Ref:
    return Ref("opportunity", world.create(caller, "opportunity", {"name": "Deal", "customerid": ACCOUNT, **values}))


def quote(world: World, caller: Caller, of: Ref | None = None, *, active: bool = False) -> Ref:
    made = world.create(caller, "quote", {"name": "Offer", "opportunityid": of, "customerid": ACCOUNT})
    if active:
        world.update(caller, "quote", made, {"statecode": 1, "statuscode": 2})
    return Ref("quote", made)


def close(world: World, caller: Caller, message: str, target: Ref, status: int, **values: TypedValue) -> None:
    parameter, column = (
        ("QuoteClose", "quoteid") if message.endswith("Quote") else ("OpportunityClose", "opportunityid")
    )
    entity: Mapping[str, TypedValue] = {"@table": parameter.lower(), column: target, **values}
    world.call(caller, message, {parameter: entity, "Status": status})


def state(world: World, row: Ref) -> tuple[object, object]:
    found = world.store.get(row.table, row.id, ("statecode", "statuscode"))
    assert found is not None
    return found["statecode"], found["statuscode"]


def column(world: World, row: Ref, name: str) -> object:
    found = world.store.get(row.table, row.id, (name,))
    assert found is not None
    return found[name]


def activities(world: World, row: Ref) -> Sequence[tuple[object, ...]]:
    table = "opportunityclose" if row.table == "opportunity" else "quoteclose"
    return world.store.rows(
        f"SELECT activityid, statecode, statuscode FROM {table} WHERE {row.table}id = ? ORDER BY versionnumber",
        (row.id,),
    )


def test_winning_sets_the_opportunity_and_leaves_one_completed_activity(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin, estimatedvalue=500.0)
    close(world, admin, "WinOpportunity", deal, 3, activityid=ACTIVITY, actualrevenue=420.5, subject="Signed")
    assert state(world, deal) == (1, 3)
    assert column(world, deal, "actualvalue") == 420.5
    assert column(world, deal, "msdyn_forecastcategory") == 100000005
    assert activities(world, deal) == [(ACTIVITY, 1, 2)]
    activity = Ref("opportunityclose", ACTIVITY)
    assert column(world, activity, "opportunitystatuscode") == 3
    assert column(world, activity, "regardingobjectid") == deal.id


def test_a_win_without_revenue_takes_the_estimate_and_a_loss_leaves_none(world: World, admin: Caller) -> None:
    won, lost = opportunity(world, admin, estimatedvalue=500.0), opportunity(world, admin, estimatedvalue=500.0)
    close(world, admin, "WinOpportunity", won, 3)
    close(world, admin, "LoseOpportunity", lost, 5, competitorid=COMPETITOR)
    assert column(world, won, "actualvalue") == 500.0
    assert column(world, lost, "actualvalue") is None
    assert state(world, lost) == (2, 5)


@pytest.mark.parametrize(("choice", "expected"), [("null", None), ("zero", 0.0), ("keep", 12.0)])
def test_the_actual_value_of_a_loss_follows_its_switch(
    world: World, admin: Caller, choice: str, expected: float | None
) -> None:
    world.use(world.switches.with_values({"actual_value_on_lost": choice}))
    deal = opportunity(world, admin, actualvalue=12.0)
    close(world, admin, "LoseOpportunity", deal, 4)
    assert column(world, deal, "actualvalue") == expected


@pytest.mark.parametrize("message", ["WinOpportunity", "LoseOpportunity"])
def test_a_closed_opportunity_is_not_closed_again(world: World, admin: Caller, message: str) -> None:
    deal = opportunity(world, admin)
    close(world, admin, "WinOpportunity", deal, 3)
    with pytest.raises(Refused) as refused:
        close(world, admin, message, deal, -1)
    assert code(refused) == (400, "0x80040515")
    assert len(activities(world, deal)) == 1


@pytest.mark.parametrize(
    ("choice", "draft_blocks", "active_blocks"),
    [("active_and_draft", True, True), ("active", False, True), ("off", False, False)],
)
@pytest.mark.parametrize("message", ["WinOpportunity", "LoseOpportunity"])
def test_open_quotes_block_a_close_by_switch(
    world: World, admin: Caller, message: str, choice: str, *, draft_blocks: bool, active_blocks: bool
) -> None:
    world.use(world.switches.with_values({"open_quotes_block_close": choice}))
    for active, blocks in ((False, draft_blocks), (True, active_blocks)):
        deal = opportunity(world, admin)
        quote(world, admin, deal, active=active)
        if not blocks:
            close(world, admin, message, deal, -1)
            assert state(world, deal)[0] != 0
            continue
        with pytest.raises(Refused) as refused:
            close(world, admin, message, deal, -1)
        assert code(refused) == (400, "0x80040516")
        assert state(world, deal) == (0, 1)
        assert activities(world, deal) == []


def test_a_draft_quote_is_activated_then_closed(world: World, admin: Caller) -> None:
    offer = quote(world, admin)
    with pytest.raises(Refused) as refused:
        close(world, admin, "CloseQuote", offer, 5)
    assert code(refused) == (400, "0x80040216")
    world.update(admin, "quote", offer.id, {"statecode": 1, "statuscode": 2})
    close(world, admin, "CloseQuote", offer, 5, activityid=ACTIVITY)
    assert state(world, offer) == (3, 5)
    assert activities(world, offer) == [(ACTIVITY, 1, 2)]
    assert column(world, offer, "closedon") == "2026-01-01"


@pytest.mark.parametrize("choice", ["0x8004f00e", "0x80040265"])
def test_the_code_for_a_quote_that_is_not_active_is_a_switch(world: World, admin: Caller, choice: str) -> None:
    world.use(world.switches.with_values({"quote_not_active_code": choice}))
    with pytest.raises(Refused) as refused:
        close(world, admin, "WinQuote", quote(world, admin), -1)
    assert code(refused) == (400, choice)


def test_only_work_based_drafts_close_in_the_older_project_operations(world: World, admin: Caller) -> None:
    world.use(world.switches.with_values({"draft_quote_close": "work_based"}))
    item, work = quote(world, admin), quote(world, admin)
    world.update(admin, "quote", work.id, {"msdyn_ordertype": 192350001})
    close(world, admin, "CloseQuote", work, 5)
    assert state(world, work) == (3, 5)
    with pytest.raises(Refused):
        close(world, admin, "CloseQuote", item, 5)


def test_minus_one_means_the_default_status_reason(world: World, admin: Caller) -> None:
    revised, won = quote(world, admin, active=True), quote(world, admin, active=True)
    close(world, admin, "CloseQuote", revised, -1)
    close(world, admin, "WinQuote", won, -1)
    assert (state(world, revised), state(world, won)) == ((3, 7), (2, 4))
    lost = opportunity(world, admin)
    close(world, admin, "LoseOpportunity", lost, -1)
    assert state(world, lost) == (2, 4)
    world.use(world.switches.with_values({"default_closed_quote_status": "lost"}))
    other = quote(world, admin, active=True)
    close(world, admin, "CloseQuote", other, -1)
    assert state(world, other) == (3, 5)


@pytest.mark.parametrize(("message", "status"), [("WinOpportunity", 4), ("LoseOpportunity", 3), ("WinOpportunity", 99)])
def test_a_status_reason_of_another_state_is_refused(world: World, admin: Caller, message: str, status: int) -> None:
    deal = opportunity(world, admin)
    with pytest.raises(Refused) as refused:
        close(world, admin, message, deal, status)
    assert code(refused) == (400, "0x80048408")
    wanted = "Won" if message == "WinOpportunity" else "Lost"
    place = f"state code OpportunityState.{wanted} on opportunity with Id {deal.id}."
    assert refused.value.message == f"{status} is not a valid status code for {place}"


def test_custom_status_reasons_belong_to_their_state(world: World, admin: Caller) -> None:
    won, lost = opportunity(world, admin), opportunity(world, admin)
    close(world, admin, "WinOpportunity", won, 100000001)
    assert state(world, won) == (1, 100000001)
    with pytest.raises(Refused):
        close(world, admin, "LoseOpportunity", lost, 100000001)


def test_a_taken_activity_id_is_a_duplicate_key(world: World, admin: Caller) -> None:
    first, second = opportunity(world, admin), opportunity(world, admin)
    close(world, admin, "WinOpportunity", first, 3, activityid=ACTIVITY)
    with pytest.raises(Refused) as refused:
        close(world, admin, "WinOpportunity", second, 3, activityid=ACTIVITY)
    assert code(refused) == (412, "0x80040237")
    assert state(world, second) == (0, 1)


@pytest.mark.parametrize(("choice", "expected"), [("state_first", "0x80040515"), ("key_first", "0x80040237")])
def test_a_repeated_close_meets_the_state_or_the_key_by_switch(
    world: World, admin: Caller, choice: str, expected: str
) -> None:
    world.use(world.switches.with_values({"close_repeat_check": choice}))
    deal = opportunity(world, admin)
    close(world, admin, "WinOpportunity", deal, 3, activityid=ACTIVITY)
    with pytest.raises(Refused) as refused:
        close(world, admin, "WinOpportunity", deal, 3, activityid=ACTIVITY)
    assert refused.value.code == expected


def test_what_is_missing_is_named(world: World, admin: Caller) -> None:
    nowhere = Ref("opportunity", "12345678-0000-4000-8000-000000000000")
    with pytest.raises(Refused) as refused:
        close(world, admin, "WinOpportunity", nowhere, 3)
    assert code(refused) == (404, "0x80040217")
    assert refused.value.message == f"opportunity With Id = {nowhere.id} Does Not Exist"
    with pytest.raises(Refused) as refused:
        world.call(admin, "WinOpportunity", {"OpportunityClose": {"subject": "x"}, "Status": 3})
    assert refused.value.code == "0x80043b15"
    with pytest.raises(Refused) as refused:
        world.call(admin, "WinOpportunity", {"OpportunityClose": {"opportunityid": nowhere}})
    assert (refused.value.status, "Status" in refused.value.message) == (400, True)
    with pytest.raises(Refused) as refused:
        world.call(admin, "CloseQuote", {"Status": 5})
    assert "QuoteClose" in refused.value.message


def test_won_and_lost_cannot_be_reached_by_update(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    for wanted, label in ((1, "Won"), (2, "Lost")):
        with pytest.raises(Refused) as refused:
            world.update(admin, "opportunity", deal.id, {"statecode": wanted})
        assert code(refused) == (400, "0x80100005")
        assert f"use the {label}OpportunityRequest message instead." in refused.value.message
    offer = quote(world, admin, active=True)
    for wanted, request in ((2, "WinQuoteRequest"), (3, "CloseQuoteRequest")):
        with pytest.raises(Refused) as refused:
            world.update(admin, "quote", offer.id, {"statecode": wanted})
        assert f"Please use the {request} instead." in refused.value.message
    assert (state(world, deal)[0], state(world, offer)[0]) == (0, 1)


@pytest.mark.parametrize(("choice", "expected"), [("cancel", [(ACTIVITY, 2, 3)]), ("keep", [(ACTIVITY, 1, 2)])])
def test_reopening_cancels_the_close_activity_by_switch(
    world: World, admin: Caller, choice: str, expected: list[tuple[object, ...]]
) -> None:
    world.use(world.switches.with_values({"close_activities_on_reopen": choice}))
    deal = opportunity(world, admin)
    close(world, admin, "LoseOpportunity", deal, 5, activityid=ACTIVITY)
    world.update(admin, "opportunity", deal.id, {"statecode": 0, "statuscode": 2})
    assert state(world, deal) == (0, 2)
    assert activities(world, deal) == expected
    assert column(world, deal, "msdyn_forecastcategory") == 100000001
    close(world, admin, "WinOpportunity", deal, 3)
    assert len(activities(world, deal)) == 2


def test_reopening_an_open_opportunity_and_clearing_actuals_are_switches(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    world.update(admin, "opportunity", deal.id, {"statecode": 0})
    world.use(world.switches.with_values({"reopen_open_opportunity": "refuse", "actuals_on_reopen": "clear"}))
    with pytest.raises(Refused) as refused:
        world.update(admin, "opportunity", deal.id, {"statecode": 0})
    assert refused.value.code == "0x8004051a"
    close(world, admin, "WinOpportunity", deal, 3, actualrevenue=9.0)
    world.update(admin, "opportunity", deal.id, {"statecode": 0})
    assert (column(world, deal, "actualvalue"), column(world, deal, "actualvalue_base")) == (None, None)
    assert column(world, deal, "actualclosedate") is None


def test_columns_of_closed_rows_are_read_only_where_the_sources_say_so(world: World, admin: Caller) -> None:
    deal, offer = opportunity(world, admin), quote(world, admin, active=True)
    close(world, admin, "WinOpportunity", deal, 3)
    world.update(admin, "opportunity", deal.id, {"description": "still writable"})
    world.update(admin, "quote", offer.id, {"description": "an administrator may"})
    close(world, admin, "CloseQuote", offer, 5)
    with pytest.raises(Refused) as refused:
        world.update(admin, "quote", offer.id, {"description": "no"})
    assert refused.value.code == "0x8004022e"
    world.use(world.switches.with_values({"closed_opportunity_columns": "read_only"}))
    with pytest.raises(Refused):
        world.update(admin, "opportunity", deal.id, {"description": "no longer"})
    world.update(admin, "opportunity", deal.id, {"statecode": 0, "description": "reopened"})
    assert column(world, deal, "description") == "reopened"


def test_a_quote_is_activated_only_from_draft_and_goes_back_to_draft_from_anywhere(world: World, admin: Caller) -> None:
    offer = quote(world, admin, active=True)
    with pytest.raises(Refused) as refused:
        world.update(admin, "quote", offer.id, {"statecode": 1, "statuscode": 3})
    assert refused.value.code == "0x80100003"
    close(world, admin, "WinQuote", offer, 4)
    world.update(admin, "quote", offer.id, {"statecode": 0})
    assert state(world, offer) == (0, 1)
    with pytest.raises(Refused) as refused:
        world.update(admin, "quote", offer.id, {"statecode": 1, "statuscode": 5})
    assert refused.value.code == "0x80048408"
    world.update(admin, "quote", offer.id, {"statecode": 1})
    assert state(world, offer) == (1, 2)


def test_creating_a_close_row_closes_the_opportunity_by_its_status_reason(world: World, admin: Caller) -> None:
    lost, won, stored = (opportunity(world, admin) for _ in range(3))
    world.create(admin, "opportunityclose", {"opportunityid": lost, "opportunitystatuscode": 100000002})
    world.create(admin, "opportunityclose", {"opportunityid": won, "opportunitystatecode": 1, "actualrevenue": 3.0})
    assert (state(world, lost), state(world, won)) == ((2, 100000002), (1, 3))
    world.use(world.switches.with_values({"close_row_creation": "only_stores"}))
    world.create(admin, "opportunityclose", {"opportunityid": stored, "opportunitystatuscode": 3})
    assert state(world, stored) == (0, 1)


def test_statecode_in_a_create_is_ignored_or_refused(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin, statecode=1)
    assert state(world, deal) == (0, 1)
    world.use(world.switches.with_values({"statecode_on_create": "refuse"}))
    with pytest.raises(Refused):
        opportunity(world, admin, statecode=1)


@pytest.mark.parametrize(
    ("bias", "zone", "expected"),
    [(480, "user", "2026-01-30"), (480, "utc", "2026-01-31"), (-600, "user", "2026-01-31"), (0, "user", "2026-01-31")],
)
def test_midnight_utc_lands_on_the_day_before_for_a_user_in_the_west(
    world: World, admin: Caller, bias: int, zone: str, expected: str
) -> None:
    world.use(world.switches.with_values({"close_date_zone": zone}))
    caller = replace(admin, utc_offset_minutes=-bias)
    deal = opportunity(world, admin)
    close(world, caller, "WinOpportunity", deal, 3, actualend=date(2026, 1, 31))
    assert column(world, deal, "actualclosedate") == expected


def test_an_exact_moment_is_kept_in_utc(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    moment = datetime.fromisoformat("2026-01-31T23:30:00-05:00")
    close(world, admin, "WinOpportunity", deal, 3, activityid=ACTIVITY, actualend=moment.astimezone(UTC))
    assert column(world, Ref("opportunityclose", ACTIVITY), "actualend") == "2026-02-01T04:30:00Z"


def test_amounts_have_base_amounts_at_the_rate_of_their_currency(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin, transactioncurrencyid=Ref("transactioncurrency", EURO_ID), estimatedvalue=92.0)
    assert column(world, deal, "estimatedvalue_base") == 100.0
    close(world, admin, "WinOpportunity", deal, 3, actualrevenue=46.0, activityid=ACTIVITY)
    assert column(world, deal, "actualvalue_base") == 50.0
    assert column(world, Ref("opportunityclose", ACTIVITY), "actualrevenue_base") == 50.0


def test_revenue_in_another_currency_is_refused(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin, transactioncurrencyid=Ref("transactioncurrency", EURO_ID))
    dollars = Ref("transactioncurrency", US_DOLLAR_ID)
    with pytest.raises(Refused) as refused:
        close(world, admin, "WinOpportunity", deal, 3, transactioncurrencyid=dollars)
    assert refused.value.code == "0x80048cea"


def test_the_currency_is_locked_by_quotes(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    euro = {"transactioncurrencyid": Ref("transactioncurrency", EURO_ID)}
    world.update(admin, "opportunity", deal.id, euro)
    quote(world, admin, deal)
    with pytest.raises(Refused) as refused:
        world.update(admin, "opportunity", deal.id, {"transactioncurrencyid": Ref("transactioncurrency", US_DOLLAR_ID)})
    assert refused.value.code == "0x80048479"


def test_a_revision_has_the_number_and_the_lines_of_the_closed_quote(world: World, admin: Caller) -> None:
    offer = quote(world, admin)
    world.create(admin, "quotedetail", {"quoteid": offer, "quotedetailname": "Ovens", "quantity": 2.0})
    with pytest.raises(Refused) as refused:
        world.call(admin, "ReviseQuote", {"QuoteId": offer.id})
    assert refused.value.code == "0x8004f00e"
    world.update(admin, "quote", offer.id, {"statecode": 1})
    with pytest.raises(Refused) as refused:
        world.create(admin, "quotedetail", {"quoteid": offer})
    assert refused.value.code == "0x80043b09"
    close(world, admin, "CloseQuote", offer, 7)
    revised = world.call(admin, "ReviseQuote", {"QuoteId": offer.id})
    assert isinstance(revised, Ref)
    assert state(world, revised) == (0, 1)
    assert column(world, revised, "revisionnumber") == 1
    assert column(world, revised, "quotenumber") == column(world, offer, "quotenumber")
    lines = world.store.rows("SELECT quotedetailname, quantity FROM quotedetail WHERE quoteid = ?", (revised.id,))
    assert lines == [("Ovens", 2.0)]
    with pytest.raises(Refused) as refused:
        world.call(admin, "ReviseQuote", {"QuoteId": offer.id})
    assert refused.value.code == "0x80048d00"


def test_an_order_wins_its_quote(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    offer = quote(world, admin, deal, active=True)
    order = world.call(admin, "ConvertQuoteToSalesOrder", {"QuoteId": offer.id, "QuoteCloseSubject": "Ordered"})
    assert isinstance(order, Ref)
    assert state(world, offer) == (2, 4)
    assert column(world, order, "quoteid") == offer.id
    assert column(world, order, "opportunityid") == deal.id


def test_a_generated_quote_is_a_draft_with_the_lines_of_the_opportunity(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    for price in (50.0, 7.5):
        amounts = {"quantity": 2.0, "priceperunit": price}
        world.create(admin, "opportunityproduct", {"opportunityid": deal, "opportunityproductname": "Crane", **amounts})
    made = world.call(admin, "GenerateQuoteFromOpportunity", {"OpportunityId": deal.id})
    assert isinstance(made, Ref)
    assert (state(world, made), column(world, made, "opportunityid")) == ((0, 1), deal.id)
    assert (column(world, made, "totalamount"), column(world, made, "totallineitemamount")) == (115.0, 115.0)
    lines = "SELECT quotedetailname, extendedamount FROM quotedetail WHERE quoteid = ? ORDER BY 2"
    assert list(world.store.rows(lines, (made.id,))) == [("Crane", 15.0), ("Crane", 100.0)]


@pytest.mark.parametrize(
    ("name", "status", "valid"), [("Won", 3, True), ("Won", 4, False), ("Lost", 5, True), ("Closed", 7, False)]
)
def test_state_transitions_can_be_asked_about(
    world: World, admin: Caller, name: str, status: int, *, valid: bool
) -> None:
    arguments: Arguments = {"Entity": opportunity(world, admin), "NewState": name, "NewStatus": status}
    assert world.call(admin, "IsValidStateTransition", arguments) == {"IsValid": valid}


def test_a_draft_may_not_move_to_closed(world: World, admin: Caller) -> None:
    arguments: Arguments = {"Entity": quote(world, admin), "NewState": "Closed", "NewStatus": 5}
    assert world.call(admin, "IsValidStateTransition", arguments) == {"IsValid": False}


def test_the_platform_has_no_close_opportunity_but_an_organization_may(world: World, admin: Caller) -> None:
    assert "CloseOpportunity" not in world.messages
    world.use(world.switches.with_values({"close_opportunity_message": "present"}))
    assert world.store.rows("SELECT count(*) FROM sdkmessage WHERE name = 'CloseOpportunity'") == [(1,)]
    won, lost = opportunity(world, admin), opportunity(world, admin)
    close(world, admin, "CloseOpportunity", won, 100000001)
    close(world, admin, "CloseOpportunity", lost, 5)
    assert (state(world, won), state(world, lost)) == ((1, 100000001), (2, 5))
    world.use(world.switches.with_values({"close_opportunity_message": "absent"}))
    assert world.store.rows("SELECT count(*) FROM sdkmessage WHERE name = 'CloseOpportunity'") == [(0,)]


def test_project_operations_closes_drafts_and_siblings(world: World, admin: Caller) -> None:
    world.use(world.switches.with_values({"project_operations": "immediate"}))
    deal = opportunity(world, admin)
    draft, active, other = quote(world, admin, deal), quote(world, admin, deal, active=True), quote(world, admin, deal)
    world.call(admin, "msdyn_CloseQuoteAsLost", {}, other)
    world.call(admin, "msdyn_CloseQuoteAsWon", {}, active)
    assert [state(world, one) for one in (draft, active, other)] == [(3, 5), (2, 4), (3, 5)]
    assert state(world, deal) == (0, 1)
    late = quote(world, admin, deal)
    world.call(admin, "msdyn_CloseAllOpportunityQuotes", {"quoteStatus": 6}, deal)
    assert state(world, late) == (3, 6)


def test_in_the_background_project_quotes_close_later_and_one_run_at_a_time(world: World, admin: Caller) -> None:
    world.use(world.switches.with_values({"project_operations": "background"}))
    deal = opportunity(world, admin)
    offer, other = quote(world, admin, deal), quote(world, admin, deal)
    world.call(admin, "msdyn_CloseAllOpportunityQuotes", {"quoteStatus": 6}, deal)
    with pytest.raises(Refused) as refused:
        world.call(admin, "msdyn_CloseQuoteAsLost", {}, offer)
    assert refused.value.rule == "project.busy"
    world.clock.sleep(29)
    world.check_read(admin, "quote")
    assert state(world, offer) == (0, 1)
    world.clock.sleep(1)
    world.check_read(admin, "quote")
    assert (state(world, offer), state(world, other)) == ((3, 6), (3, 6))
    assert len(activities(world, offer)) == 1
    world.clock.sleep(60)
    world.check_read(admin, "quote")
    assert len(activities(world, offer)) == 1


def test_account_and_contact_follow_the_customer(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    assert column(world, deal, "accountid") == ACCOUNT.id
    contact = Ref("contact", row_id(2, 1))
    world.update(admin, "opportunity", deal.id, {"customerid": contact})
    assert (column(world, deal, "accountid"), column(world, deal, "contactid")) == (None, contact.id)
    assert column(world, deal, "customerid_type") == "contact"


def test_caller_is_taken_or_refused_by_switch(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    arguments: Arguments = {"OpportunityClose": {"opportunityid": deal}, "Status": 3, "Caller": "portal"}
    world.use(world.switches.with_values({"caller_parameter": "refuse"}))
    with pytest.raises(Refused):
        world.call(admin, "WinOpportunity", arguments)
    world.use(world.switches.with_values({"caller_parameter": "accept"}))
    world.call(admin, "WinOpportunity", arguments)
    assert state(world, deal) == (1, 3)


def test_values_that_do_not_fit_are_refused_by_name(world: World, admin: Caller) -> None:
    for values, expected in (
        ({"nosuchcolumn": 1}, "0x80048d19"),
        ({"name": "x" * 301}, "0x80044331"),
        ({"estimatedvalue": "much"}, "0x80048d19"),
        ({"msdyn_forecastcategory": 5}, "0x8004431a"),
        ({"pricelevelid": ACCOUNT}, "0x80040369"),
        ({"parentaccountid": Ref("account", ACTIVITY)}, "0x80040217"),
    ):
        with pytest.raises(Refused) as refused:
            world.create(admin, "opportunity", values)
        assert refused.value.code == expected, values


def test_relating_a_competitor_works_from_both_sides_and_once(world: World, admin: Caller) -> None:
    deal = opportunity(world, admin)
    name = "opportunitycompetitors_association"
    world.associate(admin, deal, name, COMPETITOR)
    world.associate(admin, COMPETITOR, name, deal)
    assert world.store.rows("SELECT count(*) FROM opportunitycompetitors") == [(1,)]
    world.disassociate(admin, COMPETITOR, name, deal)
    assert world.store.rows("SELECT count(*) FROM opportunitycompetitors") == [(0,)]
    with pytest.raises(Refused):
        world.associate(admin, deal, "opportunity_quotes", COMPETITOR)


def test_relating_through_a_lookup_sets_the_column_of_the_other_row(world: World, admin: Caller) -> None:
    deal, offer = opportunity(world, admin), quote(world, admin)
    world.associate(admin, deal, "opportunity_quotes", offer)
    assert column(world, offer, "opportunityid") == deal.id
    world.disassociate(admin, offer, "opportunityid")
    assert column(world, offer, "opportunityid") is None


def test_deleting_a_quote_takes_its_lines_along_and_is_logged(world: World, admin: Caller) -> None:
    offer = quote(world, admin)
    line = world.create(admin, "quotedetail", {"quoteid": offer})
    version = world.store.version
    world.delete(admin, "quote", offer.id)
    assert not world.store.exists("quotedetail", line)
    assert [key for key, _ in world.store.deleted_since("quote", version)] == [offer.id]
    with pytest.raises(Refused) as refused:
        world.delete(admin, "quote", offer.id)
    assert refused.value.status == 404


def test_restoring_brings_back_rows_switches_and_the_next_ids(world: World, admin: Caller) -> None:
    kept = world.snapshot()
    first = opportunity(world, admin)
    world.use(world.switches.with_values({"project_operations": "immediate"}))
    world.restore(kept)
    assert not world.store.exists("opportunity", first.id)
    assert "msdyn_CloseQuoteAsWon" not in world.messages
    assert opportunity(world, admin) == first
