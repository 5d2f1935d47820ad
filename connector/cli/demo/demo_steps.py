"""The steps of the demo: plan a close, do it, close another opportunity, do the first again, read everything back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connector.cli.demo.expectations import DemoRecords, Expectation, read_back
from connector.cli.demo.independent_reader import IndependentReader
from connector.clock import Clock
from connector.closing.close import Preview, close_opportunity, preview
from connector.closing.model import Intent, Outcome, Plan, Report, ReportStatus
from connector.closing.organization import Organization


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One thing that happened: what it was, and what there is to show of it."""

    name: str
    title: str
    shown: Preview | Report | tuple[Expectation, ...]


def run_steps(
    organization: Organization, reader: IndependentReader, records: DemoRecords, clock: Clock
) -> Iterator[DemoStep]:
    """Plan a close, do it, close another opportunity as lost, do the first again, and read everything back."""
    won = Intent(records.to_win, Outcome.WON, closed_on=clock.now().date(), description="Closed by the demo")
    lost = Intent(records.to_lose, Outcome.LOST, competitor_id=records.competitor, description="Closed by the demo")
    planned = preview(organization, won)
    yield DemoStep("plan", "What closing the first opportunity as won would do", planned)
    digest = planned.verdict.digest if isinstance(planned.verdict, Plan) else None
    report = close_opportunity(organization, won, pause=clock.sleep, if_plan=digest)
    yield DemoStep("won", "The first opportunity, closed as won by exactly that plan", report)
    report = close_opportunity(organization, lost, pause=clock.sleep)
    yield DemoStep("lost", "The second opportunity, closed as lost to a competitor", report)
    report = close_opportunity(organization, won, pause=clock.sleep)
    yield DemoStep("again", "The first opportunity once more: nothing is left to do", report)
    yield DemoStep("facts", "What is read back", tuple(read_back(reader, records)))


def is_verified(steps: Mapping[str, DemoStep]) -> bool:
    """Tell whether all reports are as they should be and every fact holds."""
    expected = {"won": ReportStatus.CLOSED, "lost": ReportStatus.CLOSED, "again": ReportStatus.ALREADY_CLOSED}
    for name, status in expected.items():
        report = steps[name].shown
        if not isinstance(report, Report) or report.status is not status:
            return False
    facts = steps["facts"].shown
    return isinstance(facts, tuple) and bool(facts) and all(fact.holds for fact in facts)
