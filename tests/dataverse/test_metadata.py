from __future__ import annotations

import itertools
import threading
from uuid import UUID

import pytest

from connector.clock import Clock, VirtualClock
from connector.closing.organization import MetadataRequest
from connector.dataverse.metadata import Metadata, status_reasons
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.errors import ConnectorError, Forbidden, Throttled, Unanswered
from connector.handler import Handler, Request, Response
from tests.dataverse.wire import BASE, IMPERSONATED, USER, ok, organization, refused


def metadata(
    handler: Handler, clock: Clock | None = None, close_action: str = "", impersonate: UUID | None = None
) -> Metadata:
    endpoint = Endpoint(BASE, impersonate)
    return Metadata(
        WebApi(handler, endpoint), clock=clock or VirtualClock(), close_action=close_action, cache_seconds=600.0
    )


def test_status_reasons_come_with_their_state_their_default_and_their_labels_in_every_language() -> None:
    found = metadata(organization()).get()
    assert [(reason.value, reason.state, reason.default) for reason in found.opportunity_statuses] == [
        (1, 0, True),
        (2, 0, False),
        (3, 1, True),
        (4, 2, True),
        (5, 2, False),
    ]
    assert [reason.value for reason in found.quote_statuses if reason.default] == [1, 2, 4, 7]
    assert found.opportunity_statuses[2].labels == ("Won", "Gewonnen")


@pytest.mark.parametrize(
    "damaged", [{}, {"OptionSet": None}, {"OptionSet": {"Options": [{"Value": "x"}]}}, {"OptionSet": 3}]
)
def test_definitions_of_another_shape_are_no_answer(damaged: dict[str, object]) -> None:
    with pytest.raises(Unanswered):
        status_reasons(damaged, damaged)


def test_the_acting_users_offset_is_east_of_utc() -> None:
    wire = organization()
    assert metadata(wire).get().utc_offset_minutes == 60
    assert wire.lines() == ["POST $batch", "POST $batch"]
    assert f"usersettingscollection({USER})".encode() in wire.requests[-1].body


def test_an_impersonated_users_offset_is_that_users_own() -> None:
    wire = organization()
    assert metadata(wire, impersonate=IMPERSONATED).get().utc_offset_minutes == 60
    assert f"usersettingscollection({IMPERSONATED})".encode() in wire.requests[-1].body
    assert f"usersettingscollection({USER})".encode() not in wire.requests[-1].body


@pytest.mark.parametrize("answer", [refused(404, "0x80040217"), refused(403, "0x80040220"), ok({"timezonebias": None})])
def test_a_user_without_settings_is_taken_to_be_at_utc(answer: Response) -> None:
    wire = organization()
    wire.answers["GET usersettingscollection"] = answer
    assert metadata(wire).get().utc_offset_minutes == 0


def test_the_messages_that_matter_are_those_that_exist() -> None:
    found = metadata(organization("msdyn_CloseQuoteAsLost", "new_Close", "Win"), close_action="new_Close").get()
    assert found.messages == {"msdyn_CloseQuoteAsLost", "new_Close"}
    assert found.close_action == "new_Close"
    assert metadata(organization()).get().close_action is None


@pytest.mark.parametrize("batch", [None, refused(405)], ids=["in a batch", "singly"])
def test_a_list_of_messages_that_may_not_be_read_is_taken_to_be_empty(batch: Response | None) -> None:
    wire = organization("msdyn_CloseQuoteAsLost", "new_Close")
    wire.answers["GET sdkmessages"] = refused(
        403, "0x80040220", "Principal user is missing prvReadSdkMessage privilege"
    )
    if batch is not None:
        wire.answers[r"POST \$batch"] = batch
    found = metadata(wire, close_action="new_Close").get()
    assert found.messages == frozenset()
    assert found.close_action == "new_Close"
    assert found.quote_statuses == metadata(organization()).get().quote_statuses


def test_a_list_of_messages_that_fails_otherwise_is_no_empty_list() -> None:
    wire = organization()
    wire.answers["GET sdkmessages"] = refused(500)
    with pytest.raises(ConnectorError):
        metadata(wire).get()


