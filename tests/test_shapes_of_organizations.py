"""Organizations of other shapes than the usual one: the whole product on an embedded emulator, its switches turned."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.closing.close import fulfil
from connector.closing.model import Intent, Outcome, Report, ReportStatus
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.policies import authorize
from connector.dataverse.sign_in.auth import Registration, application_tokens
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.custom_logic import LogicContext
from connector.errors import RepeatedUndo
from connector.handler import Request, Response

OPPORTUNITY = UUID("0c000000-0000-4000-8000-000000000001")
WORK_BASED = 192350001


class Desk:
    """An emulated organization with one opportunity of a draft and an active quote, and the way to close it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.embedded: EmbeddedEmulator = open_embedded(":memory:", self.clock, EmulatorOptions(seeded=0))
        self.sent: list[str] = []
        self.has("opportunity", opportunityid=str(OPPORTUNITY), name="One", statecode=0, statuscode=1)
        self.has_quote(1, state=0, status=1)
        self.has_quote(2, state=1, status=2)

    def has(self, table: str, **values: object) -> None:
        self.embedded.emulator.organization.load_rows(table, [values])

    def has_quote(self, number: int, *, state: int, status: int) -> None:
        identity = f"0d000000-0000-4000-8000-00000000000{number}"
        self.has(
            "quote",
            quoteid=identity,
            name=f"Quote {number}",
            quotenumber=f"QUO-{number}",
            opportunityid=str(OPPORTUNITY),
            statecode=state,
            statuscode=status,
        )

    def turn(self, **switches: str) -> None:
        self.embedded.emulator.control.set_switches(switches)

    def fault(self, **fault: object) -> None:
        self.embedded.emulator.control.set_faults([fault])

    def make_work_based(self) -> None:
        store = self.embedded.emulator.organization.store
        store.update("opportunity", str(OPPORTUNITY), {"msdyn_ordertype": WORK_BASED})
        for (quote,) in store.rows("SELECT quoteid FROM quote"):
            store.update("quote", str(quote), {"msdyn_ordertype": WORK_BASED})

    def close(self, *, atomic: bool = True, close_action: str = "", outcome: Outcome = Outcome.WON) -> Report:
        handler = self.embedded.handler
        registration = Registration(self.embedded.client_id, lambda: self.embedded.authority, self.embedded.url)
        tokens = application_tokens(registration, lambda: self.embedded.client_secret, handler, self.clock)

        def noted(request: Request) -> Response:
            self.sent.append(f"{request.method} {request.url}")
            return handler(request)

        organization = DataverseOrganization(
            authorize(noted, tokens, self.embedded.url),
            self.embedded.url,
            clock=self.clock,
            atomic=atomic,
            close_action=close_action,
        )
        return fulfil(organization, Intent(OPPORTUNITY, outcome), pause=self.clock.sleep)

    def states(self) -> list[int]:
        store = self.embedded.emulator.organization.store
        found = store.rows("SELECT statecode FROM opportunity UNION ALL SELECT statecode FROM quote")
        return [int(str(state)) for (state,) in found]

    def closed_twice(self) -> object:
        return self.embedded.emulator.control.closes(more_than=1)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.embedded.close()


def test_close_actions_that_may_not_stand_in_a_change_set_are_called_singly(desk: Desk) -> None:
    desk.turn(actions_in_change_set="refuse")
    report = desk.close()
    assert report.status is ReportStatus.CLOSED
    assert desk.states() == [1, 3, 3]
    assert any("refuses change sets" in warning for warning in report.warnings)
    assert desk.closed_twice() == []


