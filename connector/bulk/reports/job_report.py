"""How a job went, for a person: a workbook, or one page with sums, a plot of the throughput, and the failures."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from connector.bulk.reports.documents import Cell, Link, NewSheet, new_workbook, write_page
from connector.bulk.reports.report_row import OrganizationNames, ReportRow, report_row
from connector.bulk.words import BINDS, limits_words
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import NOT_DONE, PACE, Event, ItemStatus, Job
from connector.ledger.ledger import Ledger
from connector.ledger.shared_state import recall, remember

SHOWN = 100
"""Records of one cause that the page lists; the workbook has them all."""
_COLUMNS = (
    ("Row", 8), ("Name", 34), ("Owner", 22), ("Record", 9), ("Opportunity", 38), ("Outcome", 10), ("Status reason", 18),
    ("Result", 15), ("Code", 24), ("What happened", 60), ("What to do", 50),
    ("The organization said", 60), ("Plug-in and step", 40), ("Where it stands", 60), ("By", 16), ("When (UTC)", 20),
    ("Value", 16), ("Currency", 10), ("Close activity", 38), ("Request", 38),
)  # fmt: skip
Rows = Sequence[Sequence[Cell]]


@dataclass(slots=True)
class Cause:
    """Rows that were refused or failed alike; `rows` are the first of them."""

    status: str
    code: str
    message: str
    remedy: str
    detail: str
    count: int = 0
    rows: list[ReportRow] = field(default_factory=list)


@dataclass(slots=True)
class ReportSummary:
    """What the rows of a job come to. Sums are by currency, since there is no rate between two."""

    counts: Counter[str] = field(default_factory=Counter)
    values: defaultdict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    closed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    closed_values: defaultdict[tuple[str, str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    causes: dict[tuple[str, str], Cause] = field(default_factory=dict)
    users: Counter[str] = field(default_factory=Counter)
    ended: Counter[int] = field(default_factory=Counter)

    def add(self, row: ReportRow) -> None:
        """Count a row."""
        self.counts[row.status] += 1
        if row.value is not None:
            self.values[row.status, row.currency] += row.value
        if row.by:
            self.users[row.by] += 1
        if row.ended is not None:
            self.ended[int(row.ended.timestamp())] += 1
        if row.status == ItemStatus.CLOSED:
            group = row.outcome, row.reason, row.currency
            self.closed[group] += 1
            self.closed_values[group] += row.value or 0
        elif row.status in NOT_DONE:
            first = Cause(row.status, row.cause, row.message, row.remedy, row.detail)
            cause = self.causes.setdefault((row.status, row.cause), first)
            cause.count += 1
            if len(cause.rows) < SHOWN:
                cause.rows.append(row)

    def results(self) -> Rows:
        """Return a row for each result and currency: what, how many, value, currency."""
        lines: list[Sequence[Cell]] = []
        for status in (each.value for each in ItemStatus if self.counts[each.value]):
            sums: list[tuple[str, Decimal | None]] = sorted(
                (currency, value) for (of, currency), value in self.values.items() if of == status
            )
            for number, (currency, value) in enumerate(sums or [("", None)]):
                lines.append((status.replace("_", " "), None if number else self.counts[status], value, currency))
        return lines

    def outcomes(self) -> Rows:
        """Return a row for each way in which opportunities were closed: outcome, reason, how many, value, currency."""
        return [
            (outcome, reason, count, self.closed_values[outcome, reason, currency], currency)
            for (outcome, reason, currency), count in sorted(self.closed.items())
        ]


def write_job_report(path: Path, ledger: Ledger, job: Job) -> int:
    """Write the report of a job as a workbook (.xlsx) or a page (.html) and return the number of its rows.

    Raises InputError.
    """
    names = saved_names(ledger, job)
    rows = (report_row(record, job.organization, names) for record in ledger.records(job.name))
    summary = ReportSummary()
    if path.suffix.lower() == ".xlsx":
        own = list(dict.fromkeys(name for record in ledger.records(job.name) for name in record.kept))
        with new_workbook(path) as new_sheet:
            _write_workbook(new_sheet, job, rows, own, summary)
    else:
        for row in rows:
            summary.add(row)
        write_page(path, "report.html", _page_values(job, ledger, summary))
    return summary.counts.total()


def _write_workbook(
    new_sheet: NewSheet, job: Job, rows: Iterable[ReportRow], own: Sequence[str], summary: ReportSummary
) -> None:
    first = new_sheet("Summary", (("", 28), ("", 24), ("Rows", 12), ("Value", 18), ("Currency", 12)))
    sheets = {title: new_sheet(title, [*_COLUMNS, *((name, 20) for name in own)]) for title in _SHEETS}
    for row in rows:
        summary.add(row)
        cells = [*_cells(row), *(row.kept.get(name) for name in own)]
        sheets["Rows"].add(cells)
        if row.status in NOT_DONE:
            sheets[row.status.capitalize()].add(cells)
    for line in _summary_cells(job, summary):
        first.add(line)


def save_names(ledger: Ledger, organization: str, names: OrganizationNames) -> None:
    """Keep the names of an organization for reports, which are made without asking it."""
    remember(ledger, f"names of {organization}", names.data())


def saved_names(ledger: Ledger, job: Job) -> OrganizationNames:
    """Return the names of a job's organization, as far as they are kept."""
    saved = recall(ledger, f"names of {job.organization}")
    return OrganizationNames.of(saved.data) if saved else OrganizationNames()


