"""What plans set off: filters against the emulator as oracle, and counts against what the twin then counts."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clock import SystemClock
from connector.closing.close import fulfil, preview
from connector.closing.model import Intent, Outcome, Plan
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.emulator.embedded import open_embedded
from connector.emulator.odata.parse import parse_option
from connector.emulator.odata.sql import AliasedTable, FilterCompiler
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.organization.capture_file import read_capture, write_capture
from connector.organization.capture_model import Capture
from connector.organization.filter_expression import holds
from connector.organization.side_effects import SideEffects
from tests.cli.desk import Desk
from tests.organization.asked import KEYS, OPPORTUNITY, Asked
from tests.organization.captures import capture_of, plain
from tests.organization.test_twin import twin_of

ROW = {
    "statecode": 1,
    "statuscode": 3,
    "name": "Ann's deal",
    "estimatedvalue": Decimal("12.5"),
    "_customerid_value": None,
}
UNKNOWN = "new_other eq 5"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", True),
        ("statecode eq 1", True),
        ("statecode eq 2 and _ye_facility_value ne null", False),
        ("statecode eq 1 and _ye_facility_value ne null", None),
        ("statecode eq 1 or _ye_facility_value ne null", True),
        ("not (statecode eq 2)", True),
        ("not (new_other eq 5)", None),
        ("name eq 'Ann''s deal'", True),
        ("startswith(name,'ann')", True),
        ("contains(new_other,'x')", None),
        ("estimatedvalue gt 12", True),
        ("_customerid_value eq null", True),
        ("_customerid_value ne null and statecode eq 1", False),
        ("estimatedvalue lt null", False),
        ("Microsoft.Dynamics.CRM.Today(PropertyName='createdon')", None),
        ("statecode eq", None),
        ("(statecode eq 1", None),
        ("statecode like 1", None),
        ("(" * 100 + "statecode eq 1" + ")" * 100, None),
    ],
)
def test_a_filter_is_true_false_or_cannot_be_told(text: str, value: bool | None) -> None:
    assert holds(text, ROW) is value


LITERALS = {
    "statecode": st.sampled_from(["0", "1", "2", "null"]),
    "statuscode": st.sampled_from(["3", "4", "null"]),
    "name": st.sampled_from(["'Ann''s deal'", "'zz'", "null"]),
    "estimatedvalue": st.sampled_from(["12.5", "13", "-1", "null"]),
    "_customerid_value": st.sampled_from(["null", "0c000000-0000-4000-8000-000000000001"]),
}


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(LITERALS)))
    literal = draw(LITERALS[name])
    words = (
        ["eq", "ne"]
        if literal == "null" or name in ("_customerid_value", "name")
        else ["eq", "ne", "gt", "ge", "lt", "le"]
    )
    return f"{name} {draw(st.sampled_from(words))} {literal}"


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(lambda one, other, word: f"({one} {word} {other})", inner, inner, st.sampled_from(["and", "or"])),
        st.builds(lambda one: f"not ({one})", inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def asked() -> Asked:
    made = Asked(EmulatorOptions(seeded=0))
    made.has_opportunity()
    made.store.update(
        "opportunity", str(OPPORTUNITY), {"name": "Ann's deal", "estimatedvalue": 12.5, "statecode": 1, "statuscode": 3}
    )
    return made


@settings(max_examples=150)
@given(text=FILTERS)
def test_filters_say_what_the_emulator_says_of_the_same_row(asked: Asked, text: str) -> None:
    schema = asked.embedded.emulator.organization.world.schema
    compiler = FilterCompiler(schema)
    sql = compiler.expression(
        parse_option("$filter", text), AliasedTable("t", schema.tables["opportunity"]), {}, negated=False
    )
    rows = asked.store.rows(f"SELECT 1 FROM opportunity t WHERE {sql}", tuple(compiler.parameters))
    assert holds(text, ROW) is bool(rows), text


@pytest.fixture(scope="module")
def sports() -> Capture:
    return capture_of("flows_on_close", plain())


def test_the_runs_that_a_plan_tells_are_those_that_the_twin_counts(sports: Capture) -> None:
    twin = twin_of(sports)
    keys = [UUID(int=OPPORTUNITY.int + number) for number in range(6)]
    for number, key in enumerate(keys):
        twin.has_opportunity(*[(), (0,), (1, 0)][number % 3], key=key)
    twin.store.update("opportunity", str(keys[5]), {"ye_facility": "0c000000-0000-4000-8000-00000000000f"})
    organization = DataverseOrganization(twin.handler, twin.base_url, clock=twin.clock)
    effects = SideEffects(sports)
    intents = [Intent(key, Outcome.WON if number < 4 else Outcome.LOST) for number, key in enumerate(keys)]
    for intent in intents:
        seen = preview(organization, intent)
        assert isinstance(seen.verdict, Plan)
        effects.add(seen.verdict, seen.snapshot)
    for intent in intents:
        fulfil(organization, intent, pause=twin.clock.sleep)
    runs = twin.embedded.emulator.control.health()["flow_runs"]
    told = {each["name"]: (each["runs"], each["runs"] + each["maybe"]) for each in effects.data()["flows"]}  # type: ignore[attr-defined]
    assert told == {"Won: draft the booking": (4, 4), "Lost: follow up": (0, 2)}
    assert all(told[name][0] <= count <= told[name][1] for name, count in runs.items())
    assert runs == {"Won: draft the booking": 4, "Lost: follow up": 1}
    assert "4 runs of the flow 'Won: draft the booking'." in list(effects.lines())
    assert any("up to 2 more that cannot be told from here" in line for line in effects.lines())


def test_own_steps_workflows_and_what_bypass_leaves_out_are_told() -> None:
    asked = Asked()
    asked.has_logic()
    asked.has_opportunity(0, 1)
    capture = asked.capture()
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    seen = preview(organization, Intent(OPPORTUNITY, Outcome.WON))
    assert isinstance(seen.verdict, Plan)
    effects, bypassing = SideEffects(capture), SideEffects(capture, ("sync", "async", "flows"))
    for each in (effects, bypassing):
        each.add(seen.verdict, seen.snapshot)
    text = "\n".join(effects.lines())
    assert "1 time 'Contoso.Sales.OnWin: Win' runs (own, 0.42 s each on average)." in text
    assert "4 times 'Vendor.Audit: Update' runs (managed, later, its time is not known)." in text
    assert "1 time the real-time workflow 'Refuse a cheap win', which may refuse." in text
    assert "--bypass sync,async would leave out 5 of these runs" in text
    assert "Microsoft" not in text
    data = bypassing.data()
    assert (data["flows"], data["steps"], data["workflows_that_may_refuse"]) == ([], [], [])
    assert data["digest"] != effects.data()["digest"]


def test_what_could_not_be_seen_is_said() -> None:
    lesser = Asked()
    lesser.has_logic()
    lesser.limit_user(without=["prvReadSdkMessageProcessingStep"], depths={"prvReadCallbackRegistration": "Basic"})
    lines = list(SideEffects(lesser.capture()).lines())
    assert any(line.startswith("perhaps more: steps were not all seen (refused): ") for line in lines)
    assert any(line.startswith("perhaps more: flows were not all seen (own): ") for line in lines)


# --- at a terminal ---


@pytest.fixture(scope="module")
def organization_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("organization") / "organization.db"
    open_embedded(path, SystemClock(), EmulatorOptions(seeded=10), KEYS).close()
    return path


@pytest.fixture
def desk(organization_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:  # fmt: skip
    shutil.copy(organization_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    desk = Desk(tmp_path / organization_file.name, capsys, monkeypatch)
    owner = desk.sql("SELECT systemuserid FROM systemuser WHERE applicationid IS NOT NULL")[0][0]
    desk.sql(
        "INSERT INTO callbackregistration (callbackregistrationid, versionnumber, name, entityname, message, scope, "
        "filteringattributes, filterexpression, runas, softdeletestatus, ownerid, ownerid_type) VALUES "
        "('03010000-0000-4000-8000-000000000001', 1, 'Tell the team', 'opportunity', 3, 4, 'statecode', "
        "'statecode eq 1', 1, 0, ?, 'systemuser')",
        owner,
    )
    return desk


def test_plans_of_one_and_of_many_tell_what_they_set_off(desk: Desk) -> None:
    won, lost = desk.opportunity(drafts=0, actives=1), desk.opportunity(drafts=1, actives=1)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{won},won\n{lost},lost\n", encoding="utf-8")
    assert "Sets off" not in desk.run("plan", won, "--won").out
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    assert "Sets off: 1 run of the flow 'Tell the team'." in desk.run("plan", won, "--won").out
    said = desk.run("bulk", "plan", "rows.csv", "--capture", "capture.json", "--json")
    assert [(each["name"], each["runs"]) for each in said.data["side_effects"]["flows"]] == [("Tell the team", 1)]
    summary = json.loads(Path("rows.plan.jsonl").read_text(encoding="utf-8").splitlines()[-1])["summary"]
    assert summary["side_effects"] == said.data["side_effects"]
    assert "Sets off: 1 run of the flow" in desk.run("bulk", "plan", "rows.csv").out
    assert desk.run("plan", won, "--won", "--json", "--bypass", "flows").data["side_effects"]["flows"] == []


def test_a_close_bound_to_a_plan_is_refused_when_it_sets_off_something_else(desk: Desk) -> None:
    won = desk.opportunity(drafts=0, actives=1)
    bare = desk.run("plan", won, "--won", "--json").data["digest"]
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    digest = desk.run("plan", won, "--won", "--json").data["digest"]
    assert digest.startswith(f"{bare}+")
    desk.sql("UPDATE callbackregistration SET filterexpression = 'statecode eq 2'")
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    before = desk.rows()
    said = desk.run("close", won, "--won", "--if-plan", digest, "--json")
    assert (said.code, said.data["reason_code"]) == (3, "plan_changed")
    assert "What it sets off is no longer as plan" in said.data["reason"]
    assert desk.rows() == before
    again = desk.run("plan", won, "--won", "--json").data["digest"]
    assert desk.run("close", won, "--won", "--if-plan", again).code == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "UPDATE callbackregistration SET filterexpression = 'statecode eq 2'",
            """The flow 'Tell the team' changed: filter "statecode eq 1" -> "statecode eq 2".""",
        ),
        ("UPDATE callbackregistration SET softdeletestatus = 1", "The flow 'Tell the team' is not set off any more."),
        (
            """INSERT INTO callbackregistration (callbackregistrationid, versionnumber, name, entityname, message, scope,
            softdeletestatus, ownerid, ownerid_type) SELECT '03010000-0000-4000-8000-000000000002', 2, 'Bill', entityname,
            message, scope, softdeletestatus, ownerid, ownerid_type FROM callbackregistration""",
            "The flow 'Bill' is set off now, and was not when the plan was made.",
        ),
    ],
)
def test_a_run_stops_where_its_rows_set_off_something_else_than_planned(change: str, sentence: str, desk: Desk) -> None:
    won = desk.opportunity(drafts=0, actives=1)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{won},won\n", encoding="utf-8")
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    assert desk.run("bulk", "plan", "rows.csv").code == 0
    run = ("bulk", "run", "rows.plan.jsonl", "--yes", "--json")
    desk.sql(change)
    before = desk.rows()
    stopped = desk.run(*run)
    assert (stopped.code, stopped.data["changes"]) == (3, [sentence])
    assert "go on with --despite-changes" in stopped.err
    assert desk.rows() == before
    assert desk.run("bulk", "status", "rows").err.startswith("Error: There is no job")
    assert desk.run(*run, "--despite-changes").code == 0


def test_a_run_goes_on_where_only_names_and_microsofts_steps_changed(desk: Desk) -> None:
    won = desk.opportunity(drafts=0, actives=1)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{won},won\n", encoding="utf-8")
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    assert desk.run("bulk", "plan", "rows.csv").code == 0
    desk.sql("UPDATE callbackregistration SET name = 'Other'")
    assert desk.run("bulk", "run", "rows.plan.jsonl", "--yes").code == 0


def test_a_capture_of_another_user_or_organization_is_told(desk: Desk) -> None:
    key = desk.opportunity(drafts=0, actives=1)
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    Path("cut.json").write_text(Path("capture.json").read_text(encoding="utf-8")[:500], encoding="utf-8")
    said = desk.run("plan", key, "--won", "--capture", "cut.json")
    assert (said.code, "cut off" in said.err) == (2, True)
    text = Path("capture.json").read_text(encoding="utf-8")
    Path("changed.json").write_text(text.replace('"requests"', '"request"'), encoding="utf-8")
    said = desk.run("plan", key, "--won", "--capture", "changed.json")
    assert (said.code, "changed after it was taken" in said.err) == (2, True)
    capture = read_capture(Path("capture.json"))
    write_capture(Path("theirs.json"), capture.model_copy(update={"caller": "somebody", "metadata": "0"}))
    said = desk.run("plan", key, "--won", "--capture", "theirs.json")
    assert said.code == 0
    assert "was taken by another user, who may see more or less." in said.err
    assert "is older than the last change of the organization's metadata." in said.err
    write_capture(Path("other.json"), capture.model_copy(update={"organization": "another"}))
    said = desk.run("plan", key, "--won", "--capture", "other.json")
    assert (said.code, "of another organization" in said.err) == (2, True)
