"""What a service protection limit allows and what has been used of it: arithmetic on times that are passed in.

The limits hold per user and web server (Microsoft Learn, "Service protection API limits"), but differ and change: so a
`LimitEstimate` learns from headers that tell what is left, from refusals, and else by growing carefully until refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

GROWTH = 0.10
"""By what share an estimate that nothing confirms grows in one horizon."""
ASSUMED = 5
"""Horizons for which a limit that a refusal named, or that was learnt elsewhere, is not doubted; twice as long after
each search in vain, up to sixteen times."""
MOST_DOUBLINGS = 4
LATELY = 0.02
"""The weight of what was heard last in what a limit usually is."""
NEWS = 0.05
"""A refusal this close to the estimate taught nothing new."""
MOST_BIAS = 1.25
"""We measure more execution time than the service counts: the way there and back. More than this is something else."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is assumed until the service tells: the documented limits of one user on one web server.

    `requests` and `seconds` of execution hold per sliding window of `window` seconds, `concurrency` at every moment.
    Times elsewhere scale with the window, so that a scaled-down service can be paced too.
    """

    requests: float = 6000.0
    seconds: float = 1200.0
    concurrency: float = 52.0
    window: float = 300.0

    @property
    def horizon(self) -> float:
        """The seconds in which an estimate that nothing confirms may grow by a tenth."""
        return self.window / 5

    @property
    def spread(self) -> float:
        """Over how many seconds a budget that comes back is spent: a long job becomes even, window by window."""
        return self.window / 20


DOCUMENTED = Budget()


class SlidingWindow:
    """Amounts used in the last `seconds`, kept in 300 buckets; `horizon` is how far `spending` looks ahead.

    It is `fresh` as long as nothing that was used has come back: what is left has lain unused for a whole window. An
    amount counts until its whole bucket is older than the window: at most 1/300 longer than the service counts it.
    """

    __slots__ = ("_ahead", "_behind", "_horizon", "_next", "_returning", "_size", "_span", "_used", "fresh")

    def __init__(self, seconds: float, horizon: float) -> None:
        self._size = seconds / 300
        self._span = seconds + self._size
        self._horizon = horizon
        self._ahead: deque[list[float]] = deque()  # leaves the window within the horizon
        self._behind: deque[list[float]] = deque()  # leaves later
        self._used = 0.0
        self._returning = 0.0
        self._next = float("-inf")
        self.fresh = True

    def add(self, now: float, amount: float) -> None:
        """Count `amount` as used now."""
        start = now - now % self._size
        if self._behind and self._behind[-1][0] == start:
            self._behind[-1][1] += amount
        else:
            self._behind.append([start, amount])
        self._used += amount

    def add_aged(self, now: float, amounts: Sequence[float], age: float) -> None:
        """Count what was used in equal steps of the window that ended `age` seconds ago, newest first."""
        length = self._size * 300 / len(amounts)
        for step, amount in enumerate(amounts):
            at = now - age - step * length
            if amount and at > now - self._span:
                self._behind.append([at - at % self._size, amount])
                self._used += amount
        self._behind = deque(sorted([*self._ahead, *self._behind]))
        self._ahead.clear()
        self._returning = 0.0
        self.fresh = False
        self._next = float("-inf")

    def ages(self, now: float, steps: int) -> list[float]:
        """Return how much was used in each of the steps of the window that ends now, newest first."""
        return self.leaving(now, steps)[::-1]

    def used(self, now: float) -> float:
        """Return what counts now."""
        self._move(now)
        return self._used

    def returning(self, now: float) -> float:
        """Return how much of it will have left the window one horizon from now."""
        self._move(now)
        return self._returning

    def leaving(self, now: float, steps: int) -> list[float]:
        """Return how much leaves in each of the steps of the window that begins now."""
        self._move(now)
        amounts = [0.0] * steps
        length = self._size * 300 / steps
        for start, amount in (*self._ahead, *self._behind):
            step = int((start + self._span - now) / length)
            amounts[max(0, min(steps - 1, step))] += amount
        return amounts

    def _move(self, now: float) -> None:
        """Let go what is too old; looked at once per bucket, which is as fine as anything here is known."""
        if now < self._next:
            return
        self._next = now - now % self._size + self._size
        edge = now - self._span
        while self._behind and self._behind[0][0] <= edge + self._horizon:
            bucket = self._behind.popleft()
            self._ahead.append(bucket)
            self._returning += bucket[1]
        while self._ahead and self._ahead[0][0] <= edge:
            gone = self._ahead.popleft()[1]
            self._used -= gone
            self._returning -= gone
            self.fresh = False
        if not self._ahead:
            self._returning = 0.0
            if not self._behind:
                self._used, self.fresh = 0.0, True  # no drift of floating point survives an empty window


class LimitEstimate:
    """An estimate of one limit, in our own units (for execution time: seconds as we measure them, transport included).

    `usual` is what the service has told of late on average: what leaves the window, it and we do not count off in the
    same second. It `fell` where it is less than was believed and nobody has said by how much.

    `horizon` is the time scale of growing, in seconds; nothing grows before `settle` seconds have passed, and with
    `settle` None nothing ever grows.
    """

    __slots__ = (
        "_bias", "_fruitless", "_grown_at", "_grows", "_heard_at", "_horizon", "_named", "_origin", "_probe_from",
        "fell", "number", "usual", "value",
    )  # fmt: skip

    def __init__(self, value: float, now: float, *, horizon: float, settle: float | None) -> None:
        self.value = value
        self.number = value
        self._bias = 1.0
        self._horizon = horizon
        self._heard_at = float("-inf")
        self._origin = (0.0, value)
        self.usual = value
        self.fell = self._named = False
        self._grows = settle is not None
        self._probe_from = now + (settle or 0.0)
        self._grown_at = now
        self._fruitless = 0

    def confirmed(self, now: float) -> bool:
        """Return whether the service told the limit within the last five horizons."""
        return now - self._heard_at <= 5 * self._horizon

    def assume(self, now: float, value: float) -> None:
        """Begin with a `value` that was learnt elsewhere, and do not soon look for more."""
        self.value = value
        self._look_again(now, ASSUMED * self._horizon)

    def hear(self, now: float, left: float, used: float) -> None:
        """Hear from headers that so much is `left` when we have `used` so much; with none left a refusal knows more."""
        self._named = self._named and left <= 0
        value = min(self.value, used) if self._named else left + used
        is_new = abs(value - self.value) > NEWS * self.value or not self.confirmed(now)
        self.fell = left <= 0 and (self.fell or value < (1 - NEWS) * self.value)
        if is_new:
            self._origin = used, value
        self.usual += (value - self.usual) * (1.0 if is_new else LATELY)
        self.value = value
        self._heard_at = now

    def foreseen(self, used: float) -> float:
        """Return what the limit will turn out to be, in our units, when all of it is used.

        We measure more than the service counts, so what is left and what we have used add up to more the more we use:
        by how much shows in what was heard so far.
        """
        used_then, value_then = self._origin
        if used - used_then < NEWS * self.value:
            return self.value
        drift = min(0.5, max(0.0, (self.value - value_then) / (used - used_then)))
        return (self.value - drift * used) / (1 - drift)

    def refused(self, now: float, used: float, stopped: float, number: float | None) -> float:
        """Learn from a refusal at `used`, which stops us for `stopped` seconds and may name its `number`.

        Returns how much of the limit somebody else must have used.
        """
        known, before, self.value = self.number, self.value, self._judged(used, number)
        self.usual, self.fell = self.value, False
        self._named = self._named or self.number < (1 - NEWS) * known
        self._fruitless = self._fruitless + 1 if abs(self.value - before) <= NEWS * before else 0
        self._look_again(now + stopped, ASSUMED * self._horizon * 2.0 ** min(self._fruitless, MOST_DOUBLINGS))
        return max(0.0, self.value - used)

    def _judged(self, used: float, number: float | None) -> float:
        if number is None:
            return used if used >= self.value / 2 else self.value
        if self._grows and (number <= used <= MOST_BIAS * number):
            self._bias = used / number
        self.number = number
        return number * self._bias

    def _look_again(self, start: float, pause: float) -> None:
        self._probe_from = start + pause
        self._grown_at = start

    def told_elsewhere(self, now: float, number: float, stopped: float) -> None:
        """Take in that another server named a `number`: it holds here too, since servers of an organization are alike.

        What stops everybody for minutes is not tried by each server in turn.
        """
        if number < (1 - NEWS) * self.number:
            self.number = number
            self.value = min(self.value, number * self._bias)
            self._look_again(now + stopped, ASSUMED * self._horizon)

    def grow(self, now: float, used: float) -> None:
        """Raise the estimate if it limits us, no answer confirms it, and it is time to look for more."""
        since = min(now - self._grown_at, self._horizon / 10)
        self._grown_at = now
        held_back = used >= 0.9 * self.value and not self.confirmed(now)
        if self._grows and held_back and now >= self._probe_from:
            self.value *= 1 + GROWTH * since / self._horizon
