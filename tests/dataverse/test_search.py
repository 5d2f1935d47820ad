from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.closing.organization import Query
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.errors import ConnectorError, InputError, Rejected, Unanswered
from connector.handler import Request, Response
from tests.dataverse.wire import BASE, ROOT, Wire, ok, refused

VIEW = UUID(int=7)


def ids(*numbers: int) -> list[dict[str, str]]:
    return [{"opportunityid": str(UUID(int=number))} for number in numbers]


def find(wire: Wire, query: Query) -> list[int]:
    clock = VirtualClock(datetime(2026, 6, 30, 12, tzinfo=UTC))
    organization = DataverseOrganization(wire, BASE, clock=clock)
    return [found.int for found in organization.find(query)]


def asked(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        (Query(older_than=30), "statecode eq 0 and estimatedclosedate lt 2026-05-31"),
        (Query(older_than=0), "statecode eq 0 and estimatedclosedate lt 2026-06-30"),
        (Query(where="name eq 'A & B' or true"), "statecode eq 0 and (name eq 'A & B' or true)"),
        (
            Query(where="estimatedvalue lt 10", older_than=1),
            "statecode eq 0 and estimatedclosedate lt 2026-06-29 and (estimatedvalue lt 10)",
        ),
    ],
)
def test_open_opportunities_are_found_by_their_conditions(query: Query, condition: str) -> None:
    wire = Wire()
    wire.answers = {"GET opportunities": ok({"value": ids(1, 2)})}
    assert find(wire, query) == [1, 2]
    assert asked(wire.requests[0]) == {"$select": "opportunityid", "$filter": condition}


def test_all_pages_are_read_when_they_are_wanted() -> None:
    wire = Wire()
    link = f"{ROOT}opportunities?$skiptoken=2"
    wire.answers = {
        r"GET opportunities\?\$skiptoken": ok({"value": ids(3)}),
        "GET opportunities": ok({"value": ids(1, 2), "@odata.nextLink": link}),
    }
    found = DataverseOrganization(wire, BASE, clock=VirtualClock()).find(Query(where="true"))
    assert next(found).int == 1
    assert len(wire.requests) == 1
    assert [each.int for each in found] == [2, 3]
    assert wire.requests[1].url == link


def test_a_condition_cannot_change_the_rest_of_the_request() -> None:
    wire = Wire()
    wire.answers = {"GET opportunities": ok({"value": []})}
    find(wire, Query(where="true&$select=name#x"))
    assert asked(wire.requests[0])["$select"] == "opportunityid"
    assert asked(wire.requests[0])["$filter"].endswith("(true&$select=name#x)")


def test_a_condition_that_is_none_is_told_as_the_organization_says_it() -> None:
    wire = Wire()
    wire.answers = {"GET opportunities": refused(400, "0x8006088a", "Syntax error at position 5.")}
    with pytest.raises(Rejected, match="Finding opportunities") as raised:
        find(wire, Query(where="name ="))
    assert "position 5" in raised.value.detail


@pytest.mark.parametrize(
    ("system", "own", "parameter"),
    [([{"savedqueryid": str(VIEW)}], [], "savedQuery"), ([], [{"userqueryid": str(VIEW)}], "userQuery")],
)
def test_a_view_is_looked_up_by_its_name_and_executed_by_its_id(
    system: list[object], own: list[object], parameter: str
) -> None:
    wire = Wire()
    wire.answers = {
        "GET savedqueries": ok({"value": system}),
        "GET userqueries": ok({"value": own}),
        "GET opportunities": ok({"value": ids(5)}),
    }
    assert find(wire, Query(view="Sue's stale ones")) == [5]
    condition = "name eq 'Sue''s stale ones' and returnedtypecode eq 'opportunity'"
    assert [asked(request).get("$filter") for request in wire.requests] == [condition, condition, None]
    assert asked(wire.requests[2]) == {parameter: str(VIEW)}


def test_a_view_is_found_by_its_id_too() -> None:
    wire = Wire()
    wire.answers = {
        "GET savedqueries": ok({"value": [{"savedqueryid": str(VIEW)}]}),
        "GET userqueries": ok({"value": []}),
        "GET opportunities": ok({"value": []}),
    }
    assert find(wire, Query(view=f"{{{VIEW}}}")) == []
    assert asked(wire.requests[0])["$filter"] == f"savedqueryid eq {VIEW} and returnedtypecode eq 'opportunity'"


@pytest.mark.parametrize(
    ("system", "sentence"),
    [([], "There is no view 'Stale'"), ([{"savedqueryid": str(VIEW)}], "2 views are called 'Stale'")],
)
def test_a_view_that_is_none_or_several_is_told(system: list[object], sentence: str) -> None:
    wire = Wire()
    own = [{"userqueryid": str(UUID(int=8))}] if system else []
    wire.answers = {"GET savedqueries": ok({"value": system}), "GET userqueries": ok({"value": own})}
    with pytest.raises(InputError, match=sentence):
        find(wire, Query(view="Stale"))


def test_half_a_view_does_not_pass_for_a_whole_one() -> None:
    wire = Wire()
    wire.answers = {
        "GET savedqueries": ok({"value": [{"savedqueryid": str(VIEW)}]}),
        "GET userqueries": ok({"value": []}),
        "GET opportunities": ok({"value": ids(*range(1, 5001))}),
    }
    with pytest.raises(Unanswered):
        find(wire, Query(view="Stale"))


def test_a_view_that_just_fills_a_page_is_whole_where_smaller_pages_go_on() -> None:
    def page(request: Request) -> Response:
        if request.headers["prefer"] == "odata.maxpagesize=2500":
            return ok({"value": ids(*range(1, 2501)), "@odata.nextLink": f"{ROOT}opportunities?$skiptoken=2"})
        return ok({"value": ids(*range(1, 5001))})

    wire = Wire()
    wire.answers = {
        "GET savedqueries": ok({"value": [{"savedqueryid": str(VIEW)}]}),
        "GET userqueries": ok({"value": []}),
        r"GET opportunities\?\$skiptoken": ok({"value": ids(*range(2501, 5001))}),
        "GET opportunities": page,
    }
    assert find(wire, Query(view="Stale")) == list(range(1, 5001))


@pytest.mark.parametrize("row", [{}, {"opportunityid": None}, {"opportunityid": "x"}])
def test_a_row_without_an_id_is_an_unreadable_answer(row: dict[str, object]) -> None:
    wire = Wire()
    wire.answers = {"GET opportunities": ok({"value": [row]})}
    with pytest.raises(ConnectorError):
        find(wire, Query(where="true"))
