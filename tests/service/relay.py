"""A relay between a client and a server on this machine, which swallows what they send as long as it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE = 65_536


class Relay:
    """Carries bytes both ways; while `silent`, it takes them and passes nothing on, and breaks no connection."""

    def __init__(self, target: Path) -> None:
        self.silent = False
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def close(self) -> None:
        for end in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if not self.silent:
                    sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(target: Path) -> Iterator[Relay]:
    """Relay to the local socket `target` until the block ends."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
