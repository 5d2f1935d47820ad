"""How a request waits for its operation without holding a thread, and threads for work that may never end."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import copy_context
from enum import StrEnum
from typing import Protocol, TypeVar

from connector.clock import Clock
from connector.ledger.operation_store import StoredOperation
from connector.service.operations.operation_results import is_finished
from connector.service.problems import RETRY_AFTER, RequestRefused, busy

T = TypeVar("T")

_SLOW_STORE = "The endpoint's store does not answer in time. Send the same request again: nothing is done twice."

LOOK_AGAIN, LOOK_SELDOM = 1.0, 10.0
"""Seconds between looks into the ledger, for what another instance has finished: doubled up to the latter."""
STORE_SECONDS = 20.0
"""Seconds for which a request waits for the store."""


class WaitKind(StrEnum):
    """What blocking work waits for; each kind has threads of its own, so that one that is silent stops no other."""

    STORE = "store"
    SIGN_IN = "sign_in"
    ORGANIZATION = "organization"
    PROBE = "probe"


_THREADS = {WaitKind.STORE: 32, WaitKind.SIGN_IN: 16, WaitKind.ORGANIZATION: 64, WaitKind.PROBE: 2}
TENANT_SHARE = 16
"""Threads of one kind that one tenant may hold: if its organization is silent, the others still have theirs."""
_SHARE_TAKEN = "So many requests wait for your organization already that this one is not begun. Send it again."


class Draining(Exception):
    """The process is about to stop: who waits is told where to ask again, and another process answers that."""


class Listener(Protocol):
    """Hears of one operation's end."""

    async def wait(self, seconds: float) -> None:
        """Return when the operation has ended in this process, or after `seconds`; raises Draining."""


class Waiter(Protocol):
    """How requests wait."""

    async def apart(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, which asks the store; raises RequestRefused (503) when that takes too long."""

    async def within(self, seconds: float, kind: WaitKind, call: Callable[[], T], tenant: str = "") -> T:
        """Return what `call` returns; raises TimeoutError when that takes longer.

        With a `tenant`, RequestRefused (503) when the tenant has its share of the threads already.
        """

    def listen(self, operation_id: str) -> AbstractContextManager[Listener]:
        """Return a listener for an operation; what ends after this is heard."""

    def tell(self, operation_id: str) -> None:
        """Tell the listeners, from any thread, that the operation has ended."""

    def drain(self) -> None:
        """End all waits: the process is about to stop."""


async def ended(
    waiting: Waiter, find: Callable[[], StoredOperation], operation_id: str, until: float, clock: Clock
) -> StoredOperation:
    """Return the operation when it has ended, or as it is at `until` (the clock's monotonic time)."""
    pause = LOOK_AGAIN
    with waiting.listen(operation_id) as listener:
        while True:
            operation = await waiting.apart(find)
            left = until - clock.monotonic()
            if left <= 0 or is_finished(operation):
                return operation
            try:
                await listener.wait(min(left, pause))
            except Draining:
                return operation
            pause = min(2 * pause, LOOK_SELDOM)


class EventLoopWaiter:
    """Waits on the event loop; blocking work goes to threads: some for the store, others for what is far away."""

    def __init__(self) -> None:
        self._executors = {kind: DaemonExecutor(threads, kind) for kind, threads in _THREADS.items()}
        self._held: Counter[tuple[WaitKind, str]] = Counter()
        self._listeners: dict[str, list[_EventLoopListener]] = {}
        self._lock = threading.Lock()
        self._draining = False

    async def apart(self, call: Callable[[], T]) -> T:
        """Run `call` in one of the threads for the store."""
        try:
            return await self.within(STORE_SECONDS, WaitKind.STORE, call)
        except TimeoutError:
            raise RequestRefused(busy("store_slow", _SLOW_STORE, RETRY_AFTER)) from None

    async def within(self, seconds: float, kind: WaitKind, call: Callable[[], T], tenant: str = "") -> T:
        """Run `call` in a thread of its kind, which it keeps to its end though nobody may wait for that any more."""
        holder = kind, tenant
        if tenant and self._held[holder] >= TENANT_SHARE:
            raise RequestRefused(busy("organization_slow", _SHARE_TAKEN, RETRY_AFTER))
        self._held[holder] += 1
        loop = asyncio.get_running_loop()
        returned: asyncio.Future[None] = loop.create_future()

        def give_back() -> None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
            if not returned.done():
                returned.set_result(None)

        def returning(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(give_back)

        asking = self._executors[kind].submit(functools.partial(copy_context().run, call))
        asking.add_done_callback(returning)
        async with asyncio.timeout(seconds):
            await returned
        return asking.result()

    @contextmanager
    def listen(self, operation_id: str) -> Iterator[Listener]:
        """Listen until the end of the block."""
        listener = _EventLoopListener(asyncio.get_running_loop())
        with self._lock:
            listener.draining = self._draining
            self._listeners.setdefault(operation_id, []).append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[operation_id].remove(listener)
                if not self._listeners[operation_id]:
                    del self._listeners[operation_id]

    def tell(self, operation_id: str) -> None:
        """Wake the listeners."""
        with self._lock:
            for listener in self._listeners.get(operation_id, ()):
                listener.wake()

    def drain(self) -> None:
        """Tell everybody who waits, or will, to ask again elsewhere. May be called from any thread, and in a signal."""
        self._draining = True
        for listeners in list(self._listeners.values()):
            for listener in listeners:
                listener.draining = True
                listener.wake()


class _EventLoopListener:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.draining = False

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        try:
            if not self.draining:
                await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return
        if self.draining:
            raise Draining


class DaemonExecutor:
    """Up to `size` daemon threads, made as they are needed; `name` is what they are called."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by a thread; what it raises is in the future."""
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return  # nobody wants it any more; from here on nobody can take it back
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(call)
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._made < self._size:
                self._made += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._made}", daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()
