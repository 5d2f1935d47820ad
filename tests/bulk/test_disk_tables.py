"""Rows that are too many: each names one that it repeats or contradicts, and finding them costs as much as they are."""

from __future__ import annotations

from itertools import product
from uuid import UUID

from connector.bulk.input.disk_tables import DuplicateDetector

ONE, TWO = UUID(int=1), UUID(int=2)


def test_a_row_contradicts_one_that_asks_something_else() -> None:
    for contents in product("abc", repeat=4):
        detector = DuplicateDetector()
        detector.add(TWO, 1, 1, b"alone")
        for number, content in enumerate(contents, 2):
            detector.add(ONE, number, number, content.encode())
        said = dict(enumerate(contents, 2))
        rows = list(detector.rows())
        detector.close()
        if len(set(contents)) == 1:
            assert [(row.number, row.other, row.same) for row in rows] == [(3, 2, True), (4, 2, True), (5, 2, True)]
            continue
        assert [row.number for row in rows] == [2, 3, 4, 5]
        assert not any(row.same or said[row.number] == said[row.other] for row in rows), (contents, rows)


def test_a_file_that_is_there_twice_costs_no_more_for_each_row_when_it_is_longer() -> None:
    assert _steps(4000) < 3 * _steps(2000)


def _steps(count: int) -> int:
    """Return how many thousand steps SQLite takes to find the duplicates among so many rows."""
    detector, taken = DuplicateDetector(), list[int]()
    for number in range(count):
        detector.add(UUID(int=number % (count // 2) + 1), number + 1, number + 1, b"")
    detector._database.set_progress_handler(lambda: taken.append(1), 1000)
    assert sum(row.same for row in detector.rows()) == count // 2
    detector.close()
    return len(taken)
