"""What the documents say of closing, asked over the wire (the fifteen points of closing, one to nine)."""

from __future__ import annotations

import pytest

from tests.emulator.stranger.wire import Stranger, error_of, fresh_id

MESSAGES = ["WinOpportunity", "LoseOpportunity", "CloseQuote", "WinQuote"]
ENTITY = {"WinOpportunity": "OpportunityClose", "LoseOpportunity": "OpportunityClose"} | dict.fromkeys(
    ("CloseQuote", "WinQuote"), "QuoteClose"
)
LASTS = {"WinOpportunity": (1, 3), "LoseOpportunity": (2, 4), "CloseQuote": (3, 7), "WinQuote": (2, 4)}
"""State and default status reason that each message leads to."""
NOWHERE = "99999999-0000-4000-8000-000000000000"


def subject(client: Stranger, message: str) -> tuple[str, str]:
    """Return entity set and id of a row that `message` can close."""
    return ("quotes", client.offer(state=1)) if message.endswith("Quote") else ("opportunities", client.deal())


def bound(message: str, row: str, form: str = "/{}({})") -> dict[str, str]:
    name, entity_set = ("quoteid", "quotes") if message.endswith("Quote") else ("opportunityid", "opportunities")
    return {f"{name}@odata.bind": form.format(entity_set, row)}


# 1. The messages there are.


@pytest.mark.parametrize("message", MESSAGES)
def test_a_close_message_is_an_unbound_post_that_answers_204_without_a_body(stranger: Stranger, message: str) -> None:
    entity_set, row = subject(stranger, message)
    answer = stranger.close(message, row, -1)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "OData-EntityId" not in answer.headers
    assert answer.headers["OData-Version"] == "4.0"
    assert stranger.state(entity_set, row) == LASTS[message]
    for verb in ("GET", "PATCH", "PUT", "DELETE"):
        status, code, words = stranger.refused(verb, message, None if verb == "GET" else {})
        assert (status, code) == (404, "")
        assert words.startswith("No HTTP resource was found that matches the request URI ")
    bound_form = f"{entity_set}({row})/Microsoft.Dynamics.CRM.{message}"
    assert stranger.send("POST", bound_form, {}).status_code in (400, 404)


def test_there_is_no_close_opportunity(stranger: Stranger) -> None:
    deal = stranger.deal()
    status, code, words = error_of(stranger.close("CloseOpportunity", deal, 3))
    assert (status, code) == (404, "0x8006088a")
    assert words == "Resource not found for the segment 'CloseOpportunity'."
    assert stranger.state("opportunities", deal) == (0, 1)


def test_caller_is_taken_on_win_and_lose_and_not_on_quotes(stranger: Stranger) -> None:
    for message in MESSAGES:
        entity_set, row = subject(stranger, message)
        body = {ENTITY[message]: bound(message, row), "Status": -1, "Caller": "portal"}
        answer = stranger.send("POST", message, body)
        if entity_set == "opportunities":
            assert answer.status_code == 204, answer.text
        else:
            assert error_of(answer)[:2] == (400, "0x80048d19")
            assert "'Caller'" in error_of(answer)[2]


# 2. What a body must say.


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("absent", ["entity", "Status", "both"])
def test_entity_and_status_are_both_required(stranger: Stranger, message: str, absent: str) -> None:
    entity_set, row = subject(stranger, message)
    body: dict[str, object] = {ENTITY[message]: bound(message, row), "Status": -1}
    for name in {"entity": [ENTITY[message]], "Status": ["Status"], "both": list(body)}[absent]:
        del body[name]
    status, code, words = stranger.refused("POST", message, body)
    assert (status, code) == (400, "0x80040203")
    assert ("Status" if absent == "Status" else ENTITY[message]) in words
    assert stranger.state(entity_set, row)[0] == (1 if entity_set == "quotes" else 0)
    assert stranger.send("POST", message, {**body, **dict.fromkeys([ENTITY[message], "Status"])}).status_code == 400


