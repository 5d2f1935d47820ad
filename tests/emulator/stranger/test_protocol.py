"""The Web API as a protocol: headers, versions, pages, annotations, batches, definitions, impersonation."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from urllib.parse import unquote

import pytest

from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.wire import Stranger, error_of, fresh_id

GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
EVERYWHERE = {
    "Cache-Control": r"no-cache",
    "OData-Version": r"4\.0",
    "REQ_ID": rf"{GUID},{GUID}",
    "x-ms-service-request-id": rf"{GUID},{GUID}",
    "AuthActivityId": GUID,
    "CRM.ServiceId": r"CRMAppPool",
    "Strict-Transport-Security": r"max-age=\d+; includeSubDomains",
    "Expires": r"-1",
    "Set-Cookie": r"ARRAffinity=[0-9a-f]{64}; path=/; secure; HttpOnly.*",
    "x-ms-dop-hint": r"\d+",
    "x-ms-ratelimit-time-remaining-xrm-requests": r"\d{1,3}(,\d{3})*\.\d\d",
    "x-ms-ratelimit-burst-remaining-xrm-requests": r"\d+",
}
BOUNDARY = {"Content_Type": "multipart/mixed; boundary=b"}


def part(request: str, body: str = "", *headers: str) -> str:
    inner = [*headers, *(["Content-Type: application/json"] if body else [])]
    lines = ["--b", "Content-Type: application/http", "Content-Transfer-Encoding: binary", "", f"{request} HTTP/1.1"]
    return "\r\n".join([*lines, *inner, "", body, ""])


# Every answer.


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "WhoAmI", 200),
        ("GET", "accounts?$select=name&$top=1", 200),
        ("POST", "accounts", 204),
        ("GET", "Nothing", 404),
        ("GET", "accounts?$select=Nothing", 400),
        ("POST", "$batch", 200),
    ],
)
def test_every_answer_has_the_headers_of_the_service(anywhere: Stranger, method: str, path: str, status: int) -> None:
    anywhere.session.cookies.clear()
    if path == "$batch":
        answer = anywhere.send("POST", path, (part("GET WhoAmI") + "--b--\r\n").encode(), **BOUNDARY)
    else:
        answer = anywhere.send(method, path, {"name": "x"} if method == "POST" else None)
    assert answer.status_code == status, answer.text
    for name, form in EVERYWHERE.items():
        assert re.fullmatch(form, answer.headers[name]), (name, answer.headers[name])
    assert "ReqClientId=" in answer.headers["Set-Cookie"]
    again = anywhere.send("GET", "WhoAmI")
    assert "ReqClientId" not in again.headers["Set-Cookie"], "a client that has an id is not given another"


def test_a_throttled_answer_has_them_too(anywhere: Stranger) -> None:
    anywhere.plan({"do": "throttle", "times": 1})
    answer = anywhere.send("GET", "WhoAmI")
    assert answer.status_code == 429
    assert all(re.fullmatch(form, answer.headers[name]) for name, form in EVERYWHERE.items())


def test_json_says_how_much_metadata_it_has(anywhere: Stranger) -> None:
    answer = anywhere.send("GET", "accounts?$select=name&$top=1")
    assert answer.headers["Content-Type"] == "application/json; odata.metadata=minimal"
    batch = anywhere.send("POST", "$batch", (part("GET WhoAmI") + "--b--\r\n").encode(), **BOUNDARY)
    assert "Content-Type: application/json; odata.metadata=minimal; odata.streaming=true" in batch.text


# Base path and names.


@pytest.mark.parametrize("version", ["v9.0", "v9.1", "v9.2"])
def test_each_minor_version_answers_with_its_own_address(anywhere: Stranger, version: str) -> None:
    root = f"{anywhere.url}/api/data/{version}"
    answer = anywhere.send("GET", f"{root}/accounts?$select=name&$top=1")
    assert answer.json()["@odata.context"] == f"{root}/$metadata#accounts(name)"


@pytest.mark.parametrize("path", ["/api/data/v8.2/accounts", "/api/data/v9.3/accounts", "/api/data/V9.2/accounts",
                                  "/api/Data/v9.2/accounts", "/api/data/accounts", "/api/other"])  # fmt: skip
def test_another_base_path_is_not_found(anywhere: Stranger, path: str) -> None:
    assert anywhere.send("GET", anywhere.url + path).status_code == 404


def test_an_unknown_path_has_the_older_or_the_newer_error_by_switch(stranger: Stranger) -> None:
    older = (404, "0x8006088a", "Resource not found for the segment 'Account'.")
    assert stranger.refused("GET", "Account") == older
    stranger.switch(unknown_path="0x80060888")
    status, code, words = stranger.refused("GET", "Account")
    assert (status, code) == (400, "0x80060888")
    assert words == (
        "URL was not parsed due to an ODataUnrecognizedPathException. Resource not found for the segment 'Account'."
    )


def test_an_unknown_property_has_the_older_or_the_newer_code_by_switch(stranger: Stranger) -> None:
    words = "Could not find a property named 'Name' on type 'Microsoft.Dynamics.CRM.account'."
    assert stranger.refused("GET", "accounts?$select=Name") == (400, "0x0", words)
    stranger.switch(query_error_code="0x80060888")
    assert stranger.refused("GET", "accounts?$select=Name") == (400, "0x80060888", words)


def test_an_address_that_is_too_long_is_refused_alone_and_taken_in_a_batch(stranger: Stranger) -> None:
    query = "accounts?$select=name&$filter=name eq '" + "x" * 33_000 + "'"
    status, _, words = stranger.refused("GET", query)
    assert status == 400
    assert "32768" in words
    body = (part("GET " + query.replace(" ", "%20")) + "--b--\r\n").encode()
    assert stranger.send("POST", "$batch", body, **BOUNDARY).status_code == 200


@pytest.mark.parametrize(
    "path", ["accounts?%24select=name&%24filter=name+eq+'x'", "accounts?$select=name&$filter=name%20eq%20%27x%27"]
)
def test_options_may_be_written_encoded_and_a_plus_is_a_space(stranger: Stranger, path: str) -> None:
    stranger.create("accounts", {"name": "x"})
    assert len(stranger.read(path)["value"]) == 1


# Rows: versions.


def test_every_write_moves_one_version_number_for_all_tables(stranger: Stranger) -> None:
    def version(path: str) -> int:
        etag = stranger.read(f"{path}?$select=versionnumber")["@odata.etag"]
        number = re.fullmatch(r'W/"(\d+)"', etag)
        assert number is not None
        return int(number[1])

    account = f"accounts({stranger.create('accounts', {'name': 'a'})})"
    deal = f"opportunities({stranger.deal()})"
    assert version(deal) > version(account)
    before = version(deal)
    stranger.send("PATCH", account, {"name": "b"})
    assert version(account) > before == version(deal)
    assert stranger.read(f"{account}?$select=versionnumber")["versionnumber"] == version(account)
    stranger.close("LoseOpportunity", deal[14:-1], 5)
    assert version(deal) > version(account)


def test_a_read_that_knows_the_version_is_answered_304(stranger: Stranger) -> None:
    path = f"opportunities({stranger.deal()})?$select=name"
    etag = stranger.send("GET", path).headers["ETag"]
    unchanged = stranger.send("GET", path, If_None_Match=etag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert stranger.send("GET", path, If_None_Match="*").status_code == 304
    assert stranger.send("GET", path, If_None_Match="null").status_code == 200
    assert stranger.send("GET", path, If_None_Match='W/"1"').status_code == 200
    assert stranger.send("GET", f"{path}&$expand=opportunity_quotes", If_None_Match=etag).status_code == 200
    annotated = stranger.send("GET", path, If_None_Match=etag, Prefer='odata.include-annotations="*"')
    assert annotated.status_code == 200


# Pages.


def many(client: Stranger, number: int) -> None:
    client.control("POST", "seed", {"account": [{"name": f"Account {one:05d}"} for one in range(number)]})


def test_a_page_holds_five_thousand_rows_and_a_count_ends_there(stranger: Stranger) -> None:
    many(stranger, 5003)
    first = stranger.read("accounts?$select=name&$count=true", Prefer='odata.include-annotations="*"')
    assert (len(first["value"]), first["@odata.count"]) == (5000, 5000)
    assert first["@Microsoft.Dynamics.CRM.totalrecordcount"] == 5000
    assert first["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is True
    rest = stranger.read(first["@odata.nextLink"])
    assert len(rest["value"]) == 3
    assert "@odata.nextLink" not in rest
    assert len({row["accountid"] for row in first["value"] + rest["value"]}) == 5003
    assert stranger.send("GET", "accounts/$count").text == "5000"
    larger = stranger.send("GET", "accounts?$select=name", Prefer="odata.maxpagesize=9000")
    assert len(larger.json()["value"]) == 5000
    assert len(stranger.read("accounts?$select=name&$top=5001")["value"]) == 5000
    total = stranger.read("RetrieveTotalRecordCount(EntityNames=@p1)?@p1=['account']")
    assert total["EntityRecordCountCollection"]["Values"] == [5003]


def test_pages_are_followed_by_a_cookie_in_the_services_form(stranger: Stranger) -> None:
    many(stranger, 7)
    seen, link = [], "accounts?$select=name&$orderby=name desc"
    for number in range(2, 6):
        answer = stranger.send("GET", link, Prefer="odata.maxpagesize=2")
        assert answer.headers["Preference-Applied"] == "odata.maxpagesize=2"
        body = answer.json()
        seen += [row["name"] for row in body["value"]]
        if number == 5:
            assert "@odata.nextLink" not in body
            break
        link = body["@odata.nextLink"]
        cookie = unquote(link.partition("$skiptoken=")[2])
        assert re.fullmatch(rf'<cookie pagenumber="{number}" pagingcookie="[^"]+" istracking="False" />', cookie)
        inner = unquote(unquote(cookie.split('"')[3]))
        assert re.search(r'<accountid last="\{[0-9A-F-]{36}\}" first="\{[0-9A-F-]{36}\}" ?/>', inner)
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7


def test_skip_is_refused_and_top_is_ignored_with_a_page_size(stranger: Stranger) -> None:
    many(stranger, 5)
    assert stranger.refused("GET", "accounts?$skip=1") == (400, "0x0", "Skip Clause is not supported in CRM")
    page = stranger.read("accounts?$select=name&$top=1", Prefer="odata.maxpagesize=3")
    assert len(page["value"]) == 3
    assert "@odata.nextLink" in page


def test_annotations_come_only_when_asked_for(stranger: Stranger) -> None:
    path = f"opportunities({stranger.deal()})"
    plain = stranger.read(path)
    assert [name for name in plain if "@" in name.lstrip("@")] == []
    everything = stranger.send("GET", path, Prefer='odata.include-annotations="*"')
    assert everything.headers["Preference-Applied"] == 'odata.include-annotations="*"'
    names = set(everything.json())
    assert "statecode@OData.Community.Display.V1.FormattedValue" in names
    assert "_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname" in names
    only = stranger.read(path, Prefer='odata.include-annotations="OData.Community.Display.V1.FormattedValue"')
    assert not any("lookuplogicalname" in name for name in only)


# Errors.


def test_error_annotations_come_on_demand_and_name_the_error(stranger: Stranger) -> None:
    deal = stranger.deal()
    stranger.close("WinOpportunity", deal, 3)
    body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({deal})"}, "Status": 3}
    assert set(stranger.send("POST", "WinOpportunity", body).json()["error"]) == {"code", "message"}
    prefer = 'odata.include-annotations="Microsoft.PowerApps.CDS.*"'
    error = stranger.send("POST", "WinOpportunity", body, Prefer=prefer).json()["error"]
    details = "@Microsoft.PowerApps.CDS.ErrorDetails."
    assert error[f"{details}ApiExceptionMessageName"] == "OpportunityIsAlreadyClosed"
    assert error[f"{details}ApiExceptionHttpStatusCode"] == "400"
    assert error[f"{details}ApiExceptionCategory"] == "ClientError"
    others = (
        "ErrorDetails.OperationStatus",
        "ErrorDetails.SubErrorCode",
        "HelpLink",
        "TraceText",
        "InnerError.Message",
    )
    assert {f"@Microsoft.PowerApps.CDS.{name}" for name in others} <= set(error)


def test_a_taken_key_has_the_words_of_the_service_and_its_annotations(stranger: Stranger) -> None:
    row = {"accountid": fresh_id(), "name": "x"}
    stranger.create("accounts", row)
    answer = stranger.send("POST", "accounts", row, Prefer='odata.include-annotations="*"')
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (412, "0x80040237")
    assert error["message"] == "A record with matching key values already exists."
    assert error["@Microsoft.PowerApps.CDS.ErrorDetails.ApiExceptionMessageName"] == "DuplicateRecord"


def test_the_length_of_a_text_is_refused_in_the_documented_words(stranger: Stranger) -> None:
    answer = stranger.send("POST", "opportunities", {"name": "x" * 301})
    assert re.sub(r" +", " ", error_of(answer)[2]) == (
        "A validation error occurred. The length of the 'name' attribute of the 'opportunity' entity exceeded the "
        "maximum allowed length of '300'."
    )


# One request, one transaction.


def test_a_close_that_fails_in_its_middle_leaves_no_trace(stranger: Stranger) -> None:
    deal, activity = stranger.deal(), fresh_id()
    stranger.create("opportunities", {"name": "other"})
    before = stranger.read(f"opportunities({deal})")
    taken = {"activityid": activity, "subject": "taken"}
    assert stranger.close("LoseOpportunity", stranger.deal(), 5, **taken).status_code == 204
    assert stranger.close("WinOpportunity", deal, 3, **taken).status_code == 412
    assert stranger.close("WinOpportunity", deal, 3, subject="x" * 300).status_code == 400
    assert stranger.read(f"opportunities({deal})") == before
    assert stranger.read(f"opportunities({deal})/Opportunity_OpportunityClose")["value"] == []


# Batches.


@pytest.mark.parametrize("boundary", ["boundary=b", 'boundary="b"', "boundary=b; charset=utf-8"])
@pytest.mark.parametrize("target", ["WhoAmI", "/api/data/v9.2/WhoAmI", "URL/api/data/v9.2/WhoAmI"])
def test_boundaries_and_addresses_in_every_form(anywhere: Stranger, boundary: str, target: str) -> None:
    body = part(f"GET {target.replace('URL', anywhere.url)}") + "--b--\r\n"
    answer = anywhere.send("POST", "$batch", body.encode(), Content_Type=f"multipart/mixed; {boundary}")
    assert answer.status_code == 200
    found = re.fullmatch(rf"multipart/mixed; boundary=(batchresponse_{GUID})", answer.headers["Content-Type"])
    assert found is not None
    assert answer.text.startswith(f"--{found[1]}\r\n")
    assert answer.text.rstrip("\r\n").endswith(f"--{found[1]}--")
    assert "HTTP/1.1 200 OK\r\n" in answer.text


def test_a_thousand_operations_are_taken_and_one_more_is_refused_whole(stranger: Stranger) -> None:
    make = part("POST accounts", '{"name":"x"}')
    refused = stranger.send("POST", "$batch", (make * 1001 + "--b--\r\n").encode(), **BOUNDARY)
    assert refused.status_code == 400
    assert stranger.send("GET", "accounts/$count").text == "0"
    taken = stranger.send("POST", "$batch", (make * 1000 + "--b--\r\n").encode(), **BOUNDARY)
    assert (taken.status_code, taken.text.count("HTTP/1.1 204")) == (200, 1000)


def test_each_part_has_preferences_and_preconditions_of_its_own(stranger: Stranger) -> None:
    account = stranger.create("accounts", {"name": "x"})
    body = (
        part("POST accounts?$select=name", '{"name":"made"}', "Prefer: return=representation")
        + part(f"PATCH accounts({account})", '{"name":"y"}', 'If-Match: W/"1"')
        + part(f"GET accounts({account})?$select=name", "", 'Prefer: odata.include-annotations="*"')
        + "--b--\r\n"
    )
    answer = stranger.send("POST", "$batch", body.encode(), Prefer="odata.continue-on-error", **BOUNDARY)
    assert re.findall(r"^HTTP/1\.1 (\d+)", answer.text, re.MULTILINE) == ["201", "412", "200"]
    assert answer.status_code == 200
    assert answer.text.count("REQ_ID: ") >= 1


# Messages about the organization.


def test_who_where_and_which_version(anywhere: Stranger) -> None:
    who = anywhere.read("WhoAmI")
    assert set(who) == {"@odata.context", "BusinessUnitId", "UserId", "OrganizationId"}
    assert re.fullmatch(r"9\.2\.\d+\.\d+", anywhere.read("RetrieveVersion()")["Version"])
    alias = "@p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'"
    detail = anywhere.read(f"RetrieveCurrentOrganization(AccessType=@p1)?{alias}")["Detail"]
    assert {"OrganizationId", "FriendlyName", "OrganizationVersion", "EnvironmentId", "DatacenterId", "Geo", "TenantId",
            "UrlName", "UniqueName", "Endpoints", "State", "OrganizationType"} == set(detail)  # fmt: skip
    assert detail["TenantId"] in anywhere.authority
    assert detail["OrganizationId"] == who["OrganizationId"]


def test_the_organization_is_found_by_global_discovery(anywhere: Stranger) -> None:
    path = f"{anywhere.url}/api/discovery/v2.0/Instances"
    (instance,) = anywhere.read(path)["value"]
    assert {"Id", "UniqueName", "UrlName", "FriendlyName", "State", "Version", "Url", "ApiUrl", "LastUpdated", "Region",
            "OrganizationType", "TenantId", "EnvironmentId", "StatusMessage", "TrialExpirationDate", "Purpose",
            "SchemaType"} == set(instance)  # fmt: skip
    assert instance["Url"].rstrip("/") == anywhere.url
    chosen = anywhere.read(f"{path}?$select=Url,UniqueName&$filter=UniqueName eq '{instance['UniqueName']}'")["value"]
    assert chosen == [{"Url": instance["Url"], "UniqueName": instance["UniqueName"]}]
    for key in (f"UniqueName='{instance['UniqueName']}'", instance["Id"]):
        assert anywhere.read(f"{path}({key})")["Url"] == instance["Url"]
    assert anywhere.read(f"{path}?$filter=UniqueName eq 'other'")["value"] == []
    assert anywhere.send("GET", f"{path}?$orderby=Url").status_code == 400
    del anywhere.headers["Authorization"]
    challenge = anywhere.send("GET", path)
    assert challenge.status_code == 401
    assert "authorization_uri=" in challenge.headers["WWW-Authenticate"]
    assert "/common/oauth2/authorize" in challenge.headers["WWW-Authenticate"]


def test_definitions_say_what_tables_can(stranger: Stranger) -> None:
    flags = "LogicalName,IsOptimisticConcurrencyEnabled,ChangeTrackingEnabled"
    one = stranger.read(f"EntityDefinitions(LogicalName='opportunity')?$select={flags}")
    assert (one["IsOptimisticConcurrencyEnabled"], one["ChangeTrackingEnabled"]) == (True, True)
    tracked = stranger.read("EntityDefinitions?$select=LogicalName&$filter=ChangeTrackingEnabled eq true")["value"]
    assert {"opportunity", "quote", "account"} <= {row["LogicalName"] for row in tracked}
    assert "opportunityclose" not in {row["LogicalName"] for row in tracked}


def test_the_service_document_and_the_metadata_name_the_same_sets(anywhere: Stranger) -> None:
    listed = {(one["name"], one["kind"], one["url"]) for one in anywhere.read("")["value"]}
    document = anywhere.send("GET", "$metadata", Accept="application/xml")
    assert document.headers["Content-Type"].startswith("application/xml")
    sets = {one.get("Name") for one in ET.fromstring(document.content).iter() if one.tag.endswith("}EntitySet")}
    assert {name for name, _, _ in listed} == sets | {"EntityDefinitions"}
    assert all(kind == "EntitySet" and url == name for name, kind, url in listed)


def test_annotated_metadata_marks_the_tracked_sets(stranger: Stranger) -> None:
    plain = stranger.send("GET", "$metadata", Accept="application/xml").text
    assert "Org.OData.Capabilities.V1.ChangeTracking" not in plain
    annotated = stranger.send("GET", "$metadata?annotations=true", Accept="application/xml").text
    assert annotated.count("Org.OData.Capabilities.V1.ChangeTracking") > 3


@pytest.mark.parametrize("message", ["WinOpportunity", "LoseOpportunity", "UpdateMultiple", "CreateMultiple"])
def test_message_filters_say_which_messages_opportunities_have(stranger: Stranger, message: str) -> None:
    query = (
        "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq @message and "
        f"primaryobjecttypecode eq @table&@message='{message}'&@table='opportunity'"
    )
    assert len(stranger.read(query)["value"]) == 1


# Impersonation.


@pytest.fixture
def colleagues(organized: Organized) -> tuple[Stranger, Stranger, str, str]:
    """An administrator, an application that may only close, and user id and object id of the latter's user."""
    tenant = local_tenant()
    few = Application(
        "5a1f6f0c-0000-4d0b-8f51-7f1c3d2e4b60", "c2a9f4d1-0000-4e58-9a06-1d8e5f7b2c30", "Few", (Secret("s"),)
    )
    client = organized(EmulatorOptions(seeded=0, tenant=replace(tenant, applications=(*tenant.applications, few))))
    other = replace(client, client_id=few.client_id, client_secret="s", headers=dict(client.headers)).sign_in()
    client.control("PATCH", "users", {"user": few.client_id, "role": "Opportunity Closer"})
    return client, other, other.read("WhoAmI")["UserId"], few.object_id


