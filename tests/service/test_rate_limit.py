"""How much one connection may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.service.middleware import MOST_CONNECTIONS, RateLimit


@given(st.integers(1, 499), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_no_minute_holds_more_than_twice_the_limit_and_no_longer_time_more_than_its_share(
    per_minute: int, pauses: list[float]
) -> None:
    clock = VirtualClock()
    limit = RateLimit(per_minute, clock)
    granted = 0
    for pause in pauses:
        clock.advance(pause)
        granted += limit.take("a").wait == 0
    assert granted <= per_minute + clock.monotonic() * per_minute / 60 + 1e-6


@given(st.integers(1, 499))
def test_who_waits_as_long_as_told_is_let_through(per_minute: int) -> None:
    clock = VirtualClock()
    limit = RateLimit(per_minute, clock)
    while (allowance := limit.take("a")).wait == 0:
        assert "Retry-After" not in allowance.headers
    assert allowance.headers["Retry-After"] == str(allowance.wait)
    clock.advance(allowance.wait)
    assert limit.take("a").wait == 0


def test_connections_do_not_share() -> None:
    limit = RateLimit(1, VirtualClock())
    assert [limit.take(name).wait for name in ("a", "b", "a")] == [0, 0, 60]


def test_memory_stays_flat() -> None:
    limit = RateLimit(1, VirtualClock())
    for number in range(MOST_CONNECTIONS + 100):
        limit.take(str(number))
    assert limit.take("0").wait == 0
