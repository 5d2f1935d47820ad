"""The shipped plug-ins, and the ways to have them: an option of the command, a setting, a fixture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connector.clock import VirtualClock
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "connector" / "emulator" / "examples"
DEAL = "00000003-0000-4000-8000-000000000006"  # the sixth example: two drafts and two active quotes
QUOTE = "00001084-0000-4000-8000-000000000063"


def example(name: str) -> Path:
    return EXAMPLES / f"{name}.py"


@pytest.fixture
def organization(make_face: MakeFace) -> Any:
    def made(*names: str) -> Face:
        face = make_face(VirtualClock(), EmulatorOptions(plugins=tuple(example(name) for name in names)))
        face.sign_in()
        return face

    return made


def close_quote(face: Face, quote: str) -> Any:
    bind = {"subject": "c", "quoteid@odata.bind": f"/quotes({quote})"}
    return face.post("CloseQuote", {"Status": 5, "QuoteClose": bind})


def close(face: Face, message: str, status: int, **more: Any) -> Any:
    bind = {"subject": "c", "opportunityid@odata.bind": f"/opportunities({DEAL})", **more}
    return face.post(message, {"Status": status, "OpportunityClose": bind})


def quotes(face: Face) -> list[int]:
    rows = face.get(f"quotes?$select=statecode&$filter=_opportunityid_value eq {DEAL}&$orderby=quotenumber").json()
    return [row["statecode"] for row in rows["value"]]


def test_a_closed_quote_closes_its_siblings(organization: Any) -> None:
    face = organization("close_siblings")
    assert quotes(face) == [0, 0, 1, 1]
    assert close_quote(face, QUOTE).status_code == 204
    assert quotes(face) == [3, 3, 3, 3]
    assert close(face, "WinOpportunity", 3).status_code == 204


def test_an_approval_is_required_for_what_is_large(organization: Any) -> None:
    face = organization("close_siblings", "approval_required")
    close_quote(face, QUOTE)
    face.session.patch(f"{face.api}opportunities({DEAL})", json={"estimatedvalue": 250000}, timeout=120)
    refused = close(face, "WinOpportunity", 3)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("Approval is missing: Opportunity 6 is worth 100,000 or more.")
    face.session.patch(f"{face.api}opportunities({DEAL})", json={"description": "Approved by Ana"}, timeout=120)
    assert close(face, "WinOpportunity", 3).status_code == 204


def test_revenue_is_what_the_won_quotes_add_up_to(organization: Any) -> None:
    face = organization("close_siblings", "recalculate_revenue")
    total = face.get(f"quotes({QUOTE})?$select=totalamount").json()["totalamount"]
    bind = {"subject": "w", "quoteid@odata.bind": f"/quotes({QUOTE})"}
    assert face.post("WinQuote", {"Status": 4, "QuoteClose": bind}).status_code == 204
    assert close(face, "WinOpportunity", 3, actualrevenue=1.0).status_code == 204
    assert face.get(f"opportunities({DEAL})?$select=actualvalue").json()["actualvalue"] == total


def test_a_slow_audit_takes_time_and_its_flow_writes_afterwards(organization: Any) -> None:
    face = organization("close_siblings", "slow_audit")
    before, left = face.emulator.clock.monotonic(), "x-ms-ratelimit-time-remaining-xrm-requests"
    seconds = float(face.get("WhoAmI").headers[left].replace(",", ""))
    assert close_quote(face, QUOTE).status_code == 204
    assert close(face, "LoseOpportunity", 4).status_code == 204
    assert face.emulator.clock.monotonic() - before == 6.0
    assert seconds - float(face.get("WhoAmI").headers[left].replace(",", "")) == 6.0
    account = face.get(f"opportunities({DEAL})?$select=_accountid_value").json()["_accountid_value"]
    if account:
        said = face.get(f"accounts({account})?$select=description").json()["description"]
        assert said == f"LoseOpportunity {DEAL}"


def test_a_plug_in_that_takes_too_long_is_cut_off(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions())
    face.sign_in()
    face.emulator.organization.world.logic.add(lambda context: context.sleep(500))
    before = face.emulator.clock.monotonic()
    body = {"Status": 5, "QuoteClose": {"subject": "c", "quoteid@odata.bind": f"/quotes({QUOTE})"}}
    refused = face.session.post(f"{face.api}CloseQuote", json=body, timeout=200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "0x80044172")
    assert face.emulator.clock.monotonic() - before == 120.0


@pytest.fixture
def dataverse_emulator_options() -> EmulatorOptions:
    return EmulatorOptions(plugins=(example("approval_required"),), seeded=3)


def test_the_fixtures_take_plug_ins(dataverse_emulator: Any, dataverse_emulator_keys: Keys) -> None:
    del dataverse_emulator_keys
    steps = dataverse_emulator.emulator.organization.world.logic.steps
    assert [step.type_name for step in steps] == ["approval_required.plugin"]


@pytest.mark.parametrize("how", ["a setting", "an option"])
def test_a_file_that_cannot_be_used_is_told_by_name(tmp_path: Path, how: str) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def other(context): ...")
    command = ["doctor"] if how == "a setting" else ["emulator", "--plugins", str(broken)]
    environ = {
        **os.environ,
        "DATAVERSE_URL": f"emulator:{tmp_path / 'a.db'}",
        "DATAVERSE_EMULATOR_PLUGINS": str(broken),
    }
    done = subprocess.run(
        [sys.executable, "-m", "connector", *command],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"The file of plug-ins {broken} defines neither plugin(context) nor flow(context)." in " ".join(
        (done.stdout + done.stderr).split()
    )
