"""The control interface: every route, from both faces, and the page for people."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from connector.clock import VirtualClock
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace

OPPORTUNITY = "00000003-0000-4000-8000-000000000004"
"""The fourth seeded opportunity: it has no quotes."""


def lose(face: Face) -> int:
    body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({OPPORTUNITY})"}, "Status": 4}
    return face.post("LoseOpportunity", body).status_code


def state(face: Face) -> int:
    return int(face.get(f"opportunities({OPPORTUNITY})?$select=statecode").json()["statecode"])


def test_a_reset_brings_back_rows_journal_switches_and_limits_used(face: Face) -> None:
    face.sign_in()
    assert lose(face) == 204
    face.control("PATCH", "switches", {"actual_value_on_lost": "zero"})
    face.control("POST", "reset")
    assert state(face) == 0
    assert face.control("GET", "health").json()["requests"] == 1
    values = {one["name"]: one["value"] for one in face.control("GET", "switches").json()}
    assert values["actual_value_on_lost"] == "null"


def test_a_snapshot_is_put_back(face: Face) -> None:
    face.sign_in()
    face.control("PUT", "snapshots/open")
    lose(face)
    face.control("PUT", "snapshots/lost")
    assert face.control("POST", "snapshots/open/restore").status_code == 200
    assert state(face) == 0
    face.control("POST", "snapshots/lost/restore")
    assert state(face) == 2
    assert face.control("POST", "snapshots/nothing/restore").status_code == 400


def test_closes_are_counted_per_record(face: Face) -> None:
    face.sign_in()
    lose(face)
    rows = face.control("GET", "closes").json()
    assert {"table": "opportunity", "id": OPPORTUNITY, "closes": 1} in rows
    assert face.control("GET", "closes?more_than=1").json() == []


def test_the_journal_names_the_rule_that_answered(face: Face) -> None:
    face.sign_in()
    lose(face)
    lose(face)
    first, second = face.control("GET", "journal").json()[-2:]
    assert (first["status"], second["status"]) == (204, 400)
    assert second["error"].startswith("0x80040515")
    rules = {rule["id"]: rule for rule in face.control("GET", "rules").json()}
    assert rules[second["rule"]]["evidence"] in ("document", "recording", "forum", "inferred")
    assert second["operations"][0]["record_id"] == OPPORTUNITY
    face.control("DELETE", "journal")
    assert face.control("GET", "journal").json() == []


def test_rows_come_from_json_csv_and_the_generator(face: Face) -> None:
    face.sign_in()
    one = {
        "opportunityid": "10000000-0000-4000-8000-000000000001",
        "name": "From JSON",
        "statecode": 0,
        "statuscode": 1,
    }
    assert face.control("POST", "seed", {"opportunity": [one]}).status_code == 200
    text = "opportunityid,name,statecode,statuscode\n10000000-0000-4000-8000-000000000002,From CSV,0,1\n"
    answer = face.session.post(
        f"{face.url}/_emulator/seed", data=text, headers={"Content-Type": "text/csv"}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    names = face.get("opportunities?$select=name&$filter=startswith(name,'From')").json()["value"]
    assert {row["name"] for row in names} == {"From JSON", "From CSV"}
    made = face.control("POST", "seed", {"opportunities": 50, "seed": 2}).json()
    assert made["rows"]["opportunity"] == 51


def test_a_scenario_is_begun_and_is_what_a_reset_returns_to(face: Face) -> None:
    assert "west-of-utc" in face.control("GET", "scenarios").json()
    assert face.control("POST", "scenarios", {"name": "project-operations"}).json()["rows"]["opportunity"] == 306
    face.sign_in()
    assert lose(face) == 204
    face.control("POST", "reset")
    assert state(face) == 0
    values = {one["name"]: one["value"] for one in face.control("GET", "switches").json()}
    assert values["project_operations"] == "immediate"


def test_metadata_exported_from_an_organization_gives_its_status_reasons_until_a_reset(face: Face) -> None:
    option = {"Value": 100000042, "State": 2, "Label": {"UserLocalizedLabel": {"Label": "Postponed"}}}
    exported = {"value": [{"LogicalName": "statuscode", "OptionSet": {"Options": [option]}}]}
    face.sign_in()
    body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({OPPORTUNITY})"}, "Status": 100000042}
    assert face.post("LoseOpportunity", body).status_code == 400
    assert face.control("POST", "customizations?table=opportunity", exported).status_code == 200
    assert face.post("LoseOpportunity", body).status_code == 204
    face.control("POST", "reset")
    assert face.post("LoseOpportunity", body).status_code == 400


def test_rules_have_ids_of_their_own_and_name_switches_that_exist(face: Face) -> None:
    rules = face.control("GET", "rules").json()
    assert len({rule["id"] for rule in rules}) == len(rules) > 50
    switches = {one["name"] for one in face.control("GET", "switches").json()}
    assert {rule["switch"] for rule in rules if rule["switch"]} <= switches


@pytest.mark.parametrize(
    ("method", "what", "data"),
    [
        ("GET", "nothing", None),
        ("POST", "seed", {"nothing": []}),
        ("POST", "seed", {"opportunity": [{"nothing": 1}]}),
        ("POST", "seed", {"opportunity": [{"estimatedvalue": 10**400}]}),
        ("POST", "seed", {"opportunity": [{"closeprobability": []}]}),
        ("POST", "seed", {"opportunity": [1]}),
        ("POST", "scenarios", {"name": "nothing"}),
        ("POST", "customizations", {"value": [{"name": "A row"}]}),
        ("POST", "customizations?table=opportunity", {"LogicalName": "statuscode", "OptionSet": {"Options": [{}]}}),
        ("GET", "closes?more_than=99999999999999999999999", None),
        ("POST", "seed", {"opportunities": -1}),
        ("PATCH", "switches", {"nothing": "on"}),
        ("PATCH", "switches", {"actual_value_on_lost": "maybe"}),
        ("PUT", "faults", {"faults": [{"do": "explode"}]}),
        ("POST", "device", {"user_code": "NOBODY"}),
        ("POST", "clock", {"advance": "far"}),
        ("GET", "journal?limit=many", None),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(face: Face, method: str, what: str, data: object) -> None:
    answer = face.control(method, what, data)
    assert answer.status_code in (400, 404)
    assert len(answer.json()["error"]) > 5


def test_the_referee_sees_bad_habits(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions(seeded=40))
    face.sign_in()
    for number in range(1, 16):
        face.get(f"opportunities(00000003-0000-4000-8000-{number:012d})")
    for number in range(1, 36):
        face.session.patch(
            f"{face.api}opportunities(00000003-0000-4000-8000-{number:012d})", json={"description": "x"}, timeout=120
        )
    found = {row["kind"]: row["count"] for row in face.control("GET", "referee").json()}
    assert found == {"missing_select": 15, "n_plus_one": 1, "unconditional_update": 35, "unbatched_loop": 1}


class Outline(HTMLParser):
    """Collects what a page links to and checks that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "wbr", "input"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                (self.links if value.startswith(("?", "/_emulator/")) else self.outside).append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escapes_what_people_wrote_and_loads_nothing(face: Face) -> None:
    face.sign_in()
    row = {"name": "<script>alert(1)</script>", "statecode": 0, "statuscode": 1}
    face.control("POST", "seed", {"opportunity": [row]})
    lose(face)
    seen, waiting = set(), ["?view=journal"]
    while waiting:
        link = waiting.pop()
        page = face.session.get(f"{face.url}/_emulator/{link.removeprefix('/_emulator/')}", timeout=120)
        assert page.status_code == 200, link
        seen.add(link)
        if "text/html" not in page.headers["Content-Type"]:
            continue
        outline = Outline()
        outline.feed(page.text)
        assert (outline.open, outline.outside) == ([], ["data:,"]), link
        assert "<script" not in page.text
        waiting += [one for one in outline.links if one not in {*seen, *waiting}][:10]
    assert {f"?view={one}" for one in ("journal", "data", "referee", "rules", "settings")} < seen
    assert {"/_emulator/har", "?view=journal&only=failed"} < seen
    assert any("row=" in one for one in seen)
    assert any("entry=" in one for one in seen)
    number = face.emulator.journal.number
    assert "LoseOpportunity" in face.session.get(f"{face.url}/_emulator/?entry={number}", timeout=120).text


