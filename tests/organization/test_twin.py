"""Twins: a capture of the twin equals the file; closes work there; logic stands in, flows are counted; bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connector.closing.close import fulfil, preview
from connector.closing.model import Intent, Outcome, Plan, ReportStatus
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.reading import WebApi
from connector.dataverse.record_cards import read_cards
from connector.dataverse.webapi import Endpoint, Operation
from connector.emulator.command import _stand_ins
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions, ServeOptions
from connector.emulator.seeding.twin import SECTIONS, Twin, TwinRefused, read_twin
from connector.emulator.seeding.twin import _digest_of as digest_of
from connector.emulator.seeding.twin_schema import twin_schema
from connector.emulator.stand_ins import LogicStub, read_stand_ins, stand_ins_text, usual_stand_ins
from connector.emulator.world.schema_file import load_schema
from connector.errors import InputError
from connector.handler import Response
from connector.organization.capture_file import capture_text, differences, read_capture, write_capture
from connector.organization.capture_model import AnswerFact, Capture, Coverage, VolumeFact, sorted_section
from connector.organization.probes import Probes
from connector.organization.side_effects import SideEffects
from connector.rehearsal.rehearsal import Rehearsal
from tests.organization.asked import OPPORTUNITY, Asked
from tests.organization.captures import LOAN, ORGANIZATIONS, Data, capture_of, plain
from tests.organization.test_probes import told

SECOND = UUID("0c000000-0000-4000-8000-000000000002")


@pytest.fixture(scope="module")
def base() -> Data:
    return plain()


def twin_of(capture: Capture, **options: Any) -> Asked:
    return Asked(EmulatorOptions(twin=Twin(json.loads(capture_text(capture))), **options))


def send(asked: Asked, method: str, path: str, body: str = "") -> Response:
    return asked.handler(Endpoint(asked.base_url).request(Operation(method, path, body)))


def closed(asked: Asked, key: UUID = OPPORTUNITY, outcome: Outcome = Outcome.WON) -> ReportStatus:
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    return fulfil(organization, Intent(key, outcome), pause=asked.clock.sleep).status


@pytest.mark.parametrize("name", ORGANIZATIONS)
def test_a_capture_of_the_twin_equals_the_file_and_a_close_is_done_there(name: str, base: Data, tmp_path: Path) -> None:
    capture = capture_of(name, base)
    path = tmp_path / "capture.json"
    write_capture(path, capture)
    twin = Asked(EmulatorOptions(twin=read_twin(path)))
    again = twin.capture()
    assert [each.line() for each in differences(capture, again)] == []
    assert (again.version, again.base_language) == (capture.version, capture.base_language)
    if name == "six_languages":  # of a lead, whose states are others
        return
    twin.has_opportunity(0, 1)
    owner = twin.store.rows("SELECT systemuserid, businessunitid FROM systemuser WHERE applicationid IS NOT NULL")[0]
    for table in ("opportunity", "quote"):
        twin.store.execute(f"UPDATE {table} SET ownerid = ?, owningbusinessunit = ?", owner)
    assert closed(twin) is ReportStatus.CLOSED


def test_a_twin_with_everything_equals_its_capture_probes_volumes_and_all() -> None:
    asked = Asked()
    asked.has_logic()
    asked.has_opportunity(0, 1)
    asked.has_opportunity(1, 3, key=SECOND)
    asked.embedded.emulator.control.set_switches({"draft_quote_close": "accept", "chosen_activity_id": "ignore"})
    probe = Probes(
        WebApi(asked.handler, Endpoint(asked.base_url)), DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock),
        OPPORTUNITY,
    )  # fmt: skip
    answers: list[AnswerFact] = list(probe.answers())
    asked.clock.sleep(600)
    capture = asked.capture(volumes=True).model_copy(update={"answers": sorted_section(answers)})
    twin = twin_of(capture, volumes=True)
    again = twin.capture(volumes=True)
    assert {each.section for each in differences(capture, again)} == {"answers"}  # nobody asked the twin yet
    assert again.volumes == capture.volumes
    twin.has_opportunity(0, 1)
    assert {row.question: row.value for row in capture.answers.rows} == told(twin)


def test_a_diff_tells_what_an_organization_got_within_days(base: Data) -> None:
    before = Capture.model_validate(base)
    lines = [each.line() for each in differences(before, capture_of("loan", base))]
    assert [line for line in lines if line.startswith("+ columns")] == [
        f"+ columns opportunity.{n}" for n in sorted(LOAN)
    ]
    assert any("originatingleadid" in line and '"Borrower"' in line for line in lines)
    assert not any(line.startswith("-") for line in lines)


def test_what_the_capture_lacks_is_not_there_and_lookups_lead_to_stub_tables(base: Data) -> None:
    twin = twin_of(capture_of("live_2024", base))
    live = {row.name for row in capture_of("live_2024", base).columns.rows if row.table == "opportunity"}
    missing = sorted({name for name in load_schema().tables["opportunity"].columns if name not in live})
    assert missing
    assert send(twin, "GET", f"opportunities?$select={missing[0]}").status == 400
    assert send(twin, "GET", "campaigns?$select=campaignid").status == 200
    flows = twin_of(capture_of("flows_on_close", base))
    twin.has_opportunity()
    made = send(flows, "POST", "opportunities", '{"name":"x","ye_facility@odata.bind":"/ye_facilitys(0c000000-0000-4000-8000-000000000009)"}')  # fmt: skip
    assert made.status in (204, 404)


def test_status_reasons_are_replaced_not_added(base: Data) -> None:
    twin = twin_of(capture_of("portal", base))
    twin.has_opportunity()
    reasons = {(option.value, option.state) for option in twin.embedded.emulator.organization.world.schema.tables["opportunity"].statuses}  # fmt: skip
    assert (200000, 0) in reasons
    assert (3, 1) not in reasons


def test_depth_is_enforced(base: Data) -> None:
    twin = twin_of(capture_of("salesperson", base))
    twin.has_opportunity(0, 1)
    twin.store.execute("UPDATE quote SET owningbusinessunit = ?", (str(SECOND),))
    assert closed(twin) is ReportStatus.FAILED  # the quotes are another unit's


def test_money_has_the_decimals_of_its_source(base: Data) -> None:
    twin = twin_of(capture_of("spanish", base))
    twin.has_opportunity()
    dollar = twin.store.rows("SELECT transactioncurrencyid FROM transactioncurrency WHERE isocurrencycode = 'CLP'")[0][
        0
    ]
    assert send(twin, "PATCH", f"opportunities({OPPORTUNITY})", f'{{"transactioncurrencyid@odata.bind":"/transactioncurrencies({dollar})","estimatedvalue":12.7}}').status == 204  # fmt: skip
    assert twin.store.get("opportunity", str(OPPORTUNITY))["estimatedvalue"] == 13.0
    card = read_cards(WebApi(twin.handler, Endpoint(twin.base_url)), [OPPORTUNITY])[OPPORTUNITY]
    assert (card.currency, card.amount(Decimal(1300))) == ("CLP", "1,300")


def test_an_action_of_the_organizations_own_does_nothing_and_says_so(
    base: Data, caplog: pytest.LogCaptureFixture
) -> None:
    twin = twin_of(capture_of("own_close_action", base))
    twin.has_opportunity()
    before = twin.store.get("opportunity", str(OPPORTUNITY))
    path = f"opportunities({OPPORTUNITY})/Microsoft.Dynamics.CRM.saleswin_ActionCloseOppty"
    assert send(twin, "POST", path, "{}").status == 204
    assert twin.store.get("opportunity", str(OPPORTUNITY)) == before
    assert "saleswin_ActionCloseOppty is an action of the organization's own: nothing was done" in caplog.text


def test_limits_are_those_that_were_told(base: Data) -> None:
    capture = capture_of("spanish", base)
    limits = [
        row.model_copy(update={"value": {"requests": 7999.0}.get(row.name, row.value)}) for row in capture.limits.rows
    ]
    twin = twin_of(capture.model_copy(update={"limits": sorted_section(limits)}))
    assert twin.embedded.emulator.protection.limits.requests == 8000
    spent = [row.model_copy(update={"value": 0.0} if row.name in ("requests", "seconds") else {}) for row in limits]
    busy = capture.model_copy(update={"limits": sorted_section(spent)})
    told = Twin(json.loads(capture_text(busy)))
    assert any("too little was left of them" in gap for gap in told.gaps)
    for known in (told.limits(Limits()), Rehearsal(busy).limits()):
        assert (known.requests, known.execution_seconds) == (6000, 1200)


def test_a_row_that_is_told_twice_makes_no_twin(base: Data) -> None:
    data = json.loads(capture_text(capture_of("flows_on_close", base)))
    data["steps"]["rows"] *= 2
    with pytest.raises(TwinRefused, match="tells a row twice"):
        Asked(EmulatorOptions(twin=Twin(data)))


# --- logic ---


def logical() -> Capture:
    asked = Asked()
    asked.has_logic()
    return asked.capture()


def test_steps_stand_in_with_their_mean_time_or_pass() -> None:
    twin = Twin(json.loads(capture_text(logical())))
    assert dict(usual_stand_ins(twin).values()) == {
        "Contoso.Sales.OnWin: Win": "delay 420 ms",
        "Vendor.Audit: Update": "pass",
        "Microsoft.Dynamics.Forecast: Lose": "pass",
        "Refuse a cheap win": "pass",
        "Action": "pass",
    }


@pytest.mark.parametrize(
    ("does", "value", "status"),
    [
        ("pass", 10, ReportStatus.CLOSED),
        ("delay 50 ms", 10, ReportStatus.CLOSED),
        ("refuse 0 %", 10, ReportStatus.CLOSED),
        ("refuse 100 %", 10, ReportStatus.FAILED),
        ("refuse where estimatedvalue lt 100 with Too cheap to win.", 10, ReportStatus.FAILED),
        ("refuse where estimatedvalue lt 100 with Too cheap to win.", 1000, ReportStatus.CLOSED),
    ],
)
def test_a_stand_in_does_what_its_line_says(does: str, value: int, status: ReportStatus) -> None:
    capture = logical()
    step = next(row.id for row in capture.steps.rows if row.message == "Win")
    twin = twin_of(capture, stand_ins={step: does})
    twin.has_opportunity(1)
    twin.store.update("opportunity", str(OPPORTUNITY), {"estimatedvalue": value})
    assert closed(twin) is status
    assert closed(twin, outcome=Outcome.LOST) is (
        ReportStatus.REFUSED if status is ReportStatus.CLOSED else ReportStatus.CLOSED
    )


def test_a_real_time_workflow_may_refuse_by_where_the_record_ends() -> None:
    capture = logical()
    process = next(row.id for row in capture.processes.rows if row.real_time)
    twin = twin_of(capture, stand_ins={process: "refuse where statecode eq 2 with Ask first."})
    twin.has_opportunity()
    twin.has_opportunity(key=SECOND)
    assert closed(twin, outcome=Outcome.LOST) is ReportStatus.FAILED
    assert closed(twin, SECOND) is ReportStatus.CLOSED


def test_flows_are_counted_by_their_filters_and_never_run(base: Data) -> None:
    twin = twin_of(capture_of("flows_on_close", base))
    keys = [UUID(int=OPPORTUNITY.int + number) for number in range(5)]
    for key in keys:
        twin.has_opportunity(1, key=key)
    facility = "0c000000-0000-4000-8000-00000000000f"
    twin.store.update("opportunity", str(keys[4]), {"ye_facility": facility})
    for key, outcome in zip(keys, [Outcome.WON] * 3 + [Outcome.LOST] * 2, strict=True):
        assert closed(twin, key, outcome) is ReportStatus.CLOSED
    assert twin.embedded.emulator.control.health()["flow_runs"] == {"Won: draft the booking": 3, "Lost: follow up": 1}


def test_each_message_of_a_transaction_is_counted_by_the_row_it_leaves_and_a_filter_that_is_not_understood_apart(
    base: Data,
) -> None:
    capture = capture_of("flows_on_close", base)
    flow = capture.flows.rows[0].model_copy(update={"columns": (), "action": "", "message": 3})
    kinds: dict[str, dict[str, object]] = {
        "closed": {"table": "quote", "filter": "statecode eq 3"},
        "odd": {"filter": "new_gone eq 1"},
        "action": {"table": "", "filter": "", "message": 0, "action": "WinOpportunity"},
        "lost": {"table": "", "filter": "", "message": 0, "action": "LoseOpportunity"},
        "mine": {"filter": "statecode eq 1", "scope": 1},
        "mine, lost": {"filter": "statecode eq 2", "scope": 1},
    }
    flows = [flow.model_copy(update={"id": name, "name": name, **more}) for name, more in kinds.items()]
    capture = capture.model_copy(update={"flows": sorted_section(flows)})
    twin, effects = twin_of(capture), SideEffects(capture)
    twin.has_opportunity(0, 1)
    organization = DataverseOrganization(twin.handler, twin.base_url, clock=twin.clock)
    seen = preview(organization, Intent(OPPORTUNITY, Outcome.WON))
    assert isinstance(seen.verdict, Plan)
    effects.add(seen.verdict, seen.snapshot)
    assert closed(twin) is ReportStatus.CLOSED
    odd = "odd (perhaps: its filter is not understood here)"
    assert twin.embedded.emulator.control.health()["flow_runs"] == {"closed": 2, odd: 1, "action": 1, "mine": 1}
    assert (+effects.flow_runs, +effects.flow_runs_maybe) == ({"closed": 2, "action": 1}, {"odd": 1, "mine": 1})


def test_a_condition_may_have_its_words_in_quotes() -> None:
    stub = LogicStub.of("step", "refuse where contains(name,'sold with it''s box') with Too cheap with tax.")
    assert (stub.condition, stub.text) == ("contains(name,'sold with it''s box')", "Too cheap with tax.")


def test_the_file_of_stand_ins_is_written_edited_and_read(tmp_path: Path) -> None:
    path = tmp_path / "capture.json"
    write_capture(path, logical())
    twin = read_twin(path)
    file = tmp_path / "stand-ins.json"
    assert _stand_ins(ServeOptions(like=path, stand_ins=file), twin) == read_stand_ins(file, twin)
    assert file.read_text(encoding="utf-8") == stand_ins_text(twin)
    file.write_text(file.read_text(encoding="utf-8").replace("delay 420 ms", "refuse 5 %"), encoding="utf-8")
    assert "refuse 5 %" in read_stand_ins(file, twin).values()
    too_many = file.read_text(encoding="utf-8").replace("refuse 5 %", "refuse 300 %")
    for text, words in (("[", "cannot be read"), ("[1]", "no list of rows"), (too_many, "cannot do"), ('[{"id": "x", "does": "pass"}]', "no step or process x"),
                        (file.read_text(encoding="utf-8").replace("refuse 5 %", "explode"), "cannot do 'explode'")):  # fmt: skip
        file.write_text(text, encoding="utf-8")
        with pytest.raises(TwinRefused, match=words):
            read_stand_ins(file, twin)


# --- what a capture may be besides ---


def test_volumes_fill_the_twin(base: Data) -> None:
    groups = [
        VolumeFact(state=0, drafts=1, actives=1, closed=0, rows=30),
        VolumeFact(state=1, drafts=0, actives=0, closed=2, rows=20),
    ]
    capture = capture_of("spanish", base).model_copy(update={"volumes": sorted_section(groups)})
    twin = twin_of(capture, volumes=True)
    counts = twin.embedded.emulator.organization.row_counts()
    assert (counts["opportunity"], counts["quote"]) == (50, 100)
    assert twin.capture(volumes=True).volumes.rows == capture.volumes.rows


def test_a_twin_of_a_capture_that_saw_little_says_what_it_does_not_know() -> None:
    lesser = Asked()
    lesser.has_logic()
    lesser.embedded.emulator.control.set_switches({"definitions_privilege": "prvReadEntity"})
    lesser.limit_user(role="Opportunity Closer", without=["prvReadEntity"])
    capture = lesser.capture()
    twin = twin_of(capture)
    assert [each.line() for each in differences(capture, twin.capture())] == []
    gaps = Twin(json.loads(capture_text(capture))).gaps
    assert gaps[0].startswith("The capture was taken of an emulator")
    assert any(line.startswith("steps: refused.") for line in gaps)
    assert capture.steps.read is Coverage.REFUSED
    twin.has_opportunity(0, 1)
    owner = twin.store.rows("SELECT systemuserid FROM systemuser WHERE applicationid IS NOT NULL")[0]
    twin.store.execute("UPDATE opportunity SET ownerid = ?", owner)


def changed(section: str, **values: Any) -> Callable[[Data], Any]:
    return lambda data: data[section]["rows"][0].update(values)


BAD_ROWS: list[tuple[Callable[[Data], Any], str]] = [
    (lambda data: data.update(limits={"read": "all", "why": "", "rows": [{"name": "requests", "value": 1e308}]}), "limits.rows.0.value"),
    (lambda data: data.update(limits={"read": "all", "why": "", "rows": [{"name": "servers", "value": 1e8}]}), "web servers"),
    (lambda data: data.update(limits={"read": "all", "why": "", "rows": [{"name": "seconds", "value": -1}]}), "limits.rows.0.value"),
    (lambda data: data.update(limits={"read": "all", "why": "", "rows": [{"name": "seconds", "value": "many"}]}), "limits.rows.0.value"),
    (lambda data: data.update(limits=[]), "limits"),
    (lambda data: data.pop("flows"), "flows"),
    (lambda data: data["keys"].update(rows=[{"table": "quote", "name": "k", "columns": []}] * 50_001), "at most 50000"),
    (lambda data: data.update(more=1), "more"),
    (lambda data: data["keys"].update(read="some"), "keys.read"),
    (changed("currencies", precision=10**9), "currencies.rows.0.precision"),
    (changed("states", value=2**40), "states.rows.0.value"),
    (changed("columns", name=[[["deep"]]]), "columns.rows.0.name"),
    (changed("columns", name='x" TEXT); DROP TABLE quote; --'), "String should match"),
]  # fmt: skip
"""What makes a capture one that nobody took, and words of the sentence that says so."""


@pytest.mark.parametrize(("spoil", "words"), BAD_ROWS)
def test_what_no_organization_tells_is_refused_in_a_sentence_on_both_sides_though_the_digest_fits(
    spoil: Callable[[Data], Any], words: str, base: Data, tmp_path: Path
) -> None:
    data = json.loads(json.dumps(base))
    spoil(data)
    path = tmp_path / "capture.json"
    lists = all(isinstance(data.get(name), dict) for name in SECTIONS)
    path.write_text(json.dumps(data | {"digest": digest_of(data) if lists else ""}), encoding="utf-8")
    with pytest.raises(TwinRefused, match=words) as twin:
        read_twin(path)
    assert "\n" not in str(twin.value)
    if words not in ("web servers", "String should match"):  # only a twin makes servers and tables of them
        with pytest.raises(InputError, match=words):
            read_capture(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cut off"),
        ("[" * 200_000, "cut off"),
        ("[]", "no capture"),
        ('{"capture": 7}', "version 7"),
        ('{"capture": 2, "limits": {"rows": [{"name": "seconds", "value": NaN}]}}', "NaN is no number"),
        ('{"capture": 2}', "not as a capture is written|cannot be used"),
        ('{"capture": [1]}', "no capture|version"),
    ],
)
def test_a_file_that_is_no_capture_is_refused_in_a_sentence_on_both_sides(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "capture.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TwinRefused, match=words):
        read_twin(path)
    with pytest.raises(InputError, match=words):
        read_capture(path)


def test_a_capture_that_was_edited_by_hand_makes_no_twin_and_one_that_was_only_laid_out_anew_does(
    tmp_path: Path,
) -> None:
    text = capture_text(capture_of("flows_on_close", plain()))
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(json.loads(text), indent=4), encoding="utf-8")
    assert read_twin(path).data == json.loads(text)
    path.write_text(text.replace('"default_reason": 1,', '"default_reason": 77,', 1), encoding="utf-8")
    with pytest.raises(TwinRefused, match="was changed after it was taken"):
        read_twin(path)


def test_a_row_that_makes_no_schema_is_refused(base: Data) -> None:
    data = json.loads(json.dumps(base))
    data["columns"]["rows"][0] = {"name": "x"} | {"table": "quote"}
    with pytest.raises(TwinRefused, match="no schema"):
        twin_schema(Twin(data), load_schema())
