"""The options that say how a file of rows is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click


def reading_options(keep: Callable[[click.Context, click.Parameter, Any], None]) -> tuple[Callable[..., Any], ...]:
    """Return the options; `keep` takes in what each says."""
    option = partial(click.option, expose_value=False, callback=keep)
    return (
        option(
            "--format",
            "kind",
            type=click.Choice(["csv", "json", "jsonl", "excel", "parquet"]),
            help="How FILE is written; default: as the end of its name says.",
        ),
        option(
            "--encoding", default="", metavar="NAME", help="The encoding of a text file; default: UTF-8, or a guess."
        ),
        option(
            "--key",
            default="",
            metavar="COLUMN",
            help="The column of opportunities, an alternate key say, whose values FILE has instead of ids.",
        ),
        option("--map", "renames", multiple=True, metavar="THEIRS=OURS", help="Read a column under our name."),
        option("--values", type=click.Path(path_type=Path), metavar="FILE.toml", help="Other words for our values."),
        option("--keep", multiple=True, metavar="COLUMN", help="Carry a column into plan, report and dead letters."),
        option("--ignore-other-columns", "ignore_others", is_flag=True, help="Leave unread what is not known."),
        option("--decimal", type=click.Choice(["point", "comma"]), help="How amounts are written."),
        option("--date-format", default="", metavar="DD.MM.YYYY", help="How days are written, beside 2026-01-31."),
        option("--null", "nulls", multiple=True, metavar="WORD", help="A word for an empty cell; may be repeated."),
        option(
            "--rejects",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE.csv",
            help="Write the rows that cannot be used there, with the reason, and go on with the others.",
        ),
    )
