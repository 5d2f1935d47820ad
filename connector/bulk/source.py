"""Where the rows of a job come from: a file, a plan file, or a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol
from uuid import UUID

from connector.bulk.planning import is_plan, read_head, read_plan
from connector.closing.model import DraftPolicy, Intent
from connector.closing.organization import Finder, Organization, Query
from connector.closing.plan import check_reasons
from connector.errors import InputError
from connector.ledger.jobs import InputChanged, Job, Row
from connector.ledger.ledger import Ledger

Rows = Callable[[], Iterator[Row]]
"""The rows, read anew at each call."""


class SearchOrganization(Organization, Finder, Protocol):
    """An organization in which opportunities can be looked for, and then seen and changed."""


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
        """Return the name of a job that was given none. Raises InputError."""
        if self.file is None:
            raise InputError("A job of a query needs a name.", remedy="Give one with --job.")
        return self.file.name.split(".")[0]

    def plan_file(self) -> Path:
        """Return the plan file of a plan that was given none. Raises InputError."""
        if self.file is None:
            raise InputError("The plan of a query needs a file.", remedy="Name one with --out.")
        return self.file.with_name(f"{self.file.stem}.plan.jsonl")

    def data(self) -> dict[str, object]:
        """Return where the rows are from, as plain data to keep with a job."""
        if self.file is not None:
            return {"source": self.file.name}
        cap = {"limit": self.limit} if self.limit else {}
        return {"query": self.query.data() | cap, "request": {name: str(value) for name, value in self.given.items()}}

    @contextmanager
    def opened(self, drafts: DraftPolicy, organization: SearchOrganization) -> Iterator[Rows]:
        """Give the rows; status reasons are checked against the organization's. Reading raises InputError."""
        given = {"drafts": drafts.value, **self.given}
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

    def _found(self, given: Mapping[str, object], organization: SearchOrganization) -> Iterator[Rows]:
        from connector.bulk.query import Found
        from connector.closing.request import parse_request

        wanted = parse_request({**given, "opportunityid": UUID(int=0)})
        _checked(organization)(wanted)
        with closing(Found(organization, self.query)) as found:
            yield lambda: islice(found.rows(wanted), self.limit)

    def _read(self, file: Path, given: Mapping[str, object], organization: SearchOrganization) -> Rows:
        from connector.bulk.input.columns import Columns, parse_renames
        from connector.bulk.input.input import RowFile, read_rows

        row_file = RowFile(file, self.kind, Columns(parse_renames(self.renames), given))
        return lambda: read_rows(row_file, _checked(organization))


def _checked(organization: SearchOrganization) -> Callable[[Intent], None]:
    """Return a check of the status reasons that rows name; nothing is asked while none names any."""
    known: set[tuple[object, ...]] = set()

    def check(intent: Intent) -> None:
        named = (intent.outcome, intent.status, intent.quote_status)
        if named[1:] != (None, None) and named not in known:
            check_reasons(intent, organization.metadata())
            known.add(named)

    return check
