"""One failure, told alike wherever its user sits: the cause, the organization's words, the plug-in, where it stands."""

from __future__ import annotations

import csv
import html
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from connector import Intent, Outcome
from connector.clock import SystemClock
from connector.closing.close import fulfil
from connector.closing.report import failure_lines, report_data
from connector.emulator.control.users import change_user
from connector.emulator.core import Emulator
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.world.custom_logic import LogicContext
from tests.cli.desk import Desk
from tests.cli.signing import by_secret, organization_of
from tests.service.stage import Stage
from tests.service.test_on_behalf_of import ANN, hosted

STEP = "a29da1cf-b9a5-ea11-a812-000d3a000001"
SAID = "Approval 4711 of 'Contoso' is missing."
CLOSING = ("WinOpportunity", "LoseOpportunity")
TOLD = ("message", "detail", "plug_in", "step_id", "remedy")
PACE = 300
"""How much faster the time of the machine goes, so that the pauses of minutes are those of seconds."""

Json = Mapping[str, Any]
Begin = Callable[[Emulator, str], None]


def before_the_close(what: Callable[[LogicContext], None]) -> Begin:
    """Return what gives an organization a plug-in that does something just before an opportunity is closed."""

    def plugin(context: LogicContext) -> None:
        if context.stage == "pre" and context.message in CLOSING:
            what(context)

    plugin.step_id = STEP  # type: ignore[attr-defined]
    return lambda emulator, _user: emulator.organization.world.logic.add(plugin, assembly="contoso")


def without(privilege: str) -> Begin:
    return lambda emulator, user: void(change_user(emulator.organization.world, {"user": user, "without": [privilege]}))


def hidden_quote(emulator: Emulator, user: str) -> None:
    world = emulator.organization.world
    own = change_user(world, {"user": user, "depths": {"prvReadQuote": "Basic"}})["user"]
    world.store.execute(
        "UPDATE quote SET ownerid = (SELECT systemuserid FROM systemuser WHERE systemuserid <> ? LIMIT 1)", (own,)
    )


def fault(**what: object) -> Begin:
    """Return what makes every win of an opportunity fail so, on the wire or inside the service."""
    return lambda emulator, _user: void(emulator.control.set_faults([{"message": "WinOpportunity", **what}]))


def open_one(emulator: Emulator, trouble: Trouble) -> str:
    """Return an open opportunity with a draft quote, or with none at all."""
    which = "NOT IN" if trouble.bare else "IN"
    ((opportunity,), *_) = emulator.organization.store.rows(
        f"SELECT opportunityid FROM opportunity WHERE statecode = 0 AND opportunityid {which} "
        "(SELECT opportunityid FROM quote WHERE statecode < 2) ORDER BY 1"
    )
    return str(opportunity)


def void(_value: object) -> None:
    return None


@dataclass(frozen=True)
class Trouble:
    """What makes an organization refuse a close, and what is to be told of it.

    `passes`: it may pass, so it is tried again for minutes. `on_wire`: it needs a real socket. `bare`: without quotes,
    which would be closed one by one before it fails. `slow`: it takes real seconds.
    """

    begin: Begin
    kind: str
    code: str
    said: str = ""
    plug_in: str = ""
    effect: str = "none"
    passes: bool = False
    slow: bool = False
    on_wire: bool = False
    bare: bool = False


CATALOGUE = {
    "a plug-in that refuses": Trouble(
        before_the_close(lambda context: context.abort(SAID, trace="at Contoso.Approval")),
        "Rejected", "0x80040265", SAID, "contoso.plugin"),
    "a plug-in with words of many lines": Trouble(
        before_the_close(lambda context: context.abort("Line one.\r\n\tLine two.", code="0x80048d01", status=403)),
        "Rejected", "0x80048d01", "Line one. Line two.", "contoso.plugin"),
    "a plug-in that crashes": Trouble(
        before_the_close(lambda context: context.crash()), "Broken", "0x8004418d", "Sandbox", "contoso.plugin", passes=True),
    "a plug-in that takes too long": Trouble(
        before_the_close(lambda context: context.sleep(500)), "Rejected", "0x80044172", "", "contoso.plugin", slow=True),
    "a quote that the user does not see": Trouble(hidden_quote, "StateConflict", "0x80040516"),
    "a privilege that is missing": Trouble(without("prvWriteOpportunity"), "Forbidden", ""),
    "a user who is disabled in between": Trouble(
        before_the_close(lambda context: context.abort("The user is disabled.", code="0x80040225", status=403)),
        "Forbidden", "0x80040225", "The user is disabled.", "contoso.plugin"),
    "a database that takes too long": Trouble(fault(do="sql_timeout"), "Broken", "0x80044151", "SQL timeout", passes=True, bare=True),
    "a connection that is lost": Trouble(fault(do="reset"), "NotConverged", "", effect="unknown", passes=True, on_wire=True, bare=True),
    "a service that is down": Trouble(fault(do="status", form="html"), "NotConverged", "", effect="unknown", passes=True, on_wire=True, bare=True),
}  # fmt: skip


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Desk(tmp_path / "unused.db", capsys, monkeypatch)


