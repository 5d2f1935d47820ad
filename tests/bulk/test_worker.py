"""Machines that share a store: who acts as whom, and jobs that are begun, paused and watched from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from connector.bulk.machine import label, shares
from connector.bulk.run.paced_client import LimitsCarryOver
from connector.bulk.status import status_data
from connector.bulk.time_slices import TimeSliceQueue
from connector.clock import SystemClock, VirtualClock
from connector.dataverse.pacing.gate import Gate
from connector.handler import Response
from connector.ledger.jobs import DesiredState, ItemStatus, JobState, WorkerInfo
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import worker_key
from connector.ledger.shared_state import remember
from connector.ledger.store import open_ledger
from tests.bulk import kills
from tests.bulk.dam import Dam, wait_for
from tests.bulk.office import Office
from tests.ledger.rows import rows

WORKER = str(Path(__file__).with_name("quick_worker.py"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
users = st.sets(st.sampled_from([f"app{n}@https://org.example" for n in range(6)]), min_size=1).map(sorted)


def machine(number: int, able: list[str]) -> WorkerInfo:
    return WorkerInfo(number, label(f"host:{number}", able), "", NOW, NOW)


@given(st.lists(users, max_size=6))
def test_every_user_is_given_to_one_machine_that_can_act_as_it(machines: list[list[str]]) -> None:
    given_out = shares([machine(number, able) for number, able in enumerate(machines)])
    assert set(given_out) == {user for able in machines for user in able}
    assert all(user in machines[number] for user, number in given_out.items())


@given(users, st.integers(1, 8))
def test_machines_that_can_act_as_all_users_get_as_many_each(able: list[str], count: int) -> None:
    load = Counter(shares([machine(number, able) for number in range(count)]).values())
    assert max(load.values()) - (min(load.values()) if len(load) == count else 0) <= 1


def test_whoever_else_works_in_the_store_gets_no_share() -> None:
    assert shares([WorkerInfo(1, "host:1", "a job", NOW, NOW)]) == {}


async def nothing(_turn: object) -> None:
    raise AssertionError


def test_the_tables_of_the_queue_are_made_once(postgres_store: str) -> None:
    for _ in range(2):
        TimeSliceQueue(postgres_store, nothing)


def test_a_job_is_paused_and_resumed_from_another_machine(tmp_path: Path, postgres_store: str) -> None:
    with (
        kills.scene(tmp_path, postgres_store, rows=2000, seed=1, users=2, trouble=()) as at,
        Dam(at.emulator.emulator) as dam,
        open_ledger(postgres_store, SystemClock()) as ledger,
    ):
        ledger.create("shared", at.rows(), organization=at.emulator.url)
        workers = [at.start(WORKER) for _ in range(3)]
        try:
            dam.wait()
            wait_for(lambda: at.told("Standing by: other processes act as every user") >= 1)
            ledger.set_desired_state("shared", DesiredState.PAUSE)
            wait_for(lambda: at.told(DesiredState.PAUSE.seen) >= len(ledger.workers("shared")))
            dam.open()
            wait_for(lambda: not ledger.workers("shared"))
            paused = ledger.counts("shared")
            assert paused.of(ItemStatus.CLAIMED) == 0
            assert paused.of(ItemStatus.PENDING) > 0
            assert ledger.job("shared").state is JobState.READY
            ledger.set_desired_state("shared", DesiredState.RUN)
            wait_for(lambda: at.finished(ledger, "shared"))
        finally:
            dam.open()
            for process in workers:
                process.terminate()
            assert [process.wait(kills.PATIENCE) for process in workers] == [0, 0, 0]
        score = kills.Score()
        at.judge(ledger, "shared", score)
        assert score.problems == []
        assert ledger.workers() == []


def test_bulk_run_on_a_shared_store_works_on_its_own_job_alone(tmp_path: Path, postgres_store: str) -> None:
    with (
        kills.scene(tmp_path, postgres_store, rows=100, seed=1, users=2, trouble=()) as at,
        open_ledger(postgres_store, SystemClock()) as ledger,
    ):
        ledger.create("older", at.rows(), organization=at.emulator.url)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "connector",
                "bulk",
                "run",
                str(at.write_rows()),
                "--job",
                "mine",
                "--yes",
                "--json",
            ],
            env=dict(at.env),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=kills.PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["closed"] == 100
        assert ledger.counts("older").of(ItemStatus.PENDING) == 100


def test_a_worker_without_a_shared_store_says_what_to_set(tmp_path: Path) -> None:
    env = {name: text for name, text in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))}
    env |= {"DATAVERSE_URL": f"emulator:{tmp_path}/o.db", "CONNECTOR_STORE": str(tmp_path / "jobs.db")}
    done = subprocess.run(
        [sys.executable, "-m", "connector", "worker"],
        env=env | {"PYTHONPATH": str(kills.ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=kills.PATIENCE,
    )
    assert done.returncode == 2
    assert "postgresql://" in done.stderr


def test_what_a_user_has_used_goes_along_to_the_next_machine(postgres_store: str, office: Office) -> None:
    (client,) = office.connection.clients
    office.run(office.job("june", office.open_ids()[:50]))
    clock = VirtualClock()
    with open_ledger(postgres_store, clock) as ledger:
        LimitsCarryOver(ledger, {"user": client}).keep()
        clock.sleep(7.0)
        heir = Gate(lambda _request: Response(200), clock)
        LimitsCarryOver(ledger, {"user": replace(client, gate=heir)}).begin()
    left, found = client.gate.carried_over(), heir.carried_over()
    assert found["sent"] == left["sent"]
    assert found["requests"] == left["requests"]


def test_the_status_of_a_job_is_that_of_all_who_work_on_it(ledger: Ledger) -> None:
    job = ledger.create("june", rows(10))
    workers = [ledger.enter(f"host:{number}", "june") for number in range(2)]
    told = {
        "binding": "time", "waiting": 3.0, "rate": 10.0, "ceiling": 20.0, "left": 60.0,
        "users": [{"name": "a", "requests": 5}],
    }  # fmt: skip
    remember(ledger, worker_key(workers[0].id), told)
    remember(
        ledger,
        worker_key(workers[1].id),
        {**told, "binding": "count", "waiting": 0.0, "users": [{"name": "b", "requests": 9}]},
    )
    governor = status_data(ledger, job)["governor"]
    assert isinstance(governor, dict)
    assert {name: governor[name] for name in ("binding", "waiting", "rate", "ceiling", "left")} == {
        "binding": "count", "waiting": 0.0, "rate": 20.0, "ceiling": 40.0, "left": 30.0,
    }  # fmt: skip
    assert [client["name"] for client in governor["users"]] == ["a", "b"]
    for worker in workers:
        worker.leave()
    assert status_data(ledger, job)["governor"] is None
