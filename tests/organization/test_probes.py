"""Probes under every combination of the emulator's switches: each answer found, nothing changed anywhere."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest

from connector.closing.bypass import NO_BYPASS, Bypass
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.emulator.limits.faults import plan_of
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.custom_logic import LogicContext
from connector.errors import Forbidden, InputError, ServiceError
from connector.handler import Request, Response
from connector.organization.probes import QUESTIONS, Probes
from connector.organization.safe_requests import NotFailed, RowState, changes
from tests.organization.asked import OPPORTUNITY, Asked

EURO = "00009105-0000-4000-8000-000000000002"


@pytest.fixture(scope="module")
def asked() -> Asked:
    made = Asked(EmulatorOptions(seeded=0))
    made.has_opportunity(0, 1, 1, 0, 3)
    made.store.update("opportunity", str(OPPORTUNITY), {"transactioncurrencyid": EURO})
    return made


def probes(asked: Asked, key: UUID = OPPORTUNITY, bypass: Bypass = NO_BYPASS) -> Probes:
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    return Probes(WebApi(asked.handler, Endpoint(asked.base_url, bypass=bypass)), organization, key)


def told(asked: Asked, bypass: Bypass = NO_BYPASS) -> dict[str, str]:
    """Ask everything, and see that no row of any table is another afterwards."""
    before = asked.everything()
    asking = probes(asked, bypass=bypass)
    state = asking.state()
    answers = {answer.question: answer.value for answer in asking.answers()}
    assert changes(state, asking.state(), OPPORTUNITY) == []
    assert asked.everything() == before
    assert list(answers) == list(QUESTIONS)
    return answers


COMBINATIONS = list(
    product(
        ("active_and_draft", "active", "off"), ("refuse", "accept"), ("accept", "refuse"), ("honor", "ignore"),
        ("accept", "refuse"), ("enforce", "off"),
    )
)  # fmt: skip


@pytest.mark.parametrize("in_set", ["accept", "refuse"])
def test_each_answer_is_found_under_every_combination_of_switches(in_set: str, asked: Asked) -> None:
    control = asked.embedded.emulator.control
    for block, draft, actions, chosen, minus, currency in COMBINATIONS:
        if actions != in_set:
            continue
        control.set_switches(
            {
                "open_quotes_block_close": block, "draft_quote_close": draft, "actions_in_change_set": actions,
                "chosen_activity_id": chosen, "minus_one_status": minus, "revenue_currency": currency,
            }
        )  # fmt: skip
        asked.clock.sleep(300)
        if actions == "refuse":
            expected = dict.fromkeys(QUESTIONS, "unknown") | {"actions_in_set": "refused", "parts": "1000"}
        else:
            expected = {
                "actions_in_set": "accepted",
                "draft_close": "accepted" if draft == "accept" else "refused",
                "drafts_block": "yes" if block == "active_and_draft" else "no",
                "activity_id": "honored" if chosen == "honor" else "ignored",
                "minus_one": "accepted" if minus == "accept" else "refused",
                "other_currency": "refused" if currency == "enforce" else "accepted",
                "close_currency": "unknown",
                "parts": "1000",
            }
        assert told(asked) == expected, (block, draft, actions, chosen, minus, currency)


@pytest.mark.parametrize("code", ["0x80040216", "0x8004f00e", "0x80040233", "0x80040265"])
def test_the_code_that_refuses_a_draft_is_told(code: str) -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)
    asked.embedded.emulator.control.set_switches({"quote_not_active_code": code})
    (answer,) = [answer for answer in probes(asked).answers() if answer.question == "draft_close"]
    assert (answer.value, answer.code) == ("refused", code)


def test_the_currency_of_close_activities_is_read() -> None:
    other = Asked(EmulatorOptions(seeded=0))
    other.has_opportunity(0, 1)
    other.has("opportunity", opportunityid="0c000000-0000-4000-8000-00000000000a", name="x", statecode=1, statuscode=3,
              transactioncurrencyid=EURO)  # fmt: skip
    other.has("opportunityclose", activityid="0e000000-0000-4000-8000-000000000001", statecode=1, statuscode=2,
              opportunityid="0c000000-0000-4000-8000-00000000000a", transactioncurrencyid=EURO)  # fmt: skip
    assert told(other)["close_currency"] == "opportunity"


def test_what_else_stops_the_close_is_no_answer_about_change_sets() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)
    asked.embedded.emulator.control.set_switches({"activation_price_list": "required"})
    answers = told(asked)
    assert (answers["actions_in_set"], answers["drafts_block"], answers["draft_close"]) == ("unknown", "yes", "refused")


def test_logic_of_the_organization_that_refuses_is_told_from_the_platform_and_can_be_left_out() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)

    def plugin(context: LogicContext) -> None:
        if context.message == "WinOpportunity":
            context.abort("Ask your manager first.")

    asked.embedded.emulator.organization.world.logic.add(plugin)
    answers = told(asked)
    assert (answers["actions_in_set"], answers["drafts_block"], answers["draft_close"]) == ("logic", "logic", "refused")
    assert told(asked, Bypass(("sync",)))["actions_in_set"] == "accepted"


@pytest.mark.parametrize(
    ("states", "state", "words"),
    [
        ((0, 1), 1, "is won, not open"),
        ((0, 1), 2, "is lost, not open"),
        ((1,), 0, "has no draft quote"),
        ((0,), 0, "has no active quote"),
        ((), 0, "has no draft quote"),
    ],
)
def test_an_opportunity_that_cannot_be_asked_on_is_refused_in_a_sentence(
    states: tuple[int, ...], state: int, words: str
) -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(*states, state=state)
    before = asked.everything()
    with pytest.raises(InputError, match=words) as refused:
        probes(asked)
    assert refused.value.remedy
    assert asked.everything() == before
    assert not any(request.method == "PATCH" for request in asked.sent)


def test_somebody_elses_opportunity_is_refused_and_nothing_changes() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)
    with pytest.raises(InputError, match="There is no opportunity"):
        probes(asked, UUID(int=5))
    asked.limit_user(depths={"prvWriteQuote": "Basic", "prvWriteOpportunity": "Basic"})
    before = asked.everything()
    asking = probes(asked)
    with pytest.raises(Forbidden):
        list(asking.answers())
    assert asked.everything() == before


def test_whoever_may_close_may_ask_all_but_what_needs_more() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)
    usual = told(asked)
    asked.limit_user(role="Opportunity Closer")
    assert told(asked) == usual | {"activity_id": "unknown"}


def test_a_change_of_any_row_would_show() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    quotes = asked.has_opportunity(0, 1)
    asking = probes(asked)
    before = asking.state()
    asked.store.update("quote", quotes[0], {"name": "touched"})
    (change,) = changes(before, asking.state(), OPPORTUNITY)
    assert change.text.startswith(f"quote {quotes[0]} was version ")
    (gone,) = changes({"quote 1": RowState("x")}, {}, OPPORTUNITY)
    assert gone.text == "quote 1 was x and is not there; who wrote it last is not known."
    assert not gone.by_others


def test_trouble_that_passes_is_no_answer() -> None:
    trouble = plan_of({"seed": 1, "faults": [{"do": "deadlock", "message": "WinOpportunity", "nth": 1}]})
    asked = Asked(EmulatorOptions(seeded=0, faults=trouble))
    asked.has_opportunity(0, 1)
    before = asked.everything()
    with pytest.raises(ServiceError) as failure:
        list(probes(asked).answers())
    assert failure.value.transient
    assert asked.everything() == before
    assert told(asked)["actions_in_set"] == "accepted"


def test_a_set_that_did_not_fail_is_told_at_once() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)
    handler = asked.handler

    def agreeing(request: Request) -> Response:
        """Do what is asked but the last part, as no organization should."""
        response = handler(request)
        if not request.url.endswith("$batch") or b"changeset" not in request.body:
            return response
        count = request.body.count(b"Content-ID")
        parts = "".join(
            f"--c\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n"
            for number in range(1, count + 1)
        )
        body = f'--b\r\nContent-Type: multipart/mixed; boundary="c"\r\n\r\n{parts}--c--\r\n\r\n--b--\r\n'
        return Response(200, (("Content-Type", 'multipart/mixed; boundary="b"'),), body.encode())

    organization = DataverseOrganization(handler, asked.base_url, clock=asked.clock)
    asking = Probes(WebApi(agreeing, Endpoint(asked.base_url)), organization, OPPORTUNITY)
    with pytest.raises(NotFailed, match="may have been done"):
        list(asking.answers())
