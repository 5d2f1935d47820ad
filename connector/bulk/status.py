"""Where the jobs of a store stand and what came of their rows, as plain data for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from connector.bulk.job_rules import last_run_data, undo_name
from connector.bulk.results import result_data
from connector.bulk.run.paced_client import PacedClient
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.clock import SystemClock
from connector.closing.bypass import NO_BYPASS, bypass_of
from connector.handler import PacingStatus
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import worker_key
from connector.ledger.shared_state import SavedState, recall
from connector.ledger.store import open_ledger


def status_data(ledger: Ledger, job: Job) -> dict[str, object]:
    """Return the counts of a job, what is wanted of it, who works on it, and what the governors did last.

    `governor` is None before the first run; its `at` says when it was so. While several work on the job it is that of
    all of them together.
    """
    present = ledger.workers(job.name)
    counts = ledger.counts(job.name)
    data: dict[str, object] = {
        "job": job.name,
        "kind": job.kind.value,
        "organization": job.organization,
        "started_by": str(job.options.get("started_by", "")),
        "bypass": bypass_of(job.options, NO_BYPASS).text,
        "state": job.state.value,
        "desired_state": job.desired_state.value,
        **counts.data(),
        **limits_data(ledger, job, counts),
        "reasons": reasons_data(counts),
        "tried_later": [
            {"reason": reason, "count": count, "seconds": round(seconds, 1)}
            for reason, count, seconds in ledger.tried_later(job.name)
        ],
        "created": job.created.isoformat(),
        "finished": job.finished.isoformat() if job.finished else None,
        "workers": [worker.name for worker in present],
        "heard_seconds_ago": {
            worker.name: round(max(0.0, ledger.now() - worker.last_heard.timestamp()), 1) for worker in present
        },
    }
    data["last_run"] = last_run_data(ledger, job, at_work=bool(present))
    budgets_told = [budget for worker in present if (budget := recall(ledger, worker_key(worker.id)))]
    last = recall(ledger, f"job {job.name}")
    data["governor"] = together(budgets_told or ([last] if last else []), ledger.now())
    return data


def limits_data(ledger: Ledger, job: Job, counts: Counts) -> dict[str, object]:
    """Return what a person allows the job, how much of it is used, and whether it waits or has ended because of it."""
    limits, now = JobLimits.of(job.options), ledger.clock.now()
    ready = job.state is JobState.READY
    opens_at = limits.opens_at(now) if ready and job.desired_state is DesiredState.RUN else None
    return {
        "limits": limits.data(),
        "limit_reached": limits.reached(now, counts, job.operations) or ledger.paused_by(job) if ready else "",
        "sleeps_until": None if opens_at is None else opens_at.astimezone(UTC).isoformat(),
        "operations": job.operations,
    }


def together(states: Sequence[SavedState], now: float) -> dict[str, object] | None:
    """Return as one what the governors of several workers do: rates add up, and so does what is done per second.

    What was left when they told it is less at `now` (seconds since 1970); one that waits and does not know hides it.
    The binding is that of the worker with the most requests among those that have rows; None when nobody told anything.
    """
    if not states:
        return None
    held = [state for state in states if state.data["binding"] != "rows"] or states
    busiest = max(held, key=lambda state: sum(_number(user, "requests") for user in _users(state)))
    ceilings = [_number(state.data, "ceiling") for state in states if state.data["ceiling"] is not None]
    ends = [
        max(0.0, _number(state.data, "left") - now + state.at.timestamp())
        for state in states
        if state.data["left"] is not None
    ]
    is_known = ends and not any(state.data["left"] is None and _number(state.data, "waiting") for state in states)
    done_at_once = not all(ends)
    return {
        "binding": busiest.data["binding"],
        "waiting": min(_number(state.data, "waiting") for state in held),
        "rate": round(sum(_number(state.data, "rate") for state in states), 2),
        "ceiling": round(sum(ceilings), 2) if ceilings else None,
        "in_hand": sum(int(_number(state.data, "in_hand")) for state in states),
        "in_doubt": sum(int(_number(state.data, "in_doubt")) for state in states),
        "left": (0.0 if done_at_once else round(1 / sum(1 / end for end in ends), 2)) if is_known else None,
        "executed_per_row": busiest.data.get("executed_per_row"),
        "users": [user for state in states for user in _users(state)],
        "at": max(state.at for state in states).isoformat(),
    }


def _users(state: SavedState) -> Sequence[Mapping[str, object]]:
    users = state.data.get("users") or state.data["lanes"]  # as version 0.1 wrote it
    assert isinstance(users, list)
    return users


def _number(data: Mapping[str, object], name: str) -> float:
    return float(str(data.get(name, 0)))


def reasons_data(counts: Counts) -> list[dict[str, object]]:
    """Return how many rows were refused or failed for which reason, the most frequent first."""
    ordered = sorted(counts.reasons.items(), key=lambda pair: -pair[1])
    return [{"status": status.value, "reason": reason, "count": count} for (status, reason), count in ordered if count]


def governor_data(snapshot: ProgressSnapshot) -> dict[str, object]:
    """Return what a run's governors are doing; rates are in rows per second, times in seconds."""
    return {
        "binding": str(snapshot.binding),
        "waiting": round(snapshot.waiting, 1),
        "rate": round(snapshot.rate, 2),
        "ceiling": _rounded(snapshot.ceiling),
        "left": _rounded(snapshot.left),
        "in_hand": snapshot.in_hand,
        "in_doubt": snapshot.in_doubt,
        "executed_per_row": None if snapshot.executed_per_row is None else round(snapshot.executed_per_row, 4),
        "users": [pace_data(name, pace) for name, pace in snapshot.paces],
    }


