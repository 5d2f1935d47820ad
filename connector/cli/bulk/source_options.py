"""The options that say where the rows of a job come from, how they are read, what is wanted of them, and their plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from connector.bulk.planning import is_plan
from connector.bulk.source import Source
from connector.cli.capture_option import capture_option
from connector.cli.intent_options import given_to_all, intent_options, refuse_given
from connector.cli.lazy import keep_under
from connector.cli.run_options import yes_option
from connector.cli.screen import tell
from connector.closing.organization import Query

Command = Callable[..., Any]

_KEPT = "connector.cli.bulk.source_options"


_keep = keep_under(_KEPT)
_option = partial(click.option, expose_value=False, callback=_keep)
_OPTIONS = (
    click.argument("file", type=click.Path(path_type=Path), required=False, expose_value=False, callback=_keep),
    _option(
        "--format",
        "kind",
        type=click.Choice(["csv", "json", "jsonl", "excel", "parquet"]),
        help="The format of FILE; default: by the ending of its name.",
    ),
    _option("--encoding", default="", metavar="NAME", help="The encoding of a text file; default: UTF-8, or a guess."),
    _option(
        "--key",
        default="",
        metavar="COLUMN",
        help="The column of opportunities, such as an alternate key (several: A,B), whose values FILE has.",
    ),
    _option("--map", "renames", multiple=True, metavar="THEIRS=OURS", help="Read the column THEIRS as OURS."),
    _option(
        "--values",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="A TOML file that translates words of FILE.",
    ),
    _option(
        "--keep", multiple=True, metavar="COLUMN", help="Copy a column of FILE into plan, report and dead letters."
    ),
    _option("--ignore-other-columns", "ignore_others", is_flag=True, help="Ignore columns that are not known."),
    _option("--decimal", type=click.Choice(["point", "comma"]), help="How amounts are written."),
    _option("--date-format", default="", metavar="DD.MM.YYYY", help="How dates are written. Default: 2026-01-31."),
    _option("--null", "nulls", multiple=True, metavar="WORD", help="A word for an empty cell; may be repeated."),
    _option(
        "--rejects",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE.csv",
        help="Write the rows that cannot be used to this file, with the reasons; use the others.",
    ),
    _option(
        "--strict",
        is_flag=True,
        help="With a plan file: refuse a row that anybody touched since, even where its steps are the same.",
    ),
    _option(
        "--despite-changes",
        is_flag=True,
        help="With a plan file: go on although its rows set off something else than planned.",
    ),
    _option(
        "--older-than",
        metavar="DAYS",
        type=click.IntRange(0, 36500),
        help="Instead of a file: the open opportunities whose estimated close date is more than so many days ago.",
    ),
    _option(
        "--where",
        metavar="FILTER",
        default="",
        help="Instead of a file, or beside --older-than: the open opportunities that fit an OData filter, "
        'as "estimatedvalue lt 1000".',
    ),
    _option("--limit", metavar="N", type=click.IntRange(1), help="Do at most N rows."),
    _option(
        "--view",
        metavar="NAME",
        default="",
        help="Instead of a file: the opportunities of a saved view, by its name or id.",
    ),
    _option(
        "--fetchxml",
        metavar="FILE.xml",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Instead of a file of rows: the opportunities that a query in FetchXML finds.",
    ),
)


def source_options(command: Command) -> Command:
    """Give a command what says where rows come from and what is wanted of them; `source_of` returns it."""
    command = intent_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_QUERIES = "--older-than, --where, --view or --fetchxml"


def _fetchxml(file: Path | None) -> str:
    """Return the text of a query, as its mark or the encoding that it declares has it. Raises click.UsageError."""
    if file is None:
        return ""
    import codecs
    import xml.etree.ElementTree as ET

    try:
        content = file.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # whatever it declares
        query = ET.fromstring(content.decode("utf-16") if marked else content)  # noqa: S314 - the user's own
        return ET.tostring(query, encoding="unicode")
    except (ET.ParseError, OSError, ValueError) as error:
        raise click.UsageError(f"{file} is no FetchXML that can be read: {error}.") from None


def source_of(context: click.Context) -> Source:
    """Return what the options of this command line say. Raises click.UsageError."""
    kept = context.meta[_KEPT]
    query = Query(kept["where"].strip(), kept["older_than"], kept["view"].strip(), _fetchxml(kept["fetchxml"]))
    if kept["file"] is not None and query != Query():
        raise click.UsageError(f"Rows come from a file or from a query ({_QUERIES}), not from both.")
    if kept["file"] is None and query == Query():
        raise click.UsageError(f"Name a file of rows, or say what to look for: {_QUERIES}.")
    if (query.view or query.fetchxml) and query not in (Query(view=query.view), Query(fetchxml=query.fetchxml)):
        raise click.UsageError("A view goes without any other query, and so does FetchXML.")
    if kept["file"] is not None and is_plan(kept["file"]):
        refuse_given(context, "A plan file")
    intent_values = given_to_all(context)
    if kept["file"] is None and "outcome" not in intent_values:
        raise click.UsageError("Say how the opportunities of a query end: --won or --lost.")
    from connector.bulk.input.file_reading import reading_of

    reading = reading_of(kept, tell)
    return Source(kept["file"], reading, query, intent_values, kept["limit"], kept["strict"], kept["despite_changes"])


SECONDS_PER_STEP = 0.3
"""Execution time of a write that a forecast assumes."""


def plan_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command `--out`, `--seconds-per-step`, `--capture`, `--ask` and `--yes`."""
    file = click.Path(dir_okay=False, path_type=Path)
    out = click.option(
        "--out", type=file, help="The plan file; else FILE with .plan.jsonl. As .xlsx or .html: beside that."
    )
    text = "Execution time assumed for the forecast."
    seconds = click.option("--seconds-per-step", default=SECONDS_PER_STEP, show_default=True, help=text)
    text = "Ask the organization for so many of the rows, by writes that must fail: would they be refused?"
    ask = click.option("--ask", metavar="N", type=click.IntRange(0, 1000), default=0, help=text)
    return out(seconds(capture_option(ask(yes_option(command)))))
