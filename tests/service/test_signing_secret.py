"""The secret that signs links is whole or not there, and one for all; the platform's header needs a platform."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from connector.errors import SettingsError
from connector.service.operations.status_links import LENGTH, kept_secret
from connector.settings.environment import load
from connector.settings.service_settings import service_problems


def test_it_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "state" / "jobs.db-secret"
    first = kept_secret(path)
    assert (len(first), kept_secret(path)) == (LENGTH, first)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert os.name == "nt" or path.stat().st_mode & 0o077 == 0


def test_processes_that_begin_together_use_one(tmp_path: Path) -> None:
    path, together, secrets = tmp_path / "secret", threading.Barrier(8), list[bytes]()

    def begin() -> None:
        together.wait(60)
        secrets.append(kept_secret(path))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(secrets)) == 1


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (LENGTH - 1)])
def test_one_that_is_too_short_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="forged"):
        kept_secret(path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        kept_secret(tmp_path / "secret")
    assert list(tmp_path.iterdir()) == []


def test_the_platforms_word_is_not_taken_without_what_its_token_must_be_for(tmp_path: Path) -> None:
    given = {"HOME": str(tmp_path), "DATAVERSE_URL": f"emulator:{tmp_path / 'o.db'}"}
    service = load(given | {"CONNECTOR_SERVICE_SIGN_IN": "easy_auth"}).service
    assert any("CONNECTOR_SERVICE_AUDIENCES is missing" in line for line in service_problems(service, embedded=True))
