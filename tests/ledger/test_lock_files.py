"""Who is alone: by the locks of this system, and by those of Windows, which are simulated."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from connector.ledger import lock_files


def locking(descriptor: int, _mode: int, _count: int) -> None:
    """Lock as msvcrt does: who finds it locked is denied permission."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


def unlink(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file as Windows does: not while anybody has it open."""
    if any(os.path.realpath(link) == str(path) for link in Path("/proc/self/fd").iterdir() if link.exists()):
        raise PermissionError(32, "The file is being used by another process")
    if path.exists() or not missing_ok:
        os.unlink(path)  # noqa: PTH108 - this is what stands in for it


@pytest.fixture(params=["this system", "Windows"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param != "Windows":
        return lock_files
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    spec = importlib.util.spec_from_file_location("lock_files_of_windows", lock_files.__file__)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as on_windows:
        on_windows.setattr(sys, "platform", "win32")
        spec.loader.exec_module(module)
    monkeypatch.setattr(Path, "unlink", unlink)
    return module


def test_only_one_is_alone_and_the_next_is_afterwards(locks: Any, tmp_path: Path) -> None:
    with locks.exclusive(tmp_path / "nightly") as first:
        with locks.exclusive(tmp_path / "nightly") as second:
            assert (first, second) == (True, False)
        with locks.exclusive(tmp_path / "nightly") as third:
            assert third is False, "who was turned away does not take the lock along"
    with locks.exclusive(tmp_path / "nightly") as next_one:
        assert next_one is True
    assert list(tmp_path.iterdir()) == []


def test_a_worker_lives_while_its_file_is_locked(locks: Any, tmp_path: Path) -> None:
    ours, others = locks.LockFiles(tmp_path / "store"), locks.LockFiles(tmp_path / "store")
    ours.hold(7)
    assert (ours.is_dead(7), others.is_dead(7), others.is_dead(8)) == (False, False, True)
    os.close(ours._held.pop(7))  # as the death of its process does
    assert others.is_dead(7) is True
    ours.close()
