"""A job that is under way in another process: paused, cancelled, interrupted, killed, started twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.clock import SystemClock
from connector.emulator.embedded import open_embedded
from connector.emulator.organization.options import EmulatorOptions

ROWS = 1200


@pytest.fixture(scope="module")
def large_organization(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "organization.db"
    open_embedded(path, SystemClock(), EmulatorOptions(seeded=ROWS)).close()
    return path


@dataclass(frozen=True, slots=True)
class Shop:
    """An organization with many open opportunities, a file that closes them all, and a store."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process here."""
        url, store = f"emulator:{self.folder / 'organization.db'}", str(self.folder / "jobs.db")
        return {**os.environ, "DATAVERSE_URL": url, "CONNECTOR_STORE": store}

    @contextmanager
    def bulk(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command of `connector bulk` in a process of its own."""
        command = [sys.executable, "-m", "connector", "bulk", *arguments, "--json"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=self.environment, cwd=self.folder, stdout=pipe, stderr=pipe, text=True
        )
        with process:
            yield process

    def say(self, *arguments: str) -> tuple[int, Any]:
        """Run a command of `connector bulk` to its end."""
        with self.bulk(*arguments) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, json.loads(out or err)

    def closed_rows(self) -> int:
        """How many rows the store says are closed."""
        store = self.folder / "jobs.db"
        if not store.exists():
            return 0
        with closing(sqlite3.connect(store, timeout=10)) as connection:
            try:
                return int(connection.execute("SELECT COALESCE(SUM(n), 0) FROM tally WHERE status = 3").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    def wait_until_under_way(self, process: subprocess.Popen[str]) -> None:
        while not self.closed_rows() and process.poll() is None:
            time.sleep(0.02)

    def closes(self) -> list[int]:
        """How many close activities each opportunity of the file has."""
        with closing(sqlite3.connect(self.folder / "organization.db")) as connection:
            ids = (self.folder / "rows.csv").read_text(encoding="utf-8").split()[1:]
            sql = "SELECT COUNT(*) FROM opportunityclose WHERE opportunityid = ?"
            return [connection.execute(sql, [line.split(",")[0]]).fetchone()[0] for line in ids]


@pytest.fixture
def shop(large_organization: Path, tmp_path: Path) -> Shop:
    for path in large_organization.parent.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    with closing(sqlite3.connect(tmp_path / "organization.db")) as connection:
        ids = [id_ for (id_,) in connection.execute("SELECT opportunityid FROM opportunity WHERE statecode = 0")]
    text = "opportunityid,outcome\n" + "".join(f"{id_},won\n" for id_ in ids)
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    return Shop(tmp_path)


RUN = ("run", "rows.csv", "--job", "june", "--yes")


def all_closed_once(shop: Shop, data: dict[str, Any]) -> bool:
    return bool(data["closed"] == data["total"] and set(shop.closes()) == {1})


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_a_wish_from_another_process_ends_the_run_and_resuming_finishes_it(shop: Shop, wish: str) -> None:
    with shop.bulk(*RUN) as process:
        shop.wait_until_under_way(process)
        assert shop.say(wish, "june")[0] == 0
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["claimed"]) in {(4, 0), (0, 0)}
    code, data = shop.say("resume", "june", "--yes")
    assert code == 0
    assert all_closed_once(shop, data)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_and_nothing_is_done_twice(shop: Shop, times: int) -> None:
    with shop.bulk(*RUN) as process:
        shop.wait_until_under_way(process)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        process.communicate(timeout=120)
    assert process.returncode in {0, 4, 130, -signal.SIGINT}  # the last: when it was on its way out already
    code, data = shop.say("resume", "june", "--yes")
    assert code == 0
    assert all_closed_once(shop, data)


def test_a_killed_run_goes_on_with_the_same_file_and_refuses_another(shop: Shop) -> None:
    with shop.bulk(*RUN) as process:
        shop.wait_until_under_way(process)
        process.kill()
    rows = shop.folder / "rows.csv"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace(",won", ",lost", 1), encoding="utf-8")
    before = shop.closed_rows()
    code, data = shop.say(*RUN)
    assert (code, data["error"]["kind"]) == (1, "InputChanged")
    assert shop.closed_rows() == before
    rows.write_text(text, encoding="utf-8")
    code, data = shop.say(*RUN)
    assert code == 0
    assert all_closed_once(shop, data)


@pytest.mark.parametrize("join", [(), ("--join",)])
def test_a_second_run_by_mistake_says_so_and_one_that_joins_spends_no_budget_twice(
    shop: Shop, join: tuple[str, ...]
) -> None:
    with shop.bulk(*RUN) as first:
        shop.wait_until_under_way(first)
        under_way = first.poll() is None
        code, data = shop.say(*RUN, *join)
        out, _ = first.communicate(timeout=120)
    if under_way and not join and code:
        assert "is being worked on by" in data["error"]["message"]
    else:
        assert code == 0
    assert first.returncode == 0
    assert all_closed_once(shop, json.loads(out))