@pytest.mark.parametrize("message", MESSAGES)
def test_the_entity_must_say_which_row(stranger: Stranger, message: str) -> None:
    status, code, _ = stranger.refused("POST", message, {ENTITY[message]: {"subject": "x"}, "Status": -1})
    assert status == 400
    assert code in ("0x80043b15", "0x80040203")


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("written", ["Microsoft.Dynamics.CRM.{}", "#Microsoft.Dynamics.CRM.{}", ""])
def test_the_type_of_the_entity_may_be_said(stranger: Stranger, message: str, written: str) -> None:
    _, row = subject(stranger, message)
    kind = {"@odata.type": written.format(ENTITY[message].lower())} if written else {}
    assert stranger.close(message, row, -1, **kind).status_code == 204


def test_another_type_than_the_parameters_is_refused(stranger: Stranger) -> None:
    kind = {"@odata.type": "Microsoft.Dynamics.CRM.quoteclose"}
    assert stranger.close("WinOpportunity", stranger.deal(), 3, **kind).status_code == 400


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("form", ["{}({})", "/{}({})", "ROOT/api/data/v9.2/{}({})", "ROOT/api/data/v9.0/{}({})"])
def test_the_row_is_bound_relative_with_a_slash_and_absolute(stranger: Stranger, message: str, form: str) -> None:
    entity_set, row = subject(stranger, message)
    body = {ENTITY[message]: bound(message, row, form.replace("ROOT", stranger.url)), "Status": -1}
    assert stranger.send("POST", message, body).status_code == 204
    assert stranger.state(entity_set, row) == LASTS[message]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_bind_to_another_service_root_is_refused(stranger: Stranger, message: str) -> None:
    entity_set, row = subject(stranger, message)
    body = {ENTITY[message]: bound(message, row, "https://other.example/api/data/v9.2/{}({})"), "Status": -1}
    status, _, words = stranger.refused("POST", message, body)
    assert status == 400
    assert words.startswith("An error occurred while validating input parameters: ")
    assert "serviceRootUri" in words
    assert stranger.state(entity_set, row)[0] in (0, 1)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("form", ["{}", "_{}_value"])
def test_a_lookup_as_a_plain_field_is_refused_with_the_navigation_words(
    stranger: Stranger, message: str, form: str
) -> None:
    _, row = subject(stranger, message)
    name = "quoteid" if message.endswith("Quote") else "opportunityid"
    status, _, words = stranger.refused("POST", message, {ENTITY[message]: {form.format(name): row}, "Status": -1})
    assert status == 400
    assert words == (
        "CRM do not support direct update of Entity Reference properties, Use Navigation properties instead."
    )


# 3. Status.


