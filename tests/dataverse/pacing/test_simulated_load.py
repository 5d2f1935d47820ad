"""Hours of work against the protection model, in seconds: what is reached, what is refused, what is foreseen."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from connector.dataverse.pacing.permits import Binding
from connector.dataverse.pacing.service_limits import Budget
from connector.emulator.limits.protection import Admission, Limits
from tests.dataverse.virtual_load import Load, Outcome, Service, ceiling

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long


def about(seconds: float) -> Callable[[random.Random, float], float]:
    """Service times around a mean, some much longer than others."""
    return lambda chance, _now: chance.expovariate(1 / seconds)


def mixed(chance: random.Random, _now: float) -> float:
    return chance.choice([0.05, 0.2, 1.0, 2.0])


def run(service: Service, seconds: float) -> Outcome:
    return Load(service).run(seconds)


@pytest.mark.parametrize(("servers", "seconds"), [(1, 0.05), (1, 0.2), (1, 2.0), (2, 1.0), (8, 2.0)])
def test_the_documented_limits_are_used_to_95_percent_and_nothing_is_refused(servers: int, seconds: float) -> None:
    limits = Limits(servers=servers)
    outcome = run(Service(limits, about(seconds)), 600)
    assert outcome.rate(0, 600) >= 0.95 * ceiling(limits, seconds)
    assert outcome.share_refused < 0.001


def test_a_mixture_of_service_times_reaches_the_ceiling_too() -> None:
    limits = Limits(servers=2)
    outcome = run(Service(limits, mixed), 900)
    assert outcome.rate(0, 900) >= 0.95 * ceiling(limits, 0.8125)
    assert outcome.share_refused < 0.005


@pytest.mark.parametrize("factor", [0.4, 2.0])
@pytest.mark.parametrize(("servers", "seconds"), [(1, 0.1), (2, 1.0)])
def test_limits_other_than_documented_are_found_from_the_headers(factor: float, servers: int, seconds: float) -> None:
    limits = Limits(servers=servers, requests=int(6000 * factor), execution_seconds=1200 * factor)
    outcome = run(Service(limits, about(seconds)), 600)
    assert outcome.rate(0, 600) >= 0.95 * ceiling(limits, seconds)
    assert outcome.share_refused < 0.001


@pytest.mark.parametrize(("servers", "seconds"), [(1, 0.2), (2, 1.0)])
def test_a_higher_limit_is_found_without_headers(servers: int, seconds: float) -> None:
    limits = Limits(servers=servers, requests=8000, execution_seconds=1600)
    outcome = run(Service(limits, about(seconds), headers=False), 1500)
    assert outcome.rate(1200, 1500) >= 0.95 * ceiling(limits, seconds)
    assert outcome.share_refused < 0.005


def test_a_lower_limit_is_found_without_headers() -> None:
    limits = Limits(servers=2, requests=2500, execution_seconds=500)
    outcome = run(Service(limits, about(0.5), headers=False), 1800)
    assert outcome.rate(600, 1800) >= 0.95 * ceiling(limits, 0.5)
    assert outcome.share_refused < 0.005


@pytest.mark.parametrize(
    ("servers", "seconds", "lowered"), [(1, 0.1, {"requests": 3000}), (2, 1.0, {"execution_seconds": 600.0})]
)
def test_after_a_limit_recovers_the_ceiling_is_reached_within_a_minute(
    servers: int, seconds: float, lowered: dict[str, float]
) -> None:
    limits = Limits(servers=servers)
    back = {name: getattr(limits, name) for name in lowered}
    outcome = run(Service(limits, about(seconds), changes=[(600, lowered), (1200, back)]), 1500)
    full = ceiling(limits, seconds)
    assert outcome.rate(300, 600) >= 0.95 * full
    assert outcome.rate(900, 1200) >= 0.95 * full / 2
    assert outcome.rate(1200, 1260) >= 0.95 * full
    assert outcome.rate(1200, 1500) >= 0.95 * full
    assert outcome.share_refused < 0.001


def test_plug_ins_that_slow_down_and_recover_are_followed() -> None:
    limits = Limits(servers=2)
    outcome = run(Service(limits, lambda c, now: c.expovariate(1 / (2.0 if 300 <= now < 900 else 0.4))), 1200)
    assert outcome.rate(600, 900) >= 0.95 * ceiling(limits, 2.0)
    assert outcome.rate(900, 1200) >= 0.95 * ceiling(limits, 0.4)
    assert outcome.share_refused < 0.001


def test_a_server_short_of_workers_is_not_crowded() -> None:
    limits = Limits(servers=2, workers=8, requests=100_000, execution_seconds=1e6)
    outcome = run(Service(limits, about(0.5)), 600)
    assert outcome.rate(0, 600) >= 0.93 * ceiling(limits, 0.5)
    assert not outcome.refused


def test_no_request_is_sent_while_everybody_has_to_wait() -> None:
    limits = Limits(servers=3, requests=400, execution_seconds=80)
    outcome = run(Service(limits, about(0.2), headers=False, changes=[(400, {"requests": 200})]), 1500)
    assert outcome.holds
    assert outcome.early == 0


def test_without_affinity_cookies_the_servers_are_still_used() -> None:
    limits = Limits(servers=4, requests=1500, execution_seconds=300)
    outcome = run(Service(limits, about(0.5), affinity=False), 900)
    assert outcome.rate(0, 900) >= 0.85 * ceiling(limits, 0.5)
    assert outcome.share_refused < 0.005


@pytest.mark.parametrize("servers", [2, 3, 8])
def test_cookies_that_choose_nothing_are_seen_before_too_many_are_at_once_on_one_server(servers: int) -> None:
    limits = Limits(servers=servers, requests=1500, execution_seconds=300)
    outcome = run(Service(limits, about(0.5), steers=False), 1800)
    assert outcome.rate(0, 1800) >= 0.8 * ceiling(limits, 0.5)
    assert outcome.share_refused < 0.03
    assert min(outcome.refused, default=10.0) >= 10.0


def test_another_run_that_used_up_the_window_is_waited_for() -> None:
    service = Service(Limits(), about(0.2), headers=False)
    load = Load(service)
    for second in range(280):
        for _ in range(20):
            earlier = load.protection.arrive("user", 0, float(second) - 280, seconds=0.1)
            assert isinstance(earlier, Admission)
            load.protection.leave(earlier, earlier.ends)
    outcome = load.run(900)
    assert outcome.rate(300, 900) >= 0.9 * ceiling(service.limits, 0.2)
    assert outcome.share_refused < 0.01


def lasting(seconds: float) -> Callable[[random.Random, float], float]:
    return lambda _chance, _time: seconds


def test_what_holds_the_rate_is_told() -> None:
    for seconds, limits, binding in (
        (0.05, Limits(), Binding.COUNT),
        (2.0, Limits(), Binding.TIME),
        (2.0, Limits(requests=100_000, execution_seconds=1e6), Binding.CONCURRENCY),
    ):
        load = Load(Service(limits, lasting(seconds)))
        load.run(330 if binding is not Binding.CONCURRENCY else 60)
        pace = load.governor.pace(load.now, "write")
        assert pace.binding is binding
        assert pace.ceiling == pytest.approx(ceiling(limits, seconds), rel=0.05)


def test_a_service_scaled_down_is_paced_on_its_own_scale() -> None:
    limits = Limits(window_seconds=6.0, requests=120, execution_seconds=24.0)
    load = Load(Service(limits, about(0.1)), budget=Budget(requests=120, seconds=24, window=6.0))
    outcome = load.run(120)
    assert outcome.rate(6, 120) >= 0.93 * ceiling(limits, 0.1)
    assert outcome.share_refused < 0.005


@pytest.mark.parametrize(
    ("servers", "seconds", "requests"), [(1, 0.1, 11_000), (1, 1.0, 6000), (2, 0.5, 11_000), (4, 2.0, 6000)]
)
def test_the_end_is_foreseen_within_15_percent_after_the_first_5_percent(
    servers: int, seconds: float, requests: int
) -> None:
    load = Load(Service(Limits(servers=servers), lambda chance, _now: seconds * chance.uniform(0.3, 1.7)))
    while len(load.outcome.answered) < requests / 20:
        load.step()
    at, done = load.now, len(load.outcome.answered)
    pace = load.governor.pace(at, "write")
    fastest = float("inf") if pace.binding is not Binding.LATENCY else 1.1 * done / at
    left = requests - done
    foreseen = at + load.governor.seconds_for(
        at, left, left * pace.executed / (pace.requests - pace.in_flight / 2), fastest
    )
    while len(load.outcome.answered) < requests:
        load.step()
    assert foreseen == pytest.approx(load.now, rel=0.15)


def test_fewer_at_once_than_documented_are_found_by_one_refusal_for_all_servers() -> None:
    limits = Limits(servers=3, concurrency=10, concurrency_retry_after=(2.0, 9.0))
    outcome = run(Service(limits, about(0.2)), 400)
    assert outcome.rate(300, 400) >= 0.95 * ceiling(limits, 0.2)
    assert {at for at, _, facet in outcome.holds if facet == "concurrency"} == {0.01}, "those of the first crowd"


@pytest.mark.parametrize("seed", [1, 2])
def test_looking_for_other_servers_fills_none_of_them_up(seed: int) -> None:
    limits = Limits(servers=8, concurrency=10, concurrency_retry_after=(40.0, 60.0))
    load = Load(Service(limits, mixed), seed=seed)
    load.run(120)
    assert load.outcome.refused
    assert max(load.outcome.refused) < 3, "the first crowd meets the limit, on several servers"
    load.run(420)
    assert max(at for at, _, facet in load.outcome.holds if facet == "concurrency") < 3
