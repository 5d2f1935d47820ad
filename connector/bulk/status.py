"""Where a job stands, as plain data for programs, whoever works on it and on whatever machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.bulk.run.paced_client import PacedClient, PacerStatus
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.ledger.jobs import Counts, Job
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import worker_key
from connector.ledger.user_slots import SavedState, UserSlots


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
        "state": job.state.value,
        "desired_state": job.desired_state.value,
        **counts.data(),
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
    budgets = UserSlots(ledger)
    told = [one for worker in present if (one := budgets.recall(worker_key(worker.id)))]
    last = budgets.recall(f"job {job.name}")
    data["governor"] = together(told or ([last] if last else []))
    return data


def together(told: Sequence[SavedState]) -> dict[str, object] | None:
    """Return as one what the governors of several workers do: rates add up, and so does what is done per second.

    The binding is that of the worker with the most requests; None when nobody has told anything.
    """
    if not told:
        return None
    busiest = max(told, key=lambda one: sum(_number(lane, "requests") for lane in _lanes(one)))
    ceilings = [_number(one.data, "ceiling") for one in told if one.data["ceiling"] is not None]
    ends = [_number(one.data, "left") for one in told if one.data["left"] is not None]
    done_at_once = not all(ends)
    return {
        "binding": busiest.data["binding"],
        "waiting": min(_number(one.data, "waiting") for one in told),
        "rate": round(sum(_number(one.data, "rate") for one in told), 2),
        "ceiling": round(sum(ceilings), 2) if ceilings else None,
        "in_hand": sum(int(_number(one.data, "in_hand")) for one in told),
        "in_doubt": sum(int(_number(one.data, "in_doubt")) for one in told),
        "left": (0.0 if done_at_once else round(1 / sum(1 / end for end in ends), 2)) if ends else None,
        "lanes": [lane for one in told for lane in _lanes(one)],
        "at": max(one.at for one in told).isoformat(),
    }


def _lanes(told: SavedState) -> Sequence[Mapping[str, object]]:
    lanes = told.data["lanes"]
    assert isinstance(lanes, list)
    return lanes


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
        "lanes": [pace_data(name, pace) for name, pace in snapshot.paces],
    }


def pace_data(name: str, pace: PacerStatus) -> dict[str, object]:
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


def lanes_data(lanes: Sequence[PacedClient]) -> list[dict[str, object]]:
    """Return what the governors of lanes are doing now."""
    return [pace_data(lane.name, lane.gate.pace()) for lane in lanes]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 2)


def done_of(data: Mapping[str, object]) -> int:
    """Return how many rows have a result."""
    return int(str(data["total"])) - int(str(data["pending"])) - int(str(data["claimed"]))


def numbers(data: Mapping[str, object]) -> dict[str, float]:
    """Return what those who work on a job say of their pace, as far as it is known; empty when nobody said anything."""
    governor = data["governor"]
    found = governor if isinstance(governor, Mapping) else {}
    return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}


def parts_of(data: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    """Return a list of parts in the data of a job."""
    found = data[name]
    assert isinstance(found, list)
    return found
