"""Several instances on one PostgreSQL store: a request may reach any of them, and any of them may die."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections import Counter
from pathlib import Path

import psycopg

from connector.clock import SystemClock, VirtualClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.faults import Fault, FaultPlan, Faults
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.store import open_ledger
from connector.service.webhooks.subscription_service import LASTS
from tests.closing.small_organization import START
from tests.ledger.conftest import postgres_server, postgres_store
from tests.service.process import Process, Told, polled, serving, until
from tests.service.test_subscriptions import CALLBACK, Room, delivered

__all__ = ["postgres_server", "postgres_store"]  # pytest finds them here

KEY = "a-key-of-some-length"
WON = {"outcome": "won"}
SIGNED_IN = {"x-api-key": KEY}


def given(emulated: ServedEmulator, store: str) -> dict[str, str]:
    """Return the settings that instances share."""
    return {
        "DATAVERSE_URL": emulated.url,
        "DATAVERSE_CA_FILE": str(emulated.ca_file),
        "DATAVERSE_CLIENT_ID": emulated.client_id,
        "DATAVERSE_CLIENT_SECRET": emulated.client_secret,
        "CONNECTOR_STORE": store,
        "CONNECTOR_SERVICE_SECRET": "what the instances of one endpoint share",
        "CONNECTOR_SERVICE_ACCESS": "by_caller",
        "CONNECTOR_SERVICE_TENANTS": emulated.tenant_id,
        "CONNECTOR_SERVICE_AUDIENCES": "api://close.contoso.com",
        "CONNECTOR_SERVICE_CLIENTS": emulated.client_id,
        "CONNECTOR_SERVICE_PUBLIC_URL": "https://close.contoso.com",
        "CONNECTOR_SERVICE_API_KEYS": f"trial:{hashlib.sha256(KEY.encode()).hexdigest()}",
    }


def found(emulated: ServedEmulator, query: str) -> list[str]:
    with emulated.emulator.lock:
        return [str(row[0]) for row in emulated.emulator.organization.store.rows(query)]


def effects(emulated: ServedEmulator, opportunities: list[str]) -> Counter[str]:
    """Count what stands: each opportunity closed once, each of its quotes closed once at most, and none left open."""
    counted: Counter[str] = Counter()
    for opportunity in opportunities:
        own = f"WHERE opportunityid = '{opportunity}'"
        state = found(emulated, f"SELECT statecode FROM opportunity {own}")
        closes = found(emulated, f"SELECT activityid FROM opportunityclose {own}")
        left = found(emulated, f"SELECT quoteid FROM quote {own} AND statecode IN (0, 1)")
        doubles = found(
            emulated,
            f"SELECT quoteid FROM quoteclose WHERE quoteid IN (SELECT quoteid FROM quote {own})"
            " GROUP BY quoteid HAVING COUNT(*) > 1",
        )
        right = (state, len(closes), left, doubles) == (["1"], 1, [], [])
        counted["once" if right else f"not once: {opportunity}"] += 1
    return counted


def test_a_request_that_reaches_two_instances_at_once_is_one_operation(
    tmp_path: Path, emulator_keys: Keys, postgres_store: str
) -> None:
    with served(EmulatorOptions(seeded=30), SystemClock(), tmp_path, emulator_keys) as emulated:
        opportunities = found(emulated, "SELECT opportunityid FROM opportunity WHERE statecode = 0 LIMIT 8")
        shared = given(emulated, postgres_store)
        answers: dict[str, list[Told]] = {opportunity: [] for opportunity in opportunities}
        with serving(tmp_path, **shared) as one, serving(tmp_path, **shared) as other:
            together = threading.Barrier(4 * len(opportunities))

            def deliver(process: Process, opportunity: str) -> None:
                together.wait(60)
                headers = SIGNED_IN | {"idempotency-key": f'"{opportunity}"'}
                answers[opportunity].append(process.ask("POST", f"/opportunities/{opportunity}/close", WON, headers))

            threads = [
                threading.Thread(target=deliver, args=(process, opportunity))
                for opportunity in opportunities
                for process in (one, other) * 2
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert effects(emulated, opportunities) == {"once": len(opportunities)}
            for told in answers.values():
                assert [answer.status for answer in told] == [200] * 4
                assert len({answer.body for answer in told}) == 1, "one answer, wherever it was asked for"
            operation = answers[opportunities[0]][0].json()["operationId"]
            for process in (one, other):
                assert process.ask("GET", f"/operations/{operation}", None, SIGNED_IN).json()["result"] == "closed"


def test_what_an_instance_had_in_hand_when_it_was_killed_is_finished_by_another(
    tmp_path: Path, emulator_keys: Keys, postgres_store: str
) -> None:
    """The first close hangs at the organization until the instance that sent it has been killed."""
    hangs = FaultPlan((Fault("hold", message="WinOpportunity", times=1),))
    with served(EmulatorOptions(seeded=30, faults=hangs), SystemClock(), tmp_path, emulator_keys) as emulated:
        opportunities = found(emulated, "SELECT opportunityid FROM opportunity WHERE statecode = 0 LIMIT 6")
        shared = given(emulated, postgres_store)
        with serving(tmp_path, **shared | {"CONNECTOR_SERVICE_WORKERS": "1"}) as doomed:
            accepted = [
                doomed.ask("POST", f"/opportunities/{opportunity}/close", WON | {"mode": "accept"}, SIGNED_IN)
                for opportunity in opportunities
            ]
            assert [answer.status for answer in accepted] == [202] * len(opportunities)
            until(lambda: _held(postgres_store) == 1)
            doomed.popen.send_signal(signal.SIGKILL)
            doomed.popen.wait()
        assert _held(postgres_store) == 1, "it died with an operation in hand"
        assert effects(emulated, opportunities)["once"] == 0
        emulated.emulator.set_faults(Faults(FaultPlan()))
        with serving(tmp_path, **shared) as heir:
            for answer in accepted:
                told = polled(heir, answer)
                assert (told.status, told.json()["result"], told.json()["changed"]) == (200, "closed", True), told.body
        assert effects(emulated, opportunities) == {"once": len(opportunities)}


def test_what_is_to_be_told_is_sent_by_one_of_two_instances(postgres_store: str) -> None:
    clock = VirtualClock(START)
    with open_ledger(postgres_store, clock) as first, open_ledger(postgres_store, clock) as second:
        rooms = [Room(first, clock), Room(second, clock)]
        for number in range(20):
            rooms[0].subscribe(f"{CALLBACK}{number}")
        for room in rooms:
            room.sales.close()
        together = threading.Barrier(2)

        def act(room: Room) -> None:
            together.wait(60)
            room.announce()
            for _ in range(3):
                delivered(room.delivery_worker)

        threads = [threading.Thread(target=act, args=(room,)) for room in rooms]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = Counter(callback for room in rooms for callback, _ in room.flows.taken)
        assert set(told.values()) == {1}
        assert len(told) == 20
        clock.advance(LASTS)
        for room in rooms:
            room.delivery_worker.sweep()
        assert rooms[1].subscriptions.tenants() == []


def _held(store: str) -> int:
    """Return how many operations are in a worker's hands."""
    with psycopg.connect(store) as connection:
        row = connection.execute("SELECT COUNT(*) FROM connector.item WHERE status = 'claimed'").fetchone()
    assert row is not None
    return int(row[0])
