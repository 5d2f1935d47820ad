"""Reports that are handed on: they open rightly, nothing in them runs, and their sums are the organization's."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.planning import write_plan
from connector.bulk.reports.documents import new_workbook
from connector.bulk.reports.job_report import Throughput, save_names
from connector.bulk.reports.plan_review import write_plan_review
from connector.bulk.reports.report_row import OrganizationNames, report_row
from connector.bulk.results import write_results
from connector.bulk.sheet_file import whole_text
from connector.closing.model import Intent, Outcome
from connector.errors import InputError
from connector.ledger.jobs import PACE, Event, ItemStatus, Row
from tests.bulk.office import Office, leave_unread

EVIL = "=HYPERLINK(\"http://evil\")&<script>alert('x')</script>"
USD = "00000001-0000-4000-8000-000000000001"


@pytest.fixture
def closed(office: Office) -> Office:
    """A job of twelve rows: ten are closed, one is refused, one is not there; the first has an evil name."""
    ids = office.open_ids()[:11]
    office.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", EVIL, str(ids[0]))
    office.sql("UPDATE opportunity SET statecode = 2, statuscode = 4 WHERE opportunityid = ?", str(ids[10]))
    (currency,) = office.sql("SELECT DISTINCT transactioncurrencyid FROM opportunity LIMIT 1")[0]
    gone = type(ids[0])(int=99)
    rows = [
        Row(n, Intent(id_, Outcome.WON if n % 2 else Outcome.LOST if n < 11 else Outcome.WON,
                      actual_revenue=Decimal("1234.56") if n == 1 else None), kept={"legacy": f"0{n}"})
        for n, id_ in enumerate([*ids, gone], 1)
    ]  # fmt: skip
    job = office.ledger.create("june", rows, organization="https://org.crm.dynamics.com")
    ((owner,),) = office.sql("SELECT ownerid FROM opportunity WHERE opportunityid = ?", str(ids[0]))
    names = OrganizationNames({str(currency): "SEK"}, {"3": "Won", "4": "Canceled"}, {str(owner): "Anna Berg"})
    save_names(office.ledger, job.organization, names)
    office.run(job)
    return office


def sheet(path: Path, title: str) -> list[dict[str, Any]]:
    rows = list(openpyxl.load_workbook(path)[title].iter_rows(values_only=True))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def test_a_workbook_is_typed_has_sheets_for_what_was_not_done_and_runs_nothing(closed: Office, tmp_path: Path) -> None:
    file = tmp_path / "june.xlsx"
    assert write_results(file, closed.ledger, "june") == 12
    rows = sheet(file, "Rows")
    first = rows[0]
    assert (first["Name"], first["Owner"], first["Value"], first["legacy"]) == (EVIL, "Anna Berg", 1234.56, "01")
    assert isinstance(first["When (UTC)"], datetime)
    assert first["Status reason"] == "Won"
    assert first["Close activity"]
    assert (
        first["Record"]
        == f'=HYPERLINK("https://org.crm.dynamics.com/main.aspx?etn=opportunity&pagetype=entityrecord&id={first["Opportunity"]}","open")'
    )
    book = openpyxl.load_workbook(file)
    assert [book[title].freeze_panes for title in book.sheetnames] == ["A2"] * 4
    assert book["Rows"]["B2"].data_type == "s", "a name that looks like a formula is a text"
    assert [row["Row"] for row in sheet(file, "Failed")] == [12]
    assert [row["Code"] for row in sheet(file, "Refused")] == ["closed_with_other_outcome"]


def test_a_text_of_any_kind_goes_into_a_cell_as_it_is(tmp_path: Path) -> None:
    with new_workbook(tmp_path / "x.xlsx") as new_sheet:
        out = new_sheet("Rows", [("=1+1", 10)])
        texts = ["=1+1", "+1", "-1", "@SUM(A1)", "#N/A", "\x01 unseen", "long" * 10_000, "1.5", "ä\N{GRINNING FACE}"]
        for text in texts:
            out.add([text])
    cells = [row[0] for row in openpyxl.load_workbook(tmp_path / "x.xlsx")["Rows"].iter_rows()]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [cell.value for cell in cells] == [
        "=1+1",
        *texts[:5],
        "\N{REPLACEMENT CHARACTER} unseen",
        ("long" * 10_000)[:32767],
        *texts[7:],
    ]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def test_rows_that_a_killed_run_closed_have_their_status_reason(office: Office) -> None:
    ids = office.open_ids()[:4]
    office.run(office.job("june", ids))
    assert leave_unread(office.ledger, "june") == 4
    office.run(office.ledger.job("june"))
    names = OrganizationNames(reasons={"3": "Won"})
    assert [report_row(record, "", names).reason for record in office.ledger.records("june")] == ["Won"] * 4


@pytest.mark.parametrize(("known", "places"), [({}, 2), ({"decimals": "0"}, 0), ({"decimals": "3"}, 3)])
def test_amounts_have_the_decimals_of_their_currency(
    closed: Office, tmp_path: Path, known: dict[str, str], places: int
) -> None:
    currencies = [str(id_) for (id_,) in closed.sql("SELECT DISTINCT transactioncurrencyid FROM opportunity")]
    decimals = {id_: known["decimals"] for id_ in currencies if known}
    names = OrganizationNames(dict.fromkeys(currencies, "SEK"), decimals=decimals)
    save_names(closed.ledger, "https://org.crm.dynamics.com", names)
    write_results(tmp_path / "june.html", closed.ledger, "june")
    text = (tmp_path / "june.html").read_text(encoding="utf-8")
    amounts = re.findall(r"<td[^>]*>([\d,.]+)</td><td>SEK</td>", text)
    assert amounts
    assert {len(amount.partition(".")[2]) for amount in amounts} == {places}
    write_results(tmp_path / "june.xlsx", closed.ledger, "june")
    cells = next(openpyxl.load_workbook(tmp_path / "june.xlsx")["Rows"].iter_rows(min_row=2))
    assert f"#,##{Decimal(10) ** -places * 0:f}" in {cell.number_format for cell in cells}


def test_the_page_is_one_file_whose_sums_are_the_organizations(closed: Office, tmp_path: Path) -> None:
    file = tmp_path / "june.html"
    assert write_results(file, closed.ledger, "june") == 12
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert not [
        tag for tag, attributes in page.tags if tag in {"script", "link", "img", "iframe"} or "src" in attributes
    ]
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert {"10", "1 refused", "1 failed", "closed with other outcome", "not found"} <= {
        part.strip(": ") for part in page.texts
    }
    ids = ", ".join(f"'{record.opportunity_id}'" for record in closed.ledger.records("june"))
    won = closed.sql(
        f"SELECT SUM(actualvalue), COUNT(*) FROM opportunity WHERE statecode = 1 AND opportunityid IN ({ids})"
    )[0]
    rows = re.findall(r"<tr><td>won</td><td>Won</td><td[^>]*>(\d+)</td><td[^>]*>([\d,.]+)</td><td>\w*</td>", text)
    assert sum(int(count) for count, _ in rows) == won[1]
    assert sum(Decimal(value.replace(",", "")) for _, value in rows) == Decimal(str(won[0])).quantize(Decimal("0.01"))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert len(links) == 2
    assert all(str(link).startswith("https://org.crm.dynamics.com/main.aspx?etn=opportunity&") for link in links)
    assert any(tag == "svg" for tag, _ in page.tags)


def test_a_row_is_worth_and_named_what_stands_after_the_close(office: Office) -> None:
    office.sql(
        "CREATE TRIGGER recalculated AFTER UPDATE OF statecode ON opportunity WHEN NEW.statecode = 1 BEGIN "
        "UPDATE opportunity SET actualvalue = 7, name = 'After' WHERE opportunityid = NEW.opportunityid; END"
    )
    asked = Intent(office.open_ids()[0], Outcome.WON, actual_revenue=Decimal(100))
    office.run(office.ledger.create("june", [Row(1, asked)]))
    (record,) = office.ledger.records("june")
    row = report_row(record, "", OrganizationNames())
    assert (row.status, row.value, row.name) == ("closed", Decimal("7.00"), "After")
    failed = replace(record, status=ItemStatus.FAILED)
    assert report_row(failed, "", OrganizationNames()).value == Decimal("100.00"), "what it would have been worth"


def test_names_in_a_page_are_only_text(closed: Office, tmp_path: Path) -> None:
    closed.sql("UPDATE opportunity SET name = ? WHERE statecode = 2 AND name IS NOT NULL", EVIL)
    job = closed.ledger.job("june")
    again = closed.ledger.create(
        "again",
        [Row(1, Intent(r.opportunity_id, Outcome.WON)) for r in closed.ledger.records("june") if r.row == 2],
        organization=job.organization,
    )
    closed.run(again)
    write_results(tmp_path / "again.html", closed.ledger, "again")
    text = (tmp_path / "again.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_commas_tell_who_when_and_how_much_and_read_back_the_same(closed: Office, tmp_path: Path) -> None:
    file = tmp_path / "june.csv"
    write_results(file, closed.ledger, "june")
    with file.open(encoding="utf-8-sig", newline="") as lines:
        told = list(csv.DictReader(lines))
    assert told[0]["result.name"] == f"'{EVIL}"
    assert told[0]["result.value"] == "1234.56"
    assert told[0]["result.by"]
    assert told[0]["result.owner"] == "Anna Berg"
    assert datetime.fromisoformat(told[0]["result.when"]).tzinfo
    assert told[11]["result.activity_id"] == ""
    with RowReader(RowFile(file), closed.connection.organization) as reader:
        again = list(reader.rows())
    assert [(replace(row.intent, key="june"), row.kept) for row in again if isinstance(row.intent, Intent)] == [
        (record.intent, record.kept) for record in closed.ledger.records("june")
    ]


def test_lines_of_json_have_the_record_beside_its_steps(closed: Office, tmp_path: Path) -> None:
    file = tmp_path / "june.jsonl"
    write_results(file, closed.ledger, "june")
    data = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert data[0]["record"]["name"] == EVIL
    assert data[0]["kept"] == {"legacy": "01"}


FULL = """
import resource, sys
from pathlib import Path
from connector.bulk.results import write_results
from connector.clock import SystemClock
from connector.errors import InputError
from connector.ledger.store import open_ledger
import openpyxl, jinja2
with open_ledger(sys.argv[1], SystemClock()) as ledger:
    list(ledger.records("june"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    try:
        write_results(Path(sys.argv[2]), ledger, "june")
    except InputError as error:
        print(error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx", "html"])
def test_where_there_is_no_room_no_file_is_left(closed: Office, tmp_path: Path, ending: str) -> None:
    assert closed.ledger.counts("june").open == 0
    file = tmp_path / "reports" / f"june.{ending}"
    file.parent.mkdir()
    command = [sys.executable, "-c", FULL, str(tmp_path / "jobs.db"), str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot be written" in said.stdout, said.stderr
    assert list(file.parent.iterdir()) == []


def events(office: Office) -> Iterator[Event]:
    yield from (event for event in office.ledger.events("june") if event.kind == PACE)


def test_a_run_notes_what_holds_it(closed: Office) -> None:
    noted = [event.data for event in events(closed)]
    assert noted
    assert all(set(data) == {"worker", "binding", "ceiling"} for data in noted)
    assert (noted[-1]["binding"], noted[-1]["ceiling"]) == ("", 0), "and that it ends"


def test_the_bars_of_the_plot_hold_every_row(closed: Office) -> None:
    job = closed.ledger.job("june")
    ended = {int(job.created.timestamp()) + second: 7 * second for second in (3, 5, 200, 4000)}
    # What this run noted depends on the machine: a quick one may be allowed more than the best of these.
    noted = [Event(job.created, PACE, {"worker": "1", "binding": "at_most", "ceiling": 20.0})]
    plot = Throughput(job, noted, ended).plot()
    rows = sum(height / 240 * plot.best * 1.05 * 4001 / 120 for _, _, _, height in plot.bars)
    assert rows == pytest.approx(sum(ended.values()), rel=0.05)
    assert all(0 <= x <= 1000 and 0 <= y <= 240 for x, y, _, _ in plot.bars)


def test_nothing_is_drawn_of_what_was_allowed_while_nobody_worked(closed: Office) -> None:
    job, hour = closed.ledger.job("june"), timedelta(hours=1)
    words = {"worker": "1", "binding": "at_most", "ceiling": 20.0}
    noted = [Event(job.created + hours * hour, PACE, words) for hours in (0, 0.1, 0.2, 20, 20.1)]
    plot = Throughput(job, noted, {int(job.created.timestamp()): 9}).plot()
    assert plot.allowed.count("M") == 2
    assert sum(width for _, width, _ in plot.strip) < 100, "of 20 hours somebody worked in less than two"


def test_a_plan_is_shown_to_who_approves_it(office: Office, tmp_path: Path) -> None:
    ids = office.open_ids()[:5]
    office.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", EVIL, str(ids[0]))
    office.sql("UPDATE opportunity SET statecode = 2, statuscode = 4 WHERE opportunityid = ?", str(ids[4]))
    plan = tmp_path / "june.plan.jsonl"
    rows = [Row(number, Intent(id_, Outcome.WON), kept={"legacy": f"0{number}"}) for number, id_ in enumerate(ids, 1)]
    write_plan(plan, {"organization": "https://org.crm.dynamics.com"}, rows, office.connection.organization)
    before = plan.read_bytes()
    for ending in ("xlsx", "html"):
        write_plan_review(tmp_path / f"june.{ending}", plan, OrganizationNames())
    told = sheet(tmp_path / "june.xlsx", "Rows")
    assert [row["Result"] for row in told] == ["planned"] * 4 + ["refused"]
    assert (told[0]["Name"], told[0]["legacy"]) == (EVIL, "01")
    assert told[0]["Steps"].endswith(f"close opportunity {EVIL}")
    assert [row["Row"] for row in sheet(tmp_path / "june.xlsx", "Not planned")] == [5]
    text = (tmp_path / "june.html").read_text(encoding="utf-8")
    assert "<script" not in text
    total = sum(Decimal(str(row["Estimated value"])) for row in told[:4])
    assert f"{total:,.2f}" in text
    assert plan.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a name in a folder")
def test_what_is_no_file_is_written_as_it_is_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "stdout"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_text(pipe, "utf-8") as file:
        file.write("rows")
    assert os.read(reading, 10) == b"rows"
    os.close(reading)
    assert pipe.is_fifo()


def test_a_path_that_is_longer_than_windows_takes_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.bulk.sheet_file.WINDOWS", True)
    with pytest.raises(InputError) as failure, whole_text(tmp_path / ("x" * 250) / "june.csv"):
        pass
    assert "more than Windows takes" in failure.value.remedy


def test_a_file_that_another_program_keeps_open_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(13, "Access is denied")  # as Windows does while Excel shows the file

    file = tmp_path / "june.csv"
    file.write_text("as it was", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match="open in another program"), whole_text(file):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["june.csv"]
    assert file.read_text(encoding="utf-8") == "as it was"
