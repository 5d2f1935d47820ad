"""What a client does that it should not: watched from the service's side, told with examples.

Every finding cites the advice it comes from. None of this changes an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

from connector.emulator.http.exchange import OperationResult
from connector.emulator.limits.calls import ObservedOperation, ObservedRequest

EXAMPLES = 10
N_PLUS_ONE = 12
LOOP = 30
WITHIN = 10.0
SELECTING = frozenset({"Retrieve", "RetrieveMultiple"})
CLOSING = frozenset({"CloseQuote", "WinQuote", "WinOpportunity", "LoseOpportunity"})

ADVICE = {
    "early_retry": "Wait until Retry-After has passed; earlier calls make the wait longer. (api-limits, documented)",
    "missing_select": "Name the columns with $select; all of them cost time. (query-data: best practices, documented)",
    "n_plus_one": "Rows of one table are read one by one; ask for them with one $filter, $expand or $batch. (advice)",
    "unbatched_loop": "Many single writes in a row and none at the same time: send them in parallel, or in small "
    "batches. (api-limits: maximize throughput, documented)",
    "unconditional_update": "An update of an opportunity or quote without If-Match can overwrite what another client "
    "just did. (conditional operations, documented)",
    "large_batch": "Microsoft advises to start with batches of about ten operations. (api-limits, documented)",
    "repeated_close": "A close was sent again although one for the same row had succeeded; look first. (advice)",
}


@dataclass(slots=True)
class Finding:
    """One kind of finding: how often, and the first examples (number of the request and what it was)."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RepeatedRequests:
    """A row of like requests by one user: what, how many, since when, and whether any overlapped."""

    key: str = ""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=LOOP))
    said: bool = False


class Referee:
    """Watches requests of the Web API and keeps what it found, per user."""

    def __init__(self) -> None:
        self.findings: dict[str, dict[str, Finding]] = {}
        self._reads: dict[str, RepeatedRequests] = {}
        self._writes: dict[str, RepeatedRequests] = {}
        self._closed: dict[str, None] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]  # the same state as a new one, by the same code

    def watch(
        self,
        number: int,
        user: str,
        calls: ObservedRequest,
        now: float,
        *,
        early: bool,
        overlapping: bool,
        if_match: bool,
    ) -> tuple[str, ...]:
        """Look at one request as it arrives; returns the kinds of what was found in it."""
        kinds_found: list[str] = ["early_retry"] if early else []
        if calls.batch and len(calls.inner) > 100:  # ten times the advised start
            kinds_found.append("large_batch")
        for call in calls.inner:
            if call.message in SELECTING and call.entity_set and "$select" not in unquote(call.target):
                kinds_found.append("missing_select")
            if call.message == "Update" and call.entity_set in ("opportunities", "quotes") and not calls.batch:
                kinds_found += [] if if_match else ["unconditional_update"]
        if not calls.batch:
            kinds_found += self._streaks(user, calls.inner[0], now, overlapping=overlapping)
        kinds = tuple(dict.fromkeys(kinds_found))
        for kind in kinds:
            self._note(kind, user, f"#{number} {calls.title}")
        return kinds

    def settled(self, number: int, user: str, operations: Sequence[OperationResult]) -> tuple[str, ...]:
        """Look at the operations of one request as it is answered; returns the kinds of what was found."""
        repeated = False
        for operation in operations:
            if operation.message not in CLOSING or not operation.record_id:
                continue
            key = f"{operation.message} {operation.record_id}"
            if key in self._closed:
                repeated = True
                self._note("repeated_close", user, f"#{number} {key}")
            elif operation.status < HTTPStatus.MULTIPLE_CHOICES:
                self._closed[key] = None
                if len(self._closed) > 10_000:  # bounds memory
                    del self._closed[next(iter(self._closed))]
        return ("repeated_close",) if repeated else ()

    def report(self) -> list[dict[str, object]]:
        """Return the findings as plain data, the most frequent first."""
        rows = [
            {"user": user, "kind": kind, "count": note.count, "advice": ADVICE[kind], "examples": [*note.examples]}
            for user, kinds in self.findings.items()
            for kind, note in kinds.items()
        ]
        return sorted(rows, key=lambda row: (-int(str(row["count"])), str(row["user"]), str(row["kind"])))

    def _note(self, kind: str, user: str, example: str) -> None:
        finding = self.findings.setdefault(user, {}).setdefault(kind, Finding())
        finding.count += 1
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(example)

    def _streaks(self, user: str, call: ObservedOperation, now: float, *, overlapping: bool) -> list[str]:
        kinds = []
        if call.message == "Retrieve":
            if self._grown(self._reads.setdefault(user, RepeatedRequests()), call.entity_set, N_PLUS_ONE, now):
                kinds.append("n_plus_one")
        elif call.message in ("Create", "Update", "Delete"):
            streak = self._writes.setdefault(user, RepeatedRequests())
            if overlapping:
                streak.times.clear()
            if self._grown(streak, f"{call.message} {call.entity_set}", LOOP, now):
                kinds.append("unbatched_loop")
        return kinds

    @staticmethod
    def _grown(streak: RepeatedRequests, key: str, enough: int, now: float) -> bool:
        """Return whether `enough` like requests came within ten seconds; true once per streak."""
        if streak.key != key:
            streak.key, streak.said = key, False
            streak.times.clear()
        streak.times.append(now)
        if streak.said or len(streak.times) < enough:
            return False
        streak.said = now - streak.times[-enough] <= WITHIN
        return streak.said
