"""What the endpoint depends on goes silent, one after the other: it answers, others are unharmed, and it recovers."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from starlette.testclient import TestClient

from connector.clock import SystemClock, VirtualClock
from connector.emulator.identity.keys import Keys
from connector.errors import LedgerError, SignInError
from connector.handler import Request, Response
from connector.ledger.ledger import Ledger
from connector.ledger.operation_store import OperationStore
from connector.ledger.store import open_ledger
from connector.ledger.subscriptions import SubscriptionStore
from connector.service import health
from connector.service.app import create_app
from connector.service.auth.caller import Caller
from connector.service.auth.token_validator import KeyNotCached, SigningKeys
from connector.service.dependencies import Dependencies
from connector.service.operations import worker_pool
from connector.service.operations.status_links import Seal
from connector.service.operations.waiting import TENANT_SHARE, DaemonExecutor
from connector.service.schemas.request_models import SubscribeBody
from connector.service.service_options import Access
from connector.service.webhooks.closed_elsewhere import ChangedOpportunities, ChangeTracker
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.delivery_worker import DeliveryWorker, asked_pause
from connector.service.webhooks.subscription_service import PLATFORM_HOSTS, SubscriptionService
from connector.service.webhooks.trigger import DESTINATIONS
from tests.ledger.conftest import postgres_server, postgres_store
from tests.service.entra import ADMISSION, OTHER_TENANT, TENANT, Entra
from tests.service.flow_engine import call
from tests.service.process import serving, until
from tests.service.relay import Relay, relayed
from tests.service.stage import OPTIONS, Stage, StageAccess
from tests.service.test_sign_in import URL, served, signed_in

__all__ = ["postgres_server", "postgres_store"]  # pytest finds them here

WON = {"outcome": "won"}
ALWAYS = 100.0
"""Seconds within which every request is answered."""
HUNG = 600.0
"""Seconds for which something is silent, if no test lets it go: longer than any machine takes for what is beside it."""
PROBE = 18.0
"""Less than what is silent would take; a busy machine needs seconds of its own."""


@contextmanager
def relayed_store(store: str) -> Iterator[tuple[Relay, str]]:
    """Put a relay in front of a PostgreSQL store, and give the store's address through it."""
    parts = urlsplit(store)
    folder = parse_qs(parts.query)["host"][0]
    with relayed(Path(folder) / ".s.PGSQL.5432") as relay:
        yield relay, f"postgresql://postgres:@127.0.0.1:{relay.port}{parts.path}"


def state_of(client: Any) -> Any:
    return client.app.state


def wait_at_most(ledger: Ledger, seconds: float) -> None:
    """Have each answer of the ledger's server waited for so long from now on."""
    database: Any = ledger.database
    database._patience = seconds
    if database._connection is not None:
        database._connection.patience = seconds


def seconds(call: Any) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_store_that_swallows_everything_fails_a_call_and_serves_the_next_when_it_is_back(postgres_store: str) -> None:
    with relayed_store(postgres_store) as (relay, address), open_ledger(address, SystemClock()) as ledger:
        operations = OperationStore(ledger)
        assert operations.unfinished() == 0
        relay.silent = True
        wait_at_most(ledger, 0.5)
        with pytest.raises(LedgerError, match="cannot be reached") as caught:
            operations.unfinished()
        assert caught.value.transient
        relay.silent = False
        wait_at_most(ledger, ALWAYS)
        assert operations.unfinished() == 0


def test_a_store_that_can_only_be_read_is_connected_to_anew_by_each_call(postgres_store: str) -> None:
    database = urlsplit(postgres_store).path.removeprefix("/")
    with (
        open_ledger(postgres_store, SystemClock()) as ledger,
        psycopg.connect(postgres_store, autocommit=True) as other,
    ):
        operations = OperationStore(ledger)
        other.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
        with ledger.database.transaction() as transaction:
            transaction.run("SET default_transaction_read_only = on")
        for _ in range(2):
            with pytest.raises(LedgerError, match="can only be read now") as caught:
                operations.probe()
            assert caught.value.transient
        other.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
        with suppress(LedgerError):  # this connection was made before
            operations.probe()
        operations.probe()


