"""`connector demo`: opportunities of an emulator are closed over HTTP, and a reader reads back the result.

The emulator has a process of its own; the reader uses the standard library alone. The steps plan, close, close another,
and do the first again; then everything is read back.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener
from uuid import UUID

import click

from connector.assembly import connect
from connector.cli.close_view import show_preview, show_report
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import examples
from connector.cli.run_options import json_option, verbose_option, wants_json
from connector.cli.screen import TextTable, print_json, say, show
from connector.clock import Clock, SystemClock
from connector.closing.close import Preview, fulfil, preview
from connector.closing.model import Intent, OrganizationMetadata, Outcome, Plan, Report, ReportStatus, StepKind
from connector.closing.organization import LookupOrganization
from connector.closing.report import preview_data, report_data
from connector.closing.step_words import phrase
from connector.errors import ConnectorError
from connector.settings.environment import load

START_TIMEOUT = 60.0
"""Seconds that an emulator may take to start: a slow machine makes keys and certificates in a few."""


@dataclass(frozen=True, slots=True)
class RunningEmulator:
    """What the emulator says of itself when it is ready."""

    env_file: Path
    url: str
    authority: str
    client_id: str
    client_secret: str
    ca_file: str


@contextmanager
def running_emulator(folder: Path, scenario: str) -> Iterator[RunningEmulator]:
    """Run an emulator of a scenario in a process of its own, all its files in `folder`; stopped at the end.

    Raises ConnectorError when it does not start.
    """
    ready_file, env_file = folder / "ready.json", folder / "emulator.env"
    command = [sys.executable, "-m", "connector", "emulator", "--db", str(folder / "demo.db"), "--port", "0"]
    command += ["--scenario", scenario]
    command += ["--ready-file", str(ready_file), "--env-file", str(env_file)]
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        ready = _wait_until_ready(process, ready_file, folder / "emulator.log")
        yield RunningEmulator(env_file, **{name: ready[name] for name in RunningEmulator.__slots__ if name in ready})
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if ready_file.exists():
            ready: dict[str, str] = json.loads(ready_file.read_text(encoding="utf-8"))
            return ready
        time.sleep(0.05)
    output = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
    raise ConnectorError(
        f"The emulator did not start: {output or 'it said nothing'}.", remedy="Run `connector emulator`."
    )


class IndependentReader:
    """Reads an organization over HTTP with the standard library only. Raises OSError when it cannot."""

    def __init__(self, ready: RunningEmulator) -> None:
        self._url = ready.url
        tls = ssl.create_default_context(cafile=ready.ca_file)
        # Straight to the emulator, whatever proxy the environment names for the world outside.
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        form = {
            "grant_type": "client_credentials",
            "client_id": ready.client_id,
            "client_secret": ready.client_secret,
            "scope": f"{ready.url}/.default",
        }
        request = Request(f"{ready.authority}/oauth2/v2.0/token", urlencode(form).encode(), method="POST")
        self._token = self._answer(request)["access_token"]

    def rows(self, entity_set: str, select: str, where: str = "") -> list[dict[str, Any]]:
        """Return all rows of an entity set that satisfy the filter."""
        query = f"?$select={select}" + (f"&$filter={quote(where)}" if where else "")
        link: str | None = f"{self._url}/api/data/v9.2/{entity_set}{query}"
        rows: list[dict[str, Any]] = []
        while link:
            page = self._answer(Request(link, headers={"Authorization": f"Bearer {self._token}"}))
            rows += page["value"]
            link = page.get("@odata.nextLink")
        return rows

    def _answer(self, request: Request) -> dict[str, Any]:
        with self._opener.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


OPEN = 0
"""`statecode` of an opportunity that is open."""
DRAFT, ACTIVE = 0, 1
"""`statecode` of a quote that is open."""
OPPORTUNITY_STATES = ("Open", "Won", "Lost")
QUOTE_STATES = ("Draft", "Active", "Won", "Closed")
"""What the reader calls the states, by `statecode`."""
NOBODY = UUID(int=0)
PROJECT_OPERATIONS = "project-operations"
"""The scenario in which opportunities are work-based."""
WORK_BASED = 192350001
"""`msdyn_ordertype` of those."""


@dataclass(frozen=True, slots=True)
class DemoRecords:
    """Who takes part: an opportunity to win and one to lose, each with its open quotes, and the competitor.

    `open_before` is how many opportunities are open at the start. Work-based ones have a `winning_quote`.
    """

    to_win: UUID
    to_lose: UUID
    open_quotes: Mapping[UUID, tuple[UUID, ...]]
    competitor: UUID
    open_before: int
    winning_quote: UUID | None = None


def choose(reader: IndependentReader, scenario: str) -> DemoRecords:
    """Return an open opportunity with draft and active quotes, another with an open quote, and a competitor.

    For Project Operations both have draft and active quotes and are work-based.

    Raises ConnectorError when the organization has none such.
    """
    rows = reader.rows("opportunities", "opportunityid,msdyn_ordertype", f"statecode eq {OPEN}")
    work_based = scenario == PROJECT_OPERATIONS
    suitable = [row for row in rows if not work_based or row["msdyn_ordertype"] == WORK_BASED]
    quotes: dict[UUID, dict[UUID, int]] = {UUID(row["opportunityid"]): {} for row in suitable}
    for row in reader.rows("quotes", "quoteid,statecode,_opportunityid_value", f"statecode le {ACTIVE}"):
        of_opportunity = quotes.get(UUID(row["_opportunityid_value"] or str(NOBODY)), {})
        of_opportunity[UUID(row["quoteid"])] = row["statecode"]
    both = [opportunity for opportunity, states in quotes.items() if {DRAFT, ACTIVE} <= set(states.values())]
    some = (
        both[1:]
        if work_based
        else [candidate for candidate, states in quotes.items() if states and candidate not in both[:1]]
    )
    competitors = reader.rows("competitors", "competitorid")
    if not (both and some and competitors):
        raise ConnectorError("The emulator's data lacks an opportunity with draft and active quotes, or a competitor.")
    open_quotes = {opportunity: tuple(quotes[opportunity]) for opportunity in (both[0], some[0])}
    active = next(quote for quote, state in quotes[both[0]].items() if state == ACTIVE)
    competitor = UUID(competitors[0]["competitorid"])
    return DemoRecords(both[0], some[0], open_quotes, competitor, len(rows), active if work_based else None)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something the reader looked at: what should be there, and what is."""

    name: str
    expected: object
    found: object

    @property
    def holds(self) -> bool:
        """Whether it is as it should be."""
        return self.expected == self.found


