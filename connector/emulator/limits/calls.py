"""What a request asks for, read from outside: the messages it names and the rows it mentions; how long these take.

Latency, planned faults, locks and the referee need this before the Web API takes a request apart, and also for requests
that it will refuse. It is a reading, not a judgement: whatever does not look like a call of a known kind has the
message `Unknown`.

Times are log-normal around a median, from a seed. No public measurement gives these numbers for the close actions; the
medians are inferred and may be set. They are what shapes a load test, not what it proves.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from connector.emulator.http.exchange import split_url
from connector.handler import Request

_GUID = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_INNER = re.compile(rb"^(GET|POST|PATCH|PUT|DELETE) +(\S+) +HTTP/1\.1\r?$", re.MULTILINE)
_API = re.compile(r"^(?:https?://[^/]+)?/api/data/v\d+\.\d+/?")
_VERBS = {"POST": "Create", "PATCH": "Update", "PUT": "Update", "DELETE": "Delete"}


@dataclass(frozen=True, slots=True)
class ObservedOperation:
    """One operation: its message (Retrieve, Create, CloseQuote, ...), entity set if any, and the rows it mentions."""

    method: str
    message: str
    entity_set: str
    records: tuple[str, ...]
    target: str
    """Path and query after the service root."""


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """The operations of one request, and whether they came as a batch."""

    inner: tuple[ObservedOperation, ...]
    batch: bool

    @property
    def title(self) -> str:
        """Return a short name: the message, or the messages of the batch with their numbers."""
        if not self.batch:
            return self.inner[0].message
        counts: dict[str, int] = {}
        for call in self.inner:
            counts[call.message] = counts.get(call.message, 0) + 1
        return "$batch: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "empty")


def calls_of(request: Request, entity_sets: Container[str]) -> ObservedRequest:
    """Return what `request` asks for."""
    _, path, query = split_url(request.url)
    target = _API.sub("", path)
    if target.lower() == "$batch":
        return ObservedRequest(_inner(request.body, entity_sets), batch=True)
    full = f"{target}?{query}" if query else target
    return ObservedRequest((_call(request.method, full, request.body, entity_sets),), batch=False)


def _inner(body: bytes, entity_sets: Container[str]) -> tuple[ObservedOperation, ...]:
    matches = list(_INNER.finditer(body))
    ends = [*(match.start() for match in matches[1:]), len(body)][: len(matches)]
    return tuple(
        _call(match[1].decode(), _API.sub("", match[2].decode(errors="replace")), body[match.end() : end], entity_sets)
        for match, end in zip(matches, ends, strict=True)
    )


def _call(method: str, target: str, body: bytes, entity_sets: Container[str]) -> ObservedOperation:
    path = target.partition("?")[0].strip("/")
    segment, _, rest = path.partition("/")
    name, parenthesis, _ = segment.partition("(")
    records = tuple(
        dict.fromkeys(match.decode().lower() for match in _GUID.findall(path.encode() + b" " + body[:8192]))
    )
    if name in entity_sets:
        bound = rest.rpartition("/")[2].partition("(")[0]
        if bound.startswith("Microsoft.Dynamics.CRM."):
            message = bound.removeprefix("Microsoft.Dynamics.CRM.")
        elif method == "GET":
            message = "Retrieve" if parenthesis else "RetrieveMultiple"
        else:
            message = _VERBS.get(method, "Unknown")
        return ObservedOperation(method, message, name, records, target)
    return ObservedOperation(method, name or "Unknown", "", records, target)


MEDIANS: Mapping[str, float] = {
    "Retrieve": 0.03,
    "RetrieveMultiple": 0.06,
    "Create": 0.12,
    "Update": 0.15,
    "Delete": 0.15,
    "CloseQuote": 0.35,
    "WinQuote": 0.40,
    "WinOpportunity": 0.45,
    "LoseOpportunity": 0.40,
}
"""Median seconds per message (inferred)."""


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """Medians in seconds by message, one for the rest, a cost per batch; `sigma` is the spread, `scale` multiplies."""

    medians: Mapping[str, float] = field(default_factory=lambda: dict(MEDIANS))
    other: float = 0.1
    per_batch: float = 0.02
    sigma: float = 0.35
    scale: float = 1.0


class Latency:
    """Draws service times. The nth draw after a start is the same for the same seed."""

    def __init__(self, model: LatencyModel, seed: int) -> None:
        self.model = model
        self._random = random.Random(f"{seed}:latency")

    def seconds(self, calls: ObservedRequest) -> float:
        """Return the seconds of work for one request; a batch is the sum of its operations."""
        model = self.model
        drawn = sum(
            model.medians.get(call.message, model.other) * math.exp(self._random.gauss(0.0, model.sigma))
            for call in calls.inner
        )
        return (drawn + (model.per_batch if calls.batch else 0.0)) * model.scale
