"""The organization's service protection stops everything for a while: who asks is told until when."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from connector.clock import SystemClock
from connector.emulator.background import served
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.faults import Fault, FaultPlan
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.service.process import Told, serving, until
from tests.service.test_kill import OPEN, found
from tests.service.test_process import KEY, keyed

STOPPED = 240.0


def test_the_organizations_own_time_reaches_the_flow_the_reader_and_the_page(
    tmp_path: Path, emulator_keys: Keys
) -> None:
    throttle = Fault("throttle", facet="time", message="WinOpportunity", seconds=STOPPED, nth=1)
    options = EmulatorOptions(seeded=10, faults=FaultPlan((throttle,)))
    with served(options, SystemClock(), tmp_path, emulator_keys) as emulated:
        opportunity, other = found(emulated, OPEN)[:2]
        signed, body = {"x-api-key": KEY}, {"outcome": "won", "mode": "accept"}
        with serving(tmp_path, **keyed(emulated), CONNECTOR_SERVICE_DEADLINE="20") as process:
            accepted = process.ask("POST", f"/opportunities/{opportunity}/close", body, signed)
            assert accepted.status == 202

            def polled() -> Told:
                return process.ask("GET", urlsplit(accepted.headers["location"]).path)

            until(lambda: polled().json().get("waitingUntil"))
            told = polled()
            assert told.status == 202
            assert 20 < int(told.headers["retry-after"]) <= STOPPED + 1
            until_then = told.json()["waitingUntil"][:19].replace("T", " ")
            assert f"It waits until {until_then} UTC, when the organization may be asked" in told.json()["message"]
            read = process.ask("GET", f"/opportunities/{other}", None, signed)
            assert (read.status, read.json()["error"]["code"]) == (429, "organization_busy")
            assert 20 < int(read.headers["retry-after"]) <= STOPPED + 1
            late = process.ask("POST", f"/opportunities/{other}/close", body, signed)
            assert late.status == 202, "closes are accepted all the same"
            assert 20 < int(late.headers["retry-after"]) <= STOPPED + 1
            page = process.ask("GET", "/operations-page", None, signed).body.decode()
            assert page.count("Waits until <b><time ") == 2
