"""How long the service works on a message: log-normal times around a median, from a seed.

No public measurement gives these numbers for the close actions; the medians are inferred and may be set. They are what
shapes a load test, not what it proves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.emulator.limits.calls import ObservedRequest

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
