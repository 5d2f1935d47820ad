"""A plan file for the person who approves it: a workbook with all rows, or a page with sums, refusals and the first."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from connector.bulk.reports.documents import Cell, Link, new_workbook, write_page
from connector.bulk.reports.report_row import LINK, OrganizationNames, amount_of

SHOWN = 500
"""Rows that the page lists; the workbook has them all."""
ENDINGS = frozenset({".xlsx", ".html"})
_ASKED = ("outcome", "status", "closed_on", "actual_revenue")
_COLUMNS = (
    ("Row", 8), ("Name", 34), ("Record", 9), ("Opportunity", 38), ("Outcome", 10), ("Status reason", 16),
    ("Close date", 12), ("Actual revenue", 16), ("Estimated value", 16), ("Currency", 10), ("Result", 15),
    ("Why", 60), ("Steps", 70),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A line of a plan, for people."""

    number: int
    opportunity_id: str
    link: str
    name: str
    asked: Mapping[str, object]
    value: Decimal | None
    currency: str
    status: str
    cause: str
    why: str
    steps: Sequence[str]
    kept: Mapping[str, str]


@dataclass(slots=True)
class PlanSummary:
    """What the rows of a plan come to, by outcome and by what is refused."""

    counts: Counter[str] = field(default_factory=Counter)
    closes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    values: defaultdict[tuple[str, str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: list[PlannedRow] = field(default_factory=list)
    bad: list[PlannedRow] = field(default_factory=list)

    def add(self, row: PlannedRow) -> None:
        """Count a row."""
        self.counts[row.status] += 1
        if row.status == "planned":
            group = str(row.asked.get("outcome", "")), str(row.asked.get("status", "")), row.currency
            self.closes[group] += 1
            self.values[group] += row.value or 0
        elif row.cause:
            self.causes[row.status, row.cause] += 1
        shown = self.bad if row.cause else self.first
        if len(shown) < SHOWN:
            shown.append(row)

    def outcomes(self) -> list[tuple[str, str, int, Decimal, str]]:
        """Return a row for each way to end: outcome, status reason asked for, how many, value, currency."""
        return [(*group[:2], count, self.values[group], group[2]) for group, count in sorted(self.closes.items())]


def write_plan_review(path: Path, plan: Path, names: OrganizationNames) -> None:
    """Write what a plan file says as a workbook (.xlsx) or a page (.html). Raises InputError."""
    head, rows = _head(plan), _rows(plan, names)
    summary = PlanSummary()
    if path.suffix.lower() == ".html":
        for row in rows:
            summary.add(row)
        write_page(path, "plan.html", _page_values(plan, head, summary))
        return
    own = list(dict.fromkeys(name for row in _rows(plan, names) for name in row.kept))
    with new_workbook(path) as new_sheet:
        first = new_sheet("Summary", (("", 28), ("", 24), ("Rows", 12), ("Estimated value", 18), ("Currency", 12)))
        columns = [*_COLUMNS, *((name, 20) for name in own)]
        every, bad = new_sheet("Rows", columns), new_sheet("Not planned", columns)
        for row in rows:
            summary.add(row)
            cells = [*_cells(row), *(row.kept.get(name) for name in own)]
            every.add(cells)
            if row.cause:
                bad.add(cells)
        for line in _summary_cells(plan, head, summary):
            first.add(line)


def _cells(row: PlannedRow) -> list[Cell | Link]:
    outcome, status, closed_on, revenue = (row.asked.get(name) for name in _ASKED)
    return [
        row.number, row.name, Link(row.link), row.opportunity_id, _text(outcome), _text(status), _text(closed_on),
        amount_of(revenue), row.value, row.currency, row.status.replace("_", " "), row.why, "; ".join(row.steps),
    ]  # fmt: skip


def _summary_cells(plan: Path, head: Mapping[str, object], summary: PlanSummary) -> Iterator[Sequence[Cell]]:
    yield from ((name, text) for name, text in _about(plan, head))
    yield ()
    yield from ((status.replace("_", " "), None, count) for status, count in summary.counts.items())
    yield ()
    yield from ((f"to be closed as {row[0]}", *row[1:]) for row in summary.outcomes())
    yield ()
    yield from ((status, cause, count) for (status, cause), count in summary.causes.most_common())


def _page_values(plan: Path, head: Mapping[str, object], summary: PlanSummary) -> dict[str, object]:
    about = {"plan": plan.name, "about": _about(plan, head), "made": datetime.now(UTC)}
    sums = {"counts": summary.counts, "outcomes": summary.outcomes(), "causes": summary.causes.most_common()}
    rows = {"total": summary.counts.total(), "first": summary.first, "bad": summary.bad, "shown": SHOWN}
    return {**about, **sums, **rows}


def _about(plan: Path, head: Mapping[str, object]) -> list[tuple[str, str]]:
    about = {"Organization": head.get("organization"), "Rows from": head.get("source") or head.get("query")}
    about |= {"Left out": head.get("bypass"), "Plan file": plan.name}
    return [(name, str(text)) for name, text in about.items() if text]


def _head(plan: Path) -> Mapping[str, object]:
    with plan.open(encoding="utf-8") as file:
        head: dict[str, object] = json.loads(file.readline())
    return head


def _rows(plan: Path, names: OrganizationNames) -> Iterator[PlannedRow]:
    organization = _head(plan).get("organization", "")
    with plan.open(encoding="utf-8") as file:
        for line in file:
            data = json.loads(line)
            if "row" not in data:
                continue
            request, record = data["request"], data.get("record", {})
            id_ = str(request.get("opportunityid", ""))
            yield PlannedRow(
                number=data["row"],
                opportunity_id=id_,
                link=LINK.format(organization=organization, id=id_),
                name=data.get("name", ""),
                asked={name: request[name] for name in request if name not in {"opportunityid", "drafts"}},
                value=names.amount(amount_of(record.get("value")), record.get("currency")),
                currency=names.currencies.get(record.get("currency", ""), ""),
                status=data["status"],
                cause=data.get("reason_code", ""),
                why=data.get("reason", ""),
                steps=[_step_words(step) for step in data.get("steps", ())],
                kept=data.get("kept", {}),
            )


def _step_words(step: str) -> str:
    kind, _, label = step.partition(" ")
    return f"{kind.replace('_', ' ')} {label}"


def _text(value: object) -> str:
    return "" if value is None else str(value)
