"""What the operations page shows, made ready for its templates: the filter of an address, rows, pages, times, links."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, tzinfo
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Response
from fastapi.responses import HTMLResponse, JSONResponse

from connector.bulk.run.plain_view import pace_parts
from connector.bulk.status import status_data
from connector.ledger.jobs import NOT_DONE, Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.operation_filter import OperationCount, OperationFilter
from connector.service.operations.operation_results import FINAL
from connector.service.problems import Problem
from connector.service.schemas.response_models import OperationStatus

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "/operations-page"
SHOWN = 50
"""Rows of one page."""
SIGNS = {"done": "✓", "failed": "✕", "canceled": "□", "running": "▶", "queued": "○", "waiting": "…"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
}
_LONGEST = 100
_MOST_PAGES = 1_000_000


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What the viewer has chosen: the fields of the filter's form, and the page. Anything else in an address is left.

    `day` is a date in `zone`, the viewer's time zone; where that is not known here, in UTC.
    """

    status: str = ""
    cause: str = ""
    text: str = ""
    day: str = ""
    zone: str = ""
    page: int = 1

    @classmethod
    def read(cls, query: str) -> PageQuery:
        """Return what the query of an address says; what it says wrongly counts as not said."""
        sent = parse_qs(query[:2048]).items()
        fields = {name: "".join(filter(str.isprintable, values[0])).strip()[:_LONGEST] for name, values in sent}
        status = fields.get("status", "")
        page = fields.get("page", "")
        return cls(
            status if status in set(OperationStatus) else "",
            fields.get("cause", ""),
            fields.get("text", ""),
            fields.get("day", "") if _date(fields.get("day", "")) else "",
            fields.get("zone", ""),
            min(max(1, int(page)), _MOST_PAGES) if page.isascii() and page.isdecimal() and len(page) < 10 else 1,
        )

    @property
    def query(self) -> str:
        """Return the query of an address that shows the same."""
        fields = {"status": self.status, "cause": self.cause, "text": self.text, "day": self.day, "zone": self.zone}
        pages = {"page": str(self.page)} if self.page > 1 else {}
        return urlencode({name: value for name, value in (fields | pages).items() if value})

    def at(self, *, status: str | None = None, cause: str | None = None, page: int = 1) -> str:
        """Return the address of the page with another status, cause or page."""
        status, cause = self.status if status is None else status, self.cause if cause is None else cause
        query = replace(self, status=status, cause=cause, page=page).query
        return f"{PAGE}?{query}" if query else PAGE

    @property
    def filter(self) -> OperationFilter:
        """Return it for the store, without whose operations."""
        since = until = 0.0
        if day := _date(self.day):
            since, until = (datetime.combine(day, end, zone_of(self.zone)).timestamp() for end in (time.min, time.max))
        return OperationFilter("", "", self.status, self.cause, since, until, self.text)


@dataclass(frozen=True, slots=True)
class PageCounts:
    """How many operations there are: of each status, of each cause among those chosen, and of all that are chosen."""

    statuses: Mapping[str, int]
    causes: Sequence[tuple[str, int]]
    total: int
    unsearched: int = 0
    """Operations, older than all others, that were not looked through for the text."""

    @classmethod
    def of(cls, counts: Sequence[OperationCount], query: PageQuery, unsearched: int) -> PageCounts:
        """Return the sums; `counts` are those of the filter without status and cause."""
        statuses = dict.fromkeys(SIGNS, 0)
        causes: dict[str, int] = {}
        total = 0
        for tally in counts:
            statuses[tally.status] += tally.count
            if tally.cause and query.status in ("", tally.status):
                causes[tally.cause] = causes.get(tally.cause, 0) + tally.count
            if query.status in ("", tally.status) and query.cause in ("", tally.cause):
                total += tally.count
        return cls(statuses, sorted(causes.items(), key=lambda pair: -pair[1]), total, unsearched)


def job_row(ledger: Ledger, job: Job) -> dict[str, Any]:
    """Return a bulk job as the page shows it: its `tone` is the status whose colour it has, failed with the first row.

    `causes` are those of the rows that failed or were refused, with their numbers; `pace` is how it goes now.
    """
    counts, at_work = ledger.counts(job.name), job.state is JobState.READY and ledger.workers(job.name)
    named = {word: count for word, count in counts.data().items() if count and word != "total"}
    failed = sum(counts.by_status.get(status, 0) for status in NOT_DONE)
    tone = "failed" if failed else "running" if counts.open else "done"
    causes = Counter[str]()
    for (status, reason), count in counts.reasons.items():
        causes[reason] += count if reason and status in NOT_DONE else 0
    return {
        "name": job.name,
        "state": f"{job.state.value}, {failed} not done" if failed else job.state.value,
        "tone": tone,
        "sign": SIGNS[tone],
        "sentence": job.desired_state.sentence if counts.open else job.state.sentence,
        "done": counts.total - counts.open,
        "total": counts.total,
        "counts": ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in named.items()),
        "failed": failed,
        "causes": (+causes).most_common(),
        "pace": ", ".join(pace_parts(status_data(ledger, job))) if at_work else "",
    }


def record_link(organization: str, opportunity_id: UUID) -> str:
    """Return where Dynamics shows the opportunity; empty when the organization's address is not known.

    Form: "Open apps, forms, views, dialogs, and reports with a URL" (Power Apps developer).
    """
    fields = urlencode({"pagetype": "entityrecord", "etn": "opportunity", "id": str(opportunity_id)})
    return f"{organization.rstrip('/')}/main.aspx?{fields}" if organization.startswith("https://") else ""


def zone_of(name: str) -> tzinfo:
    """Return the time zone of this name, or UTC where it is not known."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a browser may send anything, and a machine may have no zones
        return UTC


def failure_response(failure: Problem, path: str, accept: str, instance: str, correlation_id: str) -> Response:
    """Return the answer that tells of a failure: a page to a person who is at one of ours, JSON to everybody else."""
    if path.startswith(PAGE) and "text/html" in accept and failure.status >= HTTPStatus.BAD_REQUEST:
        page = render("failed.html", failure=failure, correlation_id=correlation_id)
        return HTMLResponse(page, failure.status, {**HEADERS, **failure.headers})
    return JSONResponse(failure.body(instance, correlation_id), failure.status, dict(failure.headers))


def render(template: str, /, **values: object) -> str:
    """Return a page; whatever is put into it is escaped."""
    return templates().get_template(template).render(values | {"path": PAGE})


@functools.cache
def templates() -> Environment:
    """Return the templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("connector.service.templates", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = lambda moment: f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    made.filters["iso"] = lambda moment: moment.astimezone(UTC).isoformat(timespec="seconds")
    made.filters["words"] = lambda reason: (  # those of the code in the catalogue, not of a kind in here
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", FINAL.get(reason, (0, reason))[1]).replace("_", " ").lower()
    )
    return made


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
