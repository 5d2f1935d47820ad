"""The socket face in a thread of one's own process: for tests of clients that need a real connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from connector.clock import Clock
from connector.emulator.core import Emulator
from connector.emulator.http.server import Server, listening
from connector.emulator.http.tls import certificates
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import TravelClock


@dataclass(frozen=True, slots=True)
class ServedEmulator:
    """An emulator that listens on `url` and what a client needs to sign in to it."""

    emulator: Emulator
    url: str
    authority: str
    tenant_id: str
    client_id: str
    client_secret: str
    ca_file: Path


@contextmanager
def served(options: EmulatorOptions, clock: Clock, folder: Path, keys: Keys | None = None) -> Iterator[ServedEmulator]:
    """Serve on a free port of this machine until the block ends; certificates are made in `folder`.

    The addresses in `options` are replaced. Raises OSError when no port or file can be had.
    """
    files = certificates(folder)
    sock = listening("127.0.0.1", 0)
    origin = f"https://localhost:{sock.getsockname()[1]}"
    emulator = Emulator(replace(options, url=origin, login_url=origin), TravelClock(clock), keys)
    emulator.authority_file = files.authority
    loop = asyncio.new_event_loop()
    server = Server(emulator, origin, files.server_context())
    thread = threading.Thread(target=loop.run_forever, name="emulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(sock), loop).result(10)
        yield ServedEmulator(emulator, ca_file=files.authority, **emulator.options.sign_in())
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        sock.close()
        emulator.close()