def test_who_acts_for_another_has_no_more_than_both(colleagues: tuple[Stranger, Stranger, str, str]) -> None:
    client, _, user_id, object_id = colleagues
    deal = client.deal()
    for header in ({"CallerObjectId": object_id}, {"MSCRMCallerID": user_id}):
        status, code, words = client.refused("POST", "accounts", {"name": "x"}, **header)
        assert (status, code) == (403, "0x80040220")
        assert "prvCreateAccount" in words
    close = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({deal})"}, "Status": 5}
    assert client.send("POST", "LoseOpportunity", close, CallerObjectId=object_id).status_code == 204
    (row,) = client.read(
        f"opportunities({deal})/Opportunity_OpportunityClose?$select=_createdby_value,_createdonbehalfby_value"
    )["value"]
    me = client.read("WhoAmI")["UserId"]
    assert (row["_createdby_value"], row["_createdonbehalfby_value"]) == (user_id, me)
    assert client.read("WhoAmI", CallerObjectId=object_id)["UserId"] == me, "WhoAmI tells the real caller"


def test_who_acts_for_another_spends_his_own_limits(colleagues: tuple[Stranger, Stranger, str, str]) -> None:
    client, other, _, object_id = colleagues
    left = "x-ms-ratelimit-burst-remaining-xrm-requests"

    def remaining(who: Stranger, **headers: str) -> int:
        return int(who.send("GET", "accounts?$select=name&$top=1", **headers).headers[left])

    others, mine = remaining(other), remaining(client)
    assert [remaining(client, CallerObjectId=object_id) for _ in range(2)] == [mine - 1, mine - 2]
    assert remaining(other) == others - 1


