"""Each key of a file is looked up once, however often the file is read."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from connector.bulk.input.column_map import ColumnMapping
from connector.bulk.input.row_reader import RowFile, RowReader
from connector.closing.record_keys import RecordMatch
from tests.bulk.directory import Directory


def test_keys_are_looked_up_together_and_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    keys = [f"L-{number}" for number in range(7000)]
    path.write_text("Legacy;outcome\n" + "".join(f"{key};won\n" for key in [*keys, *keys[:5]]), encoding="utf-8")
    directory = Directory({key: [RecordMatch(UUID(int=number), key)] for number, key in enumerate(keys, 1)})
    columns = ColumnMapping({"Legacy": "opportunityid"}, key="new_legacyid")
    with RowReader(RowFile(path, columns=columns), directory) as reader:
        rows = list(reader.rows())
        assert list(reader.rows()) == rows
        assert reader.notes == ["Not counted again: 5 rows like an earlier one."]
    assert [(row.intent.opportunity_id.int, row.kept) for row in rows[:2]] == [
        (1, {"Legacy": "L-0"}),
        (2, {"Legacy": "L-1"}),
    ]
    assert len(rows) == 7000
    assert directory.asked == [3000, 3000, 1000]


def test_a_number_and_a_guid_may_be_keys(tmp_path: Path) -> None:
    path, old = tmp_path / "rows.jsonl", UUID(int=99)
    path.write_text(
        f'{{"new_old": 4711.0, "outcome": "won"}}\n{{"new_old": "{old}", "outcome": "won"}}\n', encoding="utf-8"
    )
    directory = Directory({"4711": [RecordMatch(UUID(int=1), "one")], str(old): [RecordMatch(UUID(int=2), "two")]})
    with RowReader(RowFile(path, columns=ColumnMapping(key="new_old")), directory) as reader:
        assert [row.intent.opportunity_id.int for row in reader.rows()] == [1, 2]
