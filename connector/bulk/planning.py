"""The plan file: what would happen to each row and why some are refused, to be read by people and then run as it is.

JSON Lines: a line about the plan, a line for each row, a line that sums up. A run of the file does only what it says: a
row that has drifted since, or that the plan refuses, is refused.
"""

from __future__ import annotations

import codecs
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TextIO
from uuid import UUID

from connector.bulk.results import request_data
from connector.bulk.run.paced_client import PacedClient, rows_per_request
from connector.bulk.sheet_file import whole_text
from connector.closing.close import Preview, preview_many
from connector.closing.digest import steps_digest
from connector.closing.model import Intent, Opportunity, Outcome, Plan, Snapshot, StepKind
from connector.closing.organization import LookupOrganization
from connector.closing.report import error_data, record_data
from connector.closing.request import parse_request
from connector.errors import ConnectorError, InputError
from connector.ledger.jobs import Row

CHUNK = 400
"""Rows looked at together."""
READS = 2 / 300
"""Requests that a row of a run costs for looking, before and after: one `$batch` for 300 rows each time."""
PLAN_VERSION = 1
_FAR = 10  # times the estimated value, or the tenth part of it
PROBLEMS = 5
"""Refused and failed rows that a summary names."""
NOT_APPROVED = "refused"
"""What stands for the digest of a plan where there is none to approve: no plan has it."""


@dataclass(frozen=True, slots=True)
class CloseGroup:
    """What the opportunities of a plan are counted by: how they end, and in which currency."""

    outcome: Outcome
    status: int
    currency_id: UUID | None

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        currency = None if self.currency_id is None else str(self.currency_id)
        return {"outcome": self.outcome.value, "status_reason": self.status, "currency_id": currency}


@dataclass(slots=True)
class Summary:
    """What a plan comes to. `steps` are writes, of which each counts towards the entitlement.

    `values` has the sum of the estimated values of each group of `closes`, `problems` the first rows that are not done,
    `days` the first and last close dates with names, `far` how many revenues are far from the estimate, and the first.
    """

    rows: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    closes: Counter[CloseGroup] = field(default_factory=Counter)
    values: defaultdict[CloseGroup, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    problems: list[dict[str, object]] = field(default_factory=list)
    days: list[tuple[str, str]] = field(default_factory=list)
    far: tuple[int, str] = (0, "")
    more: Mapping[str, object] = field(default_factory=dict)
    """What is known of the plans besides: what they set off (`side_effects`), what was asked (`asked`)."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return the closes of a plan, from what it says of itself in the end."""
        summary = cls()
        for part in data.get("closes", ()):
            currency = part["currency_id"] and UUID(part["currency_id"])
            group = CloseGroup(Outcome(part["outcome"]), part["status_reason"], currency)
            summary.closes[group], summary.values[group] = part["rows"], Decimal(part["value"])
        summary.days = [(day, name) for day, name in data.get("close_dates", ())]
        summary.far = tuple(data.get("far_revenues", summary.far))
        return summary

    def add_close(self, group: CloseGroup, intent: Intent, opportunity: Opportunity) -> None:
        """Count an opportunity that would be closed, and take in what is worth a look before that."""
        name, amount, estimate = opportunity.name, intent.actual_revenue, opportunity.estimated_value or Decimal()
        self.closes[group] += 1
        self.values[group] += estimate
        if intent.closed_on:
            days = [*self.days, (intent.closed_on.isoformat(), name)]
            self.days = [min(days), max(days)]
        if isinstance(amount, Decimal) and estimate > 0 and not estimate / _FAR <= amount <= estimate * _FAR:
            self.far = (self.far[0] + 1, self.far[1] or f"'{name}', {amount:,.2f} and not {estimate:,.2f}")

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "rows": self.rows,
            "close_dates": [[*day] for day in self.days],
            "far_revenues": [*self.far],
            **{status: self.by_status[status] for status in ("planned", "already_closed", "refused", "failed")},
            "reasons": dict(self.reasons.most_common()),
            "steps": self.steps,
            "closes": [
                group.data() | {"rows": n, "value": str(self.values[group])} for group, n in self.closes.items()
            ],
            "problems": self.problems,
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class Forecast:
    """What carrying out a plan will take: requests sent, operations counted by the entitlement, seconds."""

    requests: int
    operations: int
    seconds: float

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"requests": self.requests, "operations": self.operations, "seconds": round(self.seconds, 1)}


