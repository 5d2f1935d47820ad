"""Takes requests in: each becomes an operation in the ledger before anything is done, or finds the one it repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from connector.closing.field import FieldKind
from connector.closing.intent import HOSTED_FIELDS, OPPORTUNITY_ID, AnyIntent, ReopenIntent
from connector.closing.request import parse_request
from connector.ledger.audit import AuditEntry, AuditSource, source_of
from connector.ledger.jobs import NOT_DONE, ItemStatus, Job, JobKind
from connector.ledger.operation_filter import EVERY_OPERATION, OperationFilter
from connector.ledger.operation_store import KeyReused, NewOperation, OperationStore, StoredOperation
from connector.service.auth.caller import Caller, CallerKind, acts_as_user, may_see, may_see_job
from connector.service.dependencies import Dependencies
from connector.service.operations.operation_keys import KeyKind, key_of, run_of
from connector.service.operations.operation_results import is_finished, stands
from connector.service.operations.status_links import UNKNOWN, Seal
from connector.service.problems import Problem, RequestRefused, busy, declined
from connector.service.schemas.request_models import CloseBody, CloseFields, ReopenBody
from connector.service.service_options import ServiceOptions

WAITING = "waiting"
"""The event that says until when an operation waits."""
MOST_RETRIED = 500
"""Operations that are tried again at once."""
_NONCE, _ID = 12, 16


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """A request to change something; `key` is the header's, names in `headers` are lower case.

    `trace` names the span of the request for what comes of it (see `telemetry.Span.context`), `door` is mcp for agents.
    """

    operation: str
    opportunity_id: UUID
    body: CloseBody | ReopenBody
    key: str | None
    headers: Mapping[str, str]
    caller: Caller
    correlation_id: str
    trace: str = ""
    door: str = "endpoint"


class OperationService:
    """Accepts, finds and cancels operations. Methods block on the store and raise RequestRefused or LedgerError."""

    def __init__(self, options: ServiceOptions, dependencies: Dependencies) -> None:
        self.ledger = dependencies.ledger
        self.operations = OperationStore(self.ledger)
        self._options = options
        self._clock = dependencies.clock
        self._entropy = dependencies.entropy
        self._organizations = dependencies.organizations
        self._seal = Seal(options.secret)
        self._waiting: dict[str, tuple[float, int]] = {}
        """How many operations have no result, by tenant ("" for all), and when that was counted."""

    def accept(self, ask: OperationRequest) -> tuple[StoredOperation, bool]:
        """Return the operation of this request, durable from now on, and whether this request made it."""
        key = key_of(ask.key, ask.headers, ask.caller, ask.operation, ask.opportunity_id, ask.body)
        intent = _intent_of(ask, key.intent)
        caller, name = ask.caller, self._entropy(_ID).hex()
        self._refuse_when_full(caller.tenant_id)
        new_operation = NewOperation(
            caller.owner,
            caller.tenant_id,
            key.ledger,
            key.content,
            intent,
            JobKind.REOPEN if isinstance(intent, ReopenIntent) else JobKind.CLOSE,
            self._facts(ask, name, key.kind),
            self._clock.now() + timedelta(seconds=self._options.keep),
            self._organizations.address(caller),
        )
        lasting = key.kind is not KeyKind.NATURAL
        try:
            operation, new = self.operations.accept(name, new_operation, lambda earlier: lasting and stands(earlier))
        except KeyReused as earlier:
            sentence = f"The idempotency key was used before, for {earlier}. Nothing was changed. Use another key."
            raise declined(HTTPStatus.UNPROCESSABLE_ENTITY, "key_reused", sentence) from None
        for whose in {"", caller.tenant_id} & self._waiting.keys():
            at, count = self._waiting[whose]
            self._waiting[whose] = at, count + new
        return operation, new

    def _refuse_when_full(self, tenant: str) -> None:
        """Raise RequestRefused (503) when too many wait, or half as many of one tenant of several.

        Counted each second, and before anybody is refused.
        """
        now, most = self._clock.monotonic(), self._options.queue
        shares = {"": most} | ({tenant: most // 2} if len(self._options.admission.tenants) > 1 else {})
        for whose, share in shares.items():
            at, count = self._waiting.get(whose, (float("-inf"), 0))
            if now - at >= 1.0 or count >= share:
                count = self.operations.unfinished(whose)
                self._waiting[whose] = now, count
            if count >= share:
                raise RequestRefused(busy("queue_full", "Too many operations are waiting. Send it again later.", 30))

    def find(self, operation_id: str, caller: Caller | None) -> StoredOperation:
        """Return an operation that `caller` may see; any without a caller. Raises RequestRefused (404)."""
        operation = self.operations.find(operation_id)
        if operation is None or (caller is not None and not may_see(caller, operation)):
            raise declined(HTTPStatus.NOT_FOUND, "operation_unknown", UNKNOWN)
        return operation

    def cancel(self, operation_id: str, caller: Caller) -> StoredOperation:
        """End an operation that nobody works on yet; raises RequestRefused (409) when that is too late."""
        operation = self.find(operation_id, caller)
        if not self.operations.cancel(operation_id, _source(operation, caller)):
            sentence = "The operation has begun or ended, so it cannot be canceled. What it closed can be reopened."
            raise RequestRefused(Problem(HTTPStatus.CONFLICT, "too_late", sentence, operation_id=operation_id))
        return self.find(operation_id, caller)

    def retry(self, operation_id: str, caller: Caller) -> None:
        """Put a failed or refused operation back to be done; raises RequestRefused (409) for one that is neither."""
        operation = self.find(operation_id, caller)
        if operation.record.status not in NOT_DONE:
            raise declined(HTTPStatus.CONFLICT, "not_failed", "The operation has not failed, so it is not tried again.")
        self.ledger.retry(operation_id, NOT_DONE)
        opportunity, source = operation.record.opportunity_id, _source(operation, caller)
        self.ledger.audit.write(AuditEntry("retried", opportunity, source, operation_id))

    def visible(self, caller: Caller, chosen: OperationFilter = EVERY_OPERATION) -> OperationFilter:
        """Return the filter kept to what the caller may see: the caller's own, for an operator those of the tenant."""
        if caller.operator:
            return replace(chosen, owner="", tenant=caller.tenant_id)
        return replace(chosen, owner=caller.owner, tenant="")

    def failed(self, caller: Caller, chosen: OperationFilter, names: Sequence[str] | None) -> list[StoredOperation]:
        """Return the failed and refused operations that the filter chooses, or those of these names: the first ones.

        Those that the caller may not see are not among them.
        """
        if names is not None:
            operations = (self.operations.find(name) for name in dict.fromkeys(names[:MOST_RETRIED]))
            visible = [operation for operation in operations if operation is not None and may_see(caller, operation)]
        else:
            visible = self.operations.newest(MOST_RETRIED, self.visible(caller, replace(chosen, status="failed")))
        return [operation for operation in visible if operation.record.status in NOT_DONE and stands(operation)]

    def jobs(self, caller: Caller, most: int | None = None) -> list[Job]:
        """Return the bulk jobs that the caller may see, the latest first."""
        admission = self._options.admission
        return [job for job in self.ledger.jobs() if may_see_job(caller, job, admission)][:most]

    def note_waiting(self, operation_id: str, until: datetime, why: str) -> None:
        """Write down until when an operation waits, and for which kind of failure."""
        self.ledger.note(operation_id, WAITING, {"until": until.isoformat(), "why": why})

    def waiting_until(self, operation: StoredOperation) -> datetime | None:
        """Return until when an operation waits, if it does: for its turn, in the middle, or with everything else."""
        if is_finished(operation):
            return None
        waits = operation.record.status is not ItemStatus.PENDING
        events = [event for event in self.ledger.events(operation.job.name) if event.kind == WAITING] if waits else []
        until = [(event.at, datetime.fromisoformat(str(event.data["until"]))) for event in events[-1:]]
        now = self._clock.now()  # after what was noted, unless the clock was set back
        moments = [min(end, now + (end - noted)) for noted, end in until]
        stopped = self._organizations.stopped(_caller_in(operation.job))
        moments = [moment for moment in moments if moment > now or operation.record.status is ItemStatus.WAITING]
        return max([*moments, *([now + timedelta(seconds=stopped)] if stopped else [])], default=None)

    def caller_of(self, operation: StoredOperation) -> Caller:
        """Return who asked for an operation, with the token that was entrusted for it, if any."""
        sealed = operation.job.options.get("entrusted")
        assertion = self._seal.open(str(sealed), operation.job.name) if sealed else ""
        return replace(_caller_in(operation.job), assertion=assertion)

    def _facts(self, ask: OperationRequest, name: str, kind: KeyKind) -> dict[str, object]:
        caller = ask.caller
        facts: dict[str, object] = {
            "caller": {
                "kind": caller.kind.value,
                "tenant": caller.tenant_id,
                "object": caller.object_id,
                "application": caller.application_id,
                "name": caller.name,
            },
            "door": ask.door,
            "run_id": run_of(ask.headers),
            "correlation": ask.correlation_id,
            "key": kind.value,
            "plan": ask.body.plan_digest or "",
            **({"trace": ask.trace} if ask.trace else {}),
        }
        if acts_as_user(caller, self._options.admission.access):
            facts["entrusted"] = self._seal.close(caller.assertion, name, self._entropy(_NONCE))
        return facts


