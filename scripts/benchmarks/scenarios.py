"""The services a governor is tried on: how many web servers, how slow, which limits, and how they change."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connector.emulator.limits.protection import Limits
from scripts.benchmarks.virtual_service import Seconds, Service

MIXED = (0.05, 0.2, 1.0, 2.0)
SERVICE_TIMES: Mapping[str, tuple[float, ...]] = {
    "50 ms": (0.05,),
    "200 ms": (0.2,),
    "1 s": (1.0,),
    "2 s": (2.0,),
    "mixed 50 ms to 2 s": MIXED,
}
SERVERS = (1, 2, 4, 8)
SAMPLE = 8000
"""Requests a forecast is tried on, at least: its first 5 % must be enough to know a mean by."""
LOWERED = {"requests": 3000, "execution_seconds": 600.0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A service and how long it is used, in seconds; `recovers` is when a limit is back where it was.

    `settled` is the moment from which the rate is held against the ceiling: nothing is left out unless a limit must
    first be found by being refused.
    """

    name: str
    service: Service
    seconds: float
    recovers: float | None = None
    settled: float = 0.0


def drawn(times: tuple[float, ...], spread: float = 0.35) -> Seconds:
    """Return service times around the given ones, log-normal with a mean of one, as the emulator's latency model."""
    shift = -spread * spread / 2
    return lambda chance, _now: chance.choice(times) * chance.lognormvariate(shift, spread)


def quick() -> Iterator[Scenario]:
    """Yield each kind of scenario once, and documented limits on all servers and service times but the busiest."""
    for servers in SERVERS:
        for label in SERVICE_TIMES:
            if servers < 8 or label not in ("50 ms", "200 ms"):
                yield documented(servers, label, 600)
    for label in ("200 ms", "1 s"):
        yield dropping(1, label, 600)
        yield slowing(1, label, 600)
    yield higher(2, "1 s", 900, headers=True)
    yield higher(1, "1 s", 1800, headers=False)
    yield lower(1, "200 ms", 1800)
    yield concurrency(1, "1 s", (2.0, 9.0), 2400)
    yield concurrency(1, "1 s", (363.0, 427.0), 3600)
    yield identities(2, 2, "1 s", 600)
    yield identities(2, 4, "2 s", 600)


def full() -> Iterator[Scenario]:
    """Yield every combination, a quarter of an hour to an hour each."""
    for servers in SERVERS:
        for label in SERVICE_TIMES:
            yield documented(servers, label, 900)
            yield higher(servers, label, 900, headers=True)
            yield higher(servers, label, 2400, headers=False)
            yield lower(servers, label, 2400)
            yield dropping(servers, label, 600)
            yield slowing(servers, label, 600)
            yield concurrency(servers, label, (2.0, 9.0), 2400)
            yield concurrency(servers, label, (363.0, 427.0), 3600)
    for users in (2, 4):
        for label in SERVICE_TIMES:
            yield identities(2, users, label, 900)


def documented(servers: int, label: str, seconds: float) -> Scenario:
    """Documented limits, told in headers."""
    service = _service(Limits(servers=servers), SERVICE_TIMES[label])
    return Scenario(f"documented limits, {_on(servers)}, {label}", service, _sampled(service, seconds))


def higher(servers: int, label: str, seconds: float, *, headers: bool) -> Scenario:
    """Half as much again as documented, found from headers or by asking for more; without headers the end counts."""
    service = _service(
        Limits(servers=servers, requests=9000, execution_seconds=1800.0), SERVICE_TIMES[label], headers=headers
    )
    told = "told in headers" if headers else "never told"
    name = f"hidden limits of 1.5 times, {told}, {_on(servers)}, {label}"
    if headers:
        return Scenario(name, service, _sampled(service, seconds))
    return Scenario(name, service, seconds, settled=seconds / 2)


def lower(servers: int, label: str, seconds: float) -> Scenario:
    """Half of what is documented, never told but in refusals: the first of them stops work for minutes."""
    service = _service(
        Limits(servers=servers, requests=3000, execution_seconds=600.0), SERVICE_TIMES[label], headers=False
    )
    name = f"hidden limits of half, never told, Retry-After of minutes, {_on(servers)}, {label}"
    return Scenario(name, service, seconds, settled=600)


def dropping(servers: int, label: str, phase: float) -> Scenario:
    """Limits that drop to half and come back, a third of the time each."""
    limits = Limits(servers=servers)
    back = {name: getattr(limits, name) for name in LOWERED}
    service = _service(limits, SERVICE_TIMES[label], changes=((phase, LOWERED), (2 * phase, back)))
    return Scenario(f"limits drop and recover, {_on(servers)}, {label}", service, 3 * phase, recovers=2 * phase)


def growing(servers: int, label: str, phase: float) -> Scenario:
    """Web servers of which there are twice as many after a third of the time."""
    service = _service(Limits(servers=servers), SERVICE_TIMES[label], changes=((phase, {"servers": 2 * servers}),))
    return Scenario(f"twice as many servers while it runs, {_on(servers)}, {label}", service, 3 * phase)


def slowing(servers: int, label: str, phase: float) -> Scenario:
    """Plug-ins that take three times as long for a third of the time."""
    times = SERVICE_TIMES[label]
    normal = drawn(times)

    def seconds(chance: random.Random, now: float) -> float:
        return normal(chance, now) * (3.0 if phase <= now < 2 * phase else 1.0)

    mean = sum(times) / len(times)
    means = ((0.0, mean), (phase, 3 * mean), (2 * phase, mean))
    service = Service(Limits(servers=servers), means, seconds)
    return Scenario(f"plug-ins slow down, {_on(servers)}, {label}", service, 3 * phase, recovers=2 * phase)


def concurrency(servers: int, label: str, retry_after: tuple[float, float], seconds: float) -> Scenario:
    """Ten requests at once, told to nobody: a refusal stops work for seconds or for minutes."""
    limits = Limits(servers=servers, concurrency=10, concurrency_retry_after=retry_after)
    length = "minutes" if retry_after[0] > 60 else "seconds"
    name = f"ten at once, Retry-After of {length}, {_on(servers)}, {label}"
    return Scenario(name, _service(limits, SERVICE_TIMES[label]), seconds, settled=min(600.0, seconds / 3))


def identities(servers: int, users: int, label: str, seconds: float) -> Scenario:
    """Several users, each with budgets of its own, on the same servers."""
    service = _service(Limits(servers=servers), SERVICE_TIMES[label], users=users)
    return Scenario(f"{users} identities, {_on(servers)}, {label}", service, _sampled(service, seconds))


def _service(
    limits: Limits,
    times: tuple[float, ...],
    *,
    headers: bool = True,
    users: int = 1,
    changes: tuple[tuple[float, Mapping[str, float]], ...] = (),
) -> Service:
    means = ((0.0, sum(times) / len(times)),)
    return Service(limits, means, drawn(times), changes=changes, identities=users, headers=headers)


def _sampled(service: Service, seconds: float) -> float:
    """Return the seconds, or as many whole windows as it takes for a forecast to be tried on enough requests."""
    window = service.limits.window_seconds
    return max(seconds, window * math.ceil(SAMPLE / service.ceiling(0) / window))


def _on(servers: int) -> str:
    return "1 server" if servers == 1 else f"{servers} servers"
