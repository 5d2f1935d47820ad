"""The page of numbers says what the kept files say."""

from __future__ import annotations

from scripts.benchmarks.numbers_page import PAGE, renewed, tables


def test_the_tables_of_the_page_are_those_of_the_kept_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page
    assert page.index(tables()[0]) < 1000, "it begins with what a user starts"
