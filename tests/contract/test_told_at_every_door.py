"""What metadata tells is refused before any write at the endpoint, by the tools of agents and in plan files too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from connector.bulk.planning import write_plan
from connector.closing.request import OPPORTUNITY_PREFIX, parse_request
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.emulator.control.users import change_user
from connector.emulator.identity.keys import Keys
from connector.emulator.world.customization import Customization
from connector.ledger.jobs import Row
from tests.service.stage import Stage

OWN = {
    "columns": [
        {"table": "opportunityclose", "name": "new_reason", "kind": "picklist", "labels": {"1033": "Reason"},
         "options": [{"value": 1, "labels": {"1033": "Price"}}]},
        {"table": "opportunityclose", "name": "new_count", "kind": "integer", "labels": {"1033": "Count"}},
        {"table": "opportunityclose", "name": "new_scan", "kind": "file", "labels": {"1033": "Scan"}},
        {"table": "opportunityclose", "name": "new_logo", "kind": "image", "labels": {"1033": "Logo"}},
        {"table": "opportunityclose", "name": "new_number", "kind": "string", "labels": {"1033": "Number"},
         "autonumber": "{SEQNUM:4}"},
        {"table": "opportunityclose", "name": "new_judge", "schema_name": "new_Judge", "kind": "lookup",
         "targets": ["account"], "labels": {"1033": "Judge"}},
    ],
    "status_reasons": [
        {"table": "opportunity", "value": 1, "label": "In Progress", "state": 0, "transitions": [2, 3, 4]},
    ],
    "enforce_transitions": ["opportunity"],
    "system_required": [["opportunityclose", "new_number"]],
}  # fmt: skip
NOBODY = "0e000000-0000-4000-8000-00000000000e"
TABLES = ("opportunity", "quote", "opportunityclose", "quoteclose")


@dataclass(frozen=True)
class Wrong:
    """What is asked and cannot be, and what is said of it."""

    sentence: str
    columns: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    competitor: str = ""
    without: str = ""

    def body(self) -> dict[str, Any]:
        wanted = {"columns": self.columns, "status": self.status, "competitor": self.competitor}
        return {"outcome": "lost"} | {name: value for name, value in wanted.items() if value}

    def row(self) -> dict[str, Any]:
        cells = {"status": self.status, "competitor": self.competitor}
        extra = {OPPORTUNITY_PREFIX + name: value for name, value in self.columns.items()}
        return {"outcome": "lost", **extra} | {name: value for name, value in cells.items() if value}


WRONG = {
    "no such column": Wrong("there is no such column; like it are new_reason", {"new_resaon": 1}),
    "a column that cannot be set": Wrong("it cannot be set", {"createdon": "2026-01-31"}),
    "a file": Wrong("a close sets no column of", {"new_scan": "a.pdf"}),
    "an image": Wrong("a close sets no column of", {"new_logo": "R0lGOD"}),
    "what comes with a file": Wrong("it cannot be set", {"new_scan_name": "a.pdf"}),
    "another kind": Wrong("'many' is not a whole number", {"new_count": "many"}),
    "no choice": Wrong("7 is not one of its choices: 1 Price", {"new_reason": 7}),
    "no row": Wrong(f"there is no account {NOBODY}", {"new_judge": f"accounts({NOBODY})"}),
    "a competitor that is not there": Wrong(f"there is no competitor {NOBODY}", competitor=NOBODY),
    "a transition that is forbidden": Wrong("Of that state only these may: 4 Canceled", status="5"),
    "a privilege that is missing": Wrong("The user lacks prvCreateActivity", without="prvCreateActivity"),
}


@pytest.fixture(scope="module", params=[True, False], ids=["in change sets", "step by step"])
def door(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, TestClient]]:
    """An endpoint on an organization that is written to in change sets, or step by step."""
    stage = Stage(tmp_path_factory.mktemp("stage"), keys=Keys())
    stage.embedded.emulator.organization.world.customize(Customization.from_json(json.dumps(OWN)))
    stage.organization = DataverseOrganization(
        stage.handler, stage.embedded.url, clock=stage.clock, atomic=request.param, cache_seconds=0.0
    )
    with stage.client(patience=0.0) as client:
        yield stage, client
    stage.close()


def rows(stage: Stage) -> list[str]:
    store = stage.embedded.emulator.organization.store
    return [repr(sorted(store.rows(f"SELECT * FROM {table}"), key=repr)) for table in TABLES]


def ask_agent(client: TestClient, tool: str, arguments: dict[str, Any]) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = client.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream"})
    return answer.json()["result"]["structuredContent"]


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_nothing_is_written_at_any_door(door: tuple[Stage, TestClient], tmp_path: Path, wrong: Wrong) -> None:
    stage, client = door
    opportunity = stage.opportunity(1, 2)
    world, less = stage.embedded.emulator.organization.world, [wrong.without] if wrong.without else []
    change_user(world, {"user": stage.embedded.client_id, "without": less})
    before, place = rows(stage), f"/opportunities/{opportunity}"
    told = {
        "plan": client.post(f"{place}/plan", json=wrong.body()).json(),
        "close": client.post(f"{place}/close", json=wrong.body()).json()["error"],
    }
    if not wrong.columns:  # which agents cannot give
        agent: dict[str, Any] = {"opportunityId": str(opportunity), **wrong.body()}
        told["agent's plan"] = ask_agent(client, "plan_close", agent)
        told["agent"] = ask_agent(client, "close_opportunity_with_quotes", agent | {"confirmed": True})
    intent = parse_request({"opportunityid": str(opportunity), **wrong.row()})
    write_plan(tmp_path / "p.jsonl", {}, [Row(1, intent)], stage.organization)
    line = json.loads((tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()[1])
    for where, answer in (told | {"plan file": line["reason"]}).items():
        assert wrong.sentence in json.dumps(answer, ensure_ascii=False), where
    assert line["status"] in ("failed", "refused")
    assert rows(stage) == before


def test_a_required_column_that_the_service_numbers_is_not_asked_for(door: tuple[Stage, TestClient]) -> None:
    stage, client = door
    change_user(stage.embedded.emulator.organization.world, {"user": stage.embedded.client_id, "without": []})
    opportunity = stage.opportunity(2)
    plan = client.post(f"/opportunities/{opportunity}/plan", json={"outcome": "won"})
    assert "new_number" not in plan.text
    closed = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}).json()
    assert closed["result"] == "closed"
    rows = stage.embedded.emulator.organization.store.rows("SELECT new_number FROM opportunityclose")
    assert all(str(number).isdecimal() for (number,) in rows)
