"""Whether somebody works on a job is certain before anybody else begins: by proof, or after one lease."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.bulk.job_rules import live_workers
from connector.clock import VirtualClock
from connector.errors import LedgerError
from connector.ledger.jobs import Row
from connector.ledger.ledger import LEASE, Ledger
from connector.ledger.store import open_ledger
from tests.ledger.rows import rows


@pytest.fixture
def beside(postgres_store: str, clock: VirtualClock) -> Callable[[], Ledger]:
    """Return a way to open the store as a process on another machine does."""
    return lambda: open_ledger(postgres_store, clock)


def test_who_was_killed_is_taken_over_after_one_lease(beside: Callable[[], Ledger], clock: VirtualClock) -> None:
    with beside() as killed, beside() as next_one:
        job = killed.create("june", rows(3))
        worker = killed.enter("host:1", "june")
        worker.claim(job, 3)
        began, said = clock.monotonic(), list[str]()
        assert live_workers(next_one, "june", said.append) == []
        assert LEASE <= clock.monotonic() - began <= LEASE + 2
        assert said == ["Job june: waiting up to 30 s for a sign of life of host:1."]
        assert len(next_one.enter("host:2", "june").claim(job, 3)) == 3


def test_who_lives_is_found_out_at_its_next_heartbeat(beside: Callable[[], Ledger], clock: VirtualClock) -> None:
    with beside() as living, beside() as next_one:
        living.create("june", rows(3))
        worker = living.enter("host:1", "june")

        def renew(_: str) -> None:
            clock.sleep(1.0)
            worker.renew()

        began = clock.monotonic()
        assert [one.name for one in live_workers(next_one, "june", renew)] == ["host:1"]
        assert clock.monotonic() - began < LEASE / 2


def test_what_a_killed_process_half_loaded_is_free_after_one_lease(
    beside: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_killed() -> list[Row]:
        monkeypatch.setattr("connector.ledger.load.discard", lambda *_: None)  # a killed process tidies nothing up
        monkeypatch.setattr("connector.ledger.liveness.LivenessMonitor.remove", lambda *_: None)
        raise KeyboardInterrupt

    def broken_rows() -> object:
        yield from rows(2)
        yield from until_killed()

    with beside() as killed, beside() as next_one:
        with pytest.raises(KeyboardInterrupt):
            killed.create("june", broken_rows())  # type: ignore[arg-type]
        monkeypatch.undo()
        with pytest.raises(LedgerError, match="being loaded"):
            next_one.create("june", rows(2))
        live_workers(next_one, "june", lambda _: None)
        assert next_one.find("june") is None
        assert next_one.create("june", rows(2)).total == 2


def test_on_one_machine_nobody_waits(tmp_path: Path, clock: VirtualClock) -> None:
    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        ledger.create("june", rows(3))
        ledger.enter("host:1", "june")
        began, said = clock.monotonic(), list[str]()
        assert [one.name for one in live_workers(ledger, "june", said.append)] == ["host:1"]
        assert (clock.monotonic(), said) == (began, [])
