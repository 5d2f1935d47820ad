"""What the emulator makes of a machine whose clock is set while it serves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import JITTER, TravelClock
from tests.emulator.whole.face import Face, MakeFace

HOUR = 3600.0


class MachineClock:
    """The clock of a machine: time passes when it is told to, and somebody may set it."""

    def __init__(self) -> None:
        self._wall = datetime(2026, 5, 4, 12, tzinfo=UTC)
        self._elapsed = 1000.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self._elapsed += max(0.0, seconds)
        self._wall += timedelta(seconds=max(0.0, seconds))

    def set(self, seconds: float) -> None:
        """Move the hands without any time passing."""
        self._wall += timedelta(seconds=seconds)


@pytest.fixture
def machine() -> MachineClock:
    return MachineClock()


@pytest.fixture
def face(machine: MachineClock, make_face: MakeFace) -> Face:
    made = make_face(machine, EmulatorOptions(seeded=5))
    made.sign_in()
    return made


def created(face: Face) -> dict[str, str]:
    """Make an opportunity and return what the organization notes about it."""
    answer = face.post("opportunities", {"name": "On the clock"}, Prefer="return=representation")
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@given(st.lists(st.tuples(st.sampled_from(["sleep", "set"]), st.floats(-4 * HOUR, 4 * HOUR)), max_size=30))
def test_time_never_runs_back_and_is_the_machines_again_once_that_is_right(moves: list[tuple[str, float]]) -> None:
    machine = MachineClock()
    clock = TravelClock(machine)
    seen, times, furthest = [clock.now()], [clock.monotonic()], 0.0
    offset = 0.0
    for what, seconds in moves:
        if what == "set":
            machine.set(seconds)
            offset += seconds
        else:
            machine.sleep(seconds)
        seen.append(clock.now())
        times.append(clock.monotonic())
        furthest = max(furthest, offset)
        assert abs((seen[-1] - machine.now()).total_seconds() - (furthest - offset)) <= JITTER + 1e-3
    assert all(after - before >= -timedelta(seconds=JITTER) for before, after in pairwise(seen))
    assert all(after >= before for before, after in pairwise(times))


def test_a_clock_set_back_makes_no_row_older_and_no_token_unusable(face: Face, machine: MachineClock) -> None:
    before = created(face)
    machine.set(-2 * HOUR)
    machine.sleep(1)
    after = created(face)
    assert after["createdon"] > before["createdon"]
    assert after["modifiedon"] == after["createdon"]
    face.sign_in()
    assert face.get("WhoAmI").status_code == 200


def test_a_clock_set_back_does_not_make_a_token_live_longer(face: Face, machine: MachineClock) -> None:
    machine.set(-2 * HOUR)
    machine.sleep(face.emulator.options.tenant.token_lifetime + 1)
    assert face.get("WhoAmI").status_code == 401


def test_a_clock_set_forward_ends_tokens_and_the_next_one_is_good(face: Face, machine: MachineClock) -> None:
    machine.set(2 * HOUR)
    assert face.get("WhoAmI").status_code == 401
    face.sign_in()
    assert face.get("WhoAmI").status_code == 200
    assert created(face)["createdon"] == "2026-05-04T14:00:00Z"


@pytest.mark.parametrize("jump", [-3 * HOUR, 3 * HOUR])
def test_the_windows_of_the_limits_do_not_move_with_the_wall_clock(
    face: Face, machine: MachineClock, jump: float
) -> None:
    machine.sleep(400)
    face.control("PATCH", "limits", {"requests": 3})
    assert [face.get("opportunities?$select=name&$top=1").status_code for _ in range(2)] == [200, 200]
    machine.set(jump)
    face.sign_in()
    assert [face.get("opportunities?$select=name&$top=1").status_code for _ in range(2)] == [200, 429]
    machine.set(-jump)
    machine.sleep(301)
    assert face.get("opportunities?$select=name&$top=1").status_code == 200


def test_the_journal_tells_the_time_in_the_order_of_the_requests(face: Face, machine: MachineClock) -> None:
    for jump in (HOUR, -HOUR, -HOUR, 0, 3 * HOUR, -5 * HOUR):
        machine.set(jump)
        face.get("WhoAmI")
        machine.sleep(0.5)
    entries = face.control("GET", "journal").json()
    assert [one["number"] for one in entries] == sorted(one["number"] for one in entries)
    assert [one["at"] for one in entries] == sorted(one["at"] for one in entries)


def test_versions_and_delta_links_do_not_depend_on_the_wall_clock(face: Face, machine: MachineClock) -> None:
    first = face.get("opportunities?$select=name", Prefer="odata.track-changes").json()
    machine.set(-24 * HOUR)
    key = created(face)["opportunityid"]
    link = first["@odata.deltaLink"].partition("/api/data/v9.2/")[2]
    changed = face.get(link).json()
    assert [one["opportunityid"] for one in changed["value"]] == [key]
    tags = [face.get(f"opportunities({key})?$select=name").json()["@odata.etag"]]
    machine.set(-24 * HOUR)
    assert (
        face.session.patch(face.api + f"opportunities({key})", json={"name": "Later"}, timeout=120).status_code == 204
    )
    tags.append(face.get(f"opportunities({key})?$select=name").json()["@odata.etag"])
    assert int(tags[1][3:-1]) > int(tags[0][3:-1])
