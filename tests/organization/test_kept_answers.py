"""The answers of probes: asked at a terminal, kept, used, named by plans, and asked again when they are old."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.assembly import connect
from connector.assembly.asked_answers import answers_path, with_answers
from connector.clock import SystemClock
from connector.closing.close import fulfil
from connector.closing.model import DraftPolicy, Intent, Outcome, ReportStatus
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import InputError, Unanswered
from connector.handler import Request, Response
from connector.organization.capture_model import AnswerFact
from connector.organization.kept_answers import KeptAnswers, basis_text, read_answers, write_answers
from connector.organization.probes import SampleRecords
from connector.settings.environment import load
from tests.cli.desk import Desk
from tests.organization.asked import KEYS, OPPORTUNITY, Asked

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def answers(asked: datetime = NOW, **values: str) -> KeptAnswers:
    rows = tuple(AnswerFact(question=question, value=value) for question, value in values.items())
    return KeptAnswers(asked=asked, version="9.2", caller="me", rows=rows)


@pytest.fixture(scope="session")
def organization_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("organization") / "organization.db"
    open_embedded(path, SystemClock(), EmulatorOptions(seeded=12), KEYS).close()
    return path


@pytest.fixture
def desk(organization_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:  # fmt: skip
    shutil.copy(organization_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return Desk(tmp_path / organization_file.name, capsys, monkeypatch)


def everything(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables but those that remember what was deleted and how often the file was opened."""
    names = [str(name) for (name,) in desk.sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: sorted(desk.sql(f'SELECT * FROM "{name}"'), key=repr)
        for name in names
        if name not in ("_deleted", "_notes")
    }


def kept(desk: Desk) -> KeptAnswers | None:
    return read_answers(
        answers_path(
            load(
                {
                    "DATAVERSE_URL": f"emulator:{desk.file}",
                    "XDG_STATE_HOME": str(desk.file.parent),
                    "HOME": str(desk.file.parent),
                }
            )
        )
    )


def test_answers_are_asked_for_kept_and_named_by_plans(desk: Desk) -> None:
    key = desk.opportunity(drafts=1, actives=1)
    assert "skipped  answers: Never asked" in desk.run("doctor").out
    assert "assumed: a close activity gets the id" in desk.run("plan", key, "--won").out
    before = everything(desk)
    said = desk.run("doctor", "--probe", key, "--yes", "--out", "answers.json", "--json")
    assert (said.code, said.data["status"], said.data["changed"]) == (0, "asked", [])
    assert everything(desk) == before
    assert kept(desk) == read_answers(Path("answers.json"))
    assert "ok       answers: Plans rely on this. Asked of this organization" in desk.run("doctor").out
    assert {each["known"] for each in desk.run("plan", key, "--won", "--json").data["basis"]} == {"asked"}
    said = desk.run("org", "capture", "--out", "capture.json", "--json")
    assert said.data["sections"]["answers"] == {"read": "all", "why": "", "rows": 8}


def test_records_made_to_ask_on_are_gone_afterwards(desk: Desk) -> None:
    before = everything(desk)
    said = desk.run("doctor", "--make-one", "--yes")
    assert said.code == 0
    assert "Nothing changed: 3 rows" in said.out
    assert everything(desk) == before


def test_what_a_run_that_was_killed_has_left_is_named_with_the_way_to_remove_it(desk: Desk) -> None:
    settings = load({"DATAVERSE_URL": f"emulator:{desk.file}", "HOME": str(desk.file.parent)})
    with connect(settings) as connection:
        SampleRecords(connection.api).make()
    said = desk.run("doctor", "--make-one", "--yes")
    assert said.code == 0
    assert said.err.count("was made to ask on by a run that was cut off") == 4
    assert "Delete it by hand once no probe runs: its name is 'Probe of the close connector'." in said.err


