"""What a row costs in an organization, as far as that was measured: by rows that were asked, or by a pilot job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from connector.bulk.status import done_of, status_data
from connector.errors import InputError
from connector.ledger.ledger import Ledger

LEAST_ERROR, MOST_ERROR = 0.25, 0.9
"""By which share the mean time of rows that were asked is off under load, at least and at most."""
LEAST_OF_JOB, OF_ONE_ROW = 0.05, 1.2
"""By which share the mean of a pilot's rows is off: at least, and twice that of one row (over the root of the rows)."""


@dataclass(frozen=True, slots=True)
class RowCost:
    """Seconds of work per row on average, give or take a share of it, and web servers, None where not told.

    `steps` are the writes that such a row had on average, 0 where not told: rows with more of them take longer.
    `rows` is the size of the job that was measured, its reads and the ways there and back included; 0: writes alone.
    """

    seconds_per_row: float
    servers: int | None = None
    error: float = 0.0
    steps: float = 0.0
    rows: int = 0

    def of(self, steps: float) -> float:
        """Return the seconds of work of a row with so many writes."""
        return self.seconds_per_row * (steps / self.steps if self.steps else 1.0)


def cost_as_answered(summary: Mapping[str, object]) -> RowCost | None:
    """Return what the rows told that were asked for a plan, by its summary; None where none was."""
    answers = summary.get("asked")
    if not isinstance(answers, Mapping) or not answers.get("seconds"):
        return None
    seconds = float(answers["seconds"])
    error = min(MOST_ERROR, max(LEAST_ERROR, 2 * float(answers["error"]) / seconds))
    return RowCost(seconds, error=error, steps=float(answers["steps"]))


def cost_of_job(ledger: Ledger, name: str) -> RowCost:
    """Return what the last run of a job told. Raises InputError where it did not."""
    status = status_data(ledger, ledger.job(name))
    governor = status.get("governor")
    seconds = governor.get("executed_per_row") if isinstance(governor, Mapping) else None
    done = done_of(status)
    if not isinstance(governor, Mapping) or not seconds or not done:
        raise InputError(
            f"The job {name} did not tell what a row takes: it closed no rows, or is of another version.",
            remedy="Run a pilot of a thousand rows, then rehearse with --learn.",
        )
    servers = max(int(user["servers"]) for user in governor["users"])
    error = min(MOST_ERROR, max(LEAST_OF_JOB, OF_ONE_ROW / math.sqrt(done)))
    return RowCost(float(seconds), servers, error, int(str(status["operations"])) / done, done)
