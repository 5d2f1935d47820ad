from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.model import CloseActivity, Opportunity, OpportunityState, Quote, QuoteState, Snapshot
from connector.dataverse.dataverse_organization import Observation
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.errors import ConnectorError, NotFound, Unanswered
from connector.handler import Handler, Request, Response
from tests.dataverse.wire import BASE, ROOT, Wire, ok, organization, refused

FIXTURES = Path(__file__).parent.parent / "fixtures" / "dataverse"


def opportunity_id(number: int) -> UUID:
    return UUID(int=0x1000 + number)


def quote_id(number: int) -> UUID:
    return UUID(int=0x2000 + number)


def opportunity_row(number: int, **columns: object) -> dict[str, object]:
    return {
        "@odata.etag": f'W/"{number}"',
        "opportunityid": str(opportunity_id(number)),
        "name": f"Deal {number}",
        "statecode": 0,
        "statuscode": 1,
        "estimatedvalue": 1250.50,
        "actualvalue": None,
        "actualclosedate": None,
        "_customerid_value": None,
        **columns,
    }


def quote_row(number: int, of: int, **columns: object) -> dict[str, object]:
    return {
        "@odata.etag": f'W/"{100 + number}"',
        "quoteid": str(quote_id(number)),
        "name": f"Quote {number}",
        "quotenumber": f"QUO-{number}",
        "statecode": 0,
        "statuscode": 1,
        "versionnumber": 100 + number,
        "_opportunityid_value": str(opportunity_id(of)),
        **columns,
    }


def answer_in(rows: Callable[[int], list[dict[str, object]]], page: int = 5000) -> Callable[[Request], Response]:
    """Answer a read of many opportunities, or of what belongs to them, by their ids and `page` rows a page."""

    def answer(request: Request) -> Response:
        assert "PropertyName='opportunityid'" in request.url
        ids = re.findall(r"'([0-9a-f-]{36})'", request.url)
        url, _, skipped = request.url.partition("&skipped=")
        rest = [row for id_ in ids for row in rows(int(UUID(id_)) & 0xFFF)][int(skipped or 0) :]
        more = {"@odata.nextLink": f"{url}&skipped={int(skipped or 0) + page}"} if len(rest) > page else {}
        return ok({"value": rest[:page], **more})

    return answer


def observe(
    wire: Handler, *ids: UUID, work_based: bool = False, activities: bool = False, ids_per_read: int = 400
) -> Mapping[UUID, Snapshot]:
    observation = Observation(WebApi(wire, Endpoint(BASE)), ids_per_read=ids_per_read)
    return observation.snapshots(ids, work_based=work_based, activities=activities)


def test_one_opportunity_is_seen_with_one_request() -> None:
    wire = Wire()
    row = opportunity_row(1, statecode=1, statuscode=3, actualvalue=99.95, actualclosedate="2026-01-31")
    quotes = [quote_row(2, 1, statecode=3, statuscode=5), quote_row(1, 1)]
    wire.answers["GET opportunities"] = ok({**row, "opportunity_quotes": quotes})
    snapshot = observe(wire, opportunity_id(1))[opportunity_id(1)]
    assert snapshot.opportunity == Opportunity(
        id=opportunity_id(1),
        name="Deal 1",
        state=OpportunityState.WON,
        status=3,
        version='W/"1"',
        estimated_value=Decimal("1250.5"),
        actual_value=Decimal("99.95"),
        actual_close_date=date(2026, 1, 31),
    )
    assert snapshot.quotes == (
        Quote(quote_id(1), "Quote 1", "QUO-1", QuoteState.DRAFT, 1, 'W/"101"'),
        Quote(quote_id(2), "Quote 2", "QUO-2", QuoteState.CLOSED, 5, 'W/"102"'),
    )
    assert wire.lines() == [f"GET opportunities({opportunity_id(1)})"]