@pytest.fixture(params=CATALOGUE.values(), ids=list(CATALOGUE))
def trouble(request: pytest.FixtureRequest) -> Trouble:
    made: Trouble = request.param
    return made


def check(report: Json, trouble: Trouble) -> Json:
    """Check what a program reads of a failure, and return the error."""
    error: Json = report["error"]
    assert (error["kind"], error.get("code", ""), error["effect"]) == (trouble.kind, trouble.code, trouble.effect)
    assert trouble.said in " ".join(error.get("detail", "").split())
    assert trouble.plug_in in error.get("plug_in", "")
    assert not trouble.plug_in or error["step_id"] == STEP
    assert error["message"].endswith(".")
    assert not report["partial"]
    return error


def in_order(text: str, parts: list[str]) -> None:
    """Check that a text tells these, each after the one before."""
    flat, at = " ".join(text.split()), 0
    for part in parts:
        at = flat.find(" ".join(part.split()), at)
        assert at >= 0, (part, flat)


# -- who ran it reads it all ------------------------------------------------------------------------------------------


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    began, today, sleep = time.monotonic(), SystemClock().now(), time.sleep

    def passed() -> float:
        return (time.monotonic() - began) * PACE

    monkeypatch.setattr(SystemClock, "monotonic", lambda _self: began + passed())
    monkeypatch.setattr(SystemClock, "now", lambda _self: today + timedelta(seconds=passed()))
    monkeypatch.setattr(SystemClock, "sleep", lambda _self, seconds: sleep(max(0.0, seconds) / PACE))


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("trouble", [each for each in CATALOGUE.values() if not each.slow], indirect=True)
def test_who_ran_it_reads_the_same_in_every_channel(desk: Desk, trouble: Trouble, tmp_path: Path) -> None:
    with organization_of(local_tenant(), tmp_path / "tenant", seeded=8) as emulator:
        settings = by_secret(emulator) | {"CONNECTOR_STORE": str(tmp_path / "jobs.db")}
        opportunity = open_one(emulator.emulator, trouble)
        trouble.begin(emulator.emulator, emulator.client_id)

        alone = desk.run("close", str(opportunity), "--won", "--yes", "--json", **settings)
        error = check(alone.data, trouble)
        stands = alone.data.get("stands", "")
        spoken = [*failure_lines(error), stands]
        in_order(alone.err, spoken[:-1])
        read = desk.run("close", str(opportunity), "--won", "--yes", **settings)
        in_order(read.err, spoken[:1])
        assert stands in " ".join(read.out.split())
        logged = json.loads(desk.run("log", "--json", **settings).out.splitlines()[0])
        assert {name: logged["error"].get(name, "") for name in ("kind", "code", "plug_in")} == {
            "kind": trouble.kind, "code": trouble.code, "plug_in": error.get("plug_in", "")}  # fmt: skip

        rows = tmp_path / "rows.csv"
        rows.write_text(f"opportunityid,outcome\n{opportunity},won\n", encoding="utf-8")
        plan = desk.run("bulk", "plan", str(rows), "--out", str(tmp_path / "p.plan.jsonl"), "--json", **settings)
        sources = [str(rows)] if plan.code else [str(rows), plan.data["plan"]]
        for number, source in enumerate(sources):
            job = f"j{number}"
            done = desk.run("bulk", "run", source, "--job", job, "--yes", "--json", **settings)
            if trouble.kind == "Forbidden":  # a matter of the user: the row is left to be done, and the job says why
                assert (done.code, done.data["pending"]) == (1, 1)
                in_order(done.err, spoken[:2])
                continue
            (reason,) = done.data["reasons"]
            assert (done.code, reason["count"]) == (1, 1)
            assert str(reason["reason"]).startswith(trouble.code)
            for ending in ("jsonl", "csv", "xlsx", "html"):
                desk.run("bulk", "report", job, "--out", str(tmp_path / f"{job}.{ending}"), **settings)
            line = json.loads((tmp_path / f"{job}.jsonl").read_text(encoding="utf-8").splitlines()[0])
            of_row = check(line, trouble)
            assert [of_row.get(name) for name in TOLD] == [error.get(name) for name in TOLD]
            assert line.get("stands", "") == stands
            with (tmp_path / f"{job}.csv").open(encoding="utf-8", newline="") as file:
                letter = next(csv.DictReader(file))
            assert [letter[f"result.{name}"] for name in TOLD] == [of_row.get(name, "") for name in TOLD]
            assert letter["result.stands"] == stands
            (names, cells) = openpyxl.load_workbook(tmp_path / f"{job}.xlsx")["Failed"].iter_rows(values_only=True)
            cell = dict(zip(names, cells, strict=True))
            assert cell["What happened"] == error["message"]
            assert cell["The organization said"] or not trouble.said
            assert (cell["Plug-in and step"] or "").startswith(error.get("plug_in", ""))
            assert (cell["Where it stands"] or "") == stands
            page = html.unescape((tmp_path / f"{job}.html").read_text(encoding="utf-8"))
            assert error["message"] in page
            assert trouble.said in page


