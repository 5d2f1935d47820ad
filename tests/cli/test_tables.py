"""Tables as they look where there is no terminal."""

from connector.cli.screen import TextTable, plain


def test_a_plain_table_is_aligned_and_has_one_row_per_line() -> None:
    table = TextTable("Plan", ("step", "record"), (("win quote", "QUO-1"), ("close", "Café [corporate]")))
    assert plain(table) == "Plan\nstep       record\nwin quote  QUO-1\nclose      Café [corporate]"


def test_a_table_without_rows_still_names_its_columns() -> None:
    assert plain(TextTable("Nothing", ("step", "record"), ())) == "Nothing\nstep  record"
