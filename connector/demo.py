"""The demo: an emulated organization on a socket, opportunities closed in it, and a witness who checks.

The emulator is a process of its own and is spoken to over TLS. The witness signs in and reads with the standard library
alone, so that what it sees owes nothing to the connector.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener
from uuid import UUID

from connector.clock import Clock
from connector.closing.close import Preview, close_opportunity, preview
from connector.closing.model import Intent, Outcome, Plan, Report, ReportStatus
from connector.closing.organization import Organization
from connector.errors import ConnectorError

START_TIMEOUT = 60.0
"""Seconds that an emulator may take to start: a slow machine makes keys and certificates in a few."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the emulator says of itself when it is ready."""

    url: str
    authority: str
    client_id: str
    client_secret: str
    ca_file: Path
    env_file: Path


@contextmanager
def running_emulator(folder: Path) -> Iterator[Ready]:
    """Run an emulator with seeded data in a process of its own, all its files in `folder`; stopped at the end.

    Raises ConnectorError when it does not start.
    """
    ready_file, env_file = folder / "ready.json", folder / "emulator.env"
    command = [sys.executable, "-m", "connector", "emulator", "--db", str(folder / "demo.db"), "--port", "0"]
    command += ["--ready-file", str(ready_file), "--env-file", str(env_file)]
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 (our own program)
    try:
        ready = _wait_until_ready(process, ready_file, folder / "emulator.log")
        yield Ready(
            ready["url"],
            ready["authority"],
            ready["client_id"],
            ready["client_secret"],
            Path(ready["ca_file"]),
            env_file,
        )
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
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
    raise ConnectorError(
        f"The emulator did not start: {said or 'it said nothing'}.", remedy="Run `connector emulator`."
    )


class Witness:
    """Reads an organization over HTTP with nothing but the standard library. Raises OSError when it cannot."""

    def __init__(self, ready: Ready) -> None:
        self._url = ready.url
        tls = ssl.create_default_context(cafile=str(ready.ca_file))
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
"""What the witness calls the states, by `statecode`."""
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: an opportunity to win and one to lose, each with its open quotes, and the competitor.

    `open_before` is how many opportunities are open at the start.
    """

    to_win: UUID
    to_lose: UUID
    open_quotes: Mapping[UUID, tuple[UUID, ...]]
    competitor: UUID
    open_before: int


def choose(witness: Witness) -> Cast:
    """Return an open opportunity with draft and active quotes, another with an open quote, and a competitor.

    Raises ConnectorError when the organization has none such.
    """
    rows = witness.rows("opportunities", "opportunityid", f"statecode eq {OPEN}")
    quotes: dict[UUID, dict[UUID, int]] = {UUID(row["opportunityid"]): {} for row in rows}
    for row in witness.rows("quotes", "quoteid,statecode,_opportunityid_value", f"statecode le {ACTIVE}"):
        of_opportunity = quotes.get(UUID(row["_opportunityid_value"] or str(NOBODY)), {})
        of_opportunity[UUID(row["quoteid"])] = row["statecode"]
    both = [opportunity for opportunity, states in quotes.items() if {DRAFT, ACTIVE} <= set(states.values())]
    some = [opportunity for opportunity, states in quotes.items() if states and opportunity not in both[:1]]
    competitors = witness.rows("competitors", "competitorid")
    if not (both and some and competitors):
        raise ConnectorError("The emulator's data lacks an opportunity with draft and active quotes, or a competitor.")
    open_quotes = {opportunity: tuple(quotes[opportunity]) for opportunity in (both[0], some[0])}
    return Cast(both[0], some[0], open_quotes, UUID(competitors[0]["competitorid"]), len(rows))


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the witness looked at: what should be there, and what is."""

    name: str
    expected: object
    found: object

    @property
    def holds(self) -> bool:
        """Whether it is as it should be."""
        return self.expected == self.found