@pytest.mark.parametrize("form", ["json", "html", "empty", "message"])
@pytest.mark.parametrize("status", [404, 405, 415, 501])
def test_an_organization_without_batches_is_served_singly(desk: Desk, status: int, form: str) -> None:
    desk.fault(do="status", status=status, form=form, message="$batch")
    assert desk.close().status is ReportStatus.CLOSED
    assert desk.states() == [1, 3, 3]


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "stepwise"])
@pytest.mark.parametrize("way", ["immediate", "background"])
@pytest.mark.parametrize("outcome", Outcome)
def test_a_project_opportunity_is_closed_at_once_or_by_jobs(
    desk: Desk, way: str, outcome: Outcome, *, atomic: bool
) -> None:
    desk.turn(project_operations=way)
    desk.make_work_based()
    report = desk.close(atomic=atomic, outcome=outcome)
    assert report.status is ReportStatus.CLOSED
    assert desk.states() == [1 if outcome is Outcome.WON else 2, 3, 3]
    assert desk.close(atomic=atomic, outcome=outcome).status is ReportStatus.ALREADY_CLOSED
    assert desk.closed_twice() == []


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "stepwise"])
def test_an_action_of_the_organizations_own_closes_it(desk: Desk, *, atomic: bool) -> None:
    desk.turn(close_opportunity_message="present")
    assert desk.close(atomic=atomic, close_action="CloseOpportunity").status is ReportStatus.CLOSED
    assert desk.states() == [1, 3, 3]


def test_without_that_action_nothing_is_changed(desk: Desk) -> None:
    assert desk.close(close_action="CloseOpportunity").status is ReportStatus.FAILED
    assert desk.states() == [0, 0, 1]


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "stepwise"])
def test_a_plug_in_that_pushes_a_quote_back_to_draft_once_is_overcome(desk: Desk, *, atomic: bool) -> None:
    desk.fault(do="plugin_reverts_quote", message="CloseQuote", record="0d000000-0000-4000-8000-000000000002", nth=1)
    report = desk.close(atomic=atomic)
    assert desk.closed_twice() == []
    if not atomic:  # in a change set the push is rolled back with the rest, so nothing moved and nothing is tried again
        assert report.status is ReportStatus.CLOSED
        assert desk.states() == [1, 3, 3]
    else:
        assert (report.status, report.partial, desk.states()) == (ReportStatus.FAILED, False, [0, 0, 1])


def test_a_key_that_a_plug_in_finds_taken_leaves_the_records_as_they_were(desk: Desk) -> None:
    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == ("WinOpportunity", "pre"):
            context.abort("A record with matching key values already exists.", code="0x80040237", status=412)

    desk.embedded.emulator.organization.world.logic.add(plugin)
    report = desk.close()
    assert (report.status, report.partial, desk.states()) == (ReportStatus.FAILED, False, [0, 0, 1])


def test_a_plug_in_that_pushes_a_quote_back_to_draft_every_time_is_reported_with_what_stands(desk: Desk) -> None:
    desk.fault(do="plugin_reverts_quote", message="CloseQuote", record="0d000000-0000-4000-8000-000000000002")
    report = desk.close(atomic=False)
    assert (report.status, report.partial) == (ReportStatus.FAILED, True)
    assert "QUO-1 is closed" in report.stands
    assert "QUO-2 is draft" in report.stands


def test_what_is_too_much_for_a_change_set_is_done_in_pieces_and_it_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.dataverse.performance.MAX_OPERATIONS", 3)  # it takes four, and 1,000 are a wait
    report = desk.close()
    assert (report.status, desk.states()) == (ReportStatus.CLOSED, [1, 3, 3])
    assert "it was too much for the service at once" in report.warnings[0]


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "stepwise"])
def test_a_close_that_something_undoes_each_time_is_not_done_for_ever(desk: Desk, *, atomic: bool) -> None:
    def plugin(context: LogicContext) -> None:
        if context.message == "WinOpportunity":
            context.update("opportunity", context.record_id, {"statecode": 0, "statuscode": 1})

    plugin.mode = "async"  # type: ignore[attr-defined]
    desk.embedded.emulator.organization.world.logic.add(plugin)
    report = desk.close(atomic=atomic)
    assert isinstance(report.error, RepeatedUndo)
    assert "'s own logic" in report.error.message
    assert report.stands.startswith("When last seen, the opportunity is open")
    assert len([line for line in desk.sent if line.startswith("POST")]) <= 8
