"""Files as people have them: read, or named in one sentence; nothing in them vanishes without a word."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import openpyxl
import pyarrow as pa
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from pyarrow import parquet

from connector.bulk.input.cell_values import CellRules, is_date_format
from connector.bulk.input.column_map import ColumnMapping, parse_renames
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.input.table_file import readable
from connector.bulk.results import write_dead_letters
from connector.closing.model import Intent, Outcome
from connector.closing.record_keys import RecordMatch
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Record, Row
from tests.bulk.directory import Directory
from tests.ledger.rows import opportunity

A, B, C, D = (opportunity(number) for number in range(1, 5))
HEAD = "opportunityid,outcome"


@dataclass
class Desk:
    """A folder with files, and how they are read."""

    folder: Path
    notes: list[str]

    def write(self, content: str | bytes, name: str = "rows.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def read(
        self,
        path: Path,
        columns: ColumnMapping | None = None,
        cells: CellRules | None = None,
        rejects: Path | None = None,
        encoding: str = "",
    ) -> list[Row]:
        with readable(path) as copy:
            file = RowFile(
                copy, columns or ColumnMapping(), cells or CellRules(), rejects, encoding=encoding, name=path.name
            )
            with RowReader(file, Directory()) as reader:
                rows = list(reader.rows())
                self.notes[:] = reader.notes
                assert list(reader.rows()) == rows, "a file is read twice and says the same"
        return rows

    def refused(self, path: Path, **how: object) -> str:
        with pytest.raises(InputError) as caught:
            self.read(path, **how)  # type: ignore[arg-type]
        return str(caught.value)

    def workbook(self, *rows: Sequence[object], change: Callable[[openpyxl.Workbook], None] = lambda _: None) -> Path:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        change(book)
        book.save(self.folder / "rows.xlsx")
        return self.folder / "rows.xlsx"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, [])


# -- amounts, days and words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decimal", "text", "amount"),
    [
        ("comma", "12.500", "12500"),
        ("comma", "12.500,75", "12500.75"),
        ("comma", "1 250,5", "1250.5"),
        ("comma", "-0,5", "-0.5"),
        ("point", "12.500", "12.500"),
        ("point", "1,250,000.00", "1250000.00"),
        ("point", "1'250.00", "1250.00"),
        ("", "12500.00", "12500.00"),
        ("", "0.125", "0.125"),
        ("", "1234.567", "1234.567"),
    ],
)
def test_an_amount_means_what_its_decimal_says(desk: Desk, decimal: str, text: str, amount: str) -> None:
    path = desk.write(f"opportunityid;outcome;actual_revenue\n{A};won;{text}\n")
    (row,) = desk.read(path, cells=CellRules(decimal))
    assert isinstance(row.intent, Intent)
    assert row.intent.actual_revenue == Decimal(amount)


@pytest.mark.parametrize("text", ["12.500", "-1.000", "12,5", "1,250.00"])
def test_an_amount_that_may_mean_two_is_refused(desk: Desk, text: str) -> None:
    path = desk.write(f"opportunityid;outcome;actual_revenue\n{A};won;{text}\n")
    assert "say --decimal comma or point" in desk.refused(path)


def test_an_amount_with_thousands_at_odd_places_is_refused(desk: Desk) -> None:
    path = desk.write(f"opportunityid;outcome;actual_revenue\n{A};won;12.50\n")
    assert "'12.50' is no amount with a decimal comma" in desk.refused(path, cells=CellRules("comma"))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-01-31T00:00:00Z", ""),
        ("2026-01-31 14:05", ""),
        ("2026-01-31T23:59:59.123+01:00", ""),
        ("20260131", ""),
        ("46053", ""),
        ("46053.5", ""),
        ("31.01.2026", "DD.MM.YYYY"),
        ("1/31/26", "M/D/YY"),
        ("31 Jan 2026", "%d %b %Y"),
        ("31.01.2026 23:59", "DD.MM.YYYY"),
        ("2026-01-31", "DD.MM.YYYY"),
    ],
)
def test_days_are_read_as_programs_write_them(desk: Desk, text: str, form: str) -> None:
    path = desk.write(f"{HEAD},closed_on\n{A},won,{text}\n")
    (row,) = desk.read(path, cells=CellRules(date_format=form))
    assert isinstance(row.intent, Intent)
    assert row.intent.closed_on == date(2026, 1, 31)


@pytest.mark.parametrize("text", ["31.01.2026", "01/02/2026", "1-2-26", "10000-01-01", "9999999999", "2026-02-30"])
def test_a_day_of_unknown_order_or_of_no_calendar_is_refused(desk: Desk, text: str) -> None:
    assert "closed_on: " in desk.refused(desk.write(f"{HEAD},closed_on\n{A},won,{text}\n"))


@pytest.mark.parametrize("word", ["NULL", "nan", "NaN", "\\N", "#N/A", "None"])
def test_a_word_for_nothing_is_named_until_somebody_says_what_it_means(desk: Desk, word: str) -> None:
    path = desk.write(f"{HEAD},subject\n{A},won,{word}\n")
    assert f"subject: {word} may mean an empty cell or be text; say --null {word}" in desk.refused(path)
    assert [row.intent.subject for row in desk.read(path, cells=CellRules(nulls=frozenset({word})))] == [None]  # type: ignore[union-attr]
    assert [row.intent.subject for row in desk.read(path, cells=CellRules(nulls=frozenset({""})))] == [word]  # type: ignore[union-attr]


def test_numbers_are_text_where_text_is_asked_and_whole_where_a_reason_is(desk: Desk) -> None:
    path = desk.write(f"{HEAD},status,subject\n{A},won,3.0,2026\n")
    (row,) = desk.read(path)
    assert row.intent == Intent(A, Outcome.WON, status=3, subject="2026")
    sheet = desk.workbook(["opportunityid", "outcome", "subject", "status"], [str(A), "won", 2026, 3.0])
    assert [each.intent for each in desk.read(sheet)] == [Intent(A, Outcome.WON, status=3, subject="2026")]
    line = {"opportunityid": str(A), "outcome": "won", "subject": 20.5, "status": 3}
    (row,) = desk.read(desk.write(json.dumps(line), "rows.jsonl"))
    assert row.intent == Intent(A, Outcome.WON, status=3, subject="20.5")


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("cp1252", "Försäljning i Malmö på måndag"),
        ("cp1252", "Größe für 5 €"),
        ("cp1250", "Příliš žluťoučký kůň"),
        ("cp932", "商談は成立しました"),
    ],
)
def test_an_older_encoding_is_guessed_and_the_guess_is_shown(desk: Desk, encoding: str, word: str) -> None:
    path = desk.write(f"opportunityid;outcome;subject\n{A};won;{word}\n".encode(encoding))
    assert [row.intent.subject for row in desk.read(path)] == [word]  # type: ignore[union-attr]
    assert f"it is read as {encoding}, which is a guess, for example " in desk.notes[0]
    assert [row.intent.subject for row in desk.read(path, encoding=encoding)] == [word]  # type: ignore[union-attr]
    assert desk.notes == []


def test_an_encoding_that_nobody_knows_is_refused(desk: Desk) -> None:
    assert "'latin-77' is not an encoding" in desk.refused(desk.write(HEAD), encoding="latin-77")


def test_the_first_line_of_excel_may_name_the_delimiter(desk: Desk) -> None:
    path = desk.write(f"sep=;\r\nopportunityid;outcome\r\n{A};won\r\n{B};maybe\r\n")
    assert "row 2 (line 4)" in desk.refused(path)
    assert len(desk.read(desk.write(f"sep=|\nopportunityid|outcome\n{A}|won\n"))) == 1


@pytest.mark.parametrize("pretty", [None, 2])
def test_a_list_of_json_is_read_as_its_lines_are(desk: Desk, pretty: int | None) -> None:
    rows = [{"opportunityid": str(each), "outcome": "won"} for each in (A, B, C)]
    read = desk.read(desk.write(json.dumps(rows, indent=pretty), "rows.json"))
    assert [row.intent.opportunity_id for row in read] == [A, B, C]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"opportunityid": "x"', "line 1: the list breaks off"),
        ('[{"opportunityid": "x"}, 5]', "row 2 (line 1): this is not an object"),
        ("[\n{,}]", "line 2: this is not JSON: expecting property name"),
        ("[]\n\n{}", "line 1: text follows the end of the list"),
        ("[] []", "line 1: text follows the end of the list"),
        ('[{"outcome": "won", "Outcome": "lost"}]', "the column outcome appears 2 times"),
    ],
)
def test_a_damaged_list_of_json_is_one_sentence(desk: Desk, text: str, sentence: str) -> None:
    assert sentence in desk.refused(desk.write(text, "rows.json"))


def test_a_list_of_json_may_be_one_line_of_any_length_but_a_row_may_not(desk: Desk) -> None:
    rows = [{"opportunityid": str(opportunity(n)), "outcome": "won", "description": "x" * 990} for n in range(1, 1100)]
    assert len(desk.read(desk.write(json.dumps(rows), "rows.json"))) == len(rows)
    row = json.dumps([{**rows[0], "description": "x" * 1_200_000}, *rows])
    assert "line 1: this is not JSON" in desk.refused(desk.write(row, "rows.json"))


# -- packed and piped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.gz", "rows.csv", "rows.xlsx"])
def test_a_packed_file_is_unpacked_whatever_its_name(desk: Desk, name: str) -> None:
    plain = f"{HEAD}\n{A},won\n".encode()
    packed = gzip.compress(plain)
    assert len(desk.read(desk.write(packed, name))) == 1
    assert len(desk.read(desk.write(gzip.compress(packed), name))) == 1
    assert len(desk.read(desk.write(plain, "rows.csv.gz"))) == 1
    damaged = desk.refused(desk.write(packed[:-12], name))
    assert "is damaged: it cannot be unpacked" in damaged


@pytest.mark.parametrize(
    "content", [f"{HEAD}\n{A},won\n", json.dumps([{"opportunityid": str(A), "outcome": "won"}])], ids=["csv", "json"]
)
def test_standard_input_and_pipes_are_read_to_their_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    assert len(desk.read(Path("-"))) == 1
    if hasattr(os, "mkfifo"):
        pipe = desk.folder / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(content,))
        writer.start()
        assert len(desk.read(pipe)) == 1
        writer.join()


def test_a_workbook_through_a_pipe_is_known_by_its_first_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    book = desk.workbook(["opportunityid", "outcome"], [str(A), "won"]).read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(book)))
    assert len(desk.read(Path("-"))) == 1


# -- workbooks and Parquet --------------------------------------------------------------------------------------------


def test_hidden_rows_and_sheets_are_not_read_and_that_is_said(desk: Desk) -> None:
    def hide(book: openpyxl.Workbook) -> None:
        book.active.row_dimensions[3].hidden = True
        book.active.title = "Closes"
        book.create_sheet("Old", 0).sheet_state = "hidden"
        book.create_sheet("Notes")

    path = desk.workbook(["opportunityid", "outcome"], *([str(each), "won"] for each in (A, B, C)), change=hide)
    assert [row.intent.opportunity_id for row in desk.read(path)] == [A, C]
    assert desk.notes == [
        "The sheet 'Closes' is read; not read: 'Old', 'Notes'.",
        "Hidden rows are not read: 1. Show them in Excel to have them read.",
    ]


def test_text_under_a_nameless_column_is_refused_in_excel_as_in_commas(desk: Desk) -> None:
    sheet = desk.workbook(["opportunityid", "outcome", None], [str(A), "won", "stray"])
    for path in (sheet, desk.write(f"{HEAD},\n{A},won,stray\n")):
        assert "cell 3 is not empty, but its column has no name" in desk.refused(path)
        assert len(desk.read(path, ColumnMapping(ignore_others=True))) == 1


def test_an_error_in_a_column_that_is_not_read_does_no_harm(desk: Desk) -> None:
    path = desk.workbook(["opportunityid", "outcome", "margin"], [str(A), "won", "#DIV/0!"])
    assert len(desk.read(path, ColumnMapping(parse_renames(["margin="])))) == 1
    assert "the cell holds the error #DIV/0!" in desk.refused(
        path, columns=ColumnMapping(parse_renames(["margin=subject"]))
    )


def strict(path: Path) -> None:
    change(path, "xl/workbook.xml", lambda text: text.replace(b"schemas.openxmlformats.org", b"purl.oclc.org/ooxml"))


def broken(path: Path) -> None:
    change(path, "xl/worksheets/sheet1.xml", lambda text: text[: len(text) * 2 // 3])


def change(path: Path, part: str, how: Callable[[bytes], bytes]) -> None:
    with ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    with ZipFile(path, "w") as parts:
        for name, text in content.items():
            parts.writestr(name, how(text) if name == part else text)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (strict, "is a workbook in the form Strict Open XML"),
        (broken, "cannot be read as an Excel file"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(4096)), "is protected by a password"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "cannot be read as an Excel file"),
        (lambda path: change(path, "xl/workbook.xml", lambda _: b"<x/>"), "has no sheet of cells that can be seen"),
    ],
)
def test_a_damaged_workbook_is_one_sentence(desk: Desk, damage: Callable[[Path], object], sentence: str) -> None:
    path = desk.workbook(["opportunityid", "outcome"], *([str(opportunity(n)), "won"] for n in range(200)))
    damage(path)
    assert sentence in desk.refused(path)


def test_a_year_that_no_calendar_has_is_one_sentence(desk: Desk) -> None:
    path = desk.workbook(["opportunityid", "outcome", "closed_on"], [str(A), "won", date(2026, 1, 31)])
    change(path, "xl/worksheets/sheet1.xml", lambda text: text.replace(b"46053", b"2958466"))
    assert "rows.xlsx" in desk.refused(path)
    table = pa.table(
        {
            "opportunityid": [str(A)],
            "outcome": ["won"],
            "closed_on": pa.array([253402300800], pa.int64()).cast(pa.timestamp("s")),
        }
    )
    parquet.write_table(table, desk.folder / "rows.parquet")
    assert "cannot be read as a Parquet file, after row 0" in desk.refused(desk.folder / "rows.parquet")


def test_a_damaged_page_of_parquet_is_one_sentence(desk: Desk) -> None:
    path = desk.folder / "rows.parquet"
    ids = [str(opportunity(number)) for number in range(3000)]
    parquet.write_table(pa.table({"opportunityid": ids, "outcome": ["won"] * 3000}), path)
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    assert "rows.parquet" in desk.refused(path)


def test_moments_of_parquet_are_days(desk: Desk) -> None:
    table = pa.table(
        {"opportunityid": [A.bytes], "outcome": ["won"], "closed_on": [datetime(2026, 1, 31, 14, 5, tzinfo=UTC)]}
    )
    parquet.write_table(table, desk.folder / "rows.parquet")
    (row,) = desk.read(desk.folder / "rows.parquet")
    assert row.intent == Intent(A, Outcome.WON, closed_on=date(2026, 1, 31))


# -- columns of others ------------------------------------------------------------------------------------------------

EXPORT = [
    "(Do Not Modify) Opportunity",
    "(Do Not Modify) Row Checksum",
    "(Do Not Modify) Modified On",
    "Topic",
    "Potential Customer",
    "Est. Revenue",
    "Status",
    "Status Reason",
    "Actual Revenue",
]


def test_an_export_of_dynamics_needs_no_map(desk: Desk) -> None:
    row = [str(A), "x/y==", datetime(2026, 1, 2, 3, 4), "Lathes", "Contoso", 10, "Open", "In Progress", 1250.5]
    path = desk.workbook(EXPORT, row)
    rows = desk.read(path, ColumnMapping(defaults={"outcome": "won"}))
    assert [each.intent for each in rows] == [Intent(A, Outcome.WON, actual_revenue=Decimal("1250.5"))]
    assert "Topic, Potential Customer, Est. Revenue, Status, Status Reason" in desk.notes[0]
    mapped = ColumnMapping(parse_renames(["Status Reason=subject"]), {"outcome": "lost"}, keep=("Topic",))
    (kept,) = desk.read(path, mapped)
    assert (kept.intent.subject, kept.kept) == ("In Progress", {"Topic": "Lathes"})  # type: ignore[union-attr]


def test_names_that_people_see_are_known(desk: Desk) -> None:
    path = desk.write(f"Opportunity ID,Outcome,Close Date,Actual Revenue\n{A},Closed Won,2026-01-31,5.5\n")
    assert [row.intent for row in desk.read(path)] == [
        Intent(A, Outcome.WON, closed_on=date(2026, 1, 31), actual_revenue=Decimal("5.5"))
    ]


def test_words_of_others_are_mapped(desk: Desk) -> None:
    path = desk.write(f"{HEAD}\n{A},Vunnen\n{B},1\n{C},2\n")
    words = {"outcome": {"vunnen": "won", "1": "won", "2": "lost"}}
    rows = desk.read(path, cells=CellRules(words=words))
    assert [row.intent.outcome for row in rows] == [Outcome.WON, Outcome.WON, Outcome.LOST]  # type: ignore[union-attr]
    sheet = desk.workbook(["opportunityid", "outcome"], [str(A), 1], [str(B), 2.0])
    assert len(desk.read(sheet, cells=CellRules(words=words))) == 2


def test_other_columns_are_ignored_when_asked_and_named(desk: Desk) -> None:
    path = desk.write(f"{HEAD},owner,region\n{A},won,Ann,North\n")
    assert "--ignore-other-columns" in desk.refused(path)
    assert len(desk.read(path, ColumnMapping(ignore_others=True))) == 1
    assert desk.notes == ["Columns that are not read: owner, region."]


# -- bad rows and duplicates ------------------------------------------------------------------------------------------


def test_bad_rows_go_to_a_file_with_their_reasons_and_the_good_ones_go_on(desk: Desk) -> None:
    path = desk.write(
        f"{HEAD},subject\n{A},won,good\n{B},maybe,bad\nnonsense,won,=1+1\n{C},lost,fine\n{D},won\n", "rows.csv"
    )
    rejects = desk.folder / "bad.csv"
    assert [row.number for row in desk.read(path, rejects=rejects)] == [1, 4]
    assert f"3 rows cannot be used: see {rejects}." in desk.notes
    assert rejects.read_bytes().startswith(b"\xef\xbb\xbf")
    written = list(csv.DictReader(rejects.read_text(encoding="utf-8-sig").splitlines()))
    assert [row["result.row"] for row in written] == ["2", "3", "5"]
    assert [row["result.line"] for row in written] == ["3", "4", "6"]
    assert "'maybe' is not an outcome" in written[0]["result.reason"]
    assert (written[1]["opportunityid"], written[1]["subject"]) == ("nonsense", "'=1+1")
    assert "it has 2 cells" in written[2]["result.reason"]
    corrected = rejects.read_text(encoding="utf-8-sig").replace("maybe", "won").replace("nonsense", str(A))
    again = desk.read(desk.write(corrected, "corrected.csv"))
    assert [row.intent for row in again] == [
        Intent(B, Outcome.WON, subject="bad"),
        Intent(A, Outcome.WON, subject="=1+1"),
        Intent(D, Outcome.WON),
    ]


def test_all_bad_is_refused_and_a_rejects_file_is_never_the_file_itself(desk: Desk) -> None:
    path = desk.write(f"{HEAD}\n{A},maybe\n")
    assert "none of its 1 rows can be used" in desk.refused(path, rejects=desk.folder / "bad.csv")
    assert (desk.folder / "bad.csv").exists()
    before = path.read_bytes()
    assert "is the file of rows itself" in desk.refused(path, rejects=path)
    assert path.read_bytes() == before


def test_identical_duplicates_count_as_one(desk: Desk) -> None:
    path = desk.write(f"{HEAD}\n{A},won\n{B},lost\n{A},WON\n{{{A}}},won\n")
    assert [row.number for row in desk.read(path)] == [1, 2]
    assert desk.notes == ["Not counted again: 2 rows like an earlier one."]


def test_contradictions_are_rejected_on_both_sides(desk: Desk) -> None:
    path = desk.write(f"{HEAD}\n{A},won\n{B},lost\n{A},lost\n{A},won\n")
    refused = desk.refused(path)
    assert "row 1 (line 2): the opportunity" in refused
    assert "row 3 (line 4): the opportunity" in refused
    rejects = desk.folder / "bad.csv"
    assert [row.intent.opportunity_id for row in desk.read(path, rejects=rejects)] == [B]
    written = list(csv.DictReader(rejects.read_text(encoding="utf-8-sig").splitlines()))
    assert [row["result.row"] for row in written] == ["1", "3", "4"]


# -- reports that spreadsheets open -----------------------------------------------------------------------------------


def records_of(rows: list[Row]) -> Callable[[], Iterator[Record]]:
    def records() -> Iterator[Record]:
        for row in rows:
            yield Record(
                row.number, row.intent.opportunity_id, row.intent, None, "", ItemStatus.FAILED, "Forbidden", 1, None,
                {"reason": "=cmd"}, row.kept,
            )  # fmt: skip

    return records


def test_a_report_opens_rightly_runs_nothing_and_reads_back_the_same(desk: Desk) -> None:
    rows = [
        Row(
            1, Intent(A, Outcome.WON, subject="=HYPERLINK(1)", description="-2+3"), kept={"legacy_id": "@7", "x": "-7"}
        ),
        Row(2, Intent(B, Outcome.LOST, subject="'tis", actual_revenue=Decimal("-12.500")), kept={"legacy_id": "007"}),
        Row(3, Intent(C, Outcome.LOST, subject="Malmö", description="NULL")),
    ]
    path = desk.folder / "failed.csv"
    assert write_dead_letters(path, records_of(rows)) == 3
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    cells = [cell for line in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) for cell in line]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "@"} or cell == "-2+3"]
    assert "-12.5000" in cells, "nobody takes it for thousands"
    assert desk.read(path) == rows
    swedish = io.StringIO()
    csv.writer(swedish, delimiter=";").writerows(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    assert desk.read(desk.write(swedish.getvalue().encode("cp1252"), "saved-again.csv")) == rows


def test_a_report_is_whole_or_not_there(desk: Desk) -> None:
    def records() -> Iterator[Record]:
        yield from records_of([Row(1, Intent(A, Outcome.WON))])()
        raise OSError(28, "No space left on device")

    for old in (None, "before"):
        path = desk.folder / "failed.csv"
        if old is not None:
            path.write_text(old, encoding="utf-8")
        with pytest.raises((InputError, OSError)):
            write_dead_letters(path, records)
        assert (path.read_text(encoding="utf-8") if path.exists() else None) == old
        assert {each.name for each in desk.folder.iterdir()} <= {"failed.csv"}


def test_what_is_kept_travels_from_the_file(desk: Desk) -> None:
    path = desk.write(f"{HEAD},legacy_id,Region\n{A},won,007,\n{B},lost,008,North\n")
    rows = desk.read(path, ColumnMapping(keep=("Legacy_ID", "region")))
    assert [dict(row.kept) for row in rows] == [{"legacy_id": "007"}, {"legacy_id": "008", "Region": "North"}]
    assert "there is no column 'nope', which --keep names" in desk.refused(
        path, columns=ColumnMapping(keep=("nope", "legacy_id", "region"))
    )
    assert replace(rows[0], kept={}) == Row(1, Intent(A, Outcome.WON))


# -- what a person sees is what is planned --------------------------------------------------------------------------------


ROW = [str(A), "won"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_an_encoding_of_unicode_is_read_with_its_mark_and_without(desk: Desk, encoding: str) -> None:
    path = desk.write(f"opportunityid\toutcome\tsubject\r\n{A}\twon\tMålning\r\n".encode(encoding), "rows.txt")
    assert [row.intent for row in desk.read(path)] == [Intent(A, Outcome.WON, subject="Målning")]
    assert len(desk.notes) == encoding.endswith("e")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_that_were_put_together_are_one(desk: Desk, mark: str) -> None:
    path = desk.write(f"{mark}{HEAD}\n{A},won\n{mark}{HEAD}\n{mark}{B},lost\n")
    assert [(row.number, row.intent.opportunity_id) for row in desk.read(path)] == [(1, A), (3, B)]
    assert desk.notes == ["Not read: 1 row like the names of the columns, or underlining them."]


def test_a_title_above_the_table_is_told(desk: Desk) -> None:
    def merge(book: openpyxl.Workbook) -> None:
        book.active.merge_cells("A1:B1")

    rows: tuple[Sequence[str | None], ...] = (["Closes of January", None], [], ["opportunityid", "outcome"], ROW)
    commas = "".join(",".join(str(cell or "") for cell in row) + "\n" for row in rows)
    for path in (desk.workbook(*rows, change=merge), desk.write(commas), desk.write(commas.replace(",\n", "\n"))):
        assert [(row.number, row.intent) for row in desk.read(path)] == [(1, Intent(A, Outcome.WON))]
        assert desk.notes == ["The names of the columns are on line 3; what is above is not read: 'Closes of January'."]


def test_a_merged_cell_is_not_taken_for_an_empty_one(desk: Desk) -> None:
    def merge(book: openpyxl.Workbook) -> None:
        book.active.merge_cells("B2:B3")

    path = desk.workbook(["opportunityid", "outcome"], ROW, [str(B), None], change=merge)
    refused = desk.refused(path, columns=ColumnMapping(defaults={"outcome": "lost"}))
    assert "row 2 (line 3): outcome: the cell is merged with another; undo the merge" in refused


def test_the_sheet_with_the_table_is_read_and_that_is_said(desk: Desk) -> None:
    def cover(book: openpyxl.Workbook) -> None:
        book.create_sheet("Empty", 0)
        book.create_sheet("Cover", 0).append(["Read me"])

    assert len(desk.read(desk.workbook(["opportunityid", "outcome"], ROW, change=cover))) == 1
    assert desk.notes == ["The sheet 'Sheet' is read; not read: 'Cover', 'Empty'."]


@pytest.mark.parametrize(
    "word",
    ["#REF!", "#VÄRDEFEL!", "#NAMN?", "#####", "1.23E+15", "1,23E+15", "=A1+2", "=SUM(B2:B9)", "=cmd|'/c calc'!A1"],
)
def test_what_excel_has_lost_is_refused_in_a_file_of_commas(desk: Desk, word: str) -> None:
    refused = desk.refused(desk.write(f"opportunityid;outcome;subject\n{A};won;{word}\n"))
    sentences = {"#": "the cell holds the error", "=": "the cell holds the text of a formula, ="}
    assert sentences.get(word[0], "more digits than Excel keeps") in refused
    assert len(desk.read(desk.write(f"opportunityid;outcome;subject\n{A};won;Nr. {word}\n"))) == 1


@pytest.mark.parametrize(
    ("value", "form", "result"),
    [
        (0.12, "0.0%", "0.12 is shown as a percentage"),
        (1234567890123456789, "General", "more digits than Excel keeps"),
        (42, "000000", "000042"),
        (42.5, "#,##0.00 [$€-407]", "42.5"),
        (123456789012345, "0", "123456789012345"),
    ],
)
def test_a_number_of_a_workbook_is_what_is_shown(desk: Desk, value: float, form: str, result: str) -> None:
    def format_(book: openpyxl.Workbook) -> None:
        book.active["C2"].number_format = form

    path = desk.workbook(["opportunityid", "outcome", "subject"], [*ROW, value], change=format_)
    if "than" in result or "is" in result:
        assert result in desk.refused(path)
    else:
        assert [row.intent.subject for row in desk.read(path)] == [result]  # type: ignore[union-attr]


def test_a_number_that_is_shown_rounded_is_read_in_full_and_that_is_said(desk: Desk) -> None:
    def rounded(book: openpyxl.Workbook) -> None:
        book.active["C2"].number_format, book.active["D2"].number_format = '#,##0 "kr"', "0.00"

    head = ["opportunityid", "outcome", "actual_revenue", "opportunityclose.new_x"]
    (row,) = desk.read(desk.workbook(head, [*ROW, 1250.75, 0.1 + 0.2], change=rounded))
    assert row.intent.actual_revenue == Decimal("1250.75")  # type: ignore[union-attr]
    assert desk.notes == ["Numbers are read as they are, not as Excel rounds them: actual_revenue."]


def test_a_row_without_height_is_hidden(desk: Desk) -> None:
    path = desk.workbook(["opportunityid", "outcome"], ROW, [str(B), "won"])
    change(path, "xl/worksheets/sheet1.xml", lambda text: text.replace(b'<row r="3"', b'<row r="3" ht="0"'))
    assert len(desk.read(path)) == 1
    assert desk.notes == ["Hidden rows are not read: 1. Show them in Excel to have them read."]


def test_what_nobody_sees_in_a_cell_is_no_part_of_it(desk: Desk) -> None:
    path = desk.write(f"\ufeffopportunityid\u200b,outcome,subject\n\u00a0{A}\u200b,won\u200e,\u200fx\n")
    assert [row.intent for row in desk.read(path)] == [Intent(A, Outcome.WON, subject="\u200fx")]


def test_a_text_that_is_kept_from_excel_is_a_text(desk: Desk) -> None:
    path = desk.write(f'{HEAD},subject\n"=""{A}""",won,"=""007 """"x"""""""\n')
    assert [row.intent for row in desk.read(path)] == [Intent(A, Outcome.WON, subject='007 "x"')]


@pytest.mark.parametrize(
    ("mark", "rest"),
    [
        ("(Ändra inte)", ["Affärsmöjlighet", "Radkontrollsumma", "Ändrad", "Faktisk intäkt", "Faktiskt slutdatum"]),
        (
            "(Nicht ändern)",
            ["Verkaufschance", "Zeilenprüfsumme", "Geändert am", "Tats. Umsatz", "Tatsa\u0308chliches Abschlussdatum"],
        ),
        ("(Älä muokkaa)", ["Mahdollisuus", "Summa", "Muokattu", "Tuotto=actual_revenue", "Päivä=closed_on"]),
    ],
)
def test_an_export_of_dynamics_is_known_in_any_language(desk: Desk, mark: str, rest: list[str]) -> None:
    head = [*(f"{mark} {name}" for name in rest[:3]), *(name.partition("=")[0] for name in rest[3:]), "Statusgrund"]
    path = desk.workbook(head, [str(A), "x==", datetime(2026, 1, 2, 3, 4), 5, datetime(2026, 1, 31), "In Arbeit"])
    columns = ColumnMapping(parse_renames([name for name in rest if "=" in name]), {"outcome": "won"})
    (row,) = desk.read(path, columns)
    assert row.intent == Intent(A, Outcome.WON, actual_revenue=Decimal(5), closed_on=date(2026, 1, 31))
    assert "Columns that are not read: Statusgrund. Read one with --map, as --map 'Statusgrund=" in desk.notes[0]


def test_an_export_of_salesforce_is_mapped_and_has_its_own_key(desk: Desk) -> None:
    path = desk.write(
        '"Id","Name","StageName","CloseDate","Amount"\n'
        '"0065g00000ABCDEAA4","Lathes","Closed Won","2026-01-31T00:00:00.000Z","12500.0"\n'
    )
    renames = parse_renames(["Id=opportunityid", "StageName=outcome", "Amount=actual_revenue"])
    columns = ColumnMapping(renames, ignore_others=True, key="new_salesforceid")
    directory = Directory({"0065g00000ABCDEAA4": [RecordMatch(A, "Lathes")]})
    with RowReader(RowFile(path, columns=columns), directory) as reader:
        (row,) = reader.rows()
    assert row.intent == Intent(A, Outcome.WON, actual_revenue=Decimal("12500.0"), closed_on=date(2026, 1, 31))
    assert row.kept == {"Id": "0065g00000ABCDEAA4"}


@pytest.mark.parametrize(
    "text", ["2026-01-31T99:99Z", "2026-01-31 24:00", "2026-01-31T10:00+99:99", "2026-01-31T10:61", "2026-01-31 noon"]
)
def test_a_day_with_a_time_of_no_clock_is_refused(desk: Desk, text: str) -> None:
    refused = desk.refused(desk.write(f"{HEAD},closed_on\n{A},won,{text}\n"))
    assert f"closed_on: {text!r} has no time of a clock behind its day; write the day alone" in refused


def test_a_time_of_no_clock_is_refused_behind_a_day_in_a_given_form_too(desk: Desk) -> None:
    path = desk.write(f"{HEAD},closed_on\n{A},won,31.01.2026 99:99\n")
    assert "closed_on: '31.01.2026 99:99' is not a date" in desk.refused(
        path, cells=CellRules(date_format="DD.MM.YYYY")
    )


@pytest.mark.parametrize("number", [20260131, 46053, 46053.99999999, 46053.0])
def test_numbers_are_days_as_their_digits_say(desk: Desk, number: float) -> None:
    path = desk.write(json.dumps({"opportunityid": str(A), "outcome": "won", "closed_on": number}), "rows.jsonl")
    (row,) = desk.read(path)
    assert isinstance(row.intent, Intent)
    assert row.intent.closed_on == date(2026, 1, 31)


# -- relatives of the above, as they come in the evening of a migration ------------------------------------------------


@pytest.mark.parametrize(
    "text", ["1_000", "\uff11\uff12", "12 500", "12'500", "1\u202f250", "\u20ac 12500", "(1250.00)", "12500-"]
)
def test_an_amount_is_not_read_as_python_would(desk: Desk, text: str) -> None:
    assert "actual_revenue: " in desk.refused(desk.write(f"opportunityid;outcome;actual_revenue\n{A};won;{text}\n"))


@pytest.mark.parametrize("text", ["31-Jan-2026", "2026/01/31", "2026-1-5", "/Date(1769817600000)/", "2026-W05-6"])
def test_a_day_in_another_form_is_refused_with_the_option_that_reads_it(desk: Desk, text: str) -> None:
    assert "say --date-format" in desk.refused(desk.write(f"{HEAD},closed_on\n{A},won,{text}\n"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("rows.csv", b"PK\x03\x04", "and not as text. Say --format excel, or unpack it."),
        ("rows.jsonl", b"PAR1", "and not as text. Say --format parquet, or unpack it."),
        ("rows.csv", b'[ {"outcome"', "begins as a list of JSON does. Say --format json"),
        ("rows.csv", b'{"outcome"', "begins as JSON Lines do. Say --format jsonl"),
        ("rows.xls", b"<html>", "save it as Excel Workbook (.xlsx)."),
        ("rows.zip", b"PK\x03\x04", "Unpack it, or pack it with gzip."),
        ("rows.csv", b"<!DOCTYPE html>", "begins as a web page or XML does."),
        ("rows.csv", f"{A},won\n".encode(), "the first line is a row, and does not name the columns."),
        (
            "rows.csv",
            "F\u00f6rsta m\u00f6tet \u00e4r h\u00e4r\n".encode("cp1252") + "P\u00e5 m\u00e5ndag".encode(),
            "is partly UTF-8 (line 2) and partly not.",
        ),
        ("rows.csv", b"opportunityid,outcome,x,x\n", "the column x appears 2 times: 'x' (3) and 'x' (4)"),
    ],
)
def test_a_file_of_another_kind_is_named(desk: Desk, name: str, content: bytes, sentence: str) -> None:
    assert sentence in desk.refused(desk.write(content + b"0" * 50, name), columns=ColumnMapping(keep=("x",)))


@pytest.mark.parametrize("text", ['{\n "value": []\n}', '{"@odata.context": "x", "value": []}', '{"value": []}'])
def test_an_answer_of_the_web_api_is_no_row(desk: Desk, text: str) -> None:
    assert "this is one object, and no row" in desk.refused(desk.write(text, "rows.json"))


def test_a_table_may_begin_below_blank_rows_and_its_lines_are_those_of_the_sheet(desk: Desk) -> None:
    path = desk.workbook([], [None, " "], ["opportunityid", "outcome"], [str(A), "won"], [str(B), "maybe"])
    assert "row 2 (line 5)" in desk.refused(path)


@pytest.mark.parametrize("day", [44591, 44591.5, "44591", datetime(2026, 1, 31)])
def test_a_workbook_that_counts_days_from_1904_has_the_days_that_it_shows(desk: Desk, day: object) -> None:
    def of_mac(book: openpyxl.Workbook) -> None:
        book.epoch = CALENDAR_MAC_1904

    (row,) = desk.read(desk.workbook(["opportunityid", "outcome", "Close Date"], [*ROW, day], change=of_mac))
    assert row.intent == Intent(A, Outcome.WON, closed_on=date(2026, 1, 31))


def test_what_databases_and_dos_add_to_a_table_is_no_row(desk: Desk) -> None:
    path = desk.write(f'opportunityid, outcome, subject\r\n-----, ---, ----\r\n{A}, won, "a, b"\r\n\x1a')
    assert [row.intent for row in desk.read(path)] == [Intent(A, Outcome.WON, subject="a, b")]
    assert desk.notes == ["Not read: 1 row like the names of the columns, or underlining them."]


@pytest.mark.parametrize("form", ["DD.MM", "DD.MMM.YYYY", "YYYY", "HH:mm", "%d.%m.%y %q", "x"])
def test_a_form_of_days_that_lacks_a_part_is_refused(form: str) -> None:
    assert not is_date_format(form)


def test_hidden_columns_of_a_workbook_are_told(desk: Desk) -> None:
    def hide(book: openpyxl.Workbook) -> None:
        for letter in "AC":
            book.active.column_dimensions[letter].hidden = True

    head = ["(Do Not Modify) Opportunity", "outcome", "actual_revenue"]
    (row,) = desk.read(desk.workbook(head, [str(A), "won", 99], change=hide))
    assert isinstance(row.intent, Intent)
    assert row.intent.actual_revenue == 99
    assert desk.notes == ["Columns that are hidden in Excel are read too: actual_revenue."]