def test_the_page_tells_rows_without_a_name_and_what_is_gone(face: Face) -> None:
    face.sign_in()
    key = face.post("opportunities", {}, Prefer="return=representation").json()["opportunityid"]
    for view in ("view=data", f"view=data&row={key}"):
        text = face.session.get(f"{face.url}/_emulator/?{view}", timeout=120).text
        assert "<i>no name</i>" in text
        assert ">None<" not in text
    assert (
        "There is no opportunity nowhere."
        in face.session.get(f"{face.url}/_emulator/?view=data&row=nowhere", timeout=120).text
    )
    gone = face.session.get(f"{face.url}/_emulator/?entry=<b>", timeout=120)
    assert "The journal no longer has a request &lt;b&gt;." in gone.text


def test_the_page_shows_only_what_failed_where_that_is_wanted(face: Face) -> None:
    face.sign_in()
    face.get("nothings")
    face.get("WhoAmI")
    text = face.session.get(f"{face.url}/_emulator/?view=journal&only=failed", timeout=120).text
    assert "nothings" in text
    assert "WhoAmI" not in text


def test_a_close_is_found_with_the_quotes_and_activities_it_left(face: Face) -> None:
    face.sign_in()
    assert lose(face) == 204
    text = face.session.get(f"{face.url}/_emulator/?view=data&row={OPPORTUNITY}", timeout=120).text
    assert '<span class="badge bad">Lost</span>' in text
    assert '<span class="badge good">Completed</span>' in text


def test_importing_the_emulators_options_is_light() -> None:
    code = (
        "import sys, connector.emulator.seeding.emulator_options; "
        "print([m for m in ('requests', 'cryptography', 'msal', 'asyncio') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
