"""One contract, three kinds of organization: inside the process, over a socket, and a real one where one is named.

The third runs only when CONTRACT_ENV_FILE names a settings file of a real organization (a sandbox with Dynamics 365
Sales, and an application user that may also create and delete accounts, opportunities and quotes). It makes an account
and opportunities with quotes of its own, under ids it chooses, touches nothing else, and deletes them in the end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from connector.assembly import Connection, connect
from connector.clock import SystemClock
from connector.closing.close import fulfil, preview
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    Outcome,
    Plan,
    QuoteState,
    ReopenIntent,
    Report,
    ReportStatus,
    Snapshot,
)
from connector.emulator.background import served
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Request
from connector.settings.environment import load

REAL = "CONTRACT_ENV_FILE"


@dataclass(slots=True)
class Bench:
    """An organization, and the records that were made in it for a test; `clean` deletes exactly those."""

    connection: Connection
    made: list[tuple[str, UUID]] = field(default_factory=list)

    def send(self, method: str, path: str, body: object = None) -> int:
        headers = {"content-type": "application/json", "accept": "application/json", "odata-version": "4.0"}
        content = b"" if body is None else json.dumps(body).encode()
        request = Request(method, f"{self.connection.base_url}/api/data/v9.2/{path}", headers, content)
        return self.connection.handler(request).status

    def make(self, entity_set: str, key: str, **values: object) -> UUID:
        identity = uuid4()
        self.made.append((entity_set, identity))  # before it is sent: a lost answer must leave nothing behind either
        status = self.send("POST", entity_set, {key: str(identity), **values})
        assert status in (200, 201, 204), f"{entity_set} could not be created: HTTP {status}"
        return identity

    def opportunity(self) -> UUID:
        """Make an open opportunity with a draft and an active quote, and a customer for them."""
        mark = f"Contract test {uuid4()}"
        account = self.make("accounts", "accountid", name=mark)
        customer = {"customerid_account@odata.bind": f"/accounts({account})"}
        opportunity = self.make("opportunities", "opportunityid", name=mark, **customer)
        of_it = {"opportunityid@odata.bind": f"/opportunities({opportunity})"}
        for _ in range(2):
            quote = self.make("quotes", "quoteid", name=mark, **customer, **of_it)
        assert self.send("PATCH", f"quotes({quote})", {"statecode": 1, "statuscode": 2}) == 204
        return opportunity

    def close(self, intent: Intent) -> Report:
        return fulfil(self.connection.organization, intent, pause=time.sleep)

    def see(self, opportunity: UUID) -> Snapshot:
        return self.connection.organization.observe([opportunity], activities=True)[opportunity]

    def clean(self) -> list[str]:
        """Delete what was made, youngest first; return what could not be."""
        statuses = [(f"{name}({key})", self.send("DELETE", f"{name}({key})")) for name, key in reversed(self.made)]
        return [f"{row}: HTTP {status}" for row, status in statuses if status not in (204, 404)]


@pytest.fixture(params=["inside the process", "over a socket", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    match request.param:
        case "inside the process":
            yield from _benched({"DATAVERSE_URL": f"emulator:{tmp_path / 'emulator.db'}"})
        case "over a socket":
            with served(EmulatorOptions(seeded=0), SystemClock(), tmp_path / "served") as emulator:
                yield from _benched(
                    {
                        "DATAVERSE_URL": emulator.url,
                        "DATAVERSE_CLIENT_ID": emulator.client_id,
                        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
                        "DATAVERSE_CA_FILE": str(emulator.ca_file),
                    }
                )
        case _:
            named = os.environ.get(REAL)
            if not named:
                pytest.skip(f"{REAL} names no settings of a real organization")
            yield from _benched({}, Path(named))


def _benched(environ: dict[str, str], env_file: Path | None = None) -> Iterator[Bench]:
    bench = Bench(connect(load(environ, env_file or Path(os.devnull))))
    try:
        yield bench
    finally:
        left = bench.clean()
        bench.connection.close()
    assert left == []


def completed(snapshot: Snapshot) -> list[UUID]:
    return sorted(activity.record_id for activity in snapshot.activities if activity.completed)


def records(snapshot: Snapshot) -> list[UUID]:
    return sorted([snapshot.opportunity.id, *(quote.id for quote in snapshot.quotes)])


@pytest.mark.parametrize("outcome", Outcome)
def test_it_closes_with_its_quotes_says_so_once_and_comes_back(bench: Bench, outcome: Outcome) -> None:
    opportunity = bench.opportunity()
    intent = Intent(opportunity, outcome, closed_on=date(2026, 1, 31))
    assert bench.close(intent).status is ReportStatus.CLOSED

    after = bench.see(opportunity)
    assert after.opportunity.state is (OpportunityState.WON if outcome is Outcome.WON else OpportunityState.LOST)
    assert after.opportunity.actual_close_date == date(2026, 1, 31)
    assert [quote.state for quote in after.quotes] == [QuoteState.CLOSED] * 2
    assert completed(after) == records(after), "exactly one close activity for each record"

    assert bench.close(intent).status is ReportStatus.ALREADY_CLOSED
    assert completed(bench.see(opportunity)) == records(after)
    other = Outcome.LOST if outcome is Outcome.WON else Outcome.WON
    assert bench.close(Intent(opportunity, other)).status is ReportStatus.REFUSED
    assert bench.see(opportunity).opportunity == after.opportunity

    back = fulfil(bench.connection.organization, ReopenIntent(opportunity), pause=time.sleep)
    assert back.status is ReportStatus.REOPENED
    opened = bench.see(opportunity)
    assert opened.opportunity.state is OpportunityState.OPEN
    assert [quote.state for quote in opened.quotes] == [QuoteState.DRAFT] * 2


def test_what_is_given_stands_in_the_record(bench: Bench) -> None:
    opportunity = bench.opportunity()
    winner = bench.see(opportunity).quotes[0]
    report = bench.close(
        Intent(
            opportunity, Outcome.WON, winning_quote_id=winner.id, actual_revenue=Decimal("1234.50"), subject="Signed"
        )
    )
    assert (report.status, report.warnings) == (ReportStatus.CLOSED, ())
    after = bench.see(opportunity)
    assert revenue(after.opportunity) == Decimal("1234.50")
    assert {quote.id: quote.state for quote in after.quotes}[winner.id] is QuoteState.WON


def test_a_plan_that_was_overtaken_is_refused_and_changes_nothing(bench: Bench) -> None:
    opportunity = bench.opportunity()
    intent = Intent(opportunity, Outcome.WON)
    plan = preview(bench.connection.organization, intent).verdict
    assert isinstance(plan, Plan)
    draft = next(quote for quote in bench.see(opportunity).quotes if quote.state is QuoteState.DRAFT)
    assert bench.send("PATCH", f"quotes({draft.id})", {"statecode": 1, "statuscode": 2}) == 204
    before = bench.see(opportunity)
    report = fulfil(bench.connection.organization, intent, pause=time.sleep, if_plan=plan.digest)
    assert (report.status, report.reason_code) == (ReportStatus.REFUSED, "plan_changed")
    assert bench.see(opportunity) == before


def revenue(opportunity: Opportunity) -> Decimal:
    assert opportunity.actual_value is not None
    return opportunity.actual_value
