from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.bulk.input import disk_tables, row_reader, text_file
from connector.bulk.input.column_map import ColumnMapping, parse_renames
from connector.bulk.input.excel_file import open_workbook
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.bulk.input.table_file import readable
from connector.bulk.results import write_dead_letters
from connector.closing.intent import FILE_COLUMNS
from connector.closing.model import DraftPolicy, Intent, Outcome
from connector.closing.request import parse_request, request_values
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Record, Row
from tests.bulk.directory import Directory
from tests.ledger.rows import opportunity

A, B, C = opportunity(1), opportunity(2), opportunity(3)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file and work in its folder, so that messages have its bare name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes, name: str = "rows.csv") -> Path:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return Path(name)

    return write


def read(path: Path, kind: str = "", columns: ColumnMapping | None = None) -> list[Row]:
    with readable(path) as file:
        reader = RowReader(RowFile(file, columns or ColumnMapping(), kind=kind), Directory())
        return list(reader.rows())


def told(path: Path, kind: str = "", columns: ColumnMapping | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(path, kind, columns)
    return str(caught.value).removesuffix(" To close only the other rows, add --rejects FILE.csv.")


def plain(*wanted: tuple[int, Outcome]) -> list[Row]:
    return [Row(n, Intent(opportunity(one), outcome)) for n, (one, outcome) in enumerate(wanted, 1)]


BOTH = plain((1, Outcome.WON), (2, Outcome.LOST))


@pytest.mark.parametrize(
    "content",
    [
        f"opportunityid,outcome\n{A},won\n{B},lost\n",
        f"\ufeffopportunityid,outcome\r\n{A},won\r\n{B},lost",
        f"opportunityid;outcome\n{A};won\r\n{B};lost\r",
        f"outcome\topportunityid\rwon\t{A}\rlost\t{B}\r",
        f'"opportunityid"|"outcome"\n"{A}"|"won"\n\n"{B}"|" LOST "\n\n',
        f"OpportunityId,Outcome,\n{{{str(A).upper()}}},Won,\n{B.hex.upper()},lost,\n",
        f"opportunityid,outcome,result.reason\n{A},won,ignored\n{B},lost,\n",
        f"opportunityid,outcome\n{A},won\n{B},lost\n".encode("utf-16"),
        f"\n\nopportunityid,outcome\n{A},won\n{B},lost\n",
    ],
    ids=["plain", "mark", "mixed ends", "tabs", "bars and quotes", "ids", "results", "utf-16", "blank lines"],
)
def test_rows_are_read_however_they_are_written(write: Write, content: str | bytes) -> None:
    assert read(write(content)) == BOTH


def test_json_lines_are_rows(write: Write) -> None:
    lines = [
        {"opportunityid": str(A), "outcome": "won", "actual_revenue": 12.5, "opportunityclose.new_x": 3},
        {"outcome": "lost", "opportunityid": str(B), "subject": None, "result.status": "failed"},
    ]
    path = write("\n\n".join(json.dumps(line) for line in lines), "rows.jsonl")
    rows = read(path)
    assert rows[0].intent == Intent(A, Outcome.WON, actual_revenue=Decimal("12.5"), opportunity_columns={"new_x": 3})
    assert rows[1] == BOTH[1]


def test_spreadsheets_are_rows(write: Write) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["opportunityid", "outcome", "closed_on", "actual_revenue", "status", None])
    sheet.append([str(A), "won", datetime(2026, 1, 31), 1250.5, 3])
    sheet.append([None, None])
    sheet.append([f"{{{B}}}", "Lost"])
    write("", "rows.xlsx")
    book.save("rows.xlsx")
    assert [row.intent for row in read(Path("rows.xlsx"))] == [
        Intent(A, Outcome.WON, closed_on=date(2026, 1, 31), actual_revenue=Decimal("1250.5"), status=3),
        Intent(B, Outcome.LOST),
    ]