def test_quotes_beyond_the_first_page_are_followed() -> None:
    wire = Wire()
    first = {"opportunity_quotes": [quote_row(1, 1)], "opportunity_quotes@odata.nextLink": f"{ROOT}quotes?page=2"}
    wire.answers["GET opportunities"] = ok({**opportunity_row(1), **first})
    wire.answers[r"GET quotes\?page=2"] = ok({"value": [quote_row(2, 1)], "@odata.nextLink": f"{ROOT}quotes?page=3"})
    wire.answers[r"GET quotes\?page=3"] = ok({"value": [quote_row(3, 1), quote_row(1, 1)]})
    snapshot = observe(wire, opportunity_id(1))[opportunity_id(1)]
    assert [quote.id for quote in snapshot.quotes] == [quote_id(1), quote_id(2), quote_id(3)]


def test_a_quote_without_an_etag_has_its_version_from_its_number() -> None:
    wire = Wire()
    row = quote_row(1, 1)
    del row["@odata.etag"]
    wire.answers["GET opportunities"] = ok({**opportunity_row(1), "opportunity_quotes": [row]})
    assert observe(wire, opportunity_id(1))[opportunity_id(1)].quotes[0].version == 'W/"101"'


def test_many_opportunities_take_one_request_for_every_so_many() -> None:
    wire = organization()
    wire.answers["GET opportunities"] = answer_in(lambda n: [opportunity_row(n)] if n != 3 else [])
    wire.answers["GET quotes"] = answer_in(lambda n: [quote_row(2 * n, n), quote_row(2 * n + 1, n)])
    seen = observe(wire, *[opportunity_id(n) for n in (5, 1, 2, 3, 4)], ids_per_read=4)
    assert sorted(seen) == [opportunity_id(n) for n in (1, 2, 4, 5)]
    assert all(len(snapshot.quotes) == 2 for snapshot in seen.values())
    assert wire.lines() == ["POST $batch"] * 2


def test_where_there_are_no_batches_the_reads_go_singly() -> None:
    wire = organization()
    wire.answers[r"POST \$batch"] = refused(405)
    wire.answers["GET opportunities"] = answer_in(lambda n: [opportunity_row(n)])
    wire.answers["GET quotes"] = answer_in(lambda n: [quote_row(n, n)])
    assert len(observe(wire, opportunity_id(1), opportunity_id(2))) == 2
    assert wire.lines() == ["POST $batch", "GET opportunities", "GET quotes"]


def test_what_fails_inside_a_batch_is_read_again_by_itself() -> None:
    wire = organization()
    wire.answers["GET opportunities"] = answer_in(lambda n: [opportunity_row(n)])
    answers = iter([refused(503), ok({"value": [quote_row(1, 1)]})])
    wire.answers["GET quotes"] = lambda _request: next(answers)
    assert len(observe(wire, opportunity_id(1), opportunity_id(2))[opportunity_id(1)].quotes) == 1
    assert wire.lines() == ["POST $batch", "GET quotes"]


def test_pages_of_rows_are_followed_and_counted_in() -> None:
    wire = organization()
    wire.answers["GET opportunities"] = answer_in(lambda n: [opportunity_row(n)], 3)
    wire.answers["GET quotes"] = answer_in(lambda n: [quote_row(n, n)], 3)
    seen = observe(wire, *[opportunity_id(n) for n in range(10)])
    assert len(seen) == 10
    assert wire.lines() == ["POST $batch"] + ["GET opportunities"] * 3 + ["GET quotes"] * 3