def test_records_are_made_in_a_sandbox_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.organization.probes._TESTING", frozenset({"Developer"}))
    before = everything(desk)
    said = desk.run("doctor", "--make-one", "--yes")
    assert said.code == 2
    assert "kind CustomerTest; nothing was made" in said.err
    assert everything(desk) == before


def test_nothing_is_sent_before_somebody_agreed(desk: Desk) -> None:
    before = everything(desk)
    key = desk.opportunity(drafts=1, actives=1)
    said = desk.run("doctor", "--probe", key)
    assert said.code == 2
    assert "cannot succeed" in said.err
    assert "Agree with --yes" in said.err
    assert desk.run("doctor", "--probe", key, "--make-one", "--yes").code == 2
    assert everything(desk) == before


@pytest.mark.parametrize(("drafts", "actives", "words"), [(0, 1, "has no draft quote"), (1, 0, "has no active quote")])
def test_an_opportunity_that_cannot_be_asked_on_is_a_sentence(
    drafts: int, actives: int, words: str, desk: Desk
) -> None:
    before = everything(desk)
    said = desk.run("doctor", "--probe", desk.opportunity(drafts=drafts, actives=actives), "--yes")
    assert said.code == 2
    assert words in said.err
    assert everything(desk) == before
    assert kept(desk) is None


def test_what_was_answered_decides_how_closes_are_sent(tmp_path: Path) -> None:
    settings = load(
        {"DATAVERSE_URL": f"emulator:{tmp_path / 'o.db'}", "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    )
    path = answers_path(settings)
    write_answers(path, answers(actions_in_set="refused", draft_close="accepted", parts="100"))
    followed = with_answers(settings, NOW)
    assert (followed.atomic, followed.drafts, followed.parts) == (False, DraftPolicy.DIRECT, 100)
    assert with_answers(settings, NOW + timedelta(days=31)) == settings
    write_answers(path, answers(actions_in_set="logic", draft_close="refused", parts="unknown"))
    assert with_answers(settings, NOW) == settings


def test_answers_age_by_time_by_version_and_by_caller() -> None:
    one = answers(draft_close="refused")
    assert one.stale(NOW, "9.2", "me") == ""
    assert one.stale(NOW + timedelta(days=31)) == "they are 31 days old"
    assert "version 9.3" in one.stale(NOW, "9.3", "me")
    assert one.stale(NOW, "9.2", "you") == "another user asked"


def test_a_plan_tells_the_asked_from_the_documented_and_the_assumed() -> None:
    text = basis_text(answers(draft_close="accepted", activity_id="unknown"))
    assert text.startswith(
        "Asked of this organization (2026-05-01): not so: CloseQuote does not take a draft (accepted). Documented by "
    )
    assert text.endswith("Not documented, assumed: a close activity gets the id chosen for it")


def test_a_file_of_answers_that_is_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        read_answers(path)


@pytest.mark.parametrize(
    ("switch", "status"), [("honor", ReportStatus.CLOSED), ("ignore", ReportStatus.ALREADY_CLOSED)]
)
def test_where_chosen_ids_are_ignored_a_lost_answer_ends_well_and_does_not_say_whose_close_it_was(
    switch: str, status: ReportStatus
) -> None:
    asked = Asked()
    quotes = asked.has_opportunity(0, 1)
    asked.embedded.emulator.control.set_switches({"chosen_activity_id": switch})
    inner, lost = asked.handler, list[Request]()

    def send(request: Request) -> Response:
        response = inner(request)
        if b"LoseOpportunity" in request.body and not lost:
            lost.append(request)
            raise Unanswered("The connection was lost.")
        return response

    organization = DataverseOrganization(send, asked.base_url, clock=asked.clock)
    report = fulfil(organization, Intent(OPPORTUNITY, Outcome.LOST), pause=asked.clock.sleep)
    assert report.status is status
    assert asked.store.rows("SELECT count(*) FROM quoteclose")[0][0] == len(quotes)