def pace_data(name: str, pace: PacingStatus) -> dict[str, object]:
    """Return what one user's governor is doing."""
    return {
        "name": name,
        "binding": str(pace.binding),
        "waiting": round(pace.waiting, 1),
        "ceiling": round(pace.ceiling, 2),
        "in_flight": pace.in_flight,
        "most_in_flight": pace.most_in_flight,
        "servers": pace.servers,
        "seconds_per_row": round(pace.seconds_per_part, 3),
        "requests": pace.requests,
        "refused": pace.refused,
    }


def users_data(clients: Sequence[PacedClient]) -> list[dict[str, object]]:
    """Return what the governor of each user is doing now."""
    return [pace_data(client.name, client.gate.pace()) for client in clients]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 2)


def done_of(data: Mapping[str, object]) -> int:
    """Return how many rows have a result."""
    return int(str(data["total"])) - int(str(data["pending"])) - int(str(data["claimed"]))


def numbers(data: Mapping[str, object]) -> dict[str, float]:
    """Return what those who work on a job say of their pace, as far as it is known; empty when nobody said anything."""
    governor = data["governor"]
    values = governor if isinstance(governor, Mapping) else {}
    return {str(name): float(value) for name, value in values.items() if isinstance(value, int | float)}


def parts_of(data: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    """Return a list of parts in the data of a job."""
    parts = data[name]
    assert isinstance(parts, list)
    return parts


@dataclass(frozen=True, slots=True)
class JobReport:
    """Where a job stands: how many rows it has of each status, and why rows were refused or failed.

    `unfinished` says that rows are left and nobody stopped it: `bulk resume` goes on. `retryable` is how many failed
    rows `bulk retry` would try again; none of a job that was undone. Times have a zone.

    >>> with Jobs(load_settings().store) as jobs:
    ...     [(report.name, report.counts["closed"]) for report in jobs.since(datetime.min.replace(tzinfo=UTC))]
    [('example', 1)]
    """

    name: str
    created: datetime
    finished: datetime | None
    counts: Mapping[str, int]
    reasons: tuple[Mapping[str, object], ...]
    unfinished: bool
    retryable: int


class Jobs:
    """The jobs of a store, as CONNECTOR_STORE names it; use it in a `with` statement. Methods raise LedgerError.

    >>> with Jobs(load_settings().store) as jobs:
    ...     report = jobs.report("example")
    ...     [row["status"] for row in jobs.rows("example")]
    ['closed']
    >>> report.unfinished
    False
    """

    def __init__(self, store: str) -> None:
        self._ledger: Ledger = open_ledger(store, SystemClock())

    def __enter__(self) -> Self:
        """Return the jobs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self._ledger.close()

    def report(self, name: str) -> JobReport:
        """Return where the job of this name stands."""
        return self._report(self._ledger.whole(name))

    def since(self, moment: datetime) -> list[JobReport]:
        """Return the jobs that were made or finished since then, the oldest first; those being loaded are left out."""
        return [
            self._report(job)
            for job in reversed(self._ledger.jobs())
            if job.state is not JobState.LOADING and max(job.created, job.finished or job.created) >= moment
        ]

    def rows(self, name: str) -> Iterator[Mapping[str, object]]:
        """Yield what came of each row, in the shape of a line of `bulk report NAME rows.jsonl`."""
        for record in self._ledger.records(self._ledger.whole(name).name, ()):
            yield result_data(record)

    def _report(self, job: Job) -> JobReport:
        counts = self._ledger.counts(job.name)
        undone = self._ledger.find(undo_name(job)) is not None
        return JobReport(
            name=job.name,
            created=job.created,
            finished=job.finished,
            counts=counts.data(),
            reasons=tuple(reasons_data(counts)),
            unfinished=job.state is JobState.READY and job.desired_state is DesiredState.RUN,
            retryable=0 if undone else counts.of(ItemStatus.FAILED),
        )


SHOW_EVERY = 1.0
"""Seconds between looks at how far a job is."""


class JobProgress:
    """Looks at a job that many may work on, and gives its status to `show` about once a second."""

    def __init__(self, ledger: Ledger, job: Job, show: Callable[[Mapping[str, object]], None]) -> None:
        self._ledger = ledger
        self._name = job.name
        self._clock = ledger.clock
        self._show = show
        self._shown_at = float("-inf")

    def done(self) -> bool:
        """Return whether nothing is left to be done, or nothing more is wanted."""
        job = self._ledger.find(self._name)
        if job is not None and self._clock.monotonic() - self._shown_at >= SHOW_EVERY:
            self._shown_at = self._clock.monotonic()
            self._show(status_data(self._ledger, job))
        return job is None or job.state is not JobState.READY or job.desired_state is not DesiredState.RUN
