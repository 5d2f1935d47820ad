"""Where a job stands, as plain data for programs, whoever works on it and on whatever machine."""

from __future__ import annotations

from collections.abc import Sequence

from connector.bulk.lanes import Lane, Pace
from connector.bulk.ledger import Ledger
from connector.bulk.ledger_budget import Budgets
from connector.bulk.ledger_model import Counts, Job
from connector.bulk.progress import Moment


def status_data(ledger: Ledger, job: Job) -> dict[str, object]:
    """Return the counts of a job, what is wanted of it, who works on it, and what the governors did last.

    `governor` is None before the first run; its `at` says when it was so.
    """
    counts = ledger.counts(job.name)
    data: dict[str, object] = {
        "job": job.name,
        "kind": job.kind.value,
        "state": job.state.value,
        "wish": job.wish.value,
        **counts.data(),
        "reasons": reasons_data(counts),
        "created": job.created.isoformat(),
        "finished": job.finished.isoformat() if job.finished else None,
        "workers": [worker.name for worker in ledger.present(job.name)],
    }
    told = Budgets(ledger).recall(f"job {job.name}")
    data["governor"] = {**told.data, "at": told.at.isoformat()} if told is not None else None
    return data


def reasons_data(counts: Counts) -> list[dict[str, object]]:
    """Return how many rows were refused or failed for which reason, the most frequent first."""
    ordered = sorted(counts.reasons.items(), key=lambda pair: -pair[1])
    return [{"status": status.word, "reason": reason, "count": count} for (status, reason), count in ordered if count]


def governor_data(moment: Moment) -> dict[str, object]:
    """Return what a run's governors are doing; rates are in rows per second, times in seconds."""
    return {
        "binding": str(moment.binding),
        "waiting": round(moment.waiting, 1),
        "rate": round(moment.rate, 2),
        "ceiling": _rounded(moment.ceiling),
        "left": _rounded(moment.left),
        "lanes": [pace_data(name, pace) for name, pace in moment.paces],
    }


def pace_data(name: str, pace: Pace) -> dict[str, object]:
    """Return what one user's governor is doing."""
    return {
        "name": name,
        "binding": str(pace.binding),
        "waiting": round(pace.waiting, 1),
        "ceiling": round(pace.ceiling, 2),
        "in_flight": pace.in_flight,
        "most_in_flight": pace.most_in_flight,
        "servers": pace.servers,
        "requests": pace.requests,
        "refused": pace.refused,
    }


def lanes_data(lanes: Sequence[Lane]) -> list[dict[str, object]]:
    """Return what the governors of lanes are doing now."""
    return [pace_data(lane.name, lane.gate.pace()) for lane in lanes]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 2)
