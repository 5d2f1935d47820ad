"""Real processes, real files, kill -9, a full disk, a locked file."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.errors import LedgerError
from connector.ledger.jobs import ItemStatus
from connector.ledger.ledger import Ledger
from connector.ledger.sqlite import SqliteDatabase, network_filesystem
from connector.ledger.store import open_ledger
from tests.bulk.dam import wait_for
from tests.ledger.rows import closed, rows

ROOT = Path(__file__).parents[2]

LOADING = """
def endless():
    for number in range(1, 10**9):
        if number == 20_001:
            print("loading", flush=True)
        yield Row(number, Intent(opportunity(number), Outcome.WON))
ledger.create("half", endless(), who="loader")
"""

CLAIMING = """
job = ledger.job("j")
worker = ledger.enter("victim", "j")
done = 0
while items := worker.claim(job, 10):
    worker.record(job, [ItemResult(i.row, i.epoch, ItemStatus.CLOSED, "", {}) for i in items[:5]])
    done += 1
    if done == 5:
        print("claiming", flush=True)
        time.sleep(3600)
"""

PRELUDE = """
import sys, time
from connector.ledger.jobs import *
from connector.ledger.store import open_ledger
from connector.clock import SystemClock
from connector.closing.model import Intent, Outcome
sys.path.insert(0, {root!r})
from tests.ledger.rows import opportunity
ledger = open_ledger({store!r}, SystemClock(), lease=1.0)
"""


def start(store: str, script: str, said: str) -> subprocess.Popen[str]:
    """Run `script` in a process of its own until it has said so."""
    code = PRELUDE.format(root=str(ROOT), store=store) + script
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline().strip() == said, process.communicate()[1]
    return process


def output_of(store: str, script: str) -> str:
    code = PRELUDE.format(root=str(ROOT), store=store) + script
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def open_store(store: str) -> Ledger:
    return open_ledger(store, SystemClock(), lease=1.0)


def test_a_load_killed_half_way_is_thrown_away_by_the_next(store: str) -> None:
    process = start(store, LOADING, "loading")
    with open_store(store) as ledger:
        assert ledger.job("half").total == 0
        with pytest.raises(LedgerError, match="is being loaded or deleted by another process"):
            ledger.create("half", rows(3))
        kill(process)
        wait_for(lambda: ledger.workers() == [])
        assert ledger.create("half", rows(3)).total == 3
        assert [record.row for record in ledger.records("half")] == [1, 2, 3]
        assert ledger.database.rows("SELECT COUNT(*) FROM item")[0][0] == 3


def test_a_job_that_a_killed_process_left_half_loaded_is_not_there_for_who_looks_for_it(store: str) -> None:
    process = start(store, LOADING, "loading")
    with open_store(store) as ledger:
        with pytest.raises(LedgerError, match="is being loaded or deleted by another process"):
            ledger.same_rows("half", rows(3))
        kill(process)
        wait_for(lambda: ledger.workers() == [])
        assert ledger.find("half") is None
        assert ledger.database.rows("SELECT COUNT(*) FROM item")[0][0] == 0
        with pytest.raises(LedgerError, match="There is no job 'half'"):
            ledger.whole("half")


def test_what_a_killed_worker_held_goes_to_the_next_and_its_results_stay(store: str) -> None:
    with open_store(store) as ledger:
        job = ledger.create("j", rows(100))
        process = start(store, CLAIMING, "claiming")
        assert [worker.name for worker in ledger.workers("j")] == ["victim"]
        kill(process)
        wait_for(lambda: ledger.workers("j") == [])
        counts = ledger.counts("j")
        assert counts.by_status == {ItemStatus.CLOSED: 25, ItemStatus.PENDING: 75}
        worker = ledger.enter("next", "j")
        again = []
        while items := worker.claim(job, 30):
            worker.record(job, closed(items))
            again += items
        assert sorted(item.attempts for item in again) == [1] * 50 + [2] * 25
        assert ledger.counts("j").data()["closed"] == 100


def test_a_stopped_process_on_this_machine_keeps_what_it_holds(tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db")
    with open_store(store) as ledger:
        job = ledger.create("j", rows(60))
        process = start(store, CLAIMING, "claiming")
        process.send_signal(signal.SIGSTOP)
        try:
            worker = ledger.enter("next", "j")
            assert ledger.counts("j").of(ItemStatus.CLAIMED) == 25
            time.sleep(1.2)  # longer than the lease
            assert len(worker.claim(job, 100)) == 10
            assert ledger.counts("j").of(ItemStatus.CLAIMED) == 35
        finally:
            kill(process)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db")
    with open_store(store) as ledger:
        ledger.create("j", rows(2000))
    limit = """
import resource, signal
from connector.errors import LedgerError
job = ledger.job("j")
worker = ledger.enter("w", "j")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
done = 0
try:
    while items := worker.claim(job, 50):
        worker.record(job, [ItemResult(i.row, i.epoch, ItemStatus.CLOSED, "", {"x": str(i.row) * 500}) for i in items])
        done += len(items)
except LedgerError as error:
    print(done, error, flush=True)