# -- a maker, an agent and an operator read it without what may be a customer's ---------------------------------------


@pytest.fixture
def stage(tmp_path: Path, trouble: Trouble) -> Iterator[Stage]:
    made = Stage(tmp_path)
    trouble.begin(made.embedded.emulator, made.embedded.client_id)
    yield made
    made.close()


@pytest.mark.parametrize("trouble", [each for each in CATALOGUE.values() if not each.on_wire], indirect=True)
def test_others_read_the_same_without_the_organizations_words(stage: Stage, trouble: Trouble) -> None:
    opportunity = stage.opportunity(*() if trouble.bare else (1, 2))
    report = report_data(fulfil(stage.organization, Intent(opportunity, Outcome.WON), pause=lambda _: None))
    error = check(report, trouble)
    mine = [error["message"], str(error.get("remedy", "")), str(report.get("stands", ""))]
    with stage.client(patience=0.0) as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}).json()["error"]
        operation = stage.log()[-1]["job"]
        status = client.get(f"/operations/{operation}").json()
        call = {"name": "close_opportunity_with_quotes", "arguments": {
            "opportunityId": str(opportunity), "outcome": "won", "confirmed": True}}  # fmt: skip
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        agent = client.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream"}).json()
        page = html.unescape(re.sub("<[^>]+>", " ", client.get("/operations-page").text))
    told = agent["result"]["structuredContent"]
    for text in (answer["message"], status["error"]["message"], told["message"], page):
        in_order(text, mine)
    for details in (answer["details"], told["details"]):
        facts = {detail["code"]: detail["message"] for detail in details}
        assert facts.get("organization_code", "") == trouble.code
        assert facts.get("plug_in", "") == error.get("plug_in", "")
        assert bool(facts.get("organization_request")) is bool(trouble.code)
        assert "organization_said" not in facts
    assert trouble.code in page
    entries: list[Any] = [entry["error"] for entry in stage.log() if "error" in entry]
    assert {(entry.get("code", ""), entry.get("plug_in", "")) for entry in entries} == {
        (trouble.code, error.get("plug_in", ""))}  # fmt: skip
    for text in (json.dumps([answer, status, told]), page, json.dumps(stage.log())):
        assert not trouble.said or trouble.said not in text


@pytest.mark.parametrize(
    "trouble", [each for each in CATALOGUE.values() if not (each.passes or each.slow)], indirect=True
)
@pytest.mark.parametrize("access", ["on_behalf_of", "application"])
def test_a_maker_in_whose_name_it_is_done_reads_what_the_organization_said_and_no_other(
    tmp_path: Path, keys: Keys, trouble: Trouble, access: str
) -> None:
    with hosted(tmp_path, keys, CONNECTOR_SERVICE_ACCESS=access) as made:
        emulator = made.emulated.emulator
        opportunity = open_one(emulator, trouble)
        trouble.begin(emulator, ANN.object_id if access == "on_behalf_of" else made.emulated.client_id)
        place, headers = f"/opportunities/{opportunity}/close", made.signed_in(ANN)
        answer = made.client.post(place, json={"outcome": "won"}, headers=headers)
        problem = answer.json()["error"]
        facts = {detail["code"]: detail["message"] for detail in problem["details"]}
        assert facts.get("organization_code", "") == trouble.code
        assert facts.get("plug_in", "") == trouble.plug_in
        if access == "on_behalf_of":
            assert trouble.said in problem["message"]
            assert trouble.said in facts.get("organization_said", "")
        else:
            assert not trouble.said or trouble.said not in answer.text


@pytest.mark.parametrize("undone", [False, True], ids=["closed by the organization", "opened again by it"])
def test_a_quote_is_told_as_it_stands_whatever_the_organization_did_to_it(tmp_path: Path, undone: bool) -> None:
    def plugin(context: LogicContext) -> None:
        if (context.message, context.stage) == ("CloseQuote", "post"):
            deal = context.retrieve("quote", context.record_id)["opportunityid"]
            for quote in context.query("quote", opportunityid=deal):
                if undone == (quote["quoteid"] == context.record_id):
                    state = {"statecode": 0, "statuscode": 1} if undone else {"statecode": 3, "statuscode": 6}
                    context.update("quote", str(quote["quoteid"]), state)

    stage = Stage(tmp_path)
    stage.embedded.emulator.organization.world.logic.add(plugin)
    opportunity = stage.opportunity(1, 2)
    with stage.client(patience=0.0) as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}).json()
    stage.close()
    if undone:
        assert "closed" not in {detail["code"] for detail in answer["error"]["details"]}
        assert "is draft" in answer["error"]["message"]
    else:
        first, second = answer["quotes"]
        assert (first["result"], bool(first["activityId"])) == ("closed", True)
        assert (second["result"], second.get("activityId")) == ("not_run", None)
        assert "had done it before" in second["message"]
