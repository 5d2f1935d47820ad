"""Where the rows of a job come from: a file, a plan file, or a query; and the options that say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from connector.bulk.planning import is_plan, read_head, read_plan
from connector.cli.intent_options import given_to_all, intent_options, refuse_given
from connector.closing.model import Intent
from connector.closing.organization import Query
from connector.closing.plan import check_reasons
from connector.errors import InputError
from connector.ledger.jobs import InputChanged, Job, Row
from connector.ledger.ledger import Ledger
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.dataverse.dataverse_organization import DataverseOrganization

Command = Callable[..., Any]
Rows = Callable[[], Iterator[Row]]
"""The rows, read anew at each call."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file and how to read it, or a query; `given` is said of rows that do not say it, by the names of columns."""

    file: Path | None
    kind: str
    renames: tuple[str, ...]
    query: Query
    given: Mapping[str, object]
    limit: int | None = None

    def job_name(self) -> str:
        """Return the name of a job that was given none. Raises click.UsageError."""
        if self.file is None:
            raise click.UsageError("A job of a query needs a name: give one with --job.")
        return self.file.name.split(".")[0]

    def plan_file(self) -> Path:
        """Return the plan file of a plan that was given none. Raises click.UsageError."""
        if self.file is None:
            raise click.UsageError("The plan of a query needs a file: name one with --out.")
        return self.file.with_name(f"{self.file.stem}.plan.jsonl")

    def data(self) -> dict[str, object]:
        """Return where the rows are from, as plain data to keep with a job."""
        if self.file is not None:
            return {"source": self.file.name}
        cap = {"limit": self.limit} if self.limit else {}
        return {"query": self.query.data() | cap, "request": {name: str(value) for name, value in self.given.items()}}

    @contextmanager
    def opened(self, settings: Settings, organization: DataverseOrganization) -> Iterator[Rows]:
        """Give the rows; status reasons are checked against the organization's. Reading raises InputError."""
        given = {"drafts": settings.drafts.value, **self.given}
        if self.file is None:
            yield from self._found(given, organization)
        elif is_plan(self.file):
            yield lambda: read_plan(self.file or Path())
        else:
            yield self._read(self.file, given, organization)

    def must_belong(self, base_url: str) -> None:
        """Raise InputError for a plan that was made for another organization."""
        if self.file is None or not is_plan(self.file):
            return
        made = read_head(self.file).get("organization", "no organization")
        if made != base_url:
            raise InputError(f"{self.file} was planned for {made}, not for {base_url}.", remedy="Plan again.")

    def must_be_of(self, job: Job, ledger: Ledger, rows: Rows) -> None:
        """Raise InputChanged when a job that is there already was made of another source."""
        if self.file is not None:
            ledger.same_rows(job.name, rows())
        elif {name: job.options.get(name) for name in self.data()} != self.data():
            raise InputChanged(
                f"The job {job.name!r} was made of another query than this; nothing was touched.",
                remedy=f"Resume it without a query, or give this one a job name of its own (not {job.name!r}).",
            )

    def _found(self, given: Mapping[str, object], organization: DataverseOrganization) -> Iterator[Rows]:
        from connector.bulk.query import Found
        from connector.closing.request import parse_request

        wanted = parse_request({**given, "opportunityid": UUID(int=0)})
        _checked(organization)(wanted)
        with closing(Found(organization, self.query)) as found:
            yield lambda: islice(found.rows(wanted), self.limit)

    def _read(self, file: Path, given: Mapping[str, object], organization: DataverseOrganization) -> Rows:
        from connector.bulk.input.columns import Columns, parse_renames
        from connector.bulk.input.input import RowFile, read_rows

        row_file = RowFile(file, self.kind, Columns(parse_renames(self.renames), given))
        return lambda: read_rows(row_file, _checked(organization))


def _checked(organization: DataverseOrganization) -> Callable[[Intent], None]:
    """Return a check of the status reasons that rows name; nothing is asked while none names any."""
    known: set[tuple[object, ...]] = set()

    def check(intent: Intent) -> None:
        named = (intent.outcome, intent.status, intent.quote_status)
        if named[1:] != (None, None) and named not in known:
            check_reasons(intent, organization.metadata())
            known.add(named)

    return check


# -- the options ------------------------------------------------------------------------------------------------------

_KEPT = "connector.cli.bulk.source"


def _keep(context: click.Context, option: click.Parameter, value: object) -> None:
    """Keep what was given under the option's name, so that no command has to list them all as arguments."""
    context.meta.setdefault(_KEPT, {})[option.name] = value


_OPTIONS = (
    click.argument("file", type=click.Path(path_type=Path), required=False, expose_value=False, callback=_keep),
    click.option(
        "--format",
        "kind",
        type=click.Choice(["csv", "jsonl", "excel", "parquet"]),
        expose_value=False,
        callback=_keep,
        help="How FILE is written; default: as the end of its name says.",
    ),
    click.option(
        "--map",
        "renames",
        multiple=True,
        metavar="THEIRS=OURS",
        expose_value=False,
        callback=_keep,
        help="Read a column under our name.",
    ),
    click.option(
        "--older-than",
        metavar="DAYS",
        type=click.IntRange(0, 36500),
        expose_value=False,
        callback=_keep,
        help="Instead of a file: the open opportunities whose estimated close date is more than so many days ago.",
    ),
    click.option(
        "--where",
        metavar="FILTER",
        default="",
        expose_value=False,
        callback=_keep,
        help="Instead of a file, or beside --older-than: the open opportunities that fit an OData filter, "
        'as "estimatedvalue lt 1000".',
    ),
    click.option(
        "--limit",
        metavar="N",
        type=click.IntRange(1),
        expose_value=False,
        callback=_keep,
        help="Of what --older-than, --where or --view finds, take at most so many.",
    ),
    click.option(
        "--view",
        metavar="NAME",
        default="",
        expose_value=False,
        callback=_keep,
        help="Instead of a file: the opportunities of a saved view, by its name or id.",
    ),
)


def source_options(command: Command) -> Command:
    """Give a command what says where rows come from and what is wanted of them; `source_of` returns it."""
    command = intent_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def source_of(context: click.Context) -> Source:
    """Return what the options of this command line say. Raises click.UsageError."""
    kept = context.meta[_KEPT]
    query = Query(kept["where"].strip(), kept["older_than"], kept["view"].strip())
    if kept["file"] is not None and query != Query():
        raise click.UsageError("Rows come from a file or from a query (--older-than, --where, --view), not from both.")
    if kept["file"] is None and query == Query():
        raise click.UsageError("Name a file of rows, or say what to look for: --older-than, --where or --view.")
    if query.view and query != Query(view=query.view):
        raise click.UsageError("A view goes without --where and --older-than: it has conditions of its own.")
    if kept["file"] is not None and is_plan(kept["file"]):
        refuse_given(context, "A plan file")
    given = given_to_all(context)
    if kept["file"] is None and "outcome" not in given:
        raise click.UsageError("Say how the opportunities of a query end: --won or --lost.")
    if kept["file"] is not None and kept["limit"] is not None:
        raise click.UsageError(
            "--limit goes with --older-than, --where or --view; a file says itself which rows it has."
        )
    return Source(kept["file"], kept["kind"] or "", kept["renames"], query, given, kept["limit"])
