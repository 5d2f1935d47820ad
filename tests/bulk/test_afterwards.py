"""What is done before and after a run: plan file, results, reconciliation, undo."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.job_rules import undo_name, undo_rows
from connector.bulk.planning import Summary, forecast, is_plan, read_head, read_plan, write_plan
from connector.bulk.reconcile import Mismatch, Reconciliation
from connector.bulk.reports.report_row import steps_in
from connector.bulk.results import write_results
from connector.closing.close import fulfil
from connector.closing.model import Intent, Outcome, ReopenIntent
from connector.errors import InputError
from connector.ledger.jobs import NOT_DONE, ItemStatus, Job, JobKind, Row
from tests.bulk.directory import Directory
from tests.bulk.office import Office


def rows(ids: list[UUID], outcome: Outcome = Outcome.WON) -> list[Row]:
    return [Row(number, Intent(id_, outcome)) for number, id_ in enumerate(ids, 1)]


def close(office: Office, id_: UUID, outcome: Outcome) -> None:
    fulfil(office.connection.organization, Intent(id_, outcome), pause=office.clock.sleep)


def undo(office: Office, job: Job) -> Job:
    made = undo_rows(office.ledger, job)
    return office.ledger.create(undo_name(job), made, kind=JobKind.REOPEN, undoes=job.name)


def test_a_plan_says_what_would_happen_with_hardly_any_requests_and_changes_nothing(
    office: Office, tmp_path: Path
) -> None:
    ids, before = office.open_ids(), office.requests()
    file = tmp_path / "june.plan.jsonl"
    office.connection.organization.metadata()
    summary = write_plan(file, {"organization": "x"}, rows([*ids, uuid4()]), office.connection.organization)
    assert (office.requests() - before) / len(ids) <= 0.03
    assert office.open_ids() == ids
    assert summary.data()["planned"] == len(ids)
    assert summary.data()["reasons"] == {"NotFound": 1}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines[1]["steps"][-1].startswith("close_opportunity")
    assert lines[-1]["summary"] == summary.data()
    told = forecast(summary, office.connection.clients, 0.3)
    assert len(ids) <= told.requests <= len(ids) * (1 + 2 / 300) + 2, "a run begins with one opportunity in a request"
    assert told.operations > len(ids)
    assert told.seconds > 0
    alone = Summary(rows=1, by_status=Counter(planned=1), steps=4)
    assert forecast(alone, office.connection.clients, 0.3).seconds >= 1.2, "no sooner than it is done"


def test_a_plan_is_run_as_it_is_and_rows_that_drifted_are_refused(office: Office, tmp_path: Path) -> None:
    ids, file = office.open_ids()[:20], tmp_path / "plan.jsonl"
    write_plan(file, {"organization": "x"}, rows(ids), office.connection.organization)
    with_drafts = office.sql("SELECT DISTINCT opportunityid FROM quote WHERE statecode = 0 ORDER BY 1")
    drifted = [id_ for id_ in (UUID(str(id_)) for (id_,) in with_drafts) if id_ in ids][:2]
    for id_ in drifted:
        close(office, id_, Outcome.LOST)
        intent = ReopenIntent(id_)
        fulfil(office.connection.organization, intent, pause=office.clock.sleep)
    assert is_plan(file)
    assert read_head(file)["organization"] == "x"
    ending = office.run(office.ledger.create("planned", read_plan(file, strict=True)))
    assert ending.counts.of(ItemStatus.CLOSED) == 20 - len(drifted)
    assert ending.counts.reasons == {(ItemStatus.REFUSED, "plan_changed"): len(drifted)}
    assert set(office.open_ids()) >= set(drifted)


def test_what_a_plan_refuses_is_not_done_later(office: Office, tmp_path: Path) -> None:
    id_, file = office.open_ids()[0], tmp_path / "plan.jsonl"
    close(office, id_, Outcome.LOST)
    write_plan(file, {"organization": "x"}, rows([id_]), office.connection.organization)
    fulfil(office.connection.organization, ReopenIntent(id_), pause=office.clock.sleep)
    ending = office.run(office.ledger.create("planned", read_plan(file)))
    assert ending.counts.of(ItemStatus.REFUSED) == 1
    assert id_ in office.open_ids()


def test_a_plan_that_breaks_off_is_refused(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    write_plan(file, {"organization": "x"}, rows(office.open_ids()[:5]), office.connection.organization)
    file.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
    with pytest.raises(InputError, match="breaks off"):
        list(read_plan(file))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_plan_that_windows_powershell_saved_again_is_known(office: Office, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "plan.jsonl"
    write_plan(file, {"organization": "x"}, rows(office.open_ids()[:2]), office.connection.organization)
    file.write_text(file.read_text(encoding="utf-8"), encoding=encoding)
    if encoding == "utf-16":
        with pytest.raises(InputError, match="saved as UTF-16"):
            is_plan(file)
    else:
        assert is_plan(file)
        assert len(list(read_plan(file))) == 2


def test_dead_letters_are_input_for_the_next_run(office: Office, tmp_path: Path) -> None:
    ids = office.open_ids()[:6]
    for id_ in ids[:2]:
        close(office, id_, Outcome.LOST)
    office.run(office.job("june", ids))
    file = tmp_path / "dead.csv"
    assert write_results(file, office.ledger, "june", NOT_DONE) == 2
    with file.open(encoding="utf-8") as lines:
        told = list(csv.DictReader(lines))
    assert {line["result.reason"] for line in told} == {"closed_with_other_outcome"}
    assert all(line["result.message"] for line in told)
    again = list(RowReader(RowFile(file), Directory()).rows())
    assert [row.intent for row in again] == [Intent(id_, Outcome.WON) for id_ in ids[:2]]


def test_the_results_hold_every_step_with_its_ids(office: Office, tmp_path: Path) -> None:
    office.run(office.job("june", office.open_ids()[:4]))
    file = tmp_path / "all.jsonl"
    assert write_results(file, office.ledger, "june") == 4
    for line in file.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        assert data["status"] == "closed"
        assert data["steps"][-1]["activity_id"]
        assert data["steps"][-1]["request_id"]
        assert data["request"]["outcome"] == "won"


def test_reconciliation_finds_what_is_not_as_the_job_says(office: Office) -> None:
    ids = office.open_ids()[:10]
    job = office.job("june", ids)
    office.run(job)
    organization = office.connection.organization
    assert compare(office, "june")[0] == []
    fulfil(organization, ReopenIntent(ids[3]), pause=office.clock.sleep)
    fulfil(organization, ReopenIntent(ids[7]), pause=office.clock.sleep)
    close(office, ids[7], Outcome.LOST)
    found = compare(office, "june")[0]
    assert [(each.row, each.opportunity_id) for each in found] == [(4, ids[3]), (8, ids[7])]
    assert "is open now" in found[0].problem
    assert found[0].name == office.sql("SELECT name FROM opportunity WHERE opportunityid = ?", str(ids[3]))[0][0]
    assert "is lost now" in found[1].problem


def compare(office: Office, name: str) -> tuple[list[Mismatch], Reconciliation]:
    reconciliation = Reconciliation(office.ledger, office.ledger.job(name), office.connection.organization)
    return list(reconciliation.mismatches()), reconciliation


def test_everything_that_was_asked_is_compared_or_said_not_to_be(office: Office) -> None:
    ids = office.open_ids()[:3]
    asked = Intent(
        ids[0], Outcome.WON, closed_on=date(2026, 1, 31), actual_revenue=Decimal("1234.56789"), description="Deal"
    )
    others = (Intent(id_, Outcome.WON) for id_ in ids[1:])
    office.run(office.ledger.create("june", (Row(number, each) for number, each in enumerate([asked, *others], 1))))
    problems, reconciliation = compare(office, "june")
    assert problems == []
    assert (reconciliation.checked, reconciliation.later) == (3, 0)
    assert reconciliation.unread == {}
    office.sql(
        "UPDATE opportunity SET actualvalue = 1, actualclosedate = '2026-02-01' WHERE opportunityid = ?", str(ids[0])
    )
    assert [each.problem.split(",")[0] for each in compare(office, "june")[0]] == [
        "The opportunity's close date is 2026-02-01",
        "The opportunity's actual revenue is 1.0",
    ]


def test_quotes_that_were_closed_before_are_not_compared_with_the_reason_that_was_asked(office: Office) -> None:
    open_ids = ", ".join(f"'{id_}'" for id_ in office.open_ids())
    ((id_, count),) = office.sql(
        f"SELECT opportunityid, COUNT(*) FROM quote WHERE opportunityid IN ({open_ids}) GROUP BY opportunityid "
        "HAVING SUM(statecode < 2) > 0 AND SUM(statecode = 3 AND statuscode <> 5) > 0 ORDER BY opportunityid LIMIT 1"
    )
    office.run(office.ledger.create("june", [Row(1, Intent(UUID(str(id_)), Outcome.WON, quote_status=5))]))
    assert compare(office, "june")[0] == []
    office.sql("UPDATE quote SET statuscode = 6 WHERE opportunityid = ? AND statuscode = 5", id_)
    changed = [step for record in office.ledger.records("june") for step in steps_in(record.report or {})]
    quotes = len({step["record"] for step in changed if step["table"] == "quote"})
    (told,) = compare(office, "june")[0]
    assert told.problem == f"{quotes} of its {count} quotes are closed with another status reason than 5."


def test_the_close_activities_are_compared_with_everything_that_was_asked_of_them(office: Office) -> None:
    ids = office.open_ids()[:3]
    ((rival,),) = office.sql("SELECT competitorid FROM competitor ORDER BY 1 LIMIT 1")
    asked = Intent(
        ids[0], Outcome.LOST, subject="Out\nsold", description="Too dear", competitor_id=UUID(str(rival)),
        opportunity_columns={"category": "Deals", "actualdurationminutes": 30}, quote_columns={"category": "Offers"},
    )  # fmt: skip
    close(office, ids[1], Outcome.WON)
    others = (Intent(id_, Outcome.WON, description="Late") for id_ in ids[1:])
    office.run(office.ledger.create("june", (Row(number, each) for number, each in enumerate([asked, *others], 1))))
    problems, reconciliation = compare(office, "june")
    assert problems == []
    assert reconciliation.unread == {"description": 1}, "the second was closed before, by somebody else"
    office.sql(
        "UPDATE opportunityclose SET subject = 'x', description = NULL, competitorid = NULL, category = 'y',"
        " actualdurationminutes = 31 WHERE opportunityid = ? AND statecode = 1",
        str(ids[0]),
    )
    told = [each.problem for each in compare(office, "june")[0]]
    assert len(told) == 5
    assert {line.split(" is ")[0] for line in told} == {
        f"In its opportunityclose, {name}"
        for name in ("subject", "description", "competitor", "category", "actualdurationminutes")
    }
    assert "description is empty, not 'Too dear' as was asked" in " ".join(told)


def test_what_cannot_be_read_back_is_told_and_the_rest_compared(office: Office) -> None:
    (id_,) = office.open_ids()[:1]
    asked = Intent(id_, Outcome.LOST, description="Too dear", opportunity_columns={"category": "Deals"})
    office.run(office.ledger.create("june", [Row(1, asked)]))
    reader = Blind(office.connection.organization, "category")
    reconciliation = Reconciliation(office.ledger, office.ledger.job("june"), reader)
    office.sql("UPDATE opportunityclose SET description = 'Other' WHERE opportunityid = ?", str(id_))
    assert [each.problem for each in reconciliation.mismatches()] == [
        "In its opportunityclose, description is 'Other', not 'Too dear' as was asked."
    ]
    assert reconciliation.unread == {"category": 1}


class Blind:
    """An organization in which one column of close activities may not be read."""

    def __init__(self, organization: Any, column: str) -> None:
        self._organization = organization
        self._column = column

    def __getattr__(self, name: str) -> Any:
        return getattr(self._organization, name)

    def activity_values(self, table: str, ids: Sequence[UUID], columns: Sequence[str]) -> Any:
        names = [f"{name}x" if name == self._column else name for name in columns]
        return self._organization.activity_values(table, ids, names)


def test_a_row_that_another_job_left_otherwise_is_compared_with_that_job(office: Office) -> None:
    ids = office.open_ids()[:4]
    june = office.job("june", ids)
    office.run(june)
    office.run(office.ledger.create("june.undo", undo_rows(office.ledger, june), kind=JobKind.REOPEN, undoes="june"))
    assert compare(office, "june")[0] == []
    office.run(office.job("july", ids[:3], Outcome.LOST))
    for name, checked in (("june", 1), ("june.undo", 1), ("july", 3)):
        problems, reconciliation = compare(office, name)
        assert (problems, reconciliation.checked, reconciliation.later) == ([], checked, {"july": 0}.get(name, 3))


def test_a_row_that_was_touched_goes_on_while_its_steps_are_the_same(office: Office, tmp_path: Path) -> None:
    ids, file = office.open_ids()[:4], tmp_path / "plan.jsonl"
    write_plan(file, {"organization": "x"}, rows(ids), office.connection.organization)
    office.sql("UPDATE opportunity SET versionnumber = versionnumber + 1000000 WHERE opportunityid = ?", str(ids[0]))
    strict = office.run(office.ledger.create("strict", islice(read_plan(file, strict=True), 1)))
    assert strict.counts.reasons == {(ItemStatus.REFUSED, "plan_changed"): 1}
    (record,) = office.ledger.records("strict")
    assert "it is " in str(record.report)
    assert re.search(
        r"Changed last: .*, at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC by user [0-9a-f-]{36}\.", str(record.report)
    )
    assert office.run(office.ledger.create("planned", read_plan(file))).counts.of(ItemStatus.CLOSED) == 4


def test_undo_opens_what_the_job_closed_and_only_that(office: Office) -> None:
    ids = office.open_ids()
    before = office.sql("SELECT quoteid, statecode FROM quote ORDER BY 1")
    already, later = ids[0], ids[1]
    close(office, already, Outcome.WON)
    job = office.job("june", ids[:10])
    office.run(job)
    fulfil(office.connection.organization, ReopenIntent(later), pause=office.clock.sleep)
    close(office, later, Outcome.LOST)
    ending = office.run(undo(office, job))
    assert ending.counts.of(ItemStatus.REOPENED) == 8
    assert ending.counts.of(ItemStatus.REFUSED) == 1
    assert set(ids) - set(office.open_ids()) == {already, later}
    assert office.ledger.counts("june").of(ItemStatus.UNDONE) == 8
    won_or_closed = {(quote, state) for quote, state in before if state in (2, 3)}
    assert won_or_closed <= set(office.sql("SELECT quoteid, statecode FROM quote ORDER BY 1"))


def test_an_undone_job_cannot_be_undone_back(office: Office) -> None:
    job = office.job("june", office.open_ids()[:3])
    office.run(job)
    back = undo(office, job)
    with pytest.raises(InputError, match="nothing to undo"):
        list(undo_rows(office.ledger, back))
