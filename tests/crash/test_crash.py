"""Whatever goes wrong at whichever request: the end is that of an undisturbed run, one close activity per record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.closing.model import Outcome, ReportStatus
from connector.emulator import examples
from tests.crash.matrix import Case, Schedule, Stage, Statuses, Trouble, cases, disturbed, pairs, singles, undisturbed

FULL = os.environ.get("CRASH_MATRIX") == "full"
"""scripts/crash sets it: every combination. Otherwise a part that stands for the whole."""

SINGLE = [case for case in cases(3) if FULL or len(case.quotes) <= 1 or case.quotes in {(2, 5), (1, 3, 4)}]
PLUGGED = [case for case in cases(3) if FULL or case.quotes in {(), (1, 2), (2, 4)}]
PAIRED = [
    case
    for case in cases(3)
    if FULL or case.quotes == (1,) or (case.quotes == (1, 2) and case.outcome is Outcome.WON and not case.atomic)
]


MOST = 2_000
"""Opportunities that an organization is given before the next cases get a fresh one: what is there slows what comes."""


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, Stage]]:
    """The organizations of this module, by what they are called."""
    stages: dict[str, Stage] = {}
    yield stages
    for stage in stages.values():
        stage.embedded.close()


def renewed(stages: dict[str, Stage], name: str, make: Callable[[], Stage]) -> Stage:
    if name in stages and stages[name].made > MOST:
        stages.pop(name).embedded.close()
    return stages.get(name) or stages.setdefault(name, make())


@pytest.fixture
def stage(stages: dict[str, Stage]) -> Stage:
    return renewed(stages, "plain", Stage)


def check(stage: Stage, case: Case, schedules: Iterator[Schedule], expected_closes: tuple[int, ...]) -> None:
    calm, _, _ = undisturbed(stage, case)
    for schedule in schedules:
        end, first, second = disturbed(stage, case, schedule)
        story = f"{case} {schedule} first {first and first.status} {first and first.error} second {second.status}"
        assert end == calm, story
        assert end.closes == expected_closes, story
        assert second.status is ReportStatus.ALREADY_CLOSED or first is None or first.status is ReportStatus.FAILED, (
            story
        )
        if first is not None and first.status is ReportStatus.CLOSED:
            assert second.status is ReportStatus.ALREADY_CLOSED, story


def closes_of(case: Case) -> tuple[int, ...]:
    """One for the opportunity, one for each quote that was open, none for the others."""
    return (1, *(1 if status in {1, 2, 3} else 0 for status in case.quotes))


@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_one_trouble_at_any_request_changes_nothing_of_the_end(stage: Stage, case: Case) -> None:
    _, report, requests = undisturbed(stage, case)
    assert report.status is ReportStatus.CLOSED
    check(stage, case, singles(requests), closes_of(case))


SHIPPED = tuple(
    Path(examples.__file__).with_name(f"{name}.py")
    for name in ("approval_required", "close_siblings", "recalculate_revenue", "slow_audit")
)


@pytest.fixture(params=[None, 150_000.0], ids=["small", "in want of an approval"])
def lived_in(request: pytest.FixtureRequest, stages: dict[str, Stage]) -> Stage:
    """An organization with the shipped plug-ins: a close is done in pieces there, and what is large is refused."""
    return renewed(stages, str(request.param), lambda: Stage(SHIPPED, request.param))


@pytest.mark.parametrize("case", PLUGGED, ids=str)
def test_nor_does_it_where_plug_ins_are_at_work(lived_in: Stage, case: Case) -> None:
    calm, report, requests = undisturbed(lived_in, case)
    refused = lived_in.worth is not None and case.outcome is Outcome.WON
    assert report.status is (ReportStatus.FAILED if refused else ReportStatus.CLOSED)
    assert calm.closes[0] == (0 if refused else 1)
    check(lived_in, case, singles(requests), calm.closes)


@pytest.mark.parametrize("case", PAIRED, ids=str)
def test_two_troubles_in_one_run_change_nothing_of_the_end(stage: Stage, case: Case) -> None:
    _, _, requests = undisturbed(stage, case)
    check(stage, case, pairs(requests), closes_of(case))


@pytest.mark.parametrize("case", [case for case in cases(2) if case.quotes in {(), (1,), (1, 2)}], ids=str)
def test_a_lost_answer_is_never_reported_as_a_failure(stage: Stage, case: Case) -> None:
    _, _, requests = undisturbed(stage, case)
    for number in range(1, requests + 1):
        _, first, _ = disturbed(stage, case, {number: Trouble.LOST})
        assert first is not None
        assert first.status is ReportStatus.CLOSED, (number, first.error)


@pytest.mark.parametrize("quotes", [(), (1,), (2,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("atomic", [True, False])
def test_two_writers_with_opposite_outcomes_never_make_a_mixture(stage: Stage, quotes: Statuses, atomic: bool) -> None:
    """The second writer acts, from beginning to end, before each of the requests of the first in turn."""
    won, lost = Case(quotes, Outcome.WON, atomic), Case(quotes, Outcome.LOST, atomic)
    _, _, requests = undisturbed(stage, won)
    for before in range(1, requests + 1):
        opportunity = stage.opportunity(quotes)
        ours, theirs = stage.race(won, lost, opportunity, before)
        assert {ours.status, theirs.status} == {ReportStatus.CLOSED, ReportStatus.REFUSED}, (before, ours, theirs)
        end = stage.end(opportunity)
        assert end.opportunity[0] == (1 if ours.status is ReportStatus.CLOSED else 2)
        assert end.closes == (1, *(1 for _ in quotes))
