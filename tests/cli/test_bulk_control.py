"""A job that is under way in another process: paused, cancelled, interrupted, killed, started twice.

The organization stands behind a dam: the job stays in the middle for as long as a test needs it there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from connector.bulk.reports.job_report import saved_names
from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.jobs import DesiredState, ItemStatus
from connector.ledger.store import open_ledger
from tests.bulk.dam import PATIENCE, Dam, wait_for

ROWS = 1200
RUN = ("run", "rows.csv", "--job", "june", "--yes")


@dataclass(frozen=True, slots=True)
class Shop:
    """An organization with many open opportunities behind a dam, a file that closes them all, and a store."""

    folder: Path
    emulator: ServedEmulator
    dam: Dam

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process here."""
        return {
            **os.environ,
            "DATAVERSE_URL": self.emulator.url,
            "DATAVERSE_TENANT_ID": self.emulator.tenant_id,
            "DATAVERSE_CLIENT_ID": self.emulator.client_id,
            "DATAVERSE_CLIENT_SECRET": self.emulator.client_secret,
            "DATAVERSE_AUTHORITY": self.emulator.authority,
            "DATAVERSE_CA_FILE": str(self.emulator.ca_file),
            "CONNECTOR_STORE": str(self.folder / "jobs.db"),
        }

    @contextmanager
    def bulk(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command of `connector bulk` in a process of its own."""
        command = [sys.executable, "-m", "connector", "bulk", *arguments, "--json"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)
        with process:
            try:
                yield process
            finally:
                self.dam.open()

    @contextmanager
    def joining(self) -> Iterator[subprocess.Popen[str]]:
        """A run that joins another one, once that is under way."""
        self.dam.wait()
        with self.bulk(*RUN, "--join") as process:
            yield process

    def say(self, *arguments: str) -> tuple[int, Any]:
        """Run a command of `connector bulk` to its end, beside what is held."""
        command = [sys.executable, "-m", "connector", "bulk", *arguments, "--json"]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or done.stderr)

    def counts(self) -> Counter[ItemStatus]:
        """How many rows of the job have which status."""
        with open_ledger(str(self.folder / "jobs.db"), SystemClock()) as ledger:
            return Counter(ledger.counts("june").by_status)

    def names_kept(self) -> bool:
        """Whether the store has the names that reports show."""
        with open_ledger(str(self.folder / "jobs.db"), SystemClock()) as ledger:
            return bool(saved_names(ledger, ledger.job("june")).users)

    def closes(self) -> list[int]:
        """How many close activities each opportunity of the file has."""
        control = self.emulator.emulator.control
        found = {one["id"]: one["closes"] for one in control.closes() if one["table"] == "opportunity"}
        ids = (self.folder / "rows.csv").read_text(encoding="utf-8").split()[1:]
        return [int(str(found.get(line.split(",")[0], 0))) for line in ids]


def wait_for_line(stream: IO[str] | None, beginning: str) -> None:
    """Read what a process says until it says this."""
    assert stream is not None
    said = []
    for line in stream:
        said.append(line)
        if line.startswith(beginning):
            return
    raise AssertionError(f"{beginning} was never said, but: {''.join(said)}")


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def shop(tmp_path: Path, keys: Keys) -> Iterator[Shop]:
    options = EmulatorOptions(seeded=ROWS)
    with served(options, SystemClock(), tmp_path / "certificates", keys) as emulator, Dam(emulator.emulator) as dam:
        found = emulator.emulator.organization.store.rows("SELECT opportunityid FROM opportunity WHERE statecode = 0")
        text = "opportunityid,outcome\n" + "".join(f"{id_},won\n" for (id_,) in found)
        (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
        yield Shop(tmp_path, emulator, dam)


def all_closed_once(shop: Shop, data: dict[str, Any]) -> bool:
    return bool(data["closed"] == data["total"] and set(shop.closes()) == {1})


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_a_wish_from_another_process_ends_the_run_and_resuming_finishes_it(shop: Shop, wish: str) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        assert shop.say(wish, "june")[0] == 0
        wait_for_line(process.stderr, DesiredState(wish).seen)
        shop.dam.open()
        out, _ = process.communicate(timeout=PATIENCE)
    data = json.loads(out)
    assert process.returncode == 4
    assert (data["desired_state"], data["claimed"]) == (wish, 0)
    assert data["pending"] > 0
    code, data = shop.say("resume", "june", "--yes")
    assert code == 0
    assert all_closed_once(shop, data)
    assert shop.emulator.emulator.referee.report() == [], (
        "no batch is larger, no answer sooner asked again than advised"
    )


def test_ctrl_c_finishes_what_is_in_flight_and_nothing_is_done_twice(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        process.send_signal(signal.SIGINT)
        wait_for_line(process.stderr, "Stopping: waiting for ")
        shop.dam.open()
        out, _ = process.communicate(timeout=PATIENCE)
    data = json.loads(out)
    assert process.returncode == 4
    assert data["claimed"] == 0
    assert data["pending"] > 0
    assert data["closed"] == sum(shop.closes()) > 0
    assert data["last_run"]["why"] == "stopped"
    code, data = shop.say("resume", "june", "--yes")
    assert code == 0
    assert all_closed_once(shop, data)


def test_ctrl_c_waits_for_no_retry_after_and_the_next_run_reads_again_what_was_closed_last(shop: Shop) -> None:
    control = shop.emulator.emulator.control
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        control.set_faults([{"do": "throttle", "facet": "time", "seconds": 240}])  # for all but those behind the dam
        wait_for(lambda: sum(control.faults()["acted"]) > 0)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        out, words = process.communicate(timeout=PATIENCE)
    data = json.loads(out)
    assert (process.returncode, data["claimed"]) == (4, 0)
    assert data["closed"] == sum(shop.closes()) > 0
    assert "Not read again since, so not known to stand as asked: " in words
    assert "connector bulk resume june" in words
    with open_ledger(str(shop.folder / "jobs.db"), SystemClock()) as ledger:
        assert 0 < ledger.counts("june").not_read_again <= data["closed"]


def test_a_second_ctrl_c_ends_it_at_once_and_nothing_is_done_twice(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        process.send_signal(signal.SIGINT)
        wait_for_line(process.stderr, "Stopping: waiting for ")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130  # though nobody answers it
    code, data = shop.say("resume", "june", "--yes")
    assert code == 0
    assert all_closed_once(shop, data)


def test_a_killed_run_goes_on_with_the_same_file_and_refuses_another(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        wait_for(shop.names_kept)
        process.kill()
        process.wait(PATIENCE)
    _, data = shop.say("status", "june")
    assert data["last_run"]["why"] == "killed"
    rows = shop.folder / "rows.csv"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace(",won", ",lost", 1), encoding="utf-8")
    before = shop.counts()
    code, data = shop.say(*RUN)
    assert (code, data["error"]["kind"]) == (1, "InputChanged")
    assert shop.counts()[ItemStatus.CLOSED] == before[ItemStatus.CLOSED]
    rows.write_text(text, encoding="utf-8")
    code, data = shop.say(*RUN)
    assert code == 0
    assert all_closed_once(shop, data)


def test_a_second_run_by_mistake_says_so(shop: Shop) -> None:
    with shop.bulk(*RUN) as first:
        shop.dam.wait()
        code, data = shop.say(*RUN)
        assert code == 1
        assert "is being worked on by" in data["error"]["message"]
        shop.dam.open()
        out, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    assert all_closed_once(shop, json.loads(out))


def test_a_run_that_joins_waits_for_a_user_and_spends_no_budget_twice(shop: Shop) -> None:
    with shop.bulk(*RUN) as first, shop.joining() as second:
        wait_for_line(second.stderr, "Waiting: every user of the settings is at work in another process already.")
        shop.dam.open()
        out, _ = first.communicate(timeout=PATIENCE)
        again, _ = second.communicate(timeout=PATIENCE)
    assert (first.returncode, second.returncode) == (0, 0)
    assert all_closed_once(shop, json.loads(out))
    assert all_closed_once(shop, json.loads(again))


def test_a_job_that_is_under_way_is_undone_only_after_it_was_cancelled_and_all_of_it(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        code, data = shop.say("undo", "june", "--yes")
        assert code == 1
        assert "what it closes from now on would not be undone; nothing was changed" in data["error"]["message"]
        assert shop.say("cancel", "june")[0] == 0
        wait_for_line(process.stderr, DesiredState.CANCEL.seen)
        shop.dam.open()
        process.communicate(timeout=PATIENCE)
    closed = sum(shop.closes())
    code, data = shop.say("undo", "june", "--yes")
    assert (code, data["reopened"]) == (0, closed)
    code, data = shop.say("resume", "june", "--yes")
    assert code == 1
    assert "The job june was undone" in data["error"]["message"]


def test_a_job_that_stopped_half_way_is_not_undone_while_it_may_be_resumed(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        process.kill()
        process.wait(PATIENCE)
    code, data = shop.say("undo", "june", "--yes")
    assert code == 1
    assert "rows to do, and what it closes from now on would not be undone" in data["error"]["message"]
    assert data["error"]["remedy"].endswith("stop it for good (connector bulk cancel june), then undo it.")


def test_somebody_who_looks_on_sees_that_a_job_is_worked_on_and_then_that_it_is_paused(shop: Shop) -> None:
    def seen() -> str:
        command = [sys.executable, "-m", "connector", "bulk", "status", "june"]
        environment, folder = shop.environment, shop.folder
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True).stdout

    with shop.bulk(*RUN) as process:
        shop.dam.wait()
        assert "Job june: 1,200 rows, being worked on." in seen()
        assert shop.say("pause", "june")[0] == 0
        wait_for_line(process.stderr, DesiredState.PAUSE.seen)
        shop.dam.open()
        process.communicate(timeout=PATIENCE)
    assert "Job june: 1,200 rows, paused." in seen()
