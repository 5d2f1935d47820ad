"""A few scenarios again on the real clock, windows of seconds instead of minutes, beside their simulation.

The gate with its threads, real tokens, the whole emulator; the same limits and service times in the simulation.
"""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from connector.clock import SystemClock
from connector.dataverse.pacing.gate import Gate
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.service_limits import Budget
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Request
from scripts.benchmarks.scenarios import drawn
from scripts.benchmarks.virtual_service import Load, Service

WINDOW = 20.0
"""Seconds: a fifteenth of the documented one."""
REQUESTS, EXECUTION = 400, 80.0
"""The documented limits, scaled: 20 requests and 4 seconds of execution a second."""
SPREAD = 0.05
"""Of service times, log-normal. With the 0.35 of the other benchmarks the few requests of two minutes would differ by
their luck, by more than the two clocks do: the mean of a thousand draws is one percent off as often as not."""
THREADS = 40
CASES: Mapping[str, tuple[int, float]] = {
    # servers, mean seconds of work
    "1 server, bound by count": (1, 0.05),
    "1 server, bound by time": (1, 0.4),
    "2 servers, bound by time": (2, 0.4),
}
_FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Shares of the ceiling and of requests answered 429, on the real clock and in the simulation."""

    name: str
    real: float
    real_429: float
    simulated: float
    simulated_429: float

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare(name: str, seconds: float) -> Pair:
    """Play a case for so many seconds, really and simulated."""
    servers, mean = CASES[name]
    limits = Limits(servers=servers, requests=REQUESTS, execution_seconds=EXECUTION, window_seconds=WINDOW)
    service = Service(limits, ((0.0, mean),), drawn((mean,), SPREAD), transport=0.002)
    budget = Budget(requests=REQUESTS, seconds=EXECUTION, window=WINDOW)
    simulated = Load(service, [Governor(0.0, budget)]).run(seconds)
    answered, refused = _really(limits, mean, budget, seconds)
    allowed = service.allowed(0, seconds)
    return Pair(
        name,
        round(answered / allowed, 4),
        round(refused / max(1, answered + refused), 5),
        round(simulated.count(0, seconds) / allowed, 4),
        round(simulated.share_refused, 5),
    )


def _really(limits: Limits, mean: float, budget: Budget, seconds: float) -> tuple[int, int]:
    """Return how many requests were answered and how many refused."""
    clock = SystemClock()
    median = mean * math.exp(-SPREAD * SPREAD / 2)
    model = LatencyModel(medians={}, other=median, sigma=SPREAD)
    embedded = open_embedded(":memory:", clock, EmulatorOptions(seeded=0, limits=limits, latency=model))
    gate = Gate(embedded.handler, clock, budget)
    request = Request("GET", f"{embedded.url}/api/data/v9.2/WhoAmI()", _headers(embedded))
    statuses: list[int] = []
    end = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < end:
            status = gate(request).status
            if time.monotonic() < end:
                statuses.append(status)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    embedded.close()
    return statuses.count(200), statuses.count(429)


def _headers(embedded: EmbeddedEmulator) -> Mapping[str, str]:
    form = urllib.parse.urlencode({
        "grant_type": "client_credentials", "client_id": embedded.client_id,
        "client_secret": embedded.client_secret, "scope": f"{embedded.url}/.default",
    }).encode()  # fmt: skip
    answer = embedded.handler(Request("POST", f"{embedded.authority}/oauth2/v2.0/token", _FORM, form))
    return {"authorization": f"Bearer {json.loads(answer.body)['access_token']}", "accept": "application/json"}