def forecast(summary: Summary, clients: Sequence[PacedClient], seconds_per_step: float) -> Forecast:
    """Return what carrying out the plan will take, at so many seconds of execution for each write.

    The rows go together as a run would send them at first; the budgets are those known now. The last row takes its own
    time.
    """
    rows, gate, share = summary.by_status["planned"], clients[0].gate, len(clients)
    reads = math.ceil(READS * summary.rows)
    requests = reads + math.ceil(rows / rows_per_request(gate, rows / share, gate.width(), rows))
    seconds = max(
        (
            client.gate.seconds_for(requests / share, summary.steps * seconds_per_step / share, float("inf"))
            for client in clients
        ),
        default=0.0,
    )
    last = seconds_per_step * summary.steps / rows if rows else 0.0
    return Forecast(requests, reads + summary.steps, seconds + last)


class PlanListener(Protocol):
    """Takes in each plan that is written, to say more of all of them."""

    def add(self, plan: Plan, snapshot: Snapshot) -> None:
        """Take one plan in."""

    def data(self) -> Mapping[str, object]:
        """Return what is to be said of all that were taken in, by name, as plain data. Called once, at the end."""


def write_plan(
    path: Path,
    head: Mapping[str, object],
    rows: Iterable[Row],
    organization: LookupOrganization,
    listener: PlanListener | None = None,
) -> Summary:
    """Write the plan of `rows` to a file and return what it comes to; changes nothing. Raises ConnectorError."""
    summary = Summary()
    with whole_text(path, encoding="utf-8") as file:
        _line(file, {"plan": PLAN_VERSION, **head})
        for row, preview in previews(rows, organization):
            _line(file, _planned(row, preview, summary))
            if listener is not None and isinstance(preview, Preview) and isinstance(preview.verdict, Plan):
                listener.add(preview.verdict, preview.snapshot)
        summary.more = listener.data() if listener is not None else {}
        _line(file, {"summary": summary.data()})
    return summary


def is_plan(path: Path) -> bool:
    """Return whether a file is a plan, by its first line. Raises InputError for one that was saved again as UTF-16."""
    try:
        if not path.is_file():  # a pipe gives its first bytes once only
            return False
        with path.open("rb") as file:
            begins = file.read(20).removeprefix(codecs.BOM_UTF8)
    except OSError:
        return False
    if begins[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} and '{"plan": ' in begins.decode("utf-16", "ignore"):
        raise InputError(f"{path} is a plan that was saved as UTF-16.", remedy="Save it as UTF-8, or plan again.")
    return begins.startswith(b'{"plan": ')


def read_head(path: Path) -> dict[str, object]:
    """Return what a plan says about itself."""
    with path.open(encoding="utf-8-sig") as file:
        head = _loaded(path, 1, file.readline())
    if head.get("plan") != PLAN_VERSION:
        raise InputError(f"{path} is a plan of another version.", remedy="Plan again.")
    return head


def read_summary(path: Path) -> Mapping[str, object]:
    """Return what a plan comes to, from its last line. Raises InputError for one that breaks off."""
    size, tail = path.stat().st_size, b""
    with path.open("rb") as file:
        for length in (2**power for power in range(16, 27)):
            file.seek(max(0, size - length))
            tail = file.read().rstrip()
            if b"\n" in tail or length >= size:
                break
    try:
        summary = json.loads(tail.rpartition(b"\n")[2])["summary"]
        assert isinstance(summary, Mapping)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(f"{path} breaks off, or it is no plan; nothing was touched.", remedy="Plan again.") from error
    return summary


