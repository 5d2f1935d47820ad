"""What an instance does from time to time: it survives restarts, and one failure stops nothing else."""

from __future__ import annotations

from collections import Counter
from functools import partial
from urllib.parse import urlsplit

import pytest

from connector.clock import SystemClock
from connector.errors import Broken, LedgerError
from connector.ledger.operation_store import OperationStore
from connector.service.periodic_tasks import PeriodicTask, PeriodicTasks
from tests.service.process import until
from tests.service.stage import Stage

WON = {"outcome": "won"}


@pytest.mark.parametrize("error", [Broken("The organization failed.", status=500), LedgerError("The disk is full.")])
def test_a_task_is_done_at_once_and_in_its_turns_and_one_that_fails_hinders_no_other(error: Exception) -> None:
    done = Counter[str]()

    def fail() -> None:
        done["bad"] += 1
        raise error

    often = (PeriodicTask(name, 0.01, partial(done.update, [name])) for name in ("good", "better"))
    seldom = PeriodicTask("seldom", 600.0, lambda: done.update(["seldom"]))
    periodic_tasks = PeriodicTasks((PeriodicTask("bad", 0.01, fail), *often, seldom), SystemClock())
    periodic_tasks.start()
    until(lambda: min(done["bad"], done["good"], done["better"]) > 2 and done["seldom"])
    assert periodic_tasks.states() == {"bad": "failed", "good": "ok", "better": "ok", "seldom": "ok"}
    periodic_tasks.stop()
    assert done["seldom"] == 1


def test_an_operation_is_forgotten_by_the_next_instance_when_it_has_expired(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client(keep=0.0) as client:
        accepted = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"})
        operation = accepted.json()["operationId"]
        client.post(f"/opportunities/{opportunity}/close", json=WON)  # which waits for its end
    assert OperationStore(stage.ledger).find(operation) is not None
    with stage.client() as client:
        until(lambda: client.get(f"/operations/{operation}").status_code == 404)
        assert client.get(urlsplit(accepted.headers["location"]).path).status_code == 404
    assert stage.ledger.database.rows("SELECT count(*) FROM job") == [(0,)]


def test_an_operation_without_a_result_is_not_forgotten(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client(keep=0.0, workers=0) as client:
        operation = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"}).json()
        assert OperationStore(stage.ledger).delete_expired(10) == 0
        assert client.get(f"/operations/{operation['operationId']}").status_code == 202
