"""How a request waits for its operation without holding a thread, and threads for work that may never end."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from enum import StrEnum
from typing import TypeVar

from connector.clock import Clock
from connector.errors import ConnectorError
from connector.ledger.operation_store import StoredOperation
from connector.service.operations.operation_results import is_finished
from connector.service.problems import RETRY_AFTER, RequestRefused, busy

T = TypeVar("T")

_SLOW_STORE = "The endpoint's store does not answer in time. Send the same request again: nothing is done twice."

LOOK_AGAIN = 1.0
"""Seconds between looks into the ledger for what other instances have ended: one look for all who wait."""
REMEMBERED = 1_000
"""Operations of which is remembered that they have ended: one may end just before somebody begins to listen."""
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


async def ended(
    waiting: Waiter, operation: StoredOperation, find: Callable[[], StoredOperation], until: float, clock: Clock
) -> StoredOperation:
    """Return the operation when it has ended, or as it is at `until` (the clock's monotonic time)."""
    with waiting.listen(operation.job.name) as listener:
        while not is_finished(operation) and (left := until - clock.monotonic()) > 0:
            try:
                await listener.wait(left)
            except Draining:
                break
            operation = await waiting.apart(find)
    return operation


class Waiter:
    """How requests wait: on the event loop; blocking work goes to threads, for the store and for what is far away.

    `look` says which of these operations have ended, wherever that was; it asks the store.
    """

    def __init__(self) -> None:
        self._executors = {kind: DaemonExecutor(threads, kind) for kind, threads in _THREADS.items()}
        self._held: Counter[tuple[WaitKind, str]] = Counter()
        self._listeners: dict[str, list[Listener]] = {}
        self._ended: deque[str] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._draining = False
        self._looking: asyncio.Task[None] | None = None
        self.look: Callable[[Sequence[str]], Sequence[str]] = lambda _names: ()

    async def apart(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, which asks the store; raises RequestRefused (503) when that takes too long."""
        try:
            return await self.within(STORE_SECONDS, WaitKind.STORE, call)
        except TimeoutError:
            raise RequestRefused(busy("store_slow", _SLOW_STORE, RETRY_AFTER)) from None

    async def within(self, seconds: float, kind: WaitKind, call: Callable[[], T], tenant: str = "") -> T:
        """Return what `call` returns in a thread of its kind, which it keeps to its end; raises TimeoutError.

        With a `tenant`, RequestRefused (503) when the tenant has its share of the threads already.
        """
        holder = kind, tenant
        if tenant and self._held[holder] >= TENANT_SHARE:
            raise RequestRefused(busy("organization_slow", _SHARE_TAKEN, RETRY_AFTER))
        self._held[holder] += 1
        loop, context = asyncio.get_running_loop(), copy_context()
        returned: asyncio.Future[None] = loop.create_future()

        def give_back() -> None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
            if not returned.done():
                returned.set_result(None)

        def tell(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(give_back)

        asking = self._executors[kind].submit(lambda: context.run(call))
        asking.add_done_callback(tell)
        async with asyncio.timeout(seconds):
            await returned
        return asking.result()

    @contextmanager
    def listen(self, operation_id: str) -> Iterator[Listener]:
        """Listen for the end of an operation until the end of the block; what ended just before is heard."""
        loop = asyncio.get_running_loop()
        listener = Listener(loop)
        with self._lock:
            listener.draining = self._draining
            self._listeners.setdefault(operation_id, []).append(listener)
            if operation_id in self._ended:
                listener.wake()
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look())
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[operation_id].remove(listener)
                if not self._listeners[operation_id]:
                    del self._listeners[operation_id]

    def tell(self, operation_id: str) -> None:
        """Tell the listeners, from any thread, that the operation has ended."""
        with self._lock:
            self._ended.append(operation_id)
            for listener in self._listeners.get(operation_id, ()):
                listener.wake()

    async def _look(self) -> None:
        """Tell of what other instances have ended, while anybody waits."""
        while self._listeners:
            await asyncio.sleep(LOOK_AGAIN)
            with suppress(ConnectorError, RequestRefused):  # the next look may succeed
                for name in await self.apart(functools.partial(self.look, list(self._listeners))):
                    self.tell(name)

    def drain(self) -> None:
        """Tell everybody who waits, or will, to ask again elsewhere. May be called from any thread, and in a signal."""
        self._draining = True
        for listeners in list(self._listeners.values()):
            for listener in listeners:
                listener.draining = True
                listener.wake()


class Listener:
    """Hears of one operation's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.draining = False

    def wake(self) -> None:
        """Say that it has ended, from any thread."""
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Return when the operation has ended, or after `seconds`; raises Draining."""
        try:
            if not self.draining:
                await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._event.clear()  # what has ended may be tried again
        if self.draining:
            raise Draining


class DaemonExecutor:
    """Up to `size` daemon threads, made as they are needed; `name` is what they are called."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], Callable[[], None]]] = queue.SimpleQueue()
        self._made = self._idle = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by a thread; what it raises is in the future."""
        future: Future[T] = Future()

        def call() -> Callable[[], None]:
            if not future.set_running_or_notify_cancel():
                return lambda: None  # nobody wants it any more; from here on nobody can take it back
            try:
                return functools.partial(future.set_result, work())
            except BaseException as error:
                return functools.partial(future.set_exception, error)

        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._made < self._size:
                self._made += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._made}", daemon=True).start()
        self._calls.put(call)
        return future

    def _run(self) -> None:
        while True:
            tell = self._calls.get()()
            with self._lock:
                self._idle += 1
            tell()  # last: the thread that is woken finds this thread free, and soon the interpreter too
            del tell  # and the result with it
