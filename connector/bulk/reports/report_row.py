"""A row of a job for people: which record, who closed it and when, what it is worth, what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from uuid import UUID

from connector.closing.model import Intent, Outcome
from connector.ledger.jobs import ItemStatus, Record

LINK = "{organization}/main.aspx?etn=opportunity&pagetype=entityrecord&id={id}"
"""The address of a record in the app. Source: Microsoft Learn, "Open apps, forms, views, dialogs, and reports with a
URL"."""
_CLOSE = "close_opportunity"
_WRITTEN = frozenset({ItemStatus.CLOSED, ItemStatus.REOPENED, ItemStatus.UNDONE})
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OrganizationNames:
    """What ids and numbers of an organization stand for: currencies, their decimals and users, reasons by value."""

    currencies: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    decimals: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, object]) -> OrganizationNames:
        """Return what `data` had kept."""
        return cls(*(_texts(data.get(name)) for name in ("currencies", "reasons", "users", "decimals")))

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)

    def amount(self, value: Decimal | None, currency: object) -> Decimal | None:
        """Return an amount with the decimals of its currency; two where they are not known."""
        unit = Decimal(1).scaleb(-int(self.decimals.get(str(currency), "2")))
        return None if value is None else value.quantize(unit, ROUND_HALF_UP)

    def user(self, id_: object) -> str:
        """Return the name of a user, else what was given: an id or a name."""
        return self.users.get(str(id_).lower(), str(id_))

    def of_users(self, text: str) -> str:
        """Return a text with the names of users in the place of their ids."""
        return _ID.sub(lambda match: self.user(match[0]), text)


UNNAMED = OrganizationNames()


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row. `value` is the actual revenue of a won opportunity, as it was read or asked, else the estimated value.

    `status` is what came of it, `reason` the status reason it was closed with, `cause` the stable code of a refusal or
    failure, `message` and `remedy` say it to a person, `detail` is what the organization said, `plug_in` which part of
    its own logic (with its step), `stands` where the record stands. `by` is the user of the settings who wrote.
    """

    number: int
    opportunity_id: UUID
    link: str
    name: str
    owner: str
    outcome: str
    reason: str
    status: str
    cause: str = ""
    message: str = ""
    remedy: str = ""
    detail: str = ""
    plug_in: str = ""
    stands: str = ""
    by: str = ""
    ended: datetime | None = None
    value: Decimal | None = None
    currency: str = ""
    activity_id: str = ""
    request_id: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


def report_row(record: Record, organization: str, names: OrganizationNames) -> ReportRow:
    """Return what is told of a record of a job of the organization at this `https://` address."""
    report: Mapping[str, object] = record.report or {}
    facts, error = _part(report, "record"), _part(report, "error")
    step: Mapping[str, object] = next((each for each in steps_in(report) if each.get("kind") == _CLOSE), {})
    intent = record.intent if isinstance(record.intent, Intent) else None
    stood = _part(report, "before") if record.status is ItemStatus.CLOSED and not step else {}  # closed by a killed run
    status, requested = step.get("status_reason", stood.get("status")), str(intent.status or "") if intent else ""
    more = [text for name in ("warnings", "notes") for text in _list(report, name)]
    message = error.get("message") or report.get("reason") or " ".join([record.status.sentence, *map(str, more)])
    revenue = _revenue(intent, step, facts if record.status is ItemStatus.CLOSED else {})
    return ReportRow(
        number=record.row,
        opportunity_id=record.opportunity_id,
        link=LINK.format(organization=organization, id=record.opportunity_id),
        name=str(facts.get("name", "")),
        owner=names.user(facts.get("owner", "")),
        outcome=intent.outcome.value if intent else "open",
        reason=requested if status is None else names.reasons.get(str(status), str(status)),
        status=record.status.value,
        cause=record.reason,
        message=names.of_users(str(message)),
        remedy=str(error.get("remedy", "")),
        detail=" ".join(str(error.get("detail", "")).split()),
        plug_in=", ".join(str(error[name]) for name in ("plug_in", "step_id", "solution") if error.get(name)),
        stands=str(report.get("stands", "")),
        by=names.user(facts.get("by", "")) if record.status in _WRITTEN else "",
        ended=record.ended,
        value=names.amount(revenue if revenue is not None else amount_of(facts.get("value")), facts.get("currency")),
        currency=names.currencies.get(str(facts.get("currency")), ""),
        activity_id=str(step.get("activity_id", "")),
        request_id=str(error.get("request_id") or step.get("request_id") or ""),
        kept=record.kept,
    )


def _revenue(intent: Intent | None, step: Mapping[str, object], seen: Mapping[str, object]) -> Decimal | None:
    """Return the actual revenue of a won opportunity: what was `seen`, or what the close said it to be."""
    if intent is None or intent.outcome is not Outcome.WON:
        return None
    requested = intent.actual_revenue if isinstance(intent.actual_revenue, Decimal) else None
    written = amount_of(seen.get("revenue") or _part(step, "activity").get("actualrevenue"))
    return written if written is not None else requested


def amount_of(text: object) -> Decimal | None:
    """Return an amount as plain data has it."""
    try:
        return None if text in (None, "") else Decimal(str(text))
    except InvalidOperation:
        return None


def steps_in(report: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the steps of a report, with what came of each, as plain data."""
    yield from (step for step in _list(report, "steps") if isinstance(step, Mapping))


def _list(data: Mapping[str, object], name: str) -> Sequence[object]:
    part = data.get(name)
    return part if isinstance(part, list) else ()


def _part(data: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = data.get(name)
    return part if isinstance(part, Mapping) else {}


def _texts(data: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in data.items()} if isinstance(data, Mapping) else {}