_SHEETS = ("Rows", "Failed", "Refused")


def _cells(row: ReportRow) -> list[Cell | Link]:
    return [
        row.number, row.name, row.owner, Link(row.link), str(row.opportunity_id), row.outcome, row.reason, row.status,
        row.cause, row.message, row.remedy, row.detail, row.plug_in, row.stands, row.by, row.ended, row.value,
        row.currency, row.activity_id, row.request_id,
    ]  # fmt: skip


def _summary_cells(job: Job, summary: ReportSummary) -> Rows:
    about = [(name, value, None, None, None) for name, value in _about(job)]
    results = [(what, "", count, value, currency) for what, count, value, currency in summary.results()]
    outcomes = [(f"closed as {row[0]}", *row[1:]) for row in summary.outcomes()]
    causes = [(cause.status, cause.code, cause.count, None, None) for cause in summary.causes.values()]
    return [*about, (), *results, (), *outcomes, (), *causes]


def _about(job: Job) -> list[tuple[str, str]]:
    about = {
        "Job": job.name,
        "Organization": job.organization,
        "Started": f"{job.created:%Y-%m-%d %H:%M} UTC",
        "Ended": f"{job.finished:%Y-%m-%d %H:%M} UTC" if job.finished else "not yet",
        "Started by": str(job.options.get("started_by", "")),
        "Rows from": str(job.options.get("source") or job.options.get("query") or ""),
        "Limits": limits_words(JobLimits.of(job.options).data()),
        "Power Platform requests": f"{job.operations:,}",
    }
    return [(name, text) for name, text in about.items() if text]


def _page_values(job: Job, ledger: Ledger, summary: ReportSummary) -> dict[str, object]:
    throughput = Throughput(job, ledger.events(job.name), summary.ended)
    causes = sorted(summary.causes.values(), key=lambda cause: -cause.count)
    sums = {"results": summary.results(), "outcomes": summary.outcomes(), "users": summary.users.most_common()}
    pace = {"plot": throughput.plot(), "binds": [(name, BINDS.get(name, name)) for name in throughput.bindings()]}
    about = {"job": job, "about": _about(job)[2:], "shown": SHOWN, "made": datetime.now(UTC)}
    return {**about, **sums, "causes": causes, **pace}


BARS = 120
SHORTEST = 2.0
"""Seconds of a bar, at least: results are recorded some times a second."""
WIDTH, HEIGHT = 1000.0, 240.0
STALE, NOTES = 900.0, 100
"""Seconds after which the word of a worker counts no more, unless so many words are spread over the whole job. After
twice that time of silence nobody worked, and nothing is drawn."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: bars (x, y, width, height), the path of what was allowed, the strip of what held the rate.

    `ticks` are labels beneath (x, text), `lines` labels of the rate (y, text). Rates are in rows per second.
    """

    bars: Sequence[tuple[float, float, float, float]]
    allowed: str
    strip: Sequence[tuple[float, float, str]]
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[tuple[float, str]]
    best: float