def test_a_formula_without_a_result_and_an_error_do_not_pass_for_blank_cells(write: Write) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["opportunityid", "outcome", "actual_revenue", "subject"])
    sheet.append([str(A), "won", "=1000+250", None])
    sheet.append([str(B), "won", None, "#N/A"])
    write("", "rows.xlsx")
    book.save("rows.xlsx")
    with pytest.raises(InputError) as caught:
        list(read(Path("rows.xlsx")))
    assert "row 1 (line 2): actual_revenue: the formula =1000+250 has no result" in str(caught.value)
    assert "row 2 (line 3): subject: the cell holds the error #N/A" in str(caught.value)


def test_parquet_holds_rows(write: Write) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    write("", "rows.parquet")
    table = pa.table({
        "opportunityid": pa.array([A.bytes, B.bytes], pa.binary(16)),
        "outcome": ["won", "lost"],
        "closed_on": [date(2026, 1, 31), None],
        "actual_revenue": [Decimal("1.50"), None],
    })  # fmt: skip
    parquet.write_table(table, "rows.parquet")
    assert [row.intent for row in read(Path("rows.parquet"))] == [
        Intent(A, Outcome.WON, closed_on=date(2026, 1, 31), actual_revenue=Decimal("1.50")),
        Intent(B, Outcome.LOST),
    ]


def test_other_peoples_columns_are_mapped_and_defaults_fill_what_is_blank(write: Write) -> None:
    path = write(f"Opp Id,Result,Owner\n{A},won,Ann\n{B},,Bob\n")
    columns = ColumnMapping(parse_renames(["opp id=opportunityid", "Result=OUTCOME", "Owner="]), {"outcome": "lost"})
    assert read(path, columns=columns) == BOTH


def test_one_column_is_enough_with_an_outcome_for_all(write: Write) -> None:
    path = write(f"opportunityid\n{A}\n{B}\n")
    assert read(path, columns=ColumnMapping(defaults={"outcome": "won"})) == plain((1, Outcome.WON), (2, Outcome.WON))