def test_close_activities_are_read_when_asked_for() -> None:
    wire = Wire()
    wire.answers[r"GET opportunities\("] = ok({**opportunity_row(1), "opportunity_quotes": [quote_row(1, 1)]})
    closes = {"activityid": str(UUID(int=7)), "statecode": 1, "_opportunityid_value": str(opportunity_id(1))}
    wire.answers["GET opportunitycloses"] = ok({"value": [closes]})
    canceled = {"activityid": str(UUID(int=5)), "statecode": 2, "_quoteid_value": str(quote_id(1))}
    orphan = {"activityid": str(UUID(int=6)), "statecode": 1, "_quoteid_value": None}
    wire.answers["GET quotecloses"] = ok({"value": [canceled, orphan]})
    snapshot = observe(wire, opportunity_id(1), activities=True)[opportunity_id(1)]
    assert snapshot.activities == (
        CloseActivity(UUID(int=5), quote_id(1), completed=False),
        CloseActivity(UUID(int=7), opportunity_id(1), completed=True),
    )


def test_the_order_type_tells_project_operations() -> None:
    wire = Wire()
    wire = Wire()
    row = opportunity_row(1, msdyn_ordertype=192350001)
    quotes = [quote_row(1, 1, msdyn_ordertype=192350000)]
    wire.answers["GET opportunities"] = ok({**row, "opportunity_quotes": quotes})
    snapshot = observe(wire, opportunity_id(1), work_based=True)[opportunity_id(1)]
    assert (snapshot.opportunity.work_based, snapshot.quotes[0].work_based) == (True, False)
    assert wire.requests[0].url.count("msdyn_ordertype") == 2


@pytest.mark.parametrize(
    "answer", [refused(404, "0x80040217"), refused(404, "", "opportunity With Id = 1 Does Not Exist")]
)
def test_an_opportunity_that_does_not_exist_is_absent(answer: Response) -> None:
    wire = Wire()
    wire.answers["GET opportunities"] = answer
    assert observe(wire, opportunity_id(1)) == {}


def test_a_wrong_address_is_not_taken_for_a_missing_opportunity() -> None:
    wire = Wire()
    wire.answers["GET opportunities"] = refused(404, "0x8006088a", "Resource not found for the segment 'x'.")
    with pytest.raises(NotFound):
        observe(wire, opportunity_id(1))


def test_nothing_is_seen_of_no_opportunities() -> None:
    wire = Wire()
    assert observe(wire) == {}
    assert wire.requests == []


def test_a_page_that_leads_back_to_itself_is_not_followed_for_ever() -> None:
    wire = organization()
    wire.answers["GET"] = ok({"value": [], "@odata.nextLink": f"{ROOT}opportunities?again"})
    with pytest.raises(Unanswered):
        observe(wire, opportunity_id(1), opportunity_id(2))


def test_a_recorded_answer_with_links_instead_of_rows_is_followed_row_by_row() -> None:
    wire = Wire()
    recorded = json.loads((FIXTURES / "expanded_set_2020.json").read_text())["value"][0]
    link = recorded["Account_Tasks@odata.nextLink"].replace("v9.1", "v9.2")
    links = {"opportunity_quotes": recorded["Account_Tasks"], "opportunity_quotes@odata.nextLink": link}
    wire.answers["GET opportunities"] = ok({**opportunity_row(1), **links})
    wire.answers["GET accounts"] = ok({"value": [quote_row(1, 1)]})
    assert len(observe(wire, opportunity_id(1))[opportunity_id(1)].quotes) == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(str(opportunity_id(1))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    damage=st.dictionaries(
        st.sampled_from([*opportunity_row(1), "opportunity_quotes", "opportunity_quotes@odata.nextLink"]), values
    ),
    quote_damage=st.dictionaries(st.sampled_from(list(quote_row(1, 1))), values),
)
def test_no_row_breaks_the_reading(damage: dict[str, object], quote_damage: dict[str, object]) -> None:
    wire = Wire()
    row = {**opportunity_row(1), "opportunity_quotes": [{**quote_row(1, 1), **quote_damage}], **damage}
    wire.answers["GET"] = ok(row)
    try:
        observe(wire, opportunity_id(1))
    except ConnectorError as error:
        assert str(opportunity_id(1)) in error.message or "another host" in error.message
