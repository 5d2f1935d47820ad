"""What the endpoint depends on goes silent, one after the other: it answers, others are unharmed, and it recovers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connector.clock import SystemClock
from connector.emulator.identity.keys import Keys
from connector.errors import LedgerError, SignInError
from connector.handler import Request, Response
from connector.ledger.operation_store import OperationStore
from connector.ledger.store import open_ledger
from connector.ledger.subscriptions import SubscriptionStore
from connector.service.operations.waiting import DaemonExecutor
from connector.service.schemas.request_models import SubscribeBody
from connector.service.webhooks.delivery_worker import DeliveryWorker, asked_pause
from connector.service.webhooks.subscription_service import PLATFORM_HOSTS, SubscriptionService
from connector.service.webhooks.trigger import DESTINATIONS
from tests.ledger.conftest import postgres_server, postgres_store
from tests.service.entra import Entra
from tests.service.process import serving, until
from tests.service.relay import Relay, relayed
from tests.service.stage import Stage
from tests.service.test_sign_in import served, signed_in

__all__ = ["postgres_server", "postgres_store"]  # pytest finds them here

WON = {"outcome": "won"}
ALWAYS = 100.0
"""Seconds within which every request is answered."""
PROBE = 3.0


@contextmanager
def relayed_store(store: str) -> Iterator[tuple[Relay, str]]:
    """Put a relay in front of a PostgreSQL store, and give the store's address through it."""
    parts = urlsplit(store)
    folder = parse_qs(parts.query)["host"][0]
    with relayed(Path(folder) / ".s.PGSQL.5432") as relay:
        yield relay, f"postgresql://postgres:@127.0.0.1:{relay.port}{parts.path}"


def state_of(client: Any) -> Any:
    return client.app.state


def seconds(call: Any) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_store_that_swallows_everything_fails_a_call_and_serves_the_next_when_it_is_back(postgres_store: str) -> None:
    with (
        relayed_store(postgres_store) as (relay, address),
        open_ledger(address, SystemClock(), patience=1.0) as ledger,
    ):
        operations = OperationStore(ledger)
        assert operations.unfinished() == 0
        relay.silent = True
        with pytest.raises(LedgerError, match="cannot be reached") as caught:
            operations.unfinished()
        assert caught.value.transient
        relay.silent = False
        assert operations.unfinished() == 0


def test_with_a_silent_store_every_request_is_answered_and_work_goes_on_when_it_is_back(
    tmp_path: Path, emulator_keys: Keys, postgres_store: str
) -> None:
    with relayed_store(postgres_store) as (relay, address):
        stage = Stage(tmp_path, keys=emulator_keys, store=address)
        opportunity = stage.opportunity(1, 2)
        with stage.client() as client:
            assert client.get("/readyz").status_code == 200
            accepted = client.post(f"/opportunities/{stage.opportunity(1)}/close", json=WON)
            assert accepted.status_code == 200
            relay.silent = True
            answers: list[tuple[Any, float]] = []

            def ask(method: str, path: str, body: object) -> None:
                answers.append(seconds(lambda: client.request(method, path, json=body)))

            asked = [
                threading.Thread(target=ask, args=one)
                for one in (
                    ("POST", f"/opportunities/{opportunity}/close", WON),
                    ("GET", f"/operations/{accepted.json()['operationId']}", None),
                    ("GET", "/operations", None),
                    ("GET", "/operations-page", None),
                )
            ]
            for thread in asked:
                thread.start()
            assert seconds(lambda: client.get("/healthz").status_code) < (201, PROBE)
            time.sleep(10.5)  # what a probe has found counts for ten seconds
            probe, took = seconds(lambda: client.get("/readyz"))
            assert (probe.status_code, probe.json()["checks"]["store"] != "ok", took < PROBE) == (503, True, True)
            for thread in asked:
                thread.join()
            assert {answer.status_code for answer, _ in answers} == {503}
            assert max(took for _, took in answers) < ALWAYS
            relay.silent = False
            until(lambda: client.get("/readyz").status_code == 200, 30)
            done = client.post(f"/opportunities/{opportunity}/close", json=WON)
            assert (done.status_code, done.json()["result"]) == (200, "closed")
        stage.close()


def test_a_process_with_a_silent_store_stops_in_time(tmp_path: Path, postgres_store: str) -> None:
    with relayed_store(postgres_store) as (relay, address):
        secret = {"CONNECTOR_SERVICE_SECRET": "what instances share, long enough"}
        with serving(tmp_path, CONNECTOR_STORE=address, **secret) as process:
            relay.silent = True
            process.popen.send_signal(signal.SIGTERM)
            process.popen.wait(20)