FIELDS = ", ".join(field.name for field in FILE_COLUMNS)
READ = f"The columns that are read are {FIELDS}, and extra columns as opportunityclose.NAME or quoteclose.NAME. Leave others unread with --ignore-other-columns, or carry them along with --keep NAME."
HEAD = "opportunityid,outcome\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "rows.csv is empty. It needs a line with the names of the columns, then rows."),
        ("\r\n \n", "rows.csv has no text. It needs a line with the names of the columns, then rows."),
        (HEAD, "rows.csv has the names of columns but no rows. Add rows, or name another file."),
        (
            f"opportunityid outcome\n{A} won\n",
            ("rows.csv: the column 'opportunityid outcome' is not known (did you mean opportunityid?); there is no column"
            " opportunityid and none for outcome. Nothing was touched. Say which they are: --map THEIRS=opportunityid"
            f" --map THEIRS=outcome (or one outcome for all rows: --won or --lost). {READ}"),
        ),
        (
            "opportunityid,outcome;status\n",
            ("rows.csv: the first line may be separated by comma or by semicolon. Let the first line name the columns,"
            " all separated by the same character."),
        ),
        (
            f"{HEAD}{A};won\n",
            ("rows.csv, row 1 (line 2): it has one cell where the first line names 2 (is it separated by semicolon"
            " instead of comma?). Nothing was touched. Correct it and try again."),
        ),
        (
            f"{HEAD}{A},won,surplus\n",
            ("rows.csv, row 1 (line 2): it has 3 cells where the first line names 2. Nothing was touched. Correct it"
            " and try again."),
        ),
        (
            f"opportunityid,outcome,reasn\n{A},won,x\n",
            ("rows.csv: the column 'reasn' is not known. Nothing was touched. Its columns are opportunityid, outcome,"
            f" reasn. {READ}"),
        ),
        (
            f"opportunityid,outcome,subjekt\n{A},won,x\n",
            ("rows.csv: the column 'subjekt' is not known (did you mean subject?). Nothing was touched. Its columns are"
            f" opportunityid, outcome, subjekt. {READ}"),
        ),
        (
            f"opportunityid,outcome,Outcome\n{A},won,won\n",
            ("rows.csv: the column outcome appears 2 times: 'outcome' (2) and 'Outcome' (3). Nothing was touched. Its"
            f" columns are opportunityid, outcome, Outcome. {READ}"),
        ),
        (
            f"{HEAD}{A},won\n{B},maybe\n",
            ("rows.csv, row 2 (line 3): outcome: 'maybe' is not an outcome; say won or lost, or translate it with --values"
            " FILE.toml. Nothing was touched. Correct it and try again."),
        ),
        (
            f"{HEAD}nonsense,won\n",
            ("rows.csv, row 1 (line 2): opportunityid: 'nonsense' is not the id of a record; give a GUID, with or"
            " without braces. Nothing was touched. Correct it and try again."),
        ),
        (
            f"{HEAD}{{{A},won\n",
            (f"rows.csv, row 1 (line 2): opportunityid: '{{{A}' is not the id of a record; give a GUID, with or"
            " without braces. Nothing was touched. Correct it and try again."),
        ),
        (
            f'{HEAD}{A},won\n{B},"lost\n{C},won\n',
            'rows.csv, line 3: a quote that begins here is never closed. Quote cells as "...", with "" for a quote.',
        ),
        (
            f"opportunityid,outcome,description\n{A},won,{'x' * 140_000}\n",
            (
                "rows.csv, line 2: a cell is longer than 131,072 characters, or a quote that begins here is never closed."
                ' Quote cells as "...", with "" for a quote.'
            ),
        ),
        (
            f'{HEAD}"{A}"x,won\n',
            'rows.csv, line 2: a quote ends before the cell does. Quote cells as "...", with "" for a quote.',
        ),
        (
            f"opportunityid,outcome,\n{A},won,what\n",
            ("rows.csv, row 1 (line 2): cell 3 is not empty, but its column has no name. Nothing was touched. Correct it"
            " and try again."),
        ),
        (
            HEAD.encode() + f"{A},won\n{B},ä".encode() + b"\xe4\n",
            (
                "rows.csv, line 3: the byte 0xe4 is not UTF-8. Save the file as UTF-8 (in Excel: CSV UTF-8), or say its"
                " --encoding."
            ),
        ),
        (
            (HEAD + "\0").encode(),
            ("rows.csv, line 2: there is a zero byte, so this is no text in UTF-8. Save the file as UTF-8 (in Excel: CSV"
            " UTF-8), or say its --format."),
        ),
        (
            HEAD.encode("utf-16")[:-1],
            ("rows.csv, near line 1: this is not utf-16-le, which the file begins as. Save the file as UTF-8 (in Excel:"
            " CSV UTF-8), or say its --encoding."),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_a_sentence(write: Write, content: str | bytes, sentence: str) -> None:
    assert told(write(content)) == sentence


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "row 2: this is not JSON: expecting property name enclosed in double quotes, column 2"),
        ("[1]", 'row 2: this is not an object; a row is one, as {"opportunityid": ...}'),
        ('{"outcome": "won", "outcome": "lost"}', "row 2: this cannot be used: a name appears twice"),
        ('{"actual_revenue": NaN}', "row 2: this cannot be used: NaN is not a number"),
        ('{"outcom": "won"}', "row 2: the column 'outcom' is not known (did you mean outcome?)"),
        ('{"outcome": "won"}', "row 2: opportunityid is missing"),
    ],
)
def test_what_is_wrong_with_a_line_of_json_is_said_in_a_sentence(write: Write, line: str, sentence: str) -> None:
    good = json.dumps({"opportunityid": str(A), "outcome": "won"})
    assert told(write(f"{good}\n{line}\n", "rows.jsonl")) == (
        f"rows.jsonl, {sentence}. Nothing was touched. Correct it and try again."
    )


def test_what_is_wrong_is_told_together_up_to_a_number(write: Write) -> None:
    columns = [each.name for each in FILE_COLUMNS if each.name not in ("opportunityid", "outcome")][:7]
    cells = [",".join("NULL" if n % 7 == place else "" for place in range(7)) for n in range(100)]
    bad = "".join(f"{opportunity(n)},maybe,{cells[n]}\n" for n in range(100))
    text = told(write(f"opportunityid,outcome,{','.join(columns)}\n{bad}"))
    assert text.startswith(
        "rows.csv: 100 rows cannot be used; nothing was touched.\n  row 1 (line 2): outcome: 'maybe'"
    )
    assert "is not an outcome; say won or lost, or translate it with --values FILE.toml; status: NULL may mean" in text
    assert text.endswith("\n  And 80 more.\n Correct them and try again.")
    assert len(text.splitlines()) == 23