def test_who_acts_for_himself_acts_for_nobody(colleagues: tuple[Stranger, Stranger, str, str]) -> None:
    client, _, _, _ = colleagues
    me = client.read("WhoAmI")["UserId"]
    mine = client.read(f"systemusers({me})?$select=azureactivedirectoryobjectid")["azureactivedirectoryobjectid"]
    made = client.send("POST", "accounts", {"name": "x"}, CallerObjectId=mine)
    row = made.headers["OData-EntityId"]
    assert client.read(f"{row}?$select=_createdonbehalfby_value")["_createdonbehalfby_value"] is None


def test_acting_for_another_needs_its_privilege(colleagues: tuple[Stranger, Stranger, str, str]) -> None:
    client, other, _, _ = colleagues
    me = client.read("WhoAmI")["UserId"]
    assert other.refused("GET", "opportunities?$select=name", MSCRMCallerID=me) == (
        403, "0x8004a110", "User does not have the privilege to act on behalf another user.",
    )  # fmt: skip
    client.switch(impersonation_refusal="0x80040220")
    status, code, words = other.refused("GET", "opportunities?$select=name", MSCRMCallerID=me)
    assert (status, code) == (403, "0x80040220")
    assert "prvActOnBehalfOfAnotherUser" in words


# Who may come in.


def test_an_application_user_is_absent_disabled_without_roles_or_short_of_a_privilege(
    colleagues: tuple[Stranger, Stranger, str, str],
) -> None:
    client, other, user_id, _ = colleagues

    def change(**values: object) -> None:
        client.control("PATCH", "users", {"user": other.client_id} | values)

    assert other.send("GET", "opportunities?$select=name").status_code == 200
    change(role=None)
    assert other.refused("GET", "WhoAmI")[:2] == (403, "0x80042f09")
    change(role="Opportunity Closer", disabled=True)
    assert other.refused("GET", "WhoAmI")[:2] == (403, "0x80040225")
    change(disabled=False, without=["prvReadOpportunity"])
    status, code, words = other.refused("GET", "opportunities?$select=name")
    assert (status, code) == (403, "0x80040220")
    assert "prvReadOpportunity" in words
    change(user=user_id, known=False)
    assert other.refused("GET", "WhoAmI") == (403, "0x80072560", "The user is not a member of the organization.")
    assert json.dumps(client.control("GET", "users")).count("client_id") >= 3