def test_with_a_silent_store_every_request_is_answered_and_work_goes_on_when_it_is_back(
    tmp_path: Path, emulator_keys: Keys, postgres_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH", 0.0)  # what a probe has found counts for this probe only
    monkeypatch.setattr(health, "PROBE_SECONDS", 2.0)
    with relayed_store(postgres_store) as (relay, address):
        stage = Stage(tmp_path, keys=emulator_keys, store=address)
        opportunity = stage.opportunity(1, 2)
        with stage.client() as client:
            until(lambda: client.get("/readyz").status_code == 200)
            accepted = client.post(f"/opportunities/{stage.opportunity(1)}/close", json=WON)
            assert accepted.status_code == 200
            relay.silent = True
            wait_at_most(stage.ledger, 1.0)
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
            alive, took = seconds(lambda: client.get("/healthz"))
            assert (alive.status_code, took < PROBE) == (200, True)
            probe, took = seconds(lambda: client.get("/readyz"))
            assert (probe.status_code, probe.json()["checks"]["store"] != "ok", took < PROBE) == (503, True, True)
            for thread in asked:
                thread.join()
            assert {answer.status_code for answer, _ in answers} == {503}
            assert max(took for _, took in answers) < ALWAYS
            relay.silent = False
            wait_at_most(stage.ledger, ALWAYS)
            until(lambda: client.get("/readyz").status_code == 200)
            done = client.post(f"/opportunities/{opportunity}/close", json=WON)
            # What was answered 503 while it waited for the store is done when that is back: then this one finds it closed.
            assert (done.status_code, done.json()["result"] in {"closed", "already_closed"}) == (200, True)
            assert stage.state(opportunity) == (1, [3, 3], 1, 2)
        stage.close()


def test_a_process_with_a_silent_store_stops_in_time(tmp_path: Path, postgres_store: str) -> None:
    with relayed_store(postgres_store) as (relay, address):
        secret = {"CONNECTOR_SERVICE_SECRET": "what instances share, long enough"}
        with serving(tmp_path, CONNECTOR_STORE=address, **secret) as process:
            relay.silent = True
            process.popen.send_signal(signal.SIGTERM)
            process.popen.wait(ALWAYS)


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
            until(lambda: client.get("/readyz").status_code == 200)
            stage.gate.set()
            until(lambda: client.get(f"/operations/{running.json()['operationId']}").status_code == 200)
    finally:
        stage.gate.set()


class Gate(Event):
    """A gate that tells when somebody stands before it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.reached.set()
        return super().wait(timeout)


def test_who_is_cut_off_at_the_end_of_the_process_is_told_to_send_it_again(stage: Stage) -> None:
    stage.gate = gate = Gate()
    app = create_app(replace(OPTIONS, workers=0), stage.dependencies())

    async def play() -> Any:
        asking = asyncio.create_task(call(app, "GET", f"/opportunities/{stage.opportunity()}", {}, None))
        assert await asyncio.to_thread(gate.reached.wait, ALWAYS)
        asking.cancel()
        return await asking

    try:
        answer = asyncio.run(play())
    finally:
        gate.set()
    assert (answer.status, answer.json["error"]["code"]) == (503, "too_slow")


def two_tenants(stage: Stage, entra: Entra, silent: Event) -> Dependencies:
    """Return what an endpoint for two tenants needs; the organization of the first says nothing before it is let go."""
    theirs = stage.dependencies()

    def organization(caller: Caller) -> Any:
        if caller.tenant_id == TENANT:
            silent.wait(HUNG)
        return stage.organization

    access = replace(cast("StageAccess", theirs.organizations), organization=organization)
    return replace(theirs, organizations=access, keys_http=entra.http)


def of_tenant(entra: Entra, tenant: str) -> dict[str, str]:
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    return {"authorization": f"Bearer {entra.token(tid=tenant, iss=issuer)}"}


def test_one_silent_tenant_takes_neither_all_workers_nor_all_threads_from_the_others(stage: Stage) -> None:
    entra, let_go = Entra(SystemClock()), threading.Event()
    tenants = {TENANT: "https://org.crm4.dynamics.com", OTHER_TENANT: "https://other.crm4.dynamics.com"}
    admission = replace(ADMISSION, access=Access.APPLICATION, tenants=tenants)
    options = replace(OPTIONS, admission=admission, public_url=URL, deadline=1.0, workers=2)
    app = create_app(options, two_tenants(stage, entra, let_go))
    ours, theirs = of_tenant(entra, TENANT), of_tenant(entra, OTHER_TENANT)
    try:
        with TestClient(app, base_url=URL, client=("192.0.2.7", 50000)) as client:
            for _ in range(4):  # more than there are workers
                accepted = client.post(
                    f"/opportunities/{stage.opportunity()}/close", json=WON | {"mode": "accept"}, headers=ours
                )
                assert accepted.status_code == 202
            asked = [
                threading.Thread(target=client.get, args=("/connection",), kwargs={"headers": ours})
                for _ in range(TENANT_SHARE)
            ]
            for thread in asked:
                thread.start()
            for thread in asked:
                thread.join()
            refused = client.get("/connection", headers=ours)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "organization_slow")
            assert "Retry-After" in refused.headers
            until(lambda: client.get("/connection", headers=theirs).status_code == 200)
            done = client.post(
                f"/opportunities/{stage.opportunity(1)}/close", json=WON, headers={**theirs, "prefer": "wait=60"}
            )
            assert done.status_code in (200, 202)
            until(lambda: client.get(f"/operations/{done.json()['operationId']}", headers=theirs).status_code == 200)
            assert client.get("/operations", headers=ours).status_code == 200
            let_go.set()
            until(lambda: client.get("/connection", headers=ours).status_code == 200)
    finally:
        let_go.set()


def test_operations_that_hang_leave_their_places_to_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "SLOW", 0.2)
    let_go, dependencies, workers = threading.Event(), stage.dependencies(), 2
    hanging = iter([True] * (worker_pool.SPARE - 1) * workers)

    def organization(_caller: Caller) -> Any:
        if next(hanging, False):
            let_go.wait(HUNG)
        return stage.organization

    access = replace(cast("StageAccess", dependencies.organizations), organization=organization)
    app = create_app(replace(OPTIONS, workers=workers), replace(dependencies, organizations=access))
    try:
        with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
            hung = [
                client.post(f"/opportunities/{stage.opportunity()}/close", json=WON | {"mode": "accept"}).json()
                for _ in range((worker_pool.SPARE - 1) * workers)
            ]
            assert client.post(f"/opportunities/{stage.opportunity(1)}/close", json=WON).status_code == 200
            let_go.set()
            until(lambda: all(client.get(f"/operations/{one['operationId']}").status_code == 200 for one in hung))
    finally:
        let_go.set()


def test_what_could_not_be_written_down_is_looked_at_again_when_the_store_is_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_pool, "OUTAGE_PAUSE", 0.1)
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        stage.gate = Event()
        made = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"}).json()["operationId"]
        until(lambda: client.get(f"/operations/{made}").json()["status"] == "running")
        stage.ledger.database.rows("PRAGMA query_only = ON")
        stage.gate.set()
        until(lambda: "goes on when the store can be used again" in caplog.text)
        stage.ledger.database.rows("PRAGMA query_only = OFF")
        until(lambda: client.get(f"/operations/{made}").status_code == 200)
        assert client.get(f"/operations/{made}").json()["result"] == "closed"
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_a_row_that_cannot_be_read_ends_no_thread_and_shows_in_readiness(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "OUTAGE_PAUSE", 0.1)
    path, columns = f"/opportunities/{stage.opportunity(1)}/close", WON | {"mode": "accept"}
    with stage.client() as client:
        stage.gate = Event()
        client.post(path, json=columns)
        waiting = client.post(path, json=columns | {"idempotencyKey": "next"}).json()["operationId"]
        write = "UPDATE job SET options = ? WHERE name = ?"
        ((options,),) = stage.ledger.database.rows("SELECT options FROM job WHERE name = ?", (waiting,))
        stage.ledger.database.rows(write, ("{", waiting))
        stage.gate.set()
        until(lambda: client.get("/readyz").json()["checks"]["work"] == "stopped")
        stage.ledger.database.rows(write, (options, waiting))
        until(lambda: client.get(f"/operations/{waiting}").status_code == 200)
        assert client.get("/readyz").json()["checks"]["work"] == "ok"


def test_a_silent_organization_keeps_no_other_from_being_asked_what_has_changed(tmp_path: Path) -> None:
    clock, let_go, asked = SystemClock(), threading.Event(), list[str]()

    def changes(tenant: str, token: str | None) -> ChangedOpportunities:
        asked.append(tenant)
        if tenant == "silent":
            let_go.wait(HUNG)
        return ChangedOpportunities([], token or "now")

    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        store = SubscriptionStore(ledger.database)
        service = SubscriptionService(store, b"s" * 32, clock, Random(7).randbytes, PLATFORM_HOSTS)
        body = SubscribeBody.model_validate({"callbackUrl": "https://prod-1.westeurope.logic.azure.com/1"})
        for tenant in ("silent", "other"):
            service.subscribe("owner", tenant, body)
        notifier = Notifier(service, lambda _tenant: cast("Any", None), Seal(b"s" * 32), clock, Random(7).randbytes)
        tracker = ChangeTracker(service, notifier, changes, clock)
        round_ = threading.Thread(target=tracker.round)
        round_.start()
        until(lambda: store.change_token("other") == "now" and sorted(asked) == ["other", "silent"])
        let_go.set()
        round_.join()
        assert store.change_token("silent") == "now"


def test_for_ten_minutes_without_an_answer_of_the_key_server_known_callers_wait_for_nothing() -> None:
    clock, entra = VirtualClock(), Entra(VirtualClock())
    keys = SigningKeys(entra.http, "https://login.microsoftonline.com", clock)
    keys.fetch(TENANT)
    for since in (0.0, 86400.0 + 1000):  # while they are fresh, and when they should be renewed
        clock.sleep(since)
        entra.silent = threading.Event()
        for _ in range(10):
            began = time.monotonic()
            assert keys.find(TENANT, "k1") is not None
            with suppress(KeyNotCached):
                keys.find(TENANT, "junk")
            assert time.monotonic() - began < PROBE
            threading.Thread(target=keys.fetch, args=(TENANT,), daemon=True).start()
            clock.sleep(60)
        entra.silent.set()


class Callbacks:
    """The destinations: those in `hanging` answer when they are let go, the others at once."""

    def __init__(self, hanging: set[str]) -> None:
        self.hanging = hanging
        self.let_go = threading.Event()
        self.taken: list[str] = []

    def __call__(self, request: Request) -> Response:
        if request.url in self.hanging:
            self.let_go.wait(HUNG)
            return Response(503)
        self.taken.append(request.url)
        return Response(202)


def test_subscribers_are_told_though_others_hang(tmp_path: Path) -> None:
    clock, count, hanging = SystemClock(), 1_000, 50
    callbacks = [f"https://prod-{number}.westeurope.logic.azure.com/{number}" for number in range(count)]
    network = Callbacks(set(callbacks[:hanging]))
    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        store = SubscriptionStore(ledger.database)
        secret = b"a secret of at least some bytes, thirty-two"
        service = SubscriptionService(store, secret, clock, Random(7).randbytes, PLATFORM_HOSTS)
        executors = DaemonExecutor(DESTINATIONS, "fast"), DaemonExecutor(4, "slow")
        worker = DeliveryWorker(service, network, Seal(secret), clock, PLATFORM_HOSTS, *executors)
        for callback in callbacks:
            subscribed = service.subscribe("owner", "tenant", SubscribeBody.model_validate({"callbackUrl": callback}))
            sealed = Seal(secret).close("{}", f"{subscribed.id}.event", Random(7).randbytes(12))
            store.add_delivery(subscribed.id, "event", sealed, clock.now().timestamp())
        begun = worker.round()
        until(lambda: len(network.taken) == count - hanging, HUNG)
        assert worker.busy, "the others still hang"
        network.let_go.set()
        assert sum(future.result(HUNG) for future in begun) == count - hanging


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
        until(lambda: client.get("/readyz").json()["checks"]["sign_in"] == "failed")
        probe = client.get("/readyz")
        assert (probe.status_code, probe.json()["status"]) == (200, "degraded")
