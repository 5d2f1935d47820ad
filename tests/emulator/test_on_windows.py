"""What Windows does otherwise is simulated: loops without signal handlers, ports that two programs may share."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from connector.emulator.command import stop_on_signals
from connector.emulator.http.server import listening


class WindowsLoop(asyncio.SelectorEventLoop):
    """A loop as on Windows, which has no signal handlers."""

    def add_signal_handler(self, *_arguments: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("loop_class", [asyncio.SelectorEventLoop, WindowsLoop])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_it_is_asked_to_on_every_kind_of_loop(
    loop_class: type[asyncio.SelectorEventLoop], number: signal.Signals
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop_on_signals(loop, stop)
        loop.call_soon(signal.raise_signal, number)
        await asyncio.wait_for(stop.wait(), 120)

    try:
        with asyncio.Runner(loop_factory=loop_class) as runner:
            runner.run(until_stopped())
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ctrl_break_stops_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        test_it_stops_when_it_is_asked_to_on_every_kind_of_loop(WindowsLoop, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_port_is_ours_alone_where_the_system_would_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    with listening("127.0.0.1", 0) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
