"""The options of bulk jobs: where rows come from, how they are read, what is wanted of them, and what limits a job.

`none` takes a limit away.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector.bulk.planning import is_plan
from connector.bulk.source import Source
from connector.bulk.words import command_line, limits_words
from connector.cli.capture_option import capture_option
from connector.cli.intent_options import given_to_all, intent_options, refuse_given
from connector.cli.lazy import FILE, INPUT, keep_under, options_under, with_options
from connector.cli.run_options import yes_option
from connector.cli.screen import tell
from connector.cli.worker_command import shared
from connector.closing.organization import Query
from connector.errors import InputError
from connector.ledger.job_limits import KEPT_AS, JobLimits, read_moment, read_rate, read_window
from connector.ledger.jobs import ItemStatus, Job
from connector.ledger.ledger import Ledger
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.bulk.input.row_reader import RowFile

_KEPT = "connector.cli.bulk.job_options"


_keep = keep_under(_KEPT)
_option = partial(click.option, expose_value=False, callback=_keep)
source_options = with_options(
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
        type=FILE,
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
        type=INPUT,
        help="Instead of a file of rows: the opportunities that a query in FetchXML finds.",
    ),
    intent_options,
)
"""What says where rows come from and what is wanted of them; `source_of` returns it."""


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


def source_of() -> Source:
    """Return what the options of this command line say. Raises click.UsageError."""
    options = options_under(_KEPT)
    query = Query(
        options["where"].strip(), options["older_than"], options["view"].strip(), _fetchxml(options["fetchxml"])
    )
    if options["file"] is not None and query != Query():
        raise click.UsageError(f"Rows come from a file or from a query ({_QUERIES}), not from both.")
    if options["file"] is None and query == Query():
        raise click.UsageError(f"Name a file of rows, or say what to look for: {_QUERIES}.")
    if (query.view or query.fetchxml) and query not in (Query(view=query.view), Query(fetchxml=query.fetchxml)):
        raise click.UsageError("A view goes without any other query, and so does FetchXML.")
    if options["file"] is not None and is_plan(options["file"]):
        refuse_given("A plan file")
    intent_values = given_to_all()
    if options["file"] is None and "outcome" not in intent_values:
        raise click.UsageError("Say how the opportunities of a query end: --won or --lost.")
    rows = _row_file(options)
    return Source(
        options["file"],
        rows,
        tell,
        query,
        intent_values,
        options["limit"],
        options["strict"],
        options["despite_changes"],
    )


def _row_file(options: Mapping[str, Any]) -> RowFile:
    """Return how the file of rows is to be read, by what the options say. Raises InputError."""
    from connector.bulk.input.cell_values import CellRules, is_date_format
    from connector.bulk.input.column_map import ColumnMapping, parse_renames
    from connector.bulk.input.row_reader import RowFile

    if options["date_format"] and not is_date_format(options["date_format"]):
        raise InputError(
            f"--date-format {options['date_format']!r} does not say where year, month and day stand.",
            remedy="Write it as DD.MM.YYYY, MM/DD/YYYY, or as Python has it: '%d %b %Y'.",
        )
    nulls = frozenset(options["nulls"]) if options["nulls"] else None
    columns = ColumnMapping(
        parse_renames(options["renames"]), {}, options["keep"], options["ignore_others"], options["key"]
    )
    cells = CellRules(options["decimal"] or "", options["date_format"], nulls, _read_values(options["values"]))
    return RowFile(Path(), columns, cells, options["rejects"], options["kind"] or "", options["encoding"])


def _read_values(file: Path | None) -> dict[str, dict[str, str]]:
    """Return our values by theirs, by the names of our columns, from a TOML file. Raises InputError."""
    if file is None:
        return {}
    import tomllib

    from connector.bulk.input.text_file import decoded

    try:
        data = tomllib.loads(decoded(file.read_bytes()))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.", remedy=_EXAMPLE) from None
    except ValueError as error:
        raise InputError(f"{file} is not TOML: {error}.", remedy=_EXAMPLE) from None
    values: dict[str, dict[str, str]] = {}
    for column, words in data.items():
        if not isinstance(words, dict):
            raise InputError(f"{file}: {column} is not a table of words.", remedy=_EXAMPLE)
        values[column] = {theirs.casefold(): str(ours) for theirs, ours in words.items()}
    return values


_EXAMPLE = 'Write a table for each column, as [outcome], and under it lines as "Closed Won" = "won".'


plan_options = with_options(
    click.option("--out", type=FILE, help="The plan file; else FILE with .plan.jsonl. As .xlsx or .html: beside that."),
    capture_option,
    click.option(
        "--ask",
        metavar="N",
        type=click.IntRange(0, 1000),
        default=0,
        help="Ask the organization for so many of the rows, by writes that must fail: would they be refused?",
    ),
    yes_option,
)


NONE = "none"
_LIMITS = "connector.cli.bulk.job_options.limits"


_limit_option = partial(click.option, expose_value=False, callback=keep_under(_LIMITS, None, ()))
limit_options = with_options(
    _limit_option(
        "--window",
        multiple=True,
        metavar="HOURS",
        help='Run only in these hours: 22:00-08:00, "fri 22:00-mon 06:00 Europe/Paris"; may be repeated.',
    ),
    _limit_option("--until", metavar="TIME", help='Stop at this time: 06:00, or "2026-01-31 06:00 Europe/Paris".'),
    _limit_option("--at-most", metavar="RATE", help="At most this many rows: 10/s, 300/min or 5000/h."),
    _limit_option("--in-flight", metavar="N", help="At most N requests at the same time."),
    _limit_option("--max-operations", metavar="N", help="Stop when the job has used N Power Platform requests in all."),
)
"""`limits_of` returns what they say. For a command that has a `--limit` of its own."""

all_limit_options = with_options(
    _limit_option("--limit", metavar="N", help="Do N rows more, then stop; the others stay to be done."), limit_options
)


def limits_of(before: JobLimits, pending: int, settings: Settings, now: datetime, rows: int | None = None) -> JobLimits:
    """Return the limits of a job with what the command line says about them; `rows` stands for its `--limit`.

    `pending` is how many rows are still to do. Raises InputError.
    """
    options = options_under(_LIMITS)
    if rows is not None:
        options["limit"] = str(rows)
    data = before.data()
    for name, value in options.items():
        limit = "leave" if name == "limit" else name
        data.pop(limit, None)
        if value not in (NONE, (NONE,)):
            data[limit] = _value(name, value, pending, now)
    limits = JobLimits.of({KEPT_AS: data})
    if shared(settings) and any(window.zone is None for window in limits.windows):
        raise InputError(
            "Several machines may work on this job, and each has its own clock.",
            remedy="Name the time zone: --window '22:00-08:00 Europe/Stockholm'.",
        )
    return limits


def _value(name: str, value: Any, pending: int, now: datetime) -> object:
    """Return what an option says, as limits keep it. Raises InputError."""
    if name == "window":
        return [read_window(text).text for text in value]
    if name == "until":
        return read_moment(value, now).isoformat()
    if name == "at_most":
        return f"{value}" if read_rate(value) else None
    digits = value.replace(",", "")
    if not digits.isdecimal() or not int(digits):
        raise InputError(f"--{name.replace('_', '-')} is {value!r}.", remedy="Give a number from 1 up, or none.")
    if name == "limit":
        return pending - int(digits) if int(digits) < pending else None  # no limit where all are done
    return int(digits)


def take_up(ledger: Ledger, job: Job, settings: Settings, rows: int | None = None) -> None:
    """Let a job go on within the limits that it has and those that are given now; one on rows that is reached is over.

    Raises InputError where it would stop at once.
    """
    before, now, counts = JobLimits.of(job.options), ledger.clock.now(), ledger.counts(job.name)
    if before.reached(now, counts, job.operations) == "limit":
        before = before.without_pilot()
    limits = limits_of(before, counts.of(ItemStatus.PENDING), settings, now, rows)
    reached = limits.reached(now, counts, job.operations)
    if reached and counts.open:
        option = f"--{reached.replace('_', '-')}"
        raise InputError(
            f"The job {job.name} has reached its limit ({limits_words(limits.data())}), and nothing was done.",
            remedy=f"Give another, or take it away: {command_line('bulk', 'resume', job.name, option, NONE)}.",
        )
    if limits != JobLimits.of(job.options):
        ledger.set_limits(job.name, limits)


def says_limits() -> bool:
    """Return whether the command line says anything about limits."""
    return bool(options_under(_LIMITS))
