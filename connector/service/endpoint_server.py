"""The server of the endpoint: uvicorn, which says where it listens, and lets nobody wait in vain when it stops."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

_log = logging.getLogger("connector.service")


LONGEST_STOP = 17.0
"""Seconds after which the process ends though something still keeps it: everything accepted is in the store."""


def _give_up() -> None:
    _log.warning("Stopped while work was under way; it is taken up by another instance, or at the next start.")
    logging.shutdown()
    os._exit(0)


class EndpointServer(uvicorn.Server):
    """Answers those who wait before it stops: a poll of theirs reaches another instance, or the next start.

    `drain` tells them to ask again; `who` is a sentence on who may call.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], who: str) -> None:
        super().__init__(config)
        self._drain = drain
        self._who = who

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signals are handled
        """Let those who wait go, and stop; at once when asked twice, and in any case after `LONGEST_STOP`."""
        giving_up = threading.Timer(LONGEST_STOP, _give_up)
        giving_up.daemon = True
        giving_up.start()
        self._drain()
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where: the port may have been left to the system."""
        await super().startup(sockets)
        for listening in (one for server in self.servers for one in server.sockets):
            address, port = listening.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            _log.info("Listening on http://%s:%d; %s", shown, port, self._who)
