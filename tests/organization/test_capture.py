"""A capture: only reads, nothing of a customer, how much was seen; the file; what changed between two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from connector.cli.doctor_checks import facts_of
from connector.closing.model import OrganizationMetadata
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.errors import InputError, Throttled
from connector.handler import Request, Response
from connector.organization.capture_file import capture_text, differences, read_capture, write_capture
from connector.organization.capture_model import DEFINITIONS, SECTIONS, Capture, Coverage, section
from connector.organization.capture_reading import CaptureReading
from connector.organization.safe_requests import ReadingOnly
from tests.organization.asked import OWN, SECRET, Asked

SCHEMA = Path(__file__).resolve().parents[2] / "connector" / "docs" / "capture.schema.json"


@pytest.fixture(scope="module")
def asked() -> Asked:
    made = Asked()
    made.has_logic()
    made.has_opportunity(0, 1)
    return made


@pytest.fixture(scope="module")
def capture(asked: Asked) -> Capture:
    return asked.capture(volumes=True)


def capture_schema() -> dict[str, Any]:
    schema = Capture.model_json_schema()
    schema["properties"]["digest"] = {"type": "string", "title": "Digest"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def test_a_capture_only_reads_and_names_its_columns(asked: Asked, capture: Capture) -> None:
    assert len(capture.columns.rows) > 200
    ours = [request for request in asked.sent if "/api/data/" in request.url]
    assert {request.method for request in ours} == {"GET"}
    sets = [request.url for request in ours if "?" in request.url]
    assert all("$select=" in url for url in sets if "Attributes/" not in url)
    assert not any("clientdata" in url or "$select=*" in url or ",configuration" in url for url in sets)


def test_a_write_is_refused_before_it_is_sent() -> None:
    sent: list[Request] = []
    reads = ReadingOnly(sent.append)  # type: ignore[arg-type]
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        with pytest.raises(InputError, match="only reads"):
            reads(Request(method, "https://org.crm.dynamics.com/api/data/v9.2/accounts"))
    assert sent == []


def test_what_a_close_sets_off_is_told_without_the_definitions(asked: Asked, capture: Capture) -> None:
    reading = CaptureReading(WebApi(asked.handler, Endpoint(asked.base_url)), asked.clock)
    currencies, steps, processes = reading.currencies(), reading.logic().steps, reading.logic().processes
    assert (currencies, steps, processes) == (capture.currencies, capture.steps, capture.processes)
    facts = {check.name: check.sentence for check in facts_of(reading, OrganizationMetadata((), ()))}
    assert "plug-in steps (" in facts["own logic"]


def test_nothing_of_a_customer_or_of_a_person_is_kept(capture: Capture) -> None:
    text = capture_text(capture)
    for word in (SECRET, "Éclair", "Sam Seller", "contoso.invalid", 'Contoso"', "0c000000-0000-4000"):
        assert word not in text


def test_what_shapes_a_close_is_there(capture: Capture) -> None:
    columns = {(row.table, row.name): row for row in capture.columns.rows}
    region = columns["opportunity", "new_region"]
    assert (region.custom, region.type, region.labels) == (True, "PicklistType", {"1033": "Region", "1036": "Région"})
    assert columns["opportunityclose", "new_margin"].precision == 4
    assert columns["opportunity", "new_secret"].secured
    (access,) = capture.column_access.rows
    assert (access.name, access.read, access.create, access.update) == ("new_secret", True, True, True)
    assert columns["opportunity", "customerid"].targets == ("account", "contact")
    (won,) = [row for row in capture.reasons.rows if row.value == 100000009]
    assert (won.state, won.labels["1031"], won.transitions) == (1, "Zweimal gewonnen", (1,))
    assert {row.name for row in capture.keys.rows} == {"new_code"}
    assert ("opportunity", "new_accountid") in {(row.table, row.column) for row in capture.navigation.rows}
    assert {(row.code, row.base) for row in capture.currencies.rows} == {("USD", True), ("EUR", False)}
    assert {"WinOpportunity", "CloseQuote"} <= {row.name for row in capture.messages.rows if not row.table}


def test_the_organizations_own_logic_is_there_and_what_is_elsewhere_is_not(capture: Capture) -> None:
    steps = {row.plug_in: row for row in capture.steps.rows}
    assert {name: step.origin for name, step in steps.items()} == {
        "Contoso.Sales.OnWin": "own",
        "Vendor.Audit": "managed",
        "Microsoft.Dynamics.Forecast": "microsoft",
    }
    assert steps["Vendor.Audit"].columns == ("statecode", "statuscode")
    assert (steps["Vendor.Audit"].asynchronous, steps["Vendor.Audit"].table) == (True, "")
    assert not steps["Microsoft.Dynamics.Forecast"].bypassable
    assert {(row.plug_in, row.average_ms) for row in capture.times.rows} == {("Contoso.Sales.OnWin", 420.0)}
    assert {(row.name, row.kind, row.real_time) for row in capture.processes.rows} == {
        ("Refuse a cheap win", "workflow", True),
        ("Action", "action", False),
    }
    flow = capture.flows.rows[0]
    assert (flow.name, flow.table, flow.filter) == ("Draft", "opportunity", "statecode eq 1")
    assert {row.table for row in capture.flows.rows} == {"opportunity", "quote"}


def test_volumes_count_opportunities_by_the_quotes_they_have(capture: Capture) -> None:
    assert [(row.state, row.drafts, row.actives, row.closed, row.rows) for row in capture.volumes.rows] == [
        (0, 1, 1, 0, 1)
    ]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"depths": {"prvReadCallbackRegistration": "Basic"}}, {"flows": Coverage.OWN}),
        ({"depths": {"prvReadWorkflow": "Local", "prvReadOpportunity": "Basic"}}, {"processes": Coverage.OWN, "volumes": Coverage.OWN}),
        ({"without": ["prvReadSdkMessageProcessingStep"]}, {"steps": Coverage.REFUSED}),
        ({"without": ["prvReadCallbackRegistration", "prvReadPluginTypeStatistic"]}, {"flows": Coverage.REFUSED, "times": Coverage.REFUSED}),
        ({"without": ["prvReadTransactionCurrency", "prvReadOrganization"]}, {"currencies": Coverage.REFUSED, "settings": Coverage.REFUSED}),
        ({"without": ["prvReadSdkMessage"]}, {"messages": Coverage.REFUSED, "steps": Coverage.REFUSED}),
        ({"role": "Opportunity Closer"}, {"steps": Coverage.REFUSED, "flows": Coverage.REFUSED, "times": Coverage.REFUSED, "processes": Coverage.REFUSED}),
        ({"without": ["prvReadUser"]}, {"column_access": Coverage.REFUSED, "privileges": Coverage.REFUSED, "flows": Coverage.OWN, "processes": Coverage.OWN, "volumes": Coverage.OWN}),
        ({"role": "Sales Reader"}, {}),
    ],
)  # fmt: skip
def test_each_section_says_how_much_of_it_this_caller_could_see(
    change: dict[str, object], seen: dict[str, Coverage]
) -> None:
    lesser = Asked()
    lesser.has_logic()
    lesser.limit_user(**change)
    capture = lesser.capture(volumes=True)
    told = {name: section(capture, name) for name in SECTIONS}
    assert {name: part.read for name, part in told.items() if part.read is not Coverage.ALL} == {
        "answers": Coverage.NOT_ASKED,
        **seen,
    }
    for name, coverage in seen.items():
        assert told[name].why
        assert coverage is Coverage.OWN or told[name].rows == ()


def test_a_lesser_caller_is_shown_no_flow_and_the_empty_answer_is_not_none() -> None:
    lesser = Asked()
    lesser.has_logic()
    lesser.limit_user(depths={"prvReadCallbackRegistration": "Basic"})
    flows = lesser.capture().flows
    assert (flows.rows, flows.read) == ((), Coverage.OWN)
    assert "prvReadCallbackRegistration reaches Basic rows only" in flows.why


def test_definitions_that_may_not_be_read_are_refused_not_empty() -> None:
    lesser = Asked()
    lesser.embedded.emulator.control.set_switches({"definitions_privilege": "prvReadEntity"})
    lesser.limit_user(role="Opportunity Closer", without=["prvReadEntity"])
    capture = lesser.capture()
    assert {section(capture, name).read for name in DEFINITIONS} == {Coverage.REFUSED}
    assert "prvReadEntity" in capture.columns.why


@pytest.mark.parametrize("which", [0, 1])
def test_an_organization_that_refuses_half_of_the_reads_is_captured_as_far_as_it_lets(which: int) -> None:
    asked = Asked()
    asked.has_logic()
    inner, sent = asked.handler, list[Request]()

    def send(request: Request) -> Response:
        sent.append(request)
        if "WhoAmI" not in request.url and len(sent) % 2 == which:
            return Response(403, (), b'{"error": {"code": "0x80040220", "message": "Missing prvReadThis."}}')
        return inner(request)

    before = asked.everything()
    capture = CaptureReading(WebApi(send, Endpoint(asked.base_url)), asked.clock).take("emulator")
    parts = [section(capture, name) for name in SECTIONS]
    assert any(part.read is Coverage.REFUSED and "prvReadThis" in part.why for part in parts)
    assert all(part.rows == () for part in parts if part.read is Coverage.REFUSED)
    assert {request.method for request in sent} == {"GET"}
    assert asked.everything() == before


def test_a_limit_of_the_service_is_no_refusal_of_a_section() -> None:
    busy = Asked()
    busy.embedded.emulator.control.set_faults(
        [{"do": "throttle", "facet": "count", "seconds": 60, "message": "RetrieveMultiple", "nth": 9}]
    )
    with pytest.raises(Throttled):
        busy.capture()


def test_a_later_capture_reads_the_definitions_only_when_they_moved() -> None:
    asked = Asked()
    first = asked.capture()
    asked.sent.clear()
    again = asked.capture(first)
    assert not any("/Attributes" in request.url for request in asked.sent)
    assert list(differences(first, again)) == []
    more = json.loads(OWN.to_json())
    more["columns"] = [{**more["columns"][0], "name": "new_later"}]
    asked.embedded.emulator.control.customize({"columns": more["columns"]})
    third = asked.capture(first)
    assert {each.row for each in differences(first, third) if each.section == "columns"} == {"opportunity.new_later"}


# --- the file ---


def test_a_capture_of_another_organization_or_user_is_not_brought_up_to_date(asked: Asked, capture: Capture) -> None:
    for other in ({"organization": "another"}, {"caller": "another"}):
        with pytest.raises(InputError, match="another organization or by another user; it was left") as refused:
            asked.capture(capture.model_copy(update=other))
        assert refused.value.remedy


def test_what_is_written_is_read_again_a_row_a_line(capture: Capture, tmp_path: Path) -> None:
    path = tmp_path / "capture.json"
    write_capture(path, capture)
    assert read_capture(path) == capture
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = sum(len(section(capture, name).rows) for name in SECTIONS)
    assert rows < len(lines) < rows + 60
    assert sum('"new_region", "type"' in line for line in lines) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_an_editor_wrote_in_another_unicode_is_read(
    encoding: str, capture: Capture, tmp_path: Path
) -> None:
    (tmp_path / "c.json").write_text(capture_text(capture), encoding=encoding)
    assert read_capture(tmp_path / "c.json") == capture


def test_the_schema_in_the_documents_is_that_of_the_file(capture: Capture) -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == capture_schema()
    Draft202012Validator.check_schema(capture_schema())
    Draft202012Validator(capture_schema()).validate(json.loads(capture_text(capture)))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[: len(text) // 2], "cut off"),
        (
            lambda text: text.replace('"capture": 2', '"capture": 1', 1),
            "an earlier version of this connector: .* version 1",
        ),
        (lambda text: text.replace('"capture": 2', '"capture": 3', 1), "a later version of this connector"),
        (lambda text: text.replace('"Nord"', '"Norden"'), "was changed after it was taken"),
        (lambda text: text.replace('"value": 100000009', '"value": "many"'), "choices.rows"),
        (lambda text: text.replace('"rows"', '"row"'), "cannot be used"),
        (lambda _text: "[]", "no capture"),
        (lambda _text: '{"rows": 1}', "no capture"),
        (lambda _text: "\0", "cut off"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused_in_a_sentence(
    spoil: Callable[[str], str], words: str, capture: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "capture.json"
    path.write_text(spoil(capture_text(capture)), encoding="utf-8")
    with pytest.raises(InputError, match=words) as refused:
        read_capture(path)
    assert refused.value.remedy


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_capture(tmp_path / "none.json")


# --- differences ---


def test_what_changed_is_told_a_line_each(capture: Capture) -> None:
    columns = [row for row in capture.columns.rows if row.name != "new_margin"]
    relabelled = [
        row.model_copy(update={"labels": {"1033": "Borrower"}}) if row.name == "new_accountid" else row
        for row in columns
    ]
    after = capture.model_copy(
        update={
            "columns": capture.columns.model_copy(update={"rows": tuple(relabelled)}),
            "steps": capture.steps.model_copy(update={"rows": (), "read": Coverage.OWN}),
        }
    )
    assert [each.line() for each in differences(capture, after)] == [
        '~ columns opportunity.new_accountid: labels {"1033": "Partner"} -> {"1033": "Borrower"}',
        "- columns opportunityclose.new_margin",
        '~ steps (how much was read): read "all" -> "own"',
    ]
    assert [each.line() for each in differences(after, capture) if each.change == "added"] == [
        "+ columns opportunityclose.new_margin"
    ]


def test_the_same_organization_at_two_moments_does_not_differ(asked: Asked, capture: Capture) -> None:
    asked.clock.sleep(3600)
    again = asked.capture(volumes=True)
    assert list(differences(capture, again)) == []


def test_what_was_left_of_the_limits_at_two_moments_is_no_difference(capture: Capture) -> None:
    busy = [row.model_copy(update={"value": row.value / 2}) for row in capture.limits.rows]
    after = capture.model_copy(update={"limits": capture.limits.model_copy(update={"rows": tuple(busy)})})
    assert [each.row for each in differences(capture, after)] == ["parallelism"]
