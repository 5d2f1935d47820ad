"""What a service protection limit allows and what has been used of it: arithmetic on times that are passed in.

The documented limits hold per user and per web server over a sliding window (Microsoft Learn, "Service protection API
limits"), but they differ between organizations and change, so a `LimitEstimate` learns: from the headers
that tell what is left, from the numbers in a refusal, and, where neither speaks, by growing carefully until refused.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

GROWTH = 0.10
"""By what share an estimate that nothing confirms grows in one horizon."""
RECOVERY_GROWTH = 4.0
"""The same after a limit has dropped, up to where it was before."""
PROBE_COST = 100.0
"""A new search for a higher limit waits this many times as long as the last one stopped us: about 1 % of the time."""
RECOVERY_COST = 30.0
"""The same while a limit is below what it was."""
APART = 400
"""Requests answered between two refusals that a search may cause: it costs at most 0.25 % of them."""
PATIENCE = 20
"""Searches for a limit that was there before; then it is taken as gone."""
ASSUMED = 10
"""Horizons for which a limit that was learnt elsewhere is not doubted."""
NEWS = 0.05
"""A refusal this close to the estimate taught nothing new."""


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
        """Over how many seconds unused budget is spent: long enough to be even, short enough for small jobs."""
        return self.window / 5


DOCUMENTED = Budget()


class SlidingWindow:
    """Amounts used in the last `seconds`, kept in 300 buckets; `horizon` is how far `returning` looks ahead.

    An amount counts until its whole bucket is older than the window: at most 1/300 longer than the service counts it.
    """

    __slots__ = ("_ahead", "_behind", "_horizon", "_next", "_returning", "_size", "_span", "_used")

    def __init__(self, seconds: float, horizon: float) -> None:
        self._size = seconds / 300
        self._span = seconds + self._size
        self._horizon = horizon
        self._ahead: deque[list[float]] = deque()  # leaves the window within the horizon
        self._behind: deque[list[float]] = deque()  # leaves later
        self._used = 0.0
        self._returning = 0.0
        self._next = float("-inf")

    def add(self, now: float, amount: float) -> None:
        """Count `amount` as used now."""
        start = now - now % self._size
        if self._behind and self._behind[-1][0] == start:
            self._behind[-1][1] += amount
        else:
            self._behind.append([start, amount])
        self._used += amount

    def add_spread(self, now: float, amount: float) -> None:
        """Count `amount` as used evenly over the window that ends now: use that was not ours, of unknown age."""
        kept = [*self._ahead, *self._behind]
        share = amount / 300
        spread = [[now - self._size * age - now % self._size, share] for age in range(299, -1, -1)]
        self._behind = deque(sorted([*kept, *spread]))
        self._ahead.clear()
        self._returning = 0.0
        self._used += amount
        self._next = float("-inf")

    def used(self, now: float) -> float:
        """Return what counts now."""
        self._move(now)
        return self._used

    def returning(self, now: float) -> float:
        """Return how much of it will have left the window one horizon from now."""
        self._move(now)
        return self._returning

    def spending(self, now: float) -> tuple[float, float]:
        """Return both `used` and `returning`."""
        self._move(now)
        return self._used, self._returning

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
        if not self._ahead:
            self._returning = 0.0
            if not self._behind:
                self._used = 0.0  # no drift of floating point survives an empty window


class LimitEstimate:
    """An estimate of one limit, in our own units (for execution time: seconds as we measure them, transport included).

    `horizon` is the time scale of growing, in seconds; nothing grows before `settle` seconds have passed, and with
    `settle` None nothing ever grows beyond what it once was.
    """

    __slots__ = (
        "_bias", "_curious", "_fruitless", "_goal", "_grown_at", "_heard_at", "_horizon", "_learnt", "_number",
        "_origin", "_probe_from", "_since", "value",
    )  # fmt: skip

    def __init__(self, value: float, now: float, *, horizon: float, settle: float | None) -> None:
        self.value = value
        self._learnt = value
        self._number = value
        self._bias = 1.0
        self._horizon = horizon
        self._goal = value
        self._heard_at = float("-inf")
        self._origin = (0.0, value)
        self._curious = settle is not None
        self._probe_from = now + (settle or 0.0)
        self._since = APART
        self._grown_at = now
        self._fruitless = 0

    def confirmed(self, now: float) -> bool:
        """Return whether the service told the limit within the last five horizons."""
        return now - self._heard_at <= 5 * self._horizon

    def assume(self, now: float, value: float) -> None:
        """Begin with a `value` that was learnt elsewhere, and do not soon look for more."""
        self.value = self._learnt = value
        self._look_again(now, ASSUMED * self._horizon)

    def hear(self, now: float, left: float, used: float) -> None:
        """Take the service's word, from its headers, that so much is `left` when we have `used` so much."""
        value = left + used
        changed = abs(value - self.value) > NEWS * self.value
        jump = changed or not self.confirmed(now)
        self.value = value if jump else self.value + 0.2 * (value - self.value)
        self._learnt = self.value
        self._heard_at = now
        if jump:
            self._origin = used, value

    def foreseen(self, used: float) -> float:
        """Return what the limit will turn out to be, in our units, when all of it is used.

        We measure more than the service counts (the way there and back), so what is left and what we have used add up
        to more the more we use: by how much shows in what was heard so far.
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
        before, self.value = self._learnt, self._judged(used, number)
        self._learnt = self.value
        self._look_again(now + stopped, self._pause(before, stopped))
        return max(0.0, self.value - used)

    def _pause(self, before: float, stopped: float) -> float:
        """Return how long not to look for more after a refusal, the limit having been thought to be `before`."""
        if self.value < (1 - 2 * NEWS) * before:
            self._goal, self._fruitless = max(self._goal, before), 0
            return self._horizon / 2 if self._curious else RECOVERY_COST * stopped
        self._fruitless = self._fruitless + 1 if self.value <= (1 + NEWS) * before else 0
        if self._fruitless > PATIENCE:
            self._goal = self.value
        cost, doubled = self._cost(stopped), 2.0 ** min(self._fruitless, 4)
        if not self._curious:
            return RECOVERY_COST * stopped * doubled
        if self.value < self._goal:
            return max(self._horizon / 2, min(RECOVERY_COST * cost, 2 * self._horizon * doubled))
        return max(10 * self._horizon, PROBE_COST * cost) * doubled

    def _cost(self, stopped: float) -> float:
        """Return the seconds of work that a stop costs: what it leaves unused is spent in a horizon or so."""
        return stopped * (stopped / 2 + self._horizon) / (5 * self._horizon) if self._curious else stopped

    def _look_again(self, start: float, pause: float) -> None:
        self._probe_from = start + pause
        self._grown_at = start
        self._since = 0

    def _judged(self, used: float, number: float | None) -> float:
        if number is None:
            return used if used >= self.value / 2 else self.value
        if self._curious and number == self._number and used >= number:
            self._bias = used / number  # of what is in flight, we count at least what the server does
        self._number = number
        return number * self._bias

    def rumour(self, now: float, number: float, stopped: float) -> None:
        """Take in that another server named a `number`: a lower one holds here too until this one says otherwise.

        What stops everybody for minutes is not tried by each server in turn: one search in vain is enough for all.
        """
        lower = number < (1 - NEWS) * self._number
        if lower:
            self._goal = max(self._goal, self.value)
            self._number = number
            self.value = self._learnt = min(self.value, number * self._bias)
        if self._curious and lower:
            self._look_again(now + stopped, self._horizon / 2)
        elif not self._curious:
            self.value = min(self.value, self._learnt)
            self._look_again(now + stopped, RECOVERY_COST * stopped * 2.0 ** min(self._fruitless, 4))

    def proven(self, now: float, used: float) -> None:
        """Take in that another server let `used` pass, which is more than this one is thought to."""
        if used > self.value and now >= self._probe_from and not self.confirmed(now):
            self.value = used

    def grow(self, now: float, used: float) -> None:
        """Raise the estimate if it is what holds us back, nobody confirms it, and it is time to look for more.

        To be called once for each request that was answered: refusals may not be more than a few in a thousand.
        """
        self._since += 1
        since = min(now - self._grown_at, self._horizon / 10)
        self._grown_at = now
        if now < self._probe_from or self._since < APART or used < 0.9 * self.value or self.confirmed(now):
            return
        recovering = self.value < self._goal
        if recovering or self._curious:
            self.value *= 1 + (RECOVERY_GROWTH if recovering else GROWTH) * since / self._horizon
