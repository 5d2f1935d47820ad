"""What belongs to closing besides the four messages: packs, metadata, preconditions, privileges, names and dates."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.wire import Stranger, error_of, fresh_id

BOUND = "Microsoft.Dynamics.CRM."

# 10. Project Operations.


@pytest.mark.parametrize(
    "message", ["msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsWon", "msdyn_CloseQuoteAsLost"]
)
def test_the_pack_is_absent_until_it_is_switched_on(stranger: Stranger, message: str) -> None:
    deal = stranger.deal()
    row = f"opportunities({deal})" if "Opportunity" in message else f"quotes({stranger.offer(deal)})"
    body = {"quoteStatus": 6} if "Opportunity" in message else None
    assert stranger.send("POST", f"{row}/{BOUND}{message}", body).status_code in (400, 404)
    stranger.switch(project_operations="immediate")
    answer = stranger.send("POST", f"{row}/{BOUND}{message}", body)
    assert (answer.status_code, answer.content) == (204, b"")


def test_all_quotes_of_an_opportunity_close_at_once_and_it_can_be_closed(stranger: Stranger) -> None:
    stranger.switch(project_operations="immediate")
    deal = stranger.deal()
    offers = [stranger.offer(deal), stranger.offer(deal, state=1), stranger.offer(deal)]
    path = f"opportunities({deal})/{BOUND}msdyn_CloseAllOpportunityQuotes"
    assert stranger.refused("POST", path, {})[0] == 400
    assert stranger.refused("POST", path, {"quoteStatus": 4})[0] == 400
    assert stranger.send("POST", path, {"quoteStatus": 6}).status_code == 204
    assert {stranger.state("quotes", one) for one in offers} == {(3, 6)}
    assert stranger.close("LoseOpportunity", deal, 5).status_code == 204


@pytest.mark.parametrize(("choice", "state"), [("stays_open", 0), ("closes", 1)])
def test_a_won_project_quote_closes_its_siblings_as_lost(stranger: Stranger, choice: str, state: int) -> None:
    stranger.switch(project_operations="immediate", project_win_and_opportunity=choice)
    deal = stranger.deal()
    draft, active, winner = stranger.offer(deal), stranger.offer(deal, state=1), stranger.offer(deal, state=1)
    assert stranger.send("POST", f"quotes({winner})/{BOUND}msdyn_CloseQuoteAsWon").status_code == 204
    assert [stranger.state("quotes", one) for one in (winner, draft, active)] == [(2, 4), (3, 5), (3, 5)]
    assert stranger.state("opportunities", deal)[0] == state


def test_in_the_background_it_happens_later_and_one_run_at_a_time(stranger: Stranger) -> None:
    stranger.switch(project_operations="background")
    deal = stranger.deal()
    offer, other = stranger.offer(deal, state=1), stranger.offer(deal, state=1)
    path = f"opportunities({deal})/{BOUND}msdyn_CloseAllOpportunityQuotes"
    assert stranger.send("POST", path, {"quoteStatus": 5}).status_code == 204
    assert stranger.state("quotes", offer) == (1, 2)
    assert stranger.refused("POST", f"quotes({other})/{BOUND}msdyn_CloseQuoteAsLost")[0] == 400
    stranger.pass_time(60)
    assert [stranger.state("quotes", one) for one in (offer, other)] == [(3, 5), (3, 5)]
    closes = [row["closes"] for row in stranger.control("GET", "closes")]
    assert closes == [1, 1]


# 11. Status reasons in metadata.


def test_status_reasons_of_the_organization_come_with_state_and_transitions(stranger: Stranger) -> None:
    moves = (
        '<allowedtransitions xmlns="http://schemas.microsoft.com/crm/2009/WebServices">'
        '<allowedtransition sourcestatusid="1" tostatusid="100000042" /></allowedtransitions>'
    )
    option = {"Value": 100000042, "State": 2, "TransitionData": moves,
              "Label": {"UserLocalizedLabel": {"Label": "Postponed", "LanguageCode": 1033}}}  # fmt: skip
    exported = {"value": [{"LogicalName": "statuscode", "OptionSet": {"Options": [option]}}]}
    stranger.control("POST", "customizations?table=opportunity", exported)
    cast = "EntityDefinitions(LogicalName='opportunity')/Attributes/Microsoft.Dynamics.CRM.StatusAttributeMetadata"
    (column,) = stranger.read(f"{cast}?$select=LogicalName&$expand=OptionSet")["value"]
    assert (column["OptionSet"]["OptionSetType"], column["OptionSet"]["IsGlobal"]) == ("Status", False)
    options = {one["Value"]: one for one in column["OptionSet"]["Options"]}
    assert {value: one["State"] for value, one in options.items() if value < 10} == {1: 0, 2: 0, 3: 1, 4: 2, 5: 2}
    assert (options[100000042]["State"], options[100000042]["TransitionData"]) == (2, moves)
    assert options[100000042]["Label"]["UserLocalizedLabel"]["Label"] == "Postponed"
    assert options[3]["TransitionData"] is None
    assert options[3]["@odata.type"] == "#Microsoft.Dynamics.CRM.StatusOptionMetadata"
    deal = stranger.deal()
    assert error_of(stranger.close("WinOpportunity", deal, 100000042))[1] == "0x80048408"
    assert stranger.close("LoseOpportunity", deal, 100000042).status_code == 204


# 13. Preconditions on an update.


def test_an_update_is_bound_to_the_version_its_client_read(stranger: Stranger) -> None:
    deal = stranger.deal()
    path = f"opportunities({deal})"
    etag = stranger.read(f"{path}?$select=name")["@odata.etag"]
    assert stranger.send("PATCH", path, {"description": "a"}, If_Match=etag).status_code == 204
    assert stranger.refused("PATCH", path, {"description": "b"}, If_Match=etag) == (
        412, "0x80060882", "The version of the existing record doesn't match the RowVersion property provided.",
    )  # fmt: skip
    assert stranger.send("PATCH", path, {"description": "c"}, If_Match="*").status_code == 204


def test_a_star_keeps_an_update_from_making_a_row(stranger: Stranger) -> None:
    missing = fresh_id()
    status, code, words = stranger.refused("PATCH", f"quotes({missing})", {"name": "x"}, If_Match="*")
    assert (status, code, words.lower()) == (404, "0x80040217", f"quote with id = {missing} does not exist")
    assert stranger.send("PATCH", f"quotes({missing})", {"name": "x"}).status_code == 204
    assert stranger.read(f"quotes({missing})?$select=name")["name"] == "x"


# 14. Privileges.

NEEDED = {
    "WinOpportunity": ("prvWriteOpportunity", "prvAppendToOpportunity", "prvCreateActivity", "prvAppendActivity"),
    "LoseOpportunity": ("prvWriteOpportunity", "prvAppendToOpportunity", "prvCreateActivity", "prvAppendActivity"),
    "CloseQuote": ("prvWriteQuote", "prvAppendToQuote", "prvCreateActivity", "prvAppendActivity"),
    "WinQuote": ("prvWriteQuote", "prvAppendToQuote", "prvCreateActivity", "prvAppendActivity"),
    "ReviseQuote": ("prvReadQuote", "prvCreateQuote", "prvAppendQuote"),
}
PRINCIPAL = (
    r"Principal user \(Id=[0-9a-f-]{36}, type=8, roleCount=\d+, privilegeCount=\d+, accessMode='\d [\w -]+', "
    r"AADObjectId='[0-9a-f-]{36}', MetadataCachePrivilegesCount=\d+, businessUnitId=[0-9a-f-]{36}\), is missing {} "
    r"privilege \(Id=[0-9a-f-]{36}\) on OTC=\d+ for entity '\w+' \(LocalizedName='[\w ]+'\). "
    r"context.Caller=[0-9a-f-]{36}. Consider adding missed privilege to one of the principal \(user/team\) roles."
)


@pytest.mark.parametrize("message", list(NEEDED))
def test_each_message_needs_each_of_its_privileges_and_says_which(organized: Organized, message: str) -> None:
    tenant = local_tenant()
    few = Application(
        "5a1f6f0c-0000-4d0b-8f51-7f1c3d2e4b60", "c2a9f4d1-0000-4e58-9a06-1d8e5f7b2c30", "Few", (Secret("s"),)
    )
    options = EmulatorOptions(seeded=0, tenant=replace(tenant, applications=(*tenant.applications, few)))
    client = organized(options)
    user = client.read(f"systemusers?$select=fullname&$filter=applicationid eq {few.client_id}")["value"][0]
    assert user["fullname"] == "Few"
    for missing in NEEDED[message]:
        client.control("PATCH", "users", {"user": user["systemuserid"], "without": [missing]})
        other = replace(client, client_id=few.client_id, client_secret="s", headers=dict(client.headers)).sign_in()
        if message == "ReviseQuote":
            offer = client.offer(state=1)
            client.close("CloseQuote", offer, 7)
            answer = other.send("POST", message, {"QuoteId": offer})
        elif message.endswith("Quote"):
            answer = other.close(message, client.offer(state=1), -1)
        else:
            answer = other.close(message, client.deal(), -1)
        status, code, words = error_of(answer)
        assert (status, code) == (403, "0x80040220"), missing
        assert re.fullmatch(PRINCIPAL.replace("{}", missing, 1), words), words


# 15. Labels, names, dates.


def test_two_status_reasons_of_a_quote_are_both_called_in_progress(stranger: Stranger) -> None:
    draft, active = stranger.offer(), stranger.offer(state=1)
    label = "statuscode@OData.Community.Display.V1.FormattedValue"
    for offer, value in ((draft, 1), (active, 2)):
        row = stranger.read(f"quotes({offer})?$select=statuscode", Prefer='odata.include-annotations="*"')
        assert (row["statuscode"], row[label]) == (value, "In Progress")


@pytest.mark.parametrize(
    "path",
    [
        "opportunities({})?$expand=opportunity_opportunityclose",
        "opportunities({})?$expand=Opportunity_Quotes",
        "opportunities({})?$expand=Opportunity_opportunityClose",
        "Opportunities({})",
        "opportunities({})?$select=Name",
        "opportunities({})?$Select=name",
        "opportunities({})/Opportunity_Quotes",
        "winopportunity",
    ],
)
def test_names_are_case_sensitive(stranger: Stranger, path: str) -> None:
    deal = stranger.deal()
    assert stranger.read(f"opportunities({deal})?$expand=Opportunity_OpportunityClose,opportunity_quotes")
    assert stranger.send("GET", path.format(deal)).status_code in (400, 404)


def test_a_close_date_is_a_day_and_a_close_moment_is_a_moment(stranger: Stranger) -> None:
    deal, activity = stranger.deal(estimatedclosedate="2026-03-01"), fresh_id()
    stranger.close("WinOpportunity", deal, 3, activityid=activity, actualend="2026-01-31T23:30:00-05:00")
    row = stranger.read(f"opportunities({deal})?$select=actualclosedate,estimatedclosedate")
    assert (row["actualclosedate"], row["estimatedclosedate"]) == ("2026-02-01", "2026-03-01")
    assert stranger.read(f"opportunitycloses({activity})?$select=actualend")["actualend"] == "2026-02-01T04:30:00Z"


def test_midnight_utc_is_the_day_before_for_a_user_in_the_west(organized: Organized) -> None:
    client = organized(EmulatorOptions(scenario="west-of-utc"))
    deal, other = client.deal(), client.deal()
    client.close("WinOpportunity", deal, 3, actualend="2026-01-31")
    assert client.read(f"opportunities({deal})?$select=actualclosedate")["actualclosedate"] == "2026-01-30"
    client.switch(close_date_zone="utc")
    client.close("WinOpportunity", other, 3, actualend="2026-01-31T00:00:00Z")
    assert client.read(f"opportunities({other})?$select=actualclosedate")["actualclosedate"] == "2026-01-31"
    close = client.read(
        f"opportunities({other})/Opportunity_OpportunityClose?$select=actualend", Prefer='odata.include-annotations="*"'
    )["value"][0]
    assert close["actualend"] == "2026-01-31T00:00:00Z"
    assert close["actualend@OData.Community.Display.V1.FormattedValue"].startswith("1/30/2026")


# Currencies, required columns, revisions.


def test_revenue_in_another_currency_than_the_opportunitys_is_refused_by_switch(stranger: Stranger) -> None:
    codes = stranger.read("transactioncurrencies?$select=isocurrencycode")["value"]
    of = {row["isocurrencycode"]: f"/transactioncurrencies({row['transactioncurrencyid']})" for row in codes}
    deal = stranger.deal(**{"transactioncurrencyid@odata.bind": of["EUR"]}, estimatedvalue=92)
    dollars = {"transactioncurrencyid@odata.bind": of["USD"], "actualrevenue": 10}
    assert error_of(stranger.close("WinOpportunity", deal, 3, **dollars))[:2] == (400, "0x80048cea")
    assert stranger.close("WinOpportunity", deal, 3, actualrevenue=46).status_code == 204
    row = stranger.read(f"opportunities({deal})?$select=actualvalue,actualvalue_base,estimatedvalue_base")
    assert (row["actualvalue_base"], row["estimatedvalue_base"]) == (50, 100)
    stranger.switch(revenue_currency="off")
    other = stranger.deal(**{"transactioncurrencyid@odata.bind": of["EUR"]})
    assert stranger.close("WinOpportunity", other, 3, **dollars).status_code == 204


def test_columns_that_the_organization_requires_are_enforced_by_switch(stranger: Stranger) -> None:
    required = {"LogicalName": "description", "RequiredLevel": {"Value": "ApplicationRequired"}}
    table = {"LogicalName": "opportunityclose", "Attributes": [required]}
    stranger.control("POST", "customizations", {"value": [table]})
    deal = stranger.deal()
    status, code, words = error_of(stranger.close("LoseOpportunity", deal, 5))
    assert (status, code) == (400, "0x80040265")
    assert "description" in words.lower()
    assert stranger.state("opportunities", deal) == (0, 1)
    assert stranger.close("LoseOpportunity", deal, 5, description="Too dear").status_code == 204
    stranger.switch(required_columns="off")
    assert stranger.close("LoseOpportunity", stranger.deal(), 5).status_code == 204


def test_a_closed_quote_is_revised_once_and_an_active_one_becomes_an_order(stranger: Stranger) -> None:
    offer = stranger.offer(state=1)
    assert stranger.refused("POST", "ReviseQuote", {"QuoteId": offer})[1] == "0x8004f00e"
    number = stranger.read(f"quotes({offer})?$select=quotenumber")["quotenumber"]
    stranger.close("CloseQuote", offer, 7)
    made = stranger.send("POST", "ReviseQuote", {"QuoteId": offer, "ColumnSet": {"AllColumns": True}}).json()
    assert (made["quotenumber"], made["revisionnumber"], made["statecode"]) == (number, 1, 0)
    assert stranger.refused("POST", "ReviseQuote", {"QuoteId": offer})[1] == "0x80048d00"
    won = stranger.offer(state=1)
    order = stranger.send("POST", "ConvertQuoteToSalesOrder?$select=name", {"QuoteId": won})
    assert order.json()["@odata.context"].endswith("#salesorders(name)/$entity")
    assert stranger.state("quotes", won) == (2, 4)


def test_the_rules_and_their_evidence_are_read_from_the_running_server(anywhere: Stranger) -> None:
    rules = {rule["id"]: rule for rule in anywhere.control("GET", "rules")}
    assert len(rules) > 80
    for rule in rules.values():
        assert rule["evidence"] in ("document", "recording", "forum", "inferred")
        assert rule["source"]
    deal = anywhere.deal()
    anywhere.close("WinOpportunity", deal, 3)
    anywhere.close("WinOpportunity", deal, 3)
    last = anywhere.control("GET", "journal")[-1]
    assert (last["rule"], rules[last["rule"]]["code"]) == ("opportunity.already_closed", "0x80040515")
