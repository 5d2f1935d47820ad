"""The proof that a process on this machine lives: a file it has locked, which its death unlocks at once.

The operating system drops the lock however the process ends, which no process id can show as surely (ids are used
again, and a container does not see those of its neighbours).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


class LockFiles:
    """The locked files of the workers of one store; file names begin with `prefix`."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._held: dict[int, int] = {}

    def hold(self, worker: int) -> None:
        """Create and lock the file of `worker`; raises OSError."""
        descriptor = os.open(self._path(worker), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._held[worker] = descriptor

    def let_go(self, worker: int) -> None:
        """Unlock and remove the file of `worker`."""
        if (descriptor := self._held.pop(worker, None)) is not None:
            os.close(descriptor)
        with suppress(OSError):  # Windows: somebody else is looking at it, and removes it in turn
            self._path(worker).unlink()

    def is_dead(self, worker: int) -> bool | None:
        """Return whether no process holds the file of `worker`, and remove it then; None if it cannot be read."""
        if worker in self._held:
            return False
        try:
            descriptor = os.open(self._path(worker), os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return None
        try:
            _lock(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        with suppress(OSError):  # the same
            self._path(worker).unlink()
        return True

    def close(self) -> None:
        """Let go of everything."""
        for worker in list(self._held):
            self.let_go(worker)

    def _path(self, worker: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}-worker-{worker}")


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Give True while no other process on this machine does the same, else False; `path` need not exist.

    However a process ends, the next one gets True. Raises OSError where no file can be made.

    >>> with exclusive(folder / "nightly") as alone: alone
    True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(LockFiles(path)) as lock:
        try:
            lock.hold(1)
            alone = True
        except (BlockingIOError, PermissionError):
            alone = False
        yield alone


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