def read_back(reader: IndependentReader, records: DemoRecords) -> list[Expectation]:
    """Return what the reader finds after the closes."""
    still_open = reader.rows("opportunities", "opportunityid", f"statecode eq {OPEN}")
    return [
        *_closed(reader, records, records.to_win, "won"),
        *_closed(reader, records, records.to_lose, "lost"),
        *_competitor(reader, records),
        Expectation("opportunities still open", records.open_before - 2, len(still_open)),
    ]


def _closed(reader: IndependentReader, records: DemoRecords, opportunity: UUID, outcome: str) -> Iterator[Expectation]:
    """Yield what became of an opportunity and its open quotes: each closed, or won, by one close activity."""
    (row,) = reader.rows("opportunities", "statecode", f"opportunityid eq {opportunity}")
    yield Expectation(f"state of the {outcome} opportunity", outcome.capitalize(), OPPORTUNITY_STATES[row["statecode"]])
    closes = reader.rows("opportunitycloses", "activityid", f"_opportunityid_value eq {opportunity}")
    yield Expectation(f"close activities of the {outcome} opportunity", 1, len(closes))
    for quote_id in records.open_quotes[opportunity]:
        (row,) = reader.rows("quotes", "quotenumber,statecode", f"quoteid eq {quote_id}")
        number, state = row["quotenumber"], "Won" if quote_id == records.winning_quote else "Closed"
        yield Expectation(
            f"state of quote {number} of the {outcome} opportunity", state, QUOTE_STATES[row["statecode"]]
        )
        activities = reader.rows("quotecloses", "activityid", f"_quoteid_value eq {quote_id}")
        yield Expectation(f"close activities of quote {number}", 1, len(activities))