def test_problems_of_one_kind_are_told_three_times_and_counted(write: Write) -> None:
    lines = [f"{opportunity(n)},{'won' if n % 2 else f'maybe {n}'}" for n in range(1, 101)]
    text = told(write(HEAD + "\n".join(lines)))
    assert text.startswith(
        "rows.csv: 50 rows cannot be used; nothing was touched.\n  row 2 (line 3): outcome: 'maybe 2'"
    )
    assert text.endswith("\n  And 47 more like these.\n Correct them and try again.")


@pytest.mark.parametrize(("word", "outcome"), [("Gewonnen", "won"), ("FÖRLORAD", "lost"), ("Closed  Won", "won")])
def test_an_outcome_may_be_in_the_words_of_an_export(write: Write, word: str, outcome: str) -> None:
    assert read(write(f"{HEAD}{A},{word}\n")) == plain((1, Outcome(outcome)))


def test_columns_below_a_title_are_named_though_none_of_them_is_known(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for cells in (["Deals of October"], [], ["Chance", "Ergebnis"], [str(A), "Gewonnen"]):
        book.active.append(cells)
    book.save(tmp_path / "erp.xlsx")
    table = open_workbook(tmp_path / "erp.xlsx", ColumnMapping().ours)
    assert [row.line for row in table.rows] == [4]
    with pytest.raises(
        InputError, match=r"the columns 'Chance', 'Ergebnis' are not known; there is no column .* outcome"
    ):
        ColumnMapping().read("erp.xlsx", table.columns or ())


def test_no_row_comes_after_a_problem(write: Write) -> None:
    path = write(f"{HEAD}{A},won\n{B},maybe\n{C},won\n")
    seen: list[object] = []
    with pytest.raises(InputError):
        seen.extend(RowReader(RowFile(path), Directory()).rows())
    assert len(seen) <= 1


def test_a_further_check_speaks_for_its_row(write: Write) -> None:
    def check(intent: Intent) -> None:
        if intent.opportunity_id == B:
            raise InputError("The opportunity has no status reason 'Nope'.", remedy="Valid: Won.")

    with pytest.raises(InputError) as caught:
        list(RowReader(RowFile(write(f"{HEAD}{A},won\n{B},won\n")), Directory(), check).rows())
    assert str(caught.value) == (
        "rows.csv, row 2 (line 3): The opportunity has no status reason 'Nope'. Valid: Won. Nothing was touched."
        " Correct it and try again. To close only the other rows, add --rejects FILE.csv."
    )


def test_a_file_of_one_endless_line_is_refused_at_once(write: Write) -> None:
    path = write("x" * 1_200_000)
    with path.open("ab") as file:
        file.truncate(2**30)  # a hole of zero bytes: a gigabyte without an end of line
    tracemalloc.start()
    try:
        assert told(path) == (
            "rows.csv, line 1: the line is longer than 1,000,000 characters. Check that this is the right file and that"
            " its lines end."
        )
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("nowhere.csv", "", "The file nowhere.csv does not exist. Check its name and folder."),
        (".", "", "'. is not a file. Name a file of rows."),
        (
            "rows.dat",
            "",
            (
                "rows.dat: the name does not show what kind of file it is. Say it with --format: csv, json, jsonl,"
                " excel, parquet."
            ),
        ),
        ("rows.xlsx", "", "rows.xlsx cannot be read as an Excel file: File is not a zip file. Save it as .xlsx."),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(write: Write, name: str, kind: str, sentence: str) -> None:
    write("hello", "rows.dat")
    write("hello", "rows.xlsx")
    assert told(Path(name), kind) == sentence.removeprefix("'")


def test_text_is_no_parquet(write: Write) -> None:
    assert told(write("hello hello", "rows.parquet")).startswith("rows.parquet cannot be read as a Parquet file: ")


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("rows.xlsx", "openpyxl", "excel"), ("rows.parquet", "pyarrow", "parquet")]
)
def test_a_missing_library_is_named_with_its_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert told(write("x", name)) == (
        f"{name}: reading {'Excel' if extra == 'excel' else 'Parquet'} files needs a library that is not installed."
        f" Install the connector with the extra {extra} (`connector docs administrator`), or save it as CSV."
    )


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ("Opp Id", "--map 'Opp Id' is not THEIRS=OURS. Write it as --map 'Opp Id=opportunityid'."),
        ("Opp Id=oportunity", "--map 'Opp Id=oportunity': the column 'oportunity' is not known (did you mean"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(given_: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_renames([given_])
    assert str(caught.value).startswith(sentence)


def test_a_map_of_a_column_that_is_not_there_is_refused(write: Write) -> None:
    path = write(f"{HEAD}{A},won\n")
    assert "there is no column 'Opp Id', which --map names" in told(
        path, columns=ColumnMapping(parse_renames(["Opp Id=opportunityid"]))
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
COLUMN = st.from_regex(r"new_[a-z]{1,8}", fullmatch=True)
VALUE = st.one_of(
    TEXT, st.integers(-(10**9), 10**9), st.booleans(), st.decimals(-1000, 1000, places=2, allow_nan=False)
)
INTENTS = st.builds(
    Intent,
    opportunity_id=st.uuids(),
    outcome=st.sampled_from(Outcome),
    status=st.one_of(st.none(), st.integers(1, 10**9).map(str)),
    closed_on=st.one_of(st.none(), st.dates(min_value=date(1753, 1, 1))),
    actual_revenue=st.one_of(st.none(), st.decimals(-1000, 1000, places=2, allow_nan=False)),
    subject=st.one_of(st.none(), TEXT),
    description=st.one_of(st.none(), TEXT),
    competitor_id=st.one_of(st.none(), st.uuids()),
    winning_quote_id=st.one_of(st.none(), st.uuids()),
    drafts=st.sampled_from(DraftPolicy),
    opportunity_columns=st.dictionaries(COLUMN, VALUE, max_size=3),
    quote_columns=st.dictionaries(COLUMN, VALUE, max_size=3),
)


@given(st.lists(INTENTS, min_size=1, max_size=5, unique_by=lambda intent: intent.opportunity_id))
def test_dead_letters_are_input_for_the_next_run(
    tmp_path_factory: pytest.TempPathFactory, intents: list[Intent]
) -> None:
    path = tmp_path_factory.mktemp("letters") / "failed.csv"

    def records() -> Iterator[Record]:
        report = {"error": {"message": "No.", "remedy": "Ask, then try.", "request_id": "r"}}
        for number, intent in enumerate(intents, 1):
            yield Record(
                number, intent.opportunity_id, intent, None, "", ItemStatus.FAILED, "Forbidden", 1, None, report
            )

    assert write_dead_letters(path, records) == len(intents)
    assert [row.intent for row in read(path)] == intents
    assert "result.remedy" in path.read_text(encoding="utf-8").splitlines()[0]


@given(INTENTS)
def test_an_intent_as_columns_reads_as_the_same_intent(intent: Intent) -> None:
    assert parse_request(request_values(intent)) == intent


@pytest.mark.no_cover  # every allocation is traced already
def test_memory_is_flat_however_many_rows_there_are(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("")
    monkeypatch.setattr(row_reader, "CHUNK", 300)
    monkeypatch.setattr(disk_tables, "_PIECE", 500)

    def peak(count: int) -> int:
        with path.open("w") as file:
            file.write(HEAD)
            file.writelines(f"{opportunity(n)},won\n" for n in range(1, count + 1))
        tracemalloc.start()
        try:
            assert sum(1 for _ in RowReader(RowFile(path), Directory()).rows()) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(3_600) < peak(1_800) + 100_000
    assert text_file.LONGEST_LINE == 1_000_000