"""
    done, _, sentence = output_of(store, limit).partition(" ")
    assert sentence.startswith(f"The job store {store} cannot be written")
    assert "full" in sentence
    assert "Nothing that was recorded is lost" in sentence
    with open_store(store) as ledger:
        job = ledger.job("j")
        assert ledger.counts("j").of(ItemStatus.CLOSED) == int(done)
        worker = ledger.enter("next", "j")
        while items := worker.claim(job, 500):
            worker.record(job, closed(items))
        assert ledger.counts("j").of(ItemStatus.CLOSED) == 2000


def test_a_load_onto_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db")
    limit = """
import resource, signal
from connector.errors import LedgerError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    ledger.create("j", (Row(n, Intent(opportunity(n), Outcome.WON)) for n in range(1, 10**6)))
except LedgerError as error:
    print(error, flush=True)
"""
    assert "is full" in output_of(store, limit)
    with open_store(store) as ledger:
        assert ledger.create("j", rows(3)).total == 3
        assert ledger.database.rows("SELECT COUNT(*) FROM item")[0][0] == 3


def test_a_locked_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.db"
    monkeypatch.setattr("connector.ledger.sqlite._PATIENCE", 0.1)
    with Ledger(SqliteDatabase(path), SystemClock()) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="has been locked by another program for"):
            ledger.create("j", rows(1))
        other.close()
        assert ledger.create("j", rows(1)).total == 1


def test_a_file_of_another_kind_or_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "letter.db"
    other.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(LedgerError, match="is a file of another kind"):
        SqliteDatabase(other)
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="written by a newer version of the connector"):
        SqliteDatabase(newer)


def test_a_folder_or_a_file_in_the_wrong_place_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, reason in ((file / "jobs.db", "Not a directory"), (tmp_path, "Is a directory")):
        with pytest.raises(LedgerError) as caught:
            SqliteDatabase(path)
        assert str(caught.value) == (
            f"The job store {path} cannot be used: {reason}. Set CONNECTOR_STORE to another file."
        )


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("connector.ledger.sqlite.os.open", refuse)
    with pytest.raises(LedgerError, match="Make the folder writable, or set CONNECTOR_STORE to another file"):
        SqliteDatabase(tmp_path / "jobs.db")


def test_the_store_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "jobs.db"
    with Ledger(SqliteDatabase(path), SystemClock()) as ledger:
        ledger.create("j", rows(1))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/ann/jobs.db", "nfs4"), ("/home/local/jobs.db", ""), ("/mnt/the share/x/jobs.db", "cifs"), ("/x.db", "")],
)
def test_a_network_drive_is_known(path: str, kind: str) -> None:
    mounts = (
        "/dev/vda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/vdb /home/local ext4 rw 0 0\n"
        "//s/share /mnt/the\\040share cifs rw 0 0\n"
    )
    assert network_filesystem(Path(path), mounts) == kind


def test_a_drive_letter_of_windows_that_stands_for_a_share_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    shares = {"Z:": r"\\server\share", "C:": "C:"}
    monkeypatch.setattr(os.path, "realpath", lambda path: str(path).replace(str(path)[:2], shares[str(path)[:2]]))
    assert network_filesystem(Path("Z:/jobs.db"), "") == "a share"
    assert network_filesystem(Path("C:/jobs.db"), "") == ""


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(LedgerError) as caught:
        open_ledger("postgresql://ann:secret@127.0.0.1:1/jobs", SystemClock())
    assert "PostgreSQL server cannot be reached" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.transient


def test_a_lost_connection_is_told_and_made_again(postgres_store: str) -> None:
    with open_store(postgres_store) as ledger, open_store(postgres_store) as other:
        job = ledger.create("j", rows(4))
        worker = ledger.enter("w", "j")
        items = worker.claim(job, 4)
        other.database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'connector'"
        )
        with pytest.raises(LedgerError, match="cannot be reached or broke off") as caught:
            worker.record(job, closed(items))
        assert caught.value.transient
        assert worker.record(job, closed(items)).lost == ()
        assert ledger.counts("j").data()["closed"] == 4


@pytest.mark.skipif(
    sys.platform != "linux", reason="the most memory of a process alone, not of who started it, is Linux's"
)
def test_memory_is_flat_however_many_rows_are_loaded_worked_off_and_read(tmp_path: Path) -> None:
    """What SQLite keeps of the file is full after the first rows; 60,000 more leave hardly a hundred bytes each."""
    script = """
ledger = open_ledger(str(ledger.database.path), SystemClock(), cache=1_000)
def peak(): return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
def run(name, count):
    wanted = (Intent(opportunity(n), Outcome.WON) for n in range(1, count + 1))
    job = ledger.create(name, (Row(n, one, opportunity(n // 9)) for n, one in enumerate(wanted, 1)))
    worker = ledger.enter("w", name)
    while items := worker.claim(job, 1000):
        worker.record(job, [ItemResult(i.row, i.epoch, ItemStatus.CLOSED, "", {"x": i.row}) for i in items])
    worker.leave()
    assert sum(1 for _ in ledger.records(name)) == count
run("warm", 20_000)
before = peak()
run("more", 60_000)
print(peak() - before, flush=True)
"""
    assert int(output_of(str(tmp_path / "jobs.db"), script)) < 6_000, "kilobytes"