def testify(witness: Witness, cast: Cast) -> list[Fact]:
    """Return what the witness finds after the closes."""
    still_open = witness.rows("opportunities", "opportunityid", f"statecode eq {OPEN}")
    return [
        *_outcome(witness, "won opportunity", cast.to_win, "Won"),
        *_quotes(witness, "won opportunity", cast.open_quotes[cast.to_win]),
        *_outcome(witness, "lost opportunity", cast.to_lose, "Lost"),
        *_quotes(witness, "lost opportunity", cast.open_quotes[cast.to_lose]),
        Fact("competitor of the lost opportunity", _name(witness, cast.competitor), _rival(witness, cast.to_lose)),
        Fact("opportunities still open", cast.open_before - 2, len(still_open)),
    ]


def _outcome(witness: Witness, name: str, opportunity: UUID, state: str) -> Iterator[Fact]:
    (row,) = witness.rows("opportunities", "statecode", f"opportunityid eq {opportunity}")
    yield Fact(f"state of the {name}", state, OPPORTUNITY_STATES[row["statecode"]])
    closes = witness.rows("opportunitycloses", "activityid", f"_opportunityid_value eq {opportunity}")
    yield Fact(f"close activities of the {name}", 1, len(closes))


def _quotes(witness: Witness, name: str, quotes: tuple[UUID, ...]) -> Iterator[Fact]:
    """Yield what became of the quotes that were open: each closed, by one close activity."""
    for quote_id in quotes:
        (row,) = witness.rows("quotes", "quotenumber,statecode", f"quoteid eq {quote_id}")
        yield Fact(f"state of quote {row['quotenumber']} of the {name}", "Closed", QUOTE_STATES[row["statecode"]])
        activities = witness.rows("quotecloses", "activityid", f"_quoteid_value eq {quote_id}")
        yield Fact(f"close activities of quote {row['quotenumber']}", 1, len(activities))


def _name(witness: Witness, competitor: object) -> str:
    (row,) = witness.rows("competitors", "name", f"competitorid eq {competitor}")
    return str(row["name"])


def _rival(witness: Witness, opportunity: UUID) -> str | None:
    """Return the name of the competitor in the opportunity's close activity."""
    closes = witness.rows("opportunitycloses", "_competitorid_value", f"_opportunityid_value eq {opportunity}")
    found = [row["_competitorid_value"] for row in closes if row["_competitorid_value"]]
    return _name(witness, found[0]) if found else None


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that happened: what it was, and what there is to show of it."""

    name: str
    title: str
    shown: Preview | Report | tuple[Fact, ...]


def play(organization: Organization, witness: Witness, cast: Cast, clock: Clock) -> Iterator[Scene]:
    """Plan a close, do it, close another opportunity as lost, do the first again, and hear the witness."""
    won = Intent(cast.to_win, Outcome.WON, closed_on=clock.now().date(), description="Closed by the demo")
    lost = Intent(cast.to_lose, Outcome.LOST, competitor_id=cast.competitor, description="Closed by the demo")
    planned = preview(organization, won)
    yield Scene("plan", "What closing the first opportunity as won would do", planned)
    digest = planned.verdict.digest if isinstance(planned.verdict, Plan) else None
    report = close_opportunity(organization, won, pause=clock.sleep, if_plan=digest)
    yield Scene("won", "The first opportunity, closed as won by exactly that plan", report)
    report = close_opportunity(organization, lost, pause=clock.sleep)
    yield Scene("lost", "The second opportunity, closed as lost to a competitor", report)
    report = close_opportunity(organization, won, pause=clock.sleep)
    yield Scene("again", "The first opportunity once more: nothing is left to do", report)
    yield Scene("facts", "What a witness reads back", tuple(testify(witness, cast)))


def is_verified(scenes: Mapping[str, Scene]) -> bool:
    """Tell whether all reports are as they should be and every fact holds."""
    expected = {"won": ReportStatus.CLOSED, "lost": ReportStatus.CLOSED, "again": ReportStatus.ALREADY_CLOSED}
    for name, status in expected.items():
        report = scenes[name].shown
        if not isinstance(report, Report) or report.status is not status:
            return False
    facts = scenes["facts"].shown
    return isinstance(facts, tuple) and bool(facts) and all(fact.holds for fact in facts)
