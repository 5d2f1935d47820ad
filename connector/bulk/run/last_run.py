"""How the last run of a job ended, kept for whoever asks later: why it stopped, which rows it had not checked yet."""

from __future__ import annotations

from collections.abc import Mapping

from connector.errors import ConnectorError
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.user_slots import UserSlots

KILLED = (
    "killed",
    "The last run was broken off: killed, machine down, or disk full. Nothing is lost or done twice.",
)
STOPPED = ("stopped", "The last run was stopped by Ctrl-C or by the system; what was in flight was finished.")
BLOCKED = "blocked"
_GO_ON = "Go on with bulk resume."


def is_running(ledger: Ledger, job: str, unchecked_since: float) -> None:
    """Write down, now and then, since when (seconds since 1970) rows are recorded and not checked.

    It stays when the run is killed: then that is how it ended.
    """
    _remember(ledger, job, {"why": KILLED[0], "message": KILLED[1], "unchecked_since": unchecked_since})


def has_ended(ledger: Ledger, job: str, blocked: ConnectorError | None, unchecked_since: float | None = None) -> None:
    """Write down that a run has ended by itself, because of `blocked` if that is so, and what it left unchecked."""
    data = {"why": STOPPED[0], "message": STOPPED[1]}
    if blocked is not None:
        data = {"why": BLOCKED, "message": blocked.message, "remedy": blocked.remedy}
    _remember(ledger, job, data | {"unchecked_since": unchecked_since})


def last_run_data(ledger: Ledger, job: Job, *, at_work: bool) -> dict[str, str] | None:
    """Return why nobody works on a job that is to be done, since when, and what to do; None where that is known."""
    left = UserSlots(ledger).recall(_key(job.name))
    if left is None or at_work or job.state is JobState.FINISHED or job.desired_state is not DesiredState.RUN:
        return None
    reasons = {name: str(left.data.get(name) or "") for name in ("why", "message", "remedy")}
    return reasons | {"remedy": reasons["remedy"] or _GO_ON, "at": left.at.isoformat()}


def unchecked(ledger: Ledger, job: str) -> int:
    """Return how many rows a run which was killed had recorded as closed and not checked yet."""
    since = _unchecked_since(ledger, job)
    return 0 if since is None else ledger.closed_since(job, since)


def check_again(ledger: Ledger, job: str) -> None:
    """Give back the rows that are `unchecked`, where nobody works: who takes them up looks at the close activities."""
    since = _unchecked_since(ledger, job)
    if since is not None and not ledger.workers(job):
        ledger.retry(job, (ItemStatus.CLOSED,), since=since)
        _remember(ledger, job, {"why": KILLED[0], "message": KILLED[1]})


def _unchecked_since(ledger: Ledger, job: str) -> float | None:
    left = UserSlots(ledger).recall(_key(job))
    since = left.data.get("unchecked_since") if left else None
    return since if isinstance(since, float) else None


def _remember(ledger: Ledger, job: str, data: Mapping[str, object]) -> None:
    UserSlots(ledger).remember(_key(job), data)


def _key(job: str) -> str:
    return f"last run of {job}"