def _competitor(reader: IndependentReader, records: DemoRecords) -> Iterator[Expectation]:
    """Yield the competitor in the close activity of the lost opportunity."""
    names = {row["competitorid"]: row["name"] for row in reader.rows("competitors", "name")}
    closes = reader.rows("opportunitycloses", "_competitorid_value", f"_opportunityid_value eq {records.to_lose}")
    found_name = names.get(closes[0]["_competitorid_value"]) if closes else None
    yield Expectation("competitor of the lost opportunity", names[str(records.competitor)], found_name)


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One thing that happened: what it was, and what there is to show of it."""

    name: str
    title: str
    shown: Preview | Report | tuple[Expectation, ...]


def run_steps(
    organization: LookupOrganization, reader: IndependentReader, records: DemoRecords, clock: Clock
) -> Iterator[DemoStep]:
    """Plan a close, do it, close another opportunity as lost, do the first again, and read everything back."""
    day, winning = clock.now().date(), records.winning_quote
    won = Intent(records.to_win, Outcome.WON, closed_on=day, winning_quote_id=winning, description="Closed by the demo")
    lost = Intent(records.to_lose, Outcome.LOST, competitor_id=records.competitor, description="Closed by the demo")
    planned = preview(organization, won)
    yield DemoStep("plan", "What closing the first opportunity as won would do", planned)
    digest = planned.verdict.digest if isinstance(planned.verdict, Plan) else None
    report = fulfil(organization, won, pause=clock.sleep, if_plan=digest)
    yield DemoStep("won", "The first opportunity, closed as won by exactly that plan", report)
    facts = [_message(report, StepKind.CLOSE_PROJECT_QUOTE, "msdyn_CloseQuoteAsWon")] if winning else []
    report = fulfil(organization, lost, pause=clock.sleep)
    yield DemoStep("lost", "The second opportunity, closed as lost to a competitor", report)
    facts += [_message(report, StepKind.CLOSE_ALL_QUOTES, "msdyn_CloseAllOpportunityQuotes")] if winning else []
    report = fulfil(organization, won, pause=clock.sleep)
    yield DemoStep("again", "The first opportunity once more: nothing is left to do", report)
    yield DemoStep("facts", "What is read back", (*facts, *read_back(reader, records)))


def _message(report: Report, kind: StepKind, expected: str) -> Expectation:
    """Return which message of the service a step was done by."""
    messages = [result.step.message for result in report.steps if result.step.kind is kind]
    return Expectation(f"message that did '{phrase(kind)}'", expected, messages[0] if messages else "none")


def is_verified(steps: Mapping[str, DemoStep]) -> bool:
    """Tell whether all reports are as they should be and every fact holds."""
    expected = {"won": ReportStatus.CLOSED, "lost": ReportStatus.CLOSED, "again": ReportStatus.ALREADY_CLOSED}
    for name, status in expected.items():
        report = steps[name].shown
        if not isinstance(report, Report) or report.status is not status:
            return False
    facts = steps["facts"].shown
    return isinstance(facts, tuple) and bool(facts) and all(fact.holds for fact in facts)


@click.command(epilog=examples("demo", "demo --scenario project-operations", "demo --json"))
@click.option(
    "--scenario",
    type=click.Choice(("default", PROJECT_OPERATIONS)),
    default="default",
    help="What the emulator has: deals of Sales, or work-based opportunities of Project Operations too, shown here.",
)
@json_option
@verbose_option
def demo(*, scenario: str) -> int:
    """Close opportunities of a local emulator and check the result, in one go.

    Nothing is needed and nothing is left behind: the emulator serves made-up data from a temporary folder.
    """
    clock, steps = SystemClock(), dict[str, DemoStep]()
    # On Windows a virus scanner may still hold a file of the folder when it is to go.
    temporary = tempfile.TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=sys.platform == "win32")
    with temporary as folder, running_emulator(Path(folder), scenario) as ready:
        reader = IndependentReader(ready)
        with connect(load({}, ready.env_file)) as connection:
            where = sys.stderr if wants_json() else sys.stdout
            say(f"An emulated organization answers at {ready.url}, with data made up for it.", where)
            for step in run_steps(connection.organization, reader, choose(reader, scenario), clock):
                steps[step.name] = step
                if not wants_json():
                    _show(step, connection.organization.metadata())
    verified = is_verified(steps)
    if wants_json():
        print_json({"verified": verified, "url": ready.url, **{name: _data(step) for name, step in steps.items()}})
    else:
        click.echo("\nVerified: everything is as it should be." if verified else "\nNOT verified: see above.")
        say(f"Next, a close of your own: README.md, 'A first close', or `{_program()} docs administrator`.")
    return ExitCode.DONE if verified else ExitCode.FAILED


def _program() -> str:
    """Return what to type for this program: its name, or where it is if no shell finds it by its name."""
    beside = Path(sys.executable).parent / ("connector.exe" if sys.platform == "win32" else "connector")
    if shutil.which("connector") or not beside.exists():
        return "connector"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _show(step: DemoStep, metadata: OrganizationMetadata) -> None:
    click.echo(f"\n== {step.title}")
    if isinstance(step.shown, Preview):
        show_preview(step.shown, metadata, sys.stdout)
    elif isinstance(step.shown, Report):
        show_report(step.shown, metadata, sys.stdout)
    else:
        rows = tuple(
            (fact.name, str(fact.expected), str(fact.found), "yes" if fact.holds else "NO") for fact in step.shown
        )
        show(TextTable("Read back over HTTP", ("fact", "expected", "found", "holds"), rows), sys.stdout)


def _data(step: DemoStep) -> object:
    if isinstance(step.shown, Preview):
        return preview_data(step.shown)
    if isinstance(step.shown, Report):
        return report_data(step.shown)
    return [
        {"fact": fact.name, "expected": fact.expected, "found": fact.found, "holds": fact.holds} for fact in step.shown
    ]
