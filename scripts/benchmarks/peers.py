"""How other clients pace themselves, as rules for the simulation: what their code or documents say, nothing better.

Each re-sends what was refused. Where a client keeps cookies it stays on one web server; where it is told not to, the
balancer chooses.
"""

from __future__ import annotations

import heapq

from connector.dataverse.pacing.permits import Binding, Feedback, Permit, Wait

FOREVER = float("inf")
_WHY = Binding.LATENCY  # nobody asks these rules what holds them back


class Loop:
    """The naive loop: one request after the other in one session, which keeps its cookies; obeys Retry-After."""

    def __init__(self) -> None:
        self._busy = False
        self._held_until = 0.0
        self._cookie = ""

    def ask(self, now: float, kind: str, parts: int) -> Permit | Wait:
        """Return leave when the last answer is there and Retry-After over."""
        if self._busy:
            return Wait(FOREVER, _WHY)
        if now < self._held_until:
            return Wait(self._held_until, _WHY)
        self._busy = True
        return Permit(now, self._cookie, kind, parts, 0.0)

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Go on, after Retry-After if refused."""
        del permit
        self._busy = False
        self._cookie = feedback.server
        if feedback.facet is not None:
            self._held_until = now + (feedback.retry_after or 1.0)


class Threads:
    """Threads without cookies, each of which waits for the Retry-After it was told itself; 52 at once is documented."""

    def __init__(self, threads: int = 52) -> None:
        self._free = threads
        self._waking: list[float] = []

    def ask(self, now: float, kind: str, parts: int) -> Permit | Wait:
        """Return leave when a thread is free."""
        while self._waking and self._waking[0] <= now:
            heapq.heappop(self._waking)
            self._free += 1
        if not self._free:
            return Wait(self._waking[0] if self._waking else FOREVER, _WHY)
        self._free -= 1
        return Permit(now, "", kind, parts, 0.0)

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Let the thread go on, or sleep as long as it was told."""
        del permit
        if feedback.facet is None:
            self._free += 1
        else:
            heapq.heappush(self._waking, now + (feedback.retry_after or 1.0))


class Sql4Cds:
    """The rule of Sql4Cds: one more thread each second while work succeeds, one less when throttled, never up again.

    After Sql4Cds's ExecutionPlan/DynamicParallel.cs and BaseDmlNode.cs: a thread that is throttled sleeps for the delay
    the server names (two seconds without one, five minutes at most) before it is retired. `most` is the user's setting.
    """

    def __init__(self, most: int = 52) -> None:
        self._most = most
        self._threads = 1
        self._busy = 0
        self._checked = 0.0
        self._worked = False
        self._climbing = True
        self._waking: list[float] = []

    def ask(self, now: float, kind: str, parts: int) -> Permit | Wait:
        """Return leave when one of the threads is free."""
        while self._waking and self._waking[0] <= now:
            heapq.heappop(self._waking)
            self._busy -= 1
        if now - self._checked >= 1.0:
            if self._worked and self._climbing and self._threads < self._most:
                self._threads += 1
            self._checked, self._worked = now, False
        if self._busy >= self._threads:
            return Wait(min(self._checked + 1.0, self._waking[0] if self._waking else FOREVER), _WHY)
        self._busy += 1
        return Permit(now, "", kind, parts, 0.0)

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in success, or lose a thread."""
        del permit
        if feedback.facet is None:
            self._busy -= 1
            self._worked = True
            return
        self._climbing = False
        self._threads = max(1, self._threads - 1)
        heapq.heappush(self._waking, now + min(300.0, feedback.retry_after or 2.0))
