"""Where the rows of a job come from: a file, a plan file, or a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from connector.bulk.planning import is_plan, read_head, read_plan
from connector.closing.model import DraftPolicy, Intent
from connector.closing.organization import Finder, LookupOrganization, MetadataRequest, Query
from connector.closing.plan import check_intent
from connector.closing.record_keys import look_up_all, names_user
from connector.errors import InputError
from connector.ledger.jobs import InputChanged, Job, Row
from connector.ledger.ledger import Ledger

if TYPE_CHECKING:
    from connector.bulk.input.row_reader import RowFile

Rows = Callable[[], Iterator[Row]]
"""The rows, read anew at each call."""


class SearchOrganization(LookupOrganization, Finder, Protocol):
    """An organization in which opportunities can be looked for, and then seen and changed."""


class OrganizationConnection(Protocol):
    """An organization with its address, `https://host`."""

    @property
    def base_url(self) -> str:
        """Return the address."""

    @property
    def organization(self) -> SearchOrganization:
        """Return the organization."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file and how to read it, or a query; `given` is said of rows that do not say it, by the names of columns.

    `tell` is told what was guessed or left out of a file that is read as `form` says, but for its path.
    """

    file: Path | None
    form: RowFile
    tell: Callable[[str], None]
    query: Query
    given: Mapping[str, object]
    limit: int | None = None
    strict: bool = False
    despite_changes: bool = False

    @property
    def pilot(self) -> int | None:
        """Return how many of the rows are done before the job stops; None for all."""
        return self.limit if self.file is not None else None

    @staticmethod
    def outcomes(rows: Rows) -> Counter[str]:
        """Return how many rows close an opportunity in which way."""
        return Counter(row.intent.outcome.value for row in rows() if isinstance(row.intent, Intent))

    def first_of(self, outcomes: Counter[str]) -> str:
        """Return in words how many of these opportunities, counted by outcome, are closed before the job stops."""
        count = outcomes.total()
        ways = ", ".join(f"{'all' if number == count else f'{number:,}'} as {way}" for way, number in outcomes.items())
        first = f"{self.pilot:,} of the " if (self.pilot or count) < count else ""
        return f"{first}{count:,} {'opportunity' if count == 1 else 'opportunities'} ({ways})"

    def job_name(self) -> str:
        """Return the name of a job that was given none. Raises InputError."""
        if self.file is None:
            raise InputError("A job of a query needs a name of its own.", remedy="Give it one: --job stale, say.")
        return self._stem("A job of rows from standard input needs a name.", "Give one with --job.")

    def _stem(self, problem: str, remedy: str) -> str:
        """Return the name of the file without what says its kind. Raises InputError for standard input."""
        assert self.file is not None
        if self.file == Path("-"):
            raise InputError(problem, remedy=remedy)
        return Path(self.file.name.removesuffix(".gz")).stem.removesuffix(".plan")

    def plan_file(self, review: Path | None = None) -> Path:
        """Return the plan file of a plan that was given none, or only a file for its `review`. Raises InputError."""
        if review is not None and (self.file is None or self.file == Path("-")):
            return review.with_suffix(".plan.jsonl")
        if self.file is None:
            return Path("query.plan.jsonl")
        stem = self._stem("The plan of rows from standard input needs a name.", "Give one with --out or --job.")
        return self.file.parent / f"{stem}.plan.jsonl"

    def data(self) -> dict[str, object]:
        """Return where the rows are from, as plain data to keep with a job."""
        if self.file is not None:
            return {"source": self.file.name}
        cap = {"limit": self.limit} if self.limit else {}
        return {"query": self.query.data() | cap, "request": {name: str(value) for name, value in self.given.items()}}

    @contextmanager
    def opened(self, drafts: DraftPolicy, connection: OrganizationConnection) -> Iterator[Rows]:
        """Give the rows; status reasons are checked against the organization's, and what is no id is looked up there.

        Reading raises InputError.
        """
        organization = connection.organization
        values = {"drafts": drafts.value, **self.given}
        if self.file is None:
            yield from self._found(values, organization)
        elif is_plan(self.file):
            yield lambda: read_plan(self.file or Path(), strict=self.strict)
        else:
            host = urlsplit(connection.base_url).hostname or ""
            yield from self._read(self.file, values, organization, host)

    def plan_head(self) -> Mapping[str, object]:
        """Return what a plan file says about itself; nothing for any other source."""
        return read_head(self.file) if self.file is not None and is_plan(self.file) else {}

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
                remedy=f"Resume it without a query, or give this query another job name (not {job.name!r}).",
            )

    def _read(
        self, file: Path, defaults: Mapping[str, object], organization: SearchOrganization, host: str
    ) -> Iterator[Rows]:
        """Give the rows of `file`, with `defaults` where a cell is empty. Keys are looked up at `host`."""
        from connector.bulk.input.row_reader import RowReader
        from connector.bulk.input.table_file import STANDARD_INPUT, readable

        name = "standard input" if file == STANDARD_INPUT else str(file)
        columns = replace(self.form.columns, defaults=defaults)
        with readable(file) as path:
            form = replace(self.form, path=path, columns=columns, name=name, host=host)
            with RowReader(form, organization, _checked(organization)) as reader:
                notes_told = 0

                def rows() -> Iterator[Row]:
                    nonlocal notes_told
                    for row in reader.rows():
                        for note in reader.notes[notes_told:]:
                            self.tell(f"{name}: {note}")
                        notes_told = len(reader.notes)
                        yield row

                yield rows

    def _found(self, values: Mapping[str, object], organization: SearchOrganization) -> Iterator[Rows]:
        from connector.bulk.input.disk_tables import QueryRows
        from connector.closing.request import parse_request

        named = names_user(parse_request({**values, "opportunityid": UUID(int=0)}))
        (intent,) = look_up_all(organization, [named])
        if not isinstance(intent, Intent):
            raise intent if isinstance(intent, InputError) else TypeError(type(intent))
        _checked(organization)(intent)
        with closing(QueryRows(organization, self.query)) as ids:
            yield lambda: islice(ids.rows(intent), self.limit)


def _checked(organization: SearchOrganization) -> Callable[[Intent], None]:
    """Return a check of the status reasons and columns that rows name; nothing is asked while none names any."""
    checked: set[tuple[object, ...]] = set()

    def check(intent: Intent) -> None:
        named = (intent.outcome, intent.status, intent.quote_status)
        columns = bool(intent.opportunity_columns or intent.quote_columns)
        if columns or (named[1:] != (None, None) and named not in checked):
            check_intent(intent, organization.metadata(MetadataRequest(columns=columns)))
            checked.add(named)

    return check