def test_metadata_is_kept_until_it_expires() -> None:
    wire, clock = organization(), VirtualClock()
    kept = metadata(wire, clock)
    for wait in (0.0, 599.0, 1.0, 599.0):
        clock.advance(wait)
        kept.get()
    assert wire.lines().count("POST $batch") == 4


def test_one_thread_reads_metadata_while_the_others_wait() -> None:
    wire, started = organization(), threading.Barrier(8)
    kept, seen = metadata(wire), []

    def ask() -> None:
        started.wait()
        seen.append(kept.get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wire.lines().count("POST $batch") == 2
    assert len(seen) == 8


def test_what_is_read_ahead_of_many_closes_is_the_same_and_its_parts_are_under_way_together() -> None:
    wire, together, first = organization(), threading.Barrier(7, timeout=120), itertools.count()
    messages: list[frozenset[str]] = []

    def parallel(request: Request) -> Response:
        if next(first) < together.parties:
            together.wait()  # none is answered before all are asked
        elif not messages:
            messages.append(prepared.messages())  # they are known before the rest is
        return wire(request)

    prepared = metadata(parallel)
    prepared.prepare()
    assert messages == [prepared.messages()]
    asked = len(wire.lines())
    assert prepared.get() == metadata(organization()).get()
    assert len(wire.lines()) == asked, "it is kept"


def test_metadata_that_could_not_be_read_is_read_again() -> None:
    wire = organization()
    answer = wire.answers.pop("GET usersettingscollection")
    wire.answers["GET usersettingscollection"] = Unanswered("no answer")
    kept = metadata(wire)
    with pytest.raises(Unanswered):
        kept.get()
    wire.answers["GET usersettingscollection"] = answer
    assert kept.get().utc_offset_minutes == 60


@pytest.mark.parametrize("answer", [refused(405), refused(404), refused(400), refused(503)])
def test_metadata_is_read_singly_where_batches_are_refused(answer: Response) -> None:
    wire = organization()
    wire.answers[r"POST \$batch"] = answer
    assert metadata(wire).get() == metadata(organization()).get()


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (429, Throttled)])
def test_a_batch_of_reads_that_is_turned_away_is_not_tried_singly(status: int, kind: type[ConnectorError]) -> None:
    calls = []

    def turned_away(request: Request) -> Response:
        calls.append(request)
        return refused(status)

    with pytest.raises(kind):
        metadata(turned_away).get()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("source", "decimals"),
    [(0, {None: 4}), (1, {None: 3}), (2, {UUID(int=1): 2, UUID(int=2): 0}), (None, {})],
    ids=["of the column", "of the organization", "of each currency", "not to be read"],
)
def test_the_decimals_of_amounts_are_read_where_they_are_needed(
    source: int | None, decimals: dict[UUID | None, int]
) -> None:
    currencies = [
        {"transactioncurrencyid": str(UUID(int=n)), "isocurrencycode": code, "currencyprecision": places}
        for n, code, places in ((1, "EUR", 2), (2, "JPY", 0))
    ]
    wire = organization()
    column = refused(403, "0x80040220") if source is None else ok({"Precision": 4, "PrecisionSource": source})
    wire.answers = {
        "GET EntityDefinitions.*MoneyAttributeMetadata": column,
        "GET organizations": ok({"value": [{"pricingdecimalprecision": 3}]}),
        "GET transactioncurrencies": ok({"value": currencies}),
        **wire.answers,
    }
    definitions = metadata(wire)
    assert definitions.get(MetadataRequest(amounts=True)).decimals == decimals
    asked = len(wire.requests)
    again = definitions.get(MetadataRequest(amounts=True))
    assert again.decimals == decimals
    assert again.currencies == ({} if source is None else {UUID(int=1): "EUR", UUID(int=2): "JPY"})
    assert (definitions.get().decimals, definitions.get().currencies) == ({}, {})
    assert len(wire.requests) == asked
