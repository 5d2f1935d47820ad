"""The audit trail is on the disk when a request is answered; what it cannot keep is not begun."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from connector.errors import LedgerError
from connector.service.app import create_app
from connector.service.audit import AuditFile
from tests.service.stage import OPTIONS, Stage

WON = {"outcome": "won"}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_on_the_disk_when_it_has_been_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "state" / "audit.jsonl"

    def to_disk(descriptor: int) -> None:
        os.fsync(descriptor)
        synced.append(path.stat().st_size)

    monkeypatch.setattr("connector.service.audit._to_disk", to_disk)
    trail = AuditFile(path)
    for number in range(3):
        trail.write({"number": number})
        assert synced[-1] == path.stat().st_size
    trail.close()
    assert [line["number"] for line in lines(path)] == [0, 1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_records_written_side_by_side_share_the_way_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, entered, synced = threading.Event(), threading.Event(), list[int]()

    def to_disk(descriptor: int) -> None:
        entered.set()
        assert going.wait(60)
        os.fsync(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr("connector.service.audit._to_disk", to_disk)
    trail = AuditFile(tmp_path / "audit.jsonl")
    threads = [threading.Thread(target=trail.write, args=({"number": number},)) for number in range(20)]
    threads[0].start()
    assert entered.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(lines(tmp_path / "audit.jsonl")) < 20:
        time.sleep(0.001)  # until all are written, and wait
    going.set()
    for thread in threads:
        thread.join()
    assert len(synced) == 2, "the first goes alone, the others together"
    trail.close()


def test_a_line_that_the_disk_had_no_room_for_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "audit.jsonl", os.write
    trail = AuditFile(path)
    monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(LedgerError, match="audit trail cannot be written: No space"):
        trail.write({"number": 1})
    monkeypatch.setattr("os.write", write)
    trail.write({"number": 2})
    trail.close()
    assert path.read_text().splitlines() == ['{"num', '{"number":2}']


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
def test_what_cannot_be_written_down_is_not_begun(stage: Stage) -> None:
    opportunity, full = stage.opportunity(1), AuditFile(Path("/dev/full"))
    with stage.client(workers=0) as client:
        before = client.get(f"/opportunities/{opportunity}").json()
    app = create_app(replace(OPTIONS, workers=0), replace(stage.dependencies(), audit=full))
    with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json=WON)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "store_unavailable"
    assert stage.ledger.database.rows("SELECT state, desired_state FROM job") == [("finished", "cancel")]
    with stage.client() as client:
        assert client.get(f"/opportunities/{opportunity}").json() == before
        again = client.post(f"/opportunities/{opportunity}/close", json=WON)
        assert (again.status_code, again.json()["result"]) == (200, "closed"), "room was made, and it is sent again"
    full.close()
