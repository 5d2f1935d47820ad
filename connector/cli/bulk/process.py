"""A process that works on a store of jobs, alone or beside others: its ledger, its users, its name, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from connector.assembly import Connection
from connector.bulk.run.paced_client import PacedClient
from connector.cli.failure_text import ExitCode
from connector.clock import SystemClock
from connector.ledger.ledger import LEASE, Ledger
from connector.ledger.store import open_ledger
from connector.settings.settings import Settings


@contextmanager
def opened(settings: Settings, lease: float = LEASE) -> Iterator[Ledger]:
    """Give the ledger of the settings; it is closed at the end. `lease` is in seconds, see `Ledger`."""
    with open_ledger(settings.store, SystemClock(), lease=lease) as ledger:
        yield ledger


def lanes_by_user(settings: Settings, connection: Connection) -> dict[str, PacedClient]:
    """Return the lanes by what names their user, of this organization, in every process and on every machine."""
    users = [one.client_id or one.managed_identity or one.name for one in settings.identities] or ["emulator"]
    return {f"{user}@{connection.base_url}": lane for user, lane in zip(users, connection.clients, strict=True)}


@contextmanager
def stopped_by_keyboard(stop: Callable[[], None]) -> Iterator[None]:
    """Finish what is in flight at the first Ctrl-C (or a polite end), stop at once at the second."""
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(ExitCode.INTERRUPTED)  # the ledger has what was done; resuming finds out the rest
        asked = True
        stop()
        os.write(2, b"\nStopping: what is in flight is finished. Press Ctrl-C again to stop at once.\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def who() -> str:
    """Return where this process runs, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"
