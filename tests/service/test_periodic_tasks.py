"""What an instance does from time to time: it survives restarts, and one failure stops nothing else."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from connector.clock import VirtualClock
from connector.errors import Broken, LedgerError
from connector.ledger.operation_store import OperationStore
from connector.service.periodic_tasks import PeriodicTask, PeriodicTasks
from tests.service.stage import Stage

WON = {"outcome": "won"}


def test_a_chore_is_done_at_once_and_then_in_its_turn() -> None:
    clock, done = VirtualClock(), list[str]()
    periodic_tasks = PeriodicTasks(
        (
            PeriodicTask("often", 2.0, lambda: done.append("often")),
            PeriodicTask("seldom", 60.0, lambda: done.append("seldom")),
        ),
        clock,
    )
    for _ in range(31):
        periodic_tasks.round()
        clock.advance(2.0)
    assert (done.count("often"), done.count("seldom")) == (31, 2)


@pytest.mark.parametrize("error", [Broken("The organization failed.", status=500), LedgerError("The disk is full.")])
def test_a_chore_that_fails_is_tried_at_its_next_turn_and_hinders_no_other(error: Exception) -> None:
    clock, done = VirtualClock(), list[str]()

    def fail() -> None:
        done.append("failed")
        raise error

    periodic_tasks = PeriodicTasks(
        (PeriodicTask("bad", 10.0, fail), PeriodicTask("good", 10.0, lambda: done.append("good"))), clock
    )
    periodic_tasks.round()
    periodic_tasks.round()
    clock.advance(10.0)
    periodic_tasks.round()
    assert done == ["failed", "good"] * 2


def test_an_operation_is_forgotten_by_the_next_instance_when_it_has_expired(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client(keep=0.0) as client:
        accepted = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"})
        operation = accepted.json()["operationId"]
        client.post(f"/opportunities/{opportunity}/close", json=WON)  # which waits for its end
    assert OperationStore(stage.ledger).find(operation) is not None
    with stage.client() as client:
        cast("FastAPI", client.app).state.periodic_tasks.round()
        assert client.get(f"/operations/{operation}").status_code == 404
        assert client.get(urlsplit(accepted.headers["location"]).path).status_code == 404
    assert stage.ledger.database.rows("SELECT count(*) FROM job") == [(0,)]


def test_an_operation_without_a_result_is_not_forgotten(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client(keep=0.0, workers=0) as client:
        operation = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"}).json()
        cast("FastAPI", client.app).state.periodic_tasks.round()
        assert client.get(f"/operations/{operation['operationId']}").status_code == 202
