"""Status reasons are named in any language of the organization: on the command line and in files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.emulator.background import ServedEmulator
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.world.customization import Customization, StatusReason
from tests.cli.desk import Desk
from tests.cli.signing import by_secret, organization_of

OPPORTUNITY = "00000003-0000-4000-8000-000000000004"
ENGLISH, SWEDISH, GERMAN = 1033, 1053, 1031
WON, LOST = 1, 2


def reason(value: int, state: int, english: str, swedish: str, german: str) -> StatusReason:
    labels = {ENGLISH: english, SWEDISH: swedish, GERMAN: german}
    return StatusReason("opportunity", value, english, state, labels=labels)


LANGUAGES = Customization(
    status_reasons=(
        reason(3, WON, "Won", "Vunnen", "Gewonnen"),
        reason(4, LOST, "Canceled", "Avbruten", "Abgebrochen"),
        reason(5, LOST, "Out-Sold", "Överbjuden", "Größeres Angebot"),
        reason(100000030, LOST, "No Decision", "Inget beslut", "Keine Entscheidung"),
        reason(100000031, LOST, "Postponed", "Inget beslut", "Verschoben"),
    )
)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    """An organization with three languages, in which one Swedish label stands for two reasons."""
    with organization_of(local_tenant(), tmp_path / "tenant", seeded=10) as emulator:
        with emulator.emulator.lock:
            emulator.emulator.organization.world.customize(LANGUAGES)
        yield emulator


def stands(emulator: ServedEmulator, opportunity: str = OPPORTUNITY) -> int:
    query = "SELECT statuscode FROM opportunity WHERE opportunityid = ?"
    ((status,),) = emulator.emulator.organization.store.rows(query, (opportunity,))
    return int(str(status))


@pytest.mark.parametrize(
    ("outcome", "label", "value"),
    [
        ("--won", "Vunnen", 3),
        ("--won", "GEWONNEN", 3),
        ("--lost", "Avbruten", 4),
        ("--lost", "abgebrochen", 4),
        ("--lost", "Överbjuden", 5),
        ("--lost", unicodedata.normalize("NFD", "överbjuden"), 5),
        ("--lost", "GRÖSSERES ANGEBOT", 5),
        ("--lost", "Verschoben", 100000031),
    ],
)
def test_a_label_of_any_language_names_the_reason(
    desk: Desk, emulator: ServedEmulator, outcome: str, label: str, value: int
) -> None:
    said = desk.run("close", OPPORTUNITY, outcome, "--status", label, "--yes", **by_secret(emulator))
    assert said.code == 0, said.err
    assert stands(emulator) == value


def test_a_label_of_two_reasons_is_ambiguous_and_both_are_named(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run("close", OPPORTUNITY, "--lost", "--status", "Inget beslut", "--yes", **by_secret(emulator))
    assert said.code == 2
    assert "The label 'Inget beslut' is ambiguous" in said.err
    assert "100000030 No Decision, 100000031 Postponed" in said.err
    assert stands(emulator) in (1, 2), "it is open"


def test_a_label_of_the_other_outcome_is_named_as_it_was_given(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run("close", OPPORTUNITY, "--lost", "--status", "Vunnen", "--yes", **by_secret(emulator))
    assert said.code == 2
    assert "The status reason 3 Won ('Vunnen') of the opportunity is not one for opportunity lost." in said.err


def test_a_file_may_name_reasons_in_several_languages(desk: Desk, emulator: ServedEmulator, tmp_path: Path) -> None:
    ids = [f"00000003-0000-4000-8000-{number:012d}" for number in (4, 2, 3)]
    labels = [("won", "Vunnen"), ("lost", "Abgebrochen"), ("lost", "Överbjuden")]
    lines = [f"{id_},{outcome},{label}" for id_, (outcome, label) in zip(ids, labels, strict=True)]
    text = "\n".join(["opportunityid,outcome,status", *lines])
    (tmp_path / "rows.csv").write_text(f"{text}\n", encoding="utf-8")
    said = desk.run("bulk", "run", "rows.csv", "--job", "june", "--yes", **by_secret(emulator))
    assert said.code == 0, said.err
    assert [stands(emulator, id_) for id_ in ids] == [3, 4, 5]
