from __future__ import annotations

from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.closing.model import Plan, Step, StepKind, StepStatus
from connector.closing.organization import Organization
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.errors import SettingsError
from connector.handler import Handler
from tests.dataverse.wire import BASE, NO_CONTENT, organization, refused


def connected(
    handler: Handler, *, close_action: str = "", atomic: bool = True, batch_size: int = 10
) -> DataverseOrganization:
    return DataverseOrganization(
        handler, BASE + "/", clock=VirtualClock(), close_action=close_action, atomic=atomic, batch_size=batch_size
    )


def deletion(number: int) -> Plan:
    step = Step(StepKind.DELETE_QUOTE, "quote", UUID(int=number), "", 'W/"1"', "Delete")
    return Plan(UUID(int=number), (step,), "")


def test_it_is_what_closing_asks_of_an_organization() -> None:
    verbs: Organization = connected(organization())
    assert verbs.metadata().quote_statuses
    assert verbs.observe([]) == {}
    assert list(verbs.perform([])) == []


@pytest.mark.parametrize("name", ["Close Opportunity", "x'y", "../x", "1st", "\u00e4"])
def test_what_cannot_be_the_name_of_an_action_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="name of an action"):
        connected(organization(), close_action=name)


@pytest.mark.parametrize(("messages", "times"), [([], 0), (["new_Close"], 0), (["msdyn_CloseQuoteAsWon"], 2)])
def test_the_order_type_is_asked_for_where_project_operations_is(messages: list[str], times: int) -> None:
    wire = organization(*messages)
    wire.answers["GET opportunities"] = refused(404, "0x80040217")
    assert connected(wire, close_action="new_Close").observe([UUID(int=1)]) == {}
    assert wire.requests[-1].url.count("msdyn_ordertype") == times


def test_an_opportunity_asked_for_twice_is_read_once() -> None:
    wire = organization()
    wire.answers["GET opportunities"] = refused(404, "0x80040217")
    connected(wire).observe([UUID(int=1), UUID(int=1)])
    assert wire.lines()[-1] == f"GET opportunities({UUID(int=1)})"


def test_plans_go_out_in_batches_of_the_set_size() -> None:
    wire = organization()
    wire.answers[r"POST \$batch"] = refused(429)
    results = connected(wire, batch_size=2).perform([deletion(number) for number in range(5)])
    assert [some[0].status for some in results] == [StepStatus.FAILED] * 5
    assert [request.body.count(b"DELETE") for request in wire.requests] == [2, 2, 1]


def test_an_organization_that_refuses_batches_is_no_longer_atomic() -> None:
    wire = organization()
    wire.answers[r"POST \$batch"] = refused(405)
    wire.answers["DELETE"] = NO_CONTENT
    org = connected(wire, batch_size=2)
    assert org.atomic
    results = org.perform([deletion(number) for number in range(5)])
    assert [some[0].status for some in results] == [StepStatus.DONE] * 5
    assert wire.lines().count("POST $batch") == 1
    assert not org.atomic