class Throughput:
    """The rows of a job that ended in each second since 1970, and what its runs noted meanwhile."""

    def __init__(self, job: Job, events: Sequence[Event], ended: Mapping[int, int]) -> None:
        self._paces = [event for event in events if event.kind == PACE]
        moments = [*ended, *(event.at.timestamp() for event in self._paces)]
        self._start = min([job.created.timestamp(), *moments])
        self._seconds = max(1.0, max([self._start, *moments]) + 1 - self._start)
        self._silence = 2 * max(STALE, self._seconds / NOTES)
        self._ended = ended

    def bindings(self) -> list[str]:
        """Return what held the rate, in the order in which it did first."""
        return list(dict.fromkeys(name for event in self._paces if (name := str(event.data.get("binding", "")))))

    def plot(self) -> Plot:
        """Return the picture."""
        bars = max(1, min(BARS, int(self._seconds / SHORTEST)))
        width = self._seconds / bars
        counts = [0] * bars
        for second, count in self._ended.items():
            counts[min(bars - 1, int((second + 0.5 - self._start) / width))] += count
        rates = [count / width for count in counts]
        allowed = self._allowed()
        best = max([*rates, *(min(rate, 4 * max(rates)) for _, rate in allowed), 1e-6])
        scale = HEIGHT / (best * 1.05)
        step = WIDTH / bars
        drawn = [
            (round(number * step, 1), round(HEIGHT - rate * scale, 1), round(step * 0.9, 1), round(rate * scale, 1))
            for number, rate in enumerate(rates)
            if rate
        ]
        return Plot(drawn, self._path(allowed, scale), self._strip(), self._ticks(), _lines(best, scale), max(rates))

    def _allowed(self) -> list[tuple[float, float]]:
        """Return from when on how many rows a second were allowed, by all workers together."""
        ceilings: dict[object, tuple[float, float]] = {}
        line = []
        for event in self._paces:
            at, ceiling = event.at.timestamp(), event.data.get("ceiling")
            if isinstance(ceiling, int | float):
                ceilings[event.data.get("worker")] = at, float(ceiling)
                line.append((at, sum(rate for since, rate in ceilings.values() if at - since < STALE)))
        return line

    def _path(self, allowed: Sequence[tuple[float, float]], scale: float) -> str:
        path, before, until = "", 0.0, float("-inf")
        for at, rate in allowed:
            x, y = self._x(at), round(max(0.0, HEIGHT - rate * scale), 1)
            path += f"L{x} {before}L{x} {y}" if at <= until else f"M{x} {y}"
            before, until = y, at + self._silence
        return f"{path}L{min(WIDTH, self._x(until))} {before}" if path else ""

    def _strip(self) -> list[tuple[float, float, str]]:
        """Return what held the rate: from where, how wide, its name."""
        begins = [(self._x(event.at.timestamp()), str(event.data.get("binding", ""))) for event in self._paces]
        longest = self._x(self._start + self._silence)
        ends = [min(x + longest, end) for (x, _), end in zip(begins, [x for x, _ in begins[1:]] + [WIDTH], strict=True)]
        return [(x, round(end - x, 1), name) for (x, name), end in zip(begins, ends, strict=True) if name and end > x]

    def _ticks(self) -> list[tuple[float, str]]:
        pattern = "%H:%M:%S" if self._seconds < 600 else "%H:%M" if self._seconds < 86_400 else "%a %H:%M"
        moments = [self._start + self._seconds * part / 4 for part in range(5)]
        return [(self._x(at), f"{datetime.fromtimestamp(at, UTC):{pattern}}") for at in moments]

    def _x(self, at: float) -> float:
        return round((at - self._start) / self._seconds * WIDTH, 1)


def _lines(best: float, scale: float) -> list[tuple[float, str]]:
    step = 10 ** math.floor(math.log10(best)) if best > 0 else 1
    step = next(candidate for candidate in (step / 5, step / 2, step, 2 * step, 5 * step) if best / candidate <= 5)
    return [
        (round(HEIGHT - number * step * scale, 1), f"{number * step:g}/s") for number in range(1, int(best / step) + 1)
    ]