def _caller_in(job: Job) -> Caller:
    facts: Mapping[str, str] = job.options.get("caller", {})  # type: ignore[assignment]  # as `_facts` wrote it
    kind = CallerKind(facts["kind"])
    return Caller(kind, facts["tenant"], facts["object"], facts["application"], name=facts.get("name", ""))


def wish_values(opportunity_id: UUID, wish: CloseFields) -> dict[str, object]:
    """Return what is wished by the names of file columns, as `closing.request` reads them."""
    values: dict[str, object] = {OPPORTUNITY_ID.name: str(opportunity_id)}
    for field in HOSTED_FIELDS:
        value = getattr(wish, field.wire or field.name)
        if field.kind is FieldKind.COLUMNS:
            values |= {f"{field.prefix}{name}": column for name, column in (value or {}).items()}
        elif value is not None:
            values[field.name] = value
    return values


def _intent_of(ask: OperationRequest, key: str) -> AnyIntent:
    if isinstance(ask.body, CloseBody):
        return parse_request(wish_values(ask.opportunity_id, ask.body), key)
    return ReopenIntent(ask.opportunity_id, key=key, closed_under=ask.body.closed_under)


def _source(operation: StoredOperation, caller: Caller) -> AuditSource:
    """Return where an entry about an operation comes from: the caller who asks now, not the one who asked first."""
    source = source_of(operation.job.options, operation.job.organization, "")
    by = f"{caller.kind.value}:{caller.object_id}"
    return replace(source, door="endpoint", by=by, application=caller.application_id, tenant=caller.tenant_id)