def read_plan(path: Path, *, strict: bool = False) -> Iterator[Row]:
    """Return the rows of a plan, each bound to the steps that the plan says. Raises InputError.

    When `strict`, a row is bound to the versions of its records too: any touch of them refuses it.
    """
    read_head(path)
    ended = False
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(islice(file, 1, None), 2):
            data = _loaded(path, number, line)
            ended = "summary" in data
            if not ended:
                yield _row(path, number, data, strict=strict)
    if not ended:
        raise InputError(f"{path} breaks off; nothing was touched.", remedy="Plan again.")


def _row(path: Path, number: int, data: Mapping[str, object], *, strict: bool) -> Row:
    request, place = data.get("request"), data.get("row")
    if not isinstance(request, Mapping) or not isinstance(place, int):
        raise InputError(f"{path}, line {number}: this is no row of a plan; nothing was touched.", remedy="Plan again.")
    kept = data.get("kept")
    columns = {str(name): str(value) for name, value in kept.items()} if isinstance(kept, Mapping) else {}
    digest = data.get("digest") if strict else data.get("steps_digest") or data.get("digest")
    return Row(place, parse_request(request), plan=str(digest or NOT_APPROVED), kept=columns)


def _planned(row: Row, preview: Preview | ConnectorError, summary: Summary) -> dict[str, object]:
    """Return the line of a row and count it."""
    assert isinstance(row.intent, Intent)
    data: dict[str, object] = {"row": row.number, "request": request_data(row.intent)}
    if row.kept:
        data["kept"] = dict(row.kept)
    if isinstance(preview, ConnectorError):
        data |= {"status": "failed", "reason_code": type(preview).__name__, "reason": preview.message}
        data["error"] = error_data(preview)
    elif isinstance(preview.verdict, Plan):
        steps = [f"{step.kind} {step.label}" for step in preview.verdict.steps]
        data |= {"name": preview.snapshot.opportunity.name, "steps": steps, "digest": preview.verdict.digest}
        data["steps_digest"] = steps_digest(preview.verdict)
        data["status"] = "planned" if steps else "already_closed"
        summary.steps += len(steps)
        opportunity = preview.snapshot.opportunity
        for step in preview.verdict.steps:
            if step.kind is StepKind.CLOSE_OPPORTUNITY:
                group = CloseGroup(row.intent.outcome, step.status or 0, opportunity.currency_id)
                summary.add_close(group, row.intent, opportunity)
    else:
        data |= {"name": preview.snapshot.opportunity.name, "status": "refused"}
        data |= {"reason_code": preview.verdict.code, "reason": preview.verdict.reason}
    if isinstance(preview, Preview):
        customer = preview.snapshot.opportunity.customer_id
        data["record"] = record_data(preview.snapshot.opportunity) | ({"customer": str(customer)} if customer else {})
    summary.rows += 1
    summary.by_status[str(data["status"])] += 1
    if "reason_code" in data:
        summary.reasons[str(data["reason_code"])] += 1
        if len(summary.problems) < PROBLEMS:
            problem = {name: data[name] for name in ("row", "name", "status", "reason") if name in data}
            summary.problems.append(problem | {"opportunity_id": str(row.intent.opportunity_id)})
    return data


def previews(rows: Iterable[Row], organization: LookupOrganization) -> Iterator[tuple[Row, Preview | ConnectorError]]:
    """Return what closing or reopening each row would do now, or why that is not known. Raises ConnectorError."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield from zip(chunk, preview_many(organization, [row.intent for row in chunk]), strict=True)


def _line(file: TextIO, data: Mapping[str, object]) -> None:
    file.write(json.dumps(data, ensure_ascii=False) + "\n")


def _loaded(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(
            f"{path}, line {number}: this is no line of a plan; nothing was touched.", remedy="Plan again."
        )
    return data