def test_a_silent_key_server_delays_nobody_whose_key_is_known(stage: Stage) -> None:
    entra = Entra(SystemClock())
    with served(stage, entra) as client:
        assert client.get("/connection", headers=signed_in(entra)).status_code == 200
        entra.silent = threading.Event()
        state_of(client).keys._fetches.clear()  # as a minute later
        unknown = threading.Thread(
            target=lambda: client.get(
                "/connection", headers={"authorization": f"Bearer {entra.token(kid='k9', signer='k1')}"}
            )
        )
        unknown.start()
        until(lambda: len(entra.asked) == 2)
        for _ in range(20):
            answer, took = seconds(lambda: client.get("/connection", headers=signed_in(entra)))
            assert (answer.status_code, took < PROBE) == (200, True)
        unknown.join()
        entra.silent.set()


def test_a_silent_organization_is_answered_for_and_probes_go_on(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    stage.gate = threading.Event()
    try:
        with stage.client(deadline=1.0) as client:
            for path in (f"/opportunities/{opportunity}", "/connection", "/status-reasons?outcome=won"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "organization_slow")
                assert "Retry-After" in answer.headers
            running = client.post(f"/opportunities/{opportunity}/close", json=WON)
            assert (running.status_code, running.headers["Retry-After"] != "") == (202, True)
            assert client.get("/readyz").status_code == 200
            stage.gate.set()
            until(lambda: client.get(f"/operations/{running.json()['operationId']}").status_code == 200)
    finally:
        stage.gate.set()


class Callbacks:
    """The destinations: those in `hanging` answer when they are let go, the others at once."""

    def __init__(self, hanging: set[str]) -> None:
        self.hanging = hanging
        self.let_go = threading.Event()
        self.taken: list[str] = []

    def __call__(self, request: Request) -> Response:
        if request.url in self.hanging:
            self.let_go.wait(60)
            return Response(503)
        self.taken.append(request.url)
        return Response(202)


def test_subscribers_are_told_though_others_hang(tmp_path: Path) -> None:
    clock, count, hanging = SystemClock(), 300, 50
    callbacks = [f"https://prod-{number}.westeurope.logic.azure.com/{number}" for number in range(count)]
    network = Callbacks(set(callbacks[:hanging]))
    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        store = SubscriptionStore(ledger.database)
        secret = b"a secret of at least some bytes, thirty-two"
        service = SubscriptionService(store, secret, clock, Random(7).randbytes, PLATFORM_HOSTS)
        executors = DaemonExecutor(DESTINATIONS, "fast"), DaemonExecutor(4, "slow")
        worker = DeliveryWorker(service, network, secret, clock, PLATFORM_HOSTS, *executors)
        for callback in callbacks:
            subscribed = service.subscribe("owner", "tenant", SubscribeBody.model_validate({"callbackUrl": callback}))
            sealed = service._seal.close("{}", f"{subscribed.id}.event", Random(7).randbytes(12))
            store.add_delivery(subscribed.id, "event", sealed, clock.now().timestamp())
        begun = worker.round()
        until(lambda: len(network.taken) == count - hanging)
        assert worker.busy, "the others still hang"
        network.let_go.set()
        assert sum(future.result(60) for future in begun) == count - hanging


@pytest.mark.parametrize(
    "value",
    ["Mon, 01 Jan 99999999999 00:00:00 GMT", "9" * 5000, "-1", "nan", "1e400", "\u0661\u0662", "Mon, 99 Foo 2026", "Fri", ""],
)  # fmt: skip
def test_whatever_a_callback_calls_a_time_a_pause_comes_of_it(value: str) -> None:
    pause = asked_pause(Response(503, (("Retry-After", value),)), SystemClock().now())
    assert 0 <= pause <= 86400


def test_a_task_that_dies_is_started_again_and_shows_in_readiness(stage: Stage) -> None:
    with stage.client() as client:
        tasks = state_of(client).periodic_tasks
        task = tasks._tasks[0]

        tasks._threads[task] = dead = threading.Thread(target=str)
        dead.start()
        dead.join()
        probe = client.get("/readyz").json()
        assert (probe["status"], probe["checks"]["tasks"]) == ("degraded", {task.name: "restarted"})
        assert tasks._threads[task].is_alive()
        until(lambda: client.get("/readyz").json()["checks"]["tasks"] == "ok")


def test_sign_in_that_fails_is_told_beside_and_takes_no_instance_out(stage: Stage) -> None:
    def fail() -> None:
        raise SignInError("The sign-in service does not answer.")

    stage.check = fail
    with served(stage, Entra(SystemClock())) as client:
        until(lambda: client.get("/readyz").json()["checks"]["sign_in"] == "SignInError")
        probe = client.get("/readyz")
        assert (probe.status_code, probe.json()["status"]) == (200, "degraded")
