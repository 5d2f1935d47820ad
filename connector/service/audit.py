"""The audit trail: who asked for what, from which run of which flow, and what changed. Lines are only ever added.

A line is one JSON object: ids, states and status reasons, never names, amounts or other text of customers. An end is
written before the ledger has it, so after a crash a line may stand twice (the same operation and attempt), never not.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from connector.clock import Clock
from connector.closing.model import Intent, Quote, Report, Snapshot, StepStatus
from connector.closing.report import error_data
from connector.errors import LedgerError
from connector.ledger.jobs import Item, Job
from connector.service.auth.caller import Caller


class AuditTrail(Protocol):
    """Where audit records go."""

    def write(self, record: Mapping[str, object]) -> None:
        """Add a record, durably; raises LedgerError when that cannot be done."""


class AuditFile:
    """An audit trail in a file that is only ever added to, a line at a time; made if need be, for its owner's eyes.

    A record has reached the disk when `write` returns; records that are written side by side share the way there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._sentences():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0
        self._torn = False

    def write(self, record: Mapping[str, object]) -> None:
        """Add a line in one write, which several processes may do side by side, and wait until it is on the disk."""
        line = json.dumps(dict(record), separators=(",", ":")).encode() + b"\n"
        with self._sentences():
            number = self._append(line)
            with self._syncing:
                if self._synced < number:
                    reached = self._written
                    _to_disk(self._descriptor)
                    self._synced = reached

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _append(self, line: bytes) -> int:
        """Write the line, after what is left of one that the disk had no room for; return how many there are."""
        with self._writing:
            whole = b"\n" + line if self._torn else line
            self._torn = True
            if os.write(self._descriptor, whole) < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._torn = False
            self._written += 1
            return self._written

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            failure = LedgerError(
                f"The audit trail cannot be written: {error.strerror or type(error).__name__}.",
                remedy=f"Make room and see who may write there, or set CONNECTOR_SERVICE_AUDIT (it is {self._path}).",
            )
            failure.transient = True
            raise failure from error


_to_disk = getattr(os, "fdatasync", os.fsync)
"""The first says less of the file's times to the disk; not every system has it."""


def of_request(
    event: str, operation_id: str, caller: Caller, clock: Clock, facts: Mapping[str, object]
) -> dict[str, object]:
    """Return the record of something a caller did to an operation: `accepted`, `repeated`, `canceled` or `retried`."""
    return {
        "at": clock.now().isoformat(),
        "event": event,
        "operation": operation_id,
        "caller": who(caller),
        **{name: value for name, value in facts.items() if value},
    }


def of_end(job: Job, item: Item, report: Report, caller: Caller, clock: Clock) -> dict[str, object]:
    """Return the record of what came of an operation."""
    asked = item.intent.outcome.value if isinstance(item.intent, Intent) else "open"
    return {
        "at": clock.now().isoformat(),
        "event": "ended",
        "operation": job.name,
        "attempt": item.attempts,
        "caller": who(caller),
        "run": job.options.get("run_id", ""),
        "opportunity": str(report.opportunity_id),
        "asked": asked,
        "result": report.status.value,
        "reason": report.reason_code,
        **_failure(report),
        "changes": changes(report.before, report.after),
        "activities": [
            str(result.step.activity_id)
            for result in report.steps
            if result.step.activity_id and result.status is StepStatus.DONE
        ],
    }


def _failure(report: Report) -> dict[str, object]:
    """Return why it failed, without the organization's own text: this is kept, and read by others."""
    told = error_data(report.error) if report.error else {}
    return {"error": {name: told[name] for name in told if name not in ("detail", "trace", "claims")}} if told else {}


def who(caller: Caller) -> dict[str, str]:
    """Return a caller for the record."""
    return {
        "kind": caller.kind.value,
        "tenant": caller.tenant_id,
        "object": caller.object_id,
        "application": caller.application_id,
    }


def changes(before: Snapshot | None, after: Snapshot | None) -> list[dict[str, object]]:
    """Return each row whose state or status reason is another, with both; a row that is gone has no `after`."""
    if before is None or after is None:
        return []
    stood: dict[object, Quote] = {quote.id: quote for quote in after.quotes}
    rows = [("opportunity", before.opportunity.id, _stand(before.opportunity), _stand(after.opportunity))]
    rows += [("quote", quote.id, _stand(quote), _stand(stood.get(quote.id))) for quote in before.quotes]
    return [
        {"table": table, "record": str(id_), "before": old, "after": new} for table, id_, old, new in rows if old != new
    ]


def _stand(row: object) -> dict[str, int] | None:
    state, status = getattr(row, "state", None), getattr(row, "status", None)
    return {"state": int(state), "status": status} if state is not None and status is not None else None
