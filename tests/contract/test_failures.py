"""One failure, told alike wherever its user sits: the cause, the organization's words, the plug-in, where it stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from connector import Intent, Outcome, Query, connect, load_settings, run_command
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobKind, JobState, Record
from connector.ledger.operation_store import StoredOperation
from connector.service.operations.operation_results import final_answer

PLUG_IN = """
def plugin(context):
    if context.stage == "pre" and context.message in ("WinOpportunity", "LoseOpportunity"):
        context.{what}

plugin.step_id = "a29da1cf-b9a5-ea11-a812-000d3a000001"
"""
SAID = "Approval 4711 of 'Contoso' is missing."
ABORT = f"abort({SAID!r}, trace='at Contoso.Approval.Execute')"
CATALOGUE = {"abort": (ABORT, "0x80040265", SAID, "Rejected"), "crash": ("crash()", "0x8004418d", "", "Broken")}
NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture(params=list(CATALOGUE))
def failure(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[UUID, str, str, str]:
    """Return an opportunity that the organization's own logic refuses to close, and what is to be told of it."""
    what, code, said, kind = CATALOGUE[request.param]
    logic = tmp_path / "logic.py"
    logic.write_text(PLUG_IN.format(what=what), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAVERSE_URL", f"emulator:{tmp_path / 'organization.db'}")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(logic))
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    with connect(load_settings()) as connection:
        found = next(iter(connection.organization.find(Query(where="statecode eq 0"))))
    return found, code, said, kind


def check(report: Mapping[str, object], code: str, said: str, kind: str) -> None:
    error = report["error"]
    assert isinstance(error, Mapping)
    assert error["kind"] == kind
    assert error["code"] == code
    assert error["message"]
    assert said in str(error.get("detail", ""))
    assert error["effect"] == "none"
    assert error["request_id"]
    assert str(report["stands"]).startswith("When last seen, the opportunity is open")
    assert report["partial"] is False


def test_a_failure_is_told_alike_in_every_channel(
    failure: tuple[UUID, str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opportunity, code, said, kind = failure
    assert run_command(["close", str(opportunity), "--won", "--yes", "--json"]) == 1
    out, err = capsys.readouterr()
    alone = json.loads(out)
    check(alone, code, said, kind)
    assert said in err
    assert code in err

    if kind == "Broken":
        return  # a job tries it again at its end, minutes later

    rows = tmp_path / "rows.csv"
    rows.write_text(f"opportunityid,outcome\n{opportunity},won\n", encoding="utf-8")
    assert run_command(["bulk", "run", str(rows), "--job", "j", "--yes", "--json"]) == 1
    counted = json.loads(capsys.readouterr().out)["reasons"]
    assert [reason["count"] for reason in counted] == [1]
    assert str(counted[0]["reason"]).startswith(code)

    for name in ("rows.jsonl", "report.csv"):
        assert run_command(["bulk", "report", "j", "--out", name]) == 1  # not all is well
    capsys.readouterr()
    line = json.loads((tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()[0])
    check(line, code, said, kind)
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        letter = next(csv.DictReader(file))
    assert letter["result.message"] == line["error"]["message"]
    assert letter["result.detail"] == line["error"].get("detail", "")
    assert letter["result.stands"] == line["stands"]
    assert line["error"]["message"] == alone["error"]["message"]


@pytest.mark.parametrize("on_behalf", [True, False])
def test_the_endpoint_tells_the_organizations_words_to_whom_it_acts_for_alone(
    failure: tuple[UUID, str, str, str], capsys: pytest.CaptureFixture[str], on_behalf: bool
) -> None:
    opportunity, code, said, _ = failure
    run_command(["close", str(opportunity), "--won", "--yes", "--json"])
    report = json.loads(capsys.readouterr().out)
    options: dict[str, object] = {"entrusted": "sealed"} if on_behalf else {}
    job = Job(
        1, "o", JobKind.CLOSE, JobState.FINISHED, DesiredState.RUN, 1, "", MappingProxyType(options), "", "", NOW, NOW
    )
    intent = Intent(opportunity, Outcome.WON)
    record = Record(1, opportunity, intent, None, "", ItemStatus.FAILED, code, 1, NOW, report)
    problem = final_answer(StoredOperation(job, record, "o", "t", "k", "c", NOW, 1)).failure
    assert problem is not None
    assert report["error"]["message"] in problem.message
    assert report["stands"] in problem.message
    assert not said or (said in problem.message) is on_behalf
    assert said or "The organization said" not in problem.message or on_behalf
    assert code in [detail.message for detail in problem.details]
