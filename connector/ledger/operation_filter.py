"""Which operations to list, as their viewer chooses them, and where each is in the viewer's words."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from connector.ledger.schema import Value

DONE, FAILED = ("closed", "already_closed", "reopened", "already_open", "undone"), ("failed", "refused")
STATUS_SQL = (
    f"CASE WHEN item.status IN {DONE} THEN 'done' WHEN item.status IN {FAILED} THEN 'failed'"
    " WHEN job.state = 'finished' THEN 'canceled' WHEN item.status = 'pending' THEN 'queued'"
    " WHEN item.status = 'claimed' THEN 'running' ELSE 'waiting' END"
)
"""Where an operation is, in the words of those who look at it."""


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Which operations to list: of one owner or of a whole tenant; whatever else is empty chooses nothing.

    `status` is queued, running, waiting, done, failed or canceled; `cause` the reason code of a failure or refusal.
    They were accepted from `since` until before `until` (seconds since 1970). `text` stands in one of their ids, or
    in the name of the caller or of the opportunity, in any case; a whole id is looked for by the database.
    """

    owner: str = ""
    tenant: str = ""
    status: str = ""
    cause: str = ""
    since: float = 0.0
    until: float = 0.0
    text: str = ""

    @property
    def id(self) -> UUID | None:
        """Return the id that `text` is; None where it is any other text."""
        try:
            return UUID(self.text) if self.text else None
        except ValueError:
            return None

    @property
    def condition(self) -> tuple[str, list[Value]]:
        """Return the filter as SQL with its values; a text that is no id is looked for by `OperationStore`."""
        chosen: dict[str, Value] = {
            "job.owner = ?": self.owner,
            "job.tenant = ?": self.tenant,
            f"{STATUS_SQL} = ?": self.status,
            "item.reason = ?": self.cause,
            "job.created >= ?": self.since,
            "job.created < ?": self.until,
        }
        parts = [part for part, value in chosen.items() if value]
        values: list[Value] = [value for value in chosen.values() if value]
        if self.id:
            in_options = "LOWER(job.options) LIKE ?"
            parts.append(f"(item.opportunity = ? OR job.name = ? OR {in_options} OR {in_options})")
            values += [self.id.bytes, self.id.hex, f"%{self.id}%", f"%{self.id.hex}%"]
        return "".join(f" AND {part}" for part in parts), values


EVERY_OPERATION = OperationFilter()


@dataclass(frozen=True, slots=True)
class OperationCount:
    """How many operations are at a status, and why where they failed."""

    status: str
    cause: str
    count: int