@pytest.mark.parametrize(
    ("message", "good", "bad"),
    [
        ("WinOpportunity", (3,), (0, 1, 2, 4, 5, 99)),
        ("LoseOpportunity", (4, 5), (0, 1, 2, 3, 99)),
        ("CloseQuote", (5, 6, 7), (0, 1, 2, 3, 4, 99)),
        ("WinQuote", (4,), (0, 1, 2, 3, 5, 6, 7, 99)),
    ],
)
def test_status_belongs_to_the_target_state(
    stranger: Stranger, message: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    entity_set, row = subject(stranger, message)
    before = stranger.state(entity_set, row)
    for status in bad:
        found = error_of(stranger.close(message, row, status))
        table = "quote" if entity_set == "quotes" else "opportunity"
        assert found[:2] == (400, "0x80048408"), status
        assert found[2].startswith(f"{status} is not a valid status code for state code {table.title()}State.")
        assert found[2].endswith(f" on {table} with Id {row}.")
        assert stranger.state(entity_set, row) == before
    for status in good:
        entity_set, row = subject(stranger, message)
        assert stranger.close(message, row, status).status_code == 204
        assert stranger.state(entity_set, row) == (LASTS[message][0], status)


@pytest.mark.parametrize(
    ("message", "value"), [("WinOpportunity", "3"), ("WinOpportunity", 3.0), ("CloseQuote", 2**40), ("WinQuote", True)]
)
def test_a_status_that_is_no_whole_number_is_refused(stranger: Stranger, message: str, value: object) -> None:
    _, row = subject(stranger, message)
    body = {ENTITY[message]: bound(message, row), "Status": value}
    answer = stranger.send("POST", message, body)
    assert answer.status_code == 400, (value, answer.text)


# 4. Missing, closed, blocked.


@pytest.mark.parametrize("message", MESSAGES)
def test_a_missing_row_is_404(stranger: Stranger, message: str) -> None:
    status, code, words = error_of(stranger.close(message, NOWHERE, -1))
    assert (status, code) == (404, "0x80040217")
    assert words.lower() == f"{'quote' if 'Quote' in message else 'opportunity'} with id = {NOWHERE} does not exist"


@pytest.mark.parametrize("first", ["WinOpportunity", "LoseOpportunity"])
@pytest.mark.parametrize("second", ["WinOpportunity", "LoseOpportunity"])
def test_an_opportunity_that_is_not_open_is_not_closed(stranger: Stranger, first: str, second: str) -> None:
    deal = stranger.deal()
    assert stranger.close(first, deal, -1).status_code == 204
    assert error_of(stranger.close(second, deal, -1)) == (400, "0x80040515", "The opportunity is already closed.")
    assert stranger.state("opportunities", deal) == LASTS[first]


@pytest.mark.parametrize("message", ["WinOpportunity", "LoseOpportunity"])
@pytest.mark.parametrize(
    ("choice", "draft", "active"), [("active_and_draft", True, True), ("active", False, True), ("off", False, False)]
)
def test_open_quotes_block_by_switch(
    stranger: Stranger, message: str, choice: str, *, draft: bool, active: bool
) -> None:
    stranger.switch(open_quotes_block_close=choice)
    for state, blocks in ((0, draft), (1, active)):
        deal = stranger.deal()
        stranger.offer(deal, state=state)
        answer = stranger.close(message, deal, -1)
        if blocks:
            assert error_of(answer) == (400, "0x80040516", "The opportunity cannot be closed.")
        assert answer.status_code == (400 if blocks else 204)
        assert (stranger.state("opportunities", deal) == (0, 1)) is blocks


def test_won_and_closed_quotes_and_quotes_of_others_do_not_block(stranger: Stranger) -> None:
    deal, other = stranger.deal(), stranger.deal()
    stranger.offer(other)
    stranger.close("WinQuote", stranger.offer(deal, state=1), 4)
    stranger.close("CloseQuote", stranger.offer(deal, state=1), 6)
    assert stranger.close("LoseOpportunity", deal, 5).status_code == 204


# 5. What a close leaves.


@pytest.mark.parametrize("given", [True, False])
def test_a_win_sets_everything_the_documents_name(stranger: Stranger, *, given: bool) -> None:
    deal, activity = stranger.deal(estimatedvalue=800.0), fresh_id()
    extra = {"activityid": activity, "actualrevenue": 640.5, "actualend": "2025-12-24T10:00:00Z", "subject": "Signed"}
    assert stranger.close("WinOpportunity", deal, 3, **(extra if given else {})).status_code == 204
    row = stranger.read(
        f"opportunities({deal})?$select=statecode,statuscode,actualvalue,actualclosedate,msdyn_forecastcategory"
        "&$expand=Opportunity_OpportunityClose($select=subject,statecode,statuscode,actualrevenue,opportunitystatuscode)"
    )
    assert (row["statecode"], row["statuscode"], row["msdyn_forecastcategory"]) == (1, 3, 100000005)
    assert row["actualvalue"] == (640.5 if given else 800.0)
    assert row["actualclosedate"] == ("2025-12-24" if given else "2026-01-01")
    (close,) = row["Opportunity_OpportunityClose"]
    assert (close["statecode"], close["statuscode"], close["opportunitystatuscode"]) == (1, 2, 3)
    assert (close["activityid"] == activity) is given
    assert close["subject"] == ("Signed" if given else None)
    assert close["actualrevenue"] == (640.5 if given else None)


@pytest.mark.parametrize(("choice", "expected"), [("null", None), ("zero", 0), ("keep", 7)])
def test_a_loss_without_revenue_follows_its_switch(stranger: Stranger, choice: str, expected: float | None) -> None:
    stranger.switch(actual_value_on_lost=choice)
    deal = stranger.deal(actualvalue=7, estimatedvalue=900)
    stranger.close("LoseOpportunity", deal, 5)
    row = stranger.read(f"opportunities({deal})?$select=actualvalue,msdyn_forecastcategory")
    assert (row["actualvalue"], row["msdyn_forecastcategory"]) == (expected, 100000006)


def test_a_loss_takes_the_revenue_and_the_competitor_it_is_given(stranger: Stranger) -> None:
    rival = stranger.create("competitors", {"name": "Rival"})
    deal, activity = stranger.deal(), fresh_id()
    extra = {"competitorid@odata.bind": f"competitors({rival})", "actualrevenue": 3, "activityid": activity}
    assert stranger.close("LoseOpportunity", deal, 5, **extra).status_code == 204
    assert stranger.read(f"opportunities({deal})?$select=actualvalue")["actualvalue"] == 3
    close = stranger.read(f"opportunitycloses({activity})?$select=_competitorid_value,_regardingobjectid_value")
    assert (close["_competitorid_value"], close["_regardingobjectid_value"]) == (rival, deal)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_chosen_activity_id_is_the_key_and_cannot_be_used_twice(stranger: Stranger, message: str) -> None:
    (entity_set, first), (_, second) = subject(stranger, message), subject(stranger, message)
    activity, closes = fresh_id(), "quotecloses" if entity_set_of(message) == "quotes" else "opportunitycloses"
    assert stranger.close(message, first, -1, activityid=activity).status_code == 204
    assert stranger.read(f"{closes}({activity})?$select=statecode")["statecode"] == 1
    before = stranger.state(entity_set, second)
    assert error_of(stranger.close(message, second, -1, activityid=activity))[:2] == (412, "0x80040237")
    assert stranger.state(entity_set, second) == before


def entity_set_of(message: str) -> str:
    return "quotes" if message.endswith("Quote") else "opportunities"


# 6. Quotes.


@pytest.mark.parametrize("message", ["CloseQuote", "WinQuote"])
@pytest.mark.parametrize("code", ["0x80040216", "0x8004f00e", "0x80040233", "0x80040265"])
def test_only_an_active_quote_is_closed_or_won(stranger: Stranger, message: str, code: str) -> None:
    stranger.switch(quote_not_active_code=code)
    won, closed = stranger.offer(state=1), stranger.offer(state=1)
    stranger.close("WinQuote", won, 4)
    stranger.close("CloseQuote", closed, 5)
    for offer in (stranger.offer(), won, closed):
        before = stranger.state("quotes", offer)
        found = error_of(stranger.close(message, offer, -1))
        assert found[:2] == (400, code)
        assert stranger.state("quotes", offer) == before
    if code == "0x80040216":
        assert found[2].startswith("The target state is invalid. The target state may not exist or the system does not")


def test_work_based_drafts_close_by_switch(stranger: Stranger) -> None:
    item, work = stranger.offer(msdyn_ordertype=192350000), stranger.offer(msdyn_ordertype=192350001)
    assert stranger.close("CloseQuote", work, 5).status_code == 400
    stranger.switch(draft_quote_close="work_based")
    assert stranger.close("CloseQuote", item, 5).status_code == 400
    assert stranger.close("CloseQuote", work, 5).status_code == 204
    assert stranger.close("WinQuote", stranger.offer(msdyn_ordertype=192350001), 4).status_code == 204


def test_closing_a_quote_leaves_one_activity_and_the_opportunity_alone(stranger: Stranger) -> None:
    deal = stranger.deal()
    offer, activity = stranger.offer(deal, state=1), fresh_id()
    stranger.close("CloseQuote", offer, 6, activityid=activity, subject="Too dear")
    row = stranger.read(f"quotes({offer})?$select=closedon&$expand=Quote_QuoteClose($select=subject,statecode)")
    (close,) = row["Quote_QuoteClose"]
    assert (close["activityid"], close["subject"], close["statecode"]) == (activity, "Too dear", 1)
    assert row["closedon"] == "2026-01-01"
    assert stranger.state("opportunities", deal) == (0, 1)


# 7. A quote's state by update.


@pytest.mark.parametrize("status", [None, 2, 3])
def test_a_draft_is_activated_with_status_two_by_default_or_three(stranger: Stranger, status: int | None) -> None:
    offer = stranger.offer()
    body = {"statecode": 1} | ({"statuscode": status} if status else {})
    assert stranger.send("PATCH", f"quotes({offer})", body, If_Match="*").status_code == 204
    assert stranger.state("quotes", offer) == (1, status or 2)


def in_state(client: Stranger, state: int) -> str:
    offer = client.offer(state=min(state, 1))
    if state > 1:
        client.close("WinQuote" if state == 2 else "CloseQuote", offer, -1)
    return offer


@pytest.mark.parametrize("state", [1, 2, 3])
def test_only_a_draft_is_activated(stranger: Stranger, state: int) -> None:
    offer = in_state(stranger, state)
    assert stranger.refused("PATCH", f"quotes({offer})", {"statecode": 1}) == (
        400, "0x80100003", "The quote cannot be activated because it is not in draft state.",
    )  # fmt: skip


@pytest.mark.parametrize("state", [0, 1, 2, 3])
def test_any_quote_goes_back_to_draft(stranger: Stranger, state: int) -> None:
    offer = in_state(stranger, state)
    assert stranger.send("PATCH", f"quotes({offer})", {"statecode": 0}).status_code == 204
    assert stranger.state("quotes", offer) == (0, 1)


@pytest.mark.parametrize("state", [0, 1, 2, 3])
@pytest.mark.parametrize(("target", "label", "message"), [(2, "Won", "WinQuote"), (3, "Closed", "CloseQuote")])
def test_won_and_closed_are_not_reached_by_update(
    stranger: Stranger, state: int, target: int, label: str, message: str
) -> None:
    offer = in_state(stranger, state)
    before = stranger.state("quotes", offer)
    status, _, words = stranger.refused("PATCH", f"quotes({offer})", {"statecode": target})
    assert (status, words) == (
        400, f"Quote status cannot be changed to {label}. Please use the {message}Request instead.",
    )  # fmt: skip
    assert stranger.state("quotes", offer) == before


@pytest.mark.parametrize("state", [1, 2, 3])
def test_other_columns_of_a_quote_that_is_no_draft_are_read_only(stranger: Stranger, state: int) -> None:
    stranger.switch(active_quote_edit="nobody")
    offer = in_state(stranger, state)
    status, code, words = stranger.refused("PATCH", f"quotes({offer})", {"description": "x"})
    assert (status, code) == (400, "0x8004022e")
    assert "read-only" in words
    single = stranger.send("PUT", f"quotes({offer})/description", {"value": "x"})
    assert error_of(single)[1] == "0x8004022e"


def test_lines_of_a_quote_that_is_no_draft_are_read_only(stranger: Stranger) -> None:
    offer = stranger.offer()
    bind = {"quoteid@odata.bind": f"/quotes({offer})"}
    line = stranger.create("quotedetails", {"quotedetailname": "Ovens", **bind})
    stranger.send("PATCH", f"quotes({offer})", {"statecode": 1})
    for method, path, body in (
        ("POST", "quotedetails", {"quotedetailname": "More", **bind}),
        ("PATCH", f"quotedetails({line})", {"quotedetailname": "Less"}),
        ("DELETE", f"quotedetails({line})", None),
    ):
        assert stranger.refused(method, path, body)[1] == "0x80043b09"


# 8. An opportunity's state by update.


@pytest.mark.parametrize("closed_by", ["", "WinOpportunity", "LoseOpportunity"])
@pytest.mark.parametrize(("target", "label"), [(1, "Won"), (2, "Lost")])
def test_won_and_lost_are_not_reached_by_update(stranger: Stranger, closed_by: str, target: int, label: str) -> None:
    deal = stranger.deal()
    if closed_by:
        stranger.close(closed_by, deal, -1)
    before = stranger.state("opportunities", deal)
    refused = stranger.refused("PATCH", f"opportunities({deal})", {"statecode": target})
    assert refused[:2] == (400, "0x80100005")
    assert refused[2] == (
        f"This message can not be used to set the state of opportunity to {label}. In order to set state of "
        f"opportunity to {label}, use the {label}OpportunityRequest message instead."
    )
    assert stranger.state("opportunities", deal) == before


@pytest.mark.parametrize("message", ["WinOpportunity", "LoseOpportunity"])
@pytest.mark.parametrize(("choice", "state"), [("cancel", 2), ("keep", 1)])
@pytest.mark.parametrize("status", [None, 2])
def test_a_closed_opportunity_is_reopened_and_its_close_is_canceled_by_switch(
    stranger: Stranger, message: str, choice: str, state: int, status: int | None
) -> None:
    stranger.switch(close_activities_on_reopen=choice)
    deal, activity = stranger.deal(), fresh_id()
    stranger.close(message, deal, -1, activityid=activity)
    body = {"statecode": 0} | ({"statuscode": status} if status else {})
    assert stranger.send("PATCH", f"opportunities({deal})", body).status_code == 204
    assert stranger.state("opportunities", deal) == (0, status or 1)
    assert stranger.state("opportunitycloses", activity)[0] == state
    assert stranger.close("WinOpportunity", deal, 3).status_code == 204


def test_setting_open_on_an_open_opportunity_is_taken_or_refused_by_switch(stranger: Stranger) -> None:
    deal = stranger.deal()
    assert stranger.send("PATCH", f"opportunities({deal})", {"statecode": 0}).status_code == 204
    stranger.switch(reopen_open_opportunity="refuse")
    assert stranger.refused("PATCH", f"opportunities({deal})", {"statecode": 0}) == (
        400, "0x8004051a", "The opportunity is already in the open state.",
    )  # fmt: skip


# 9. The third way.


@pytest.mark.parametrize(
    ("columns", "state", "status"),
    [
        ({"opportunitystatecode": 1, "opportunitystatuscode": 3}, 1, 3),
        ({"opportunitystatecode": 2, "opportunitystatuscode": 5}, 2, 5),
        ({"opportunitystatuscode": 4}, 2, 4),
        ({"opportunitystatecode": 2}, 2, 4),
        ({}, 1, 3),
    ],
)
def test_creating_a_close_row_closes_its_opportunity(
    stranger: Stranger, columns: dict[str, int], state: int, status: int
) -> None:
    deal = stranger.deal()
    bind = {"opportunityid@odata.bind": f"/opportunities({deal})"}
    made = stranger.create("opportunitycloses", {"subject": "Quick create", "actualrevenue": 5, **bind, **columns})
    assert stranger.state("opportunities", deal) == (state, status)
    assert stranger.state("opportunitycloses", made) == (1, 2)
    assert stranger.read(f"opportunities({deal})?$select=actualvalue")["actualvalue"] == 5
    again = stranger.send("POST", "opportunitycloses", bind)
    assert error_of(again)[:2] == (400, "0x80040515")


def test_a_close_row_follows_the_rules_of_closing(stranger: Stranger) -> None:
    deal = stranger.deal()
    stranger.offer(deal)
    bind = {"opportunityid@odata.bind": f"/opportunities({deal})"}
    assert stranger.refused("POST", "opportunitycloses", bind)[1] == "0x80040516"
    assert stranger.state("opportunities", deal) == (0, 1)
    stranger.switch(close_row_creation="only_stores")
    stranger.create("opportunitycloses", bind)
    assert stranger.state("opportunities", deal) == (0, 1)


@pytest.mark.parametrize("entity_set", ["opportunities", "quotes"])
def test_a_state_in_a_create_is_ignored_or_refused_by_switch(stranger: Stranger, entity_set: str) -> None:
    made = stranger.create(entity_set, {"name": "x", "statecode": 1})
    assert stranger.state(entity_set, made) == (0, 1)
    stranger.switch(statecode_on_create="refuse")
    assert stranger.refused("POST", entity_set, {"name": "x", "statecode": 1})[0] == 400
