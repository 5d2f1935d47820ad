"""The emulator itself: one organization, its identity provider, its limits, its faults and its journal.

A request goes through two calls, and the caller waits between them: `begin` takes it in (caller, limits, planned
faults, duration), `finish` executes and answers it.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

from connector.emulator.api.api import Api, ApiOptions
from connector.emulator.control.control import Control
from connector.emulator.control.journal import Entry, Journal, error_of, kept_answer, kept_request
from connector.emulator.control.referee import Referee
from connector.emulator.discovery import PREFIX as DISCOVERY
from connector.emulator.discovery import Discovery
from connector.emulator.http.exchange import (
    Exchange,
    OperationResult,
    PendingRequest,
    redirect,
    split_url,
    text_response,
)
from connector.emulator.identity.bearer import Bearer, Identity, Unauthorized, audiences
from connector.emulator.identity.entra import IdentityProvider
from connector.emulator.identity.grants import Grants
from connector.emulator.identity.issuer import Issuer
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.calls import Latency, ObservedOperation, ObservedRequest, calls_of
from connector.emulator.limits.faults import Fault, Faults
from connector.emulator.limits.limit_answers import CommonHeaders, failure, refused, throttled, token_failure
from connector.emulator.limits.protection import Admission, Protection, Throttle
from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import Organization, TravelClock
from connector.emulator.stand_ins import stand_in
from connector.emulator.world.callers import Caller
from connector.emulator.world.world import Invocation
from connector.handler import Request, Response

CONTROL = "/_emulator"
_LOG = logging.getLogger(__name__)
HOLD_LOOK = 0.01
"""Seconds after which a face first looks whether a request is still held."""
WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})


@dataclass(slots=True)
class RequestInProgress:
    """A request between `begin` and `finish`."""

    number: int
    request: Request
    face: str
    delay: float = 0.0
    response: Response | None = None
    calls: ObservedRequest | None = None
    identity: Identity | None = None
    caller: Caller | None = None
    server: int = 0
    admission: Admission | None = None
    fault: Fault | None = None
    rule: str = ""
    findings: tuple[str, ...] = ()
    slept: float = 0.0
    """Seconds that the organization's own logic took."""
    struck: list[Fault] = field(default_factory=list)
    """Planned faults that acted on its operations."""
    operations: list[OperationResult] = field(default_factory=list)


class Emulator:
    """One emulated organization. Its methods may be called from several threads; one works at a time."""

    def __init__(self, options: EmulatorOptions, clock: TravelClock, keys: Keys | None = None) -> None:
        self.options = options
        self.clock = clock
        self.lock = threading.RLock()
        self.keys = keys if keys is not None else Keys()
        self.organization = Organization(options, clock)
        twin = options.twin
        api_options = ApiOptions(tenant_id=options.tenant.tenant_id, seed=options.seed)
        self.api = Api(
            self.organization.world, api_options if twin is None else replace(api_options, version=twin.version)
        )
        if twin is not None:
            stand_in(self.organization.world, twin, options.stand_ins, options.seed)
        self.issuer = Issuer(options.tenant, options.login_url, self.keys, clock, options.seed)
        self.grants = Grants(options.tenant, self.issuer, audiences(options.url), clock)
        self.entra = IdentityProvider(self.grants)
        self.bearer = Bearer(options.tenant, self.issuer, self.organization.world, options.url, clock)
        self.discovery = Discovery(self.bearer, self.organization, options, clock)
        self.protection = Protection(twin.limits(options.limits) if twin else options.limits, options.seed)
        self.latency = Latency(options.latency, options.seed) if options.latency is not None else None
        self.faults = Faults(options.faults)
        self.journal = Journal(options.journal_size)
        self.referee = Referee()
        self.headers = CommonHeaders(self.protection, clock, options.seed)
        self.control = Control(self)
        self.authority_file: Path | None = None
        """Where the certificate authority is, when there is a socket."""
        self._callers_names: tuple[str, ...] = ()
        self._struck: list[Fault] = []
        self.organization.world.hooks.append(self._trouble)
        self._late: list[tuple[float, int, RequestInProgress]] = []

    def handle(self, request: Request) -> Response:
        """Answer in this thread, waiting on the emulator's clock. Planned cuts need a face and are ignored here."""
        pending = self.begin(request)
        self.clock.sleep(pending.delay)
        exchange = self.finish(pending)
        self.clock.sleep(exchange.hold)
        return exchange.response

    def waits(self, seconds: float) -> float:
        """Return how long a face really waits; on a virtual clock the time is skipped instead."""
        if not self.clock.virtual:
            return seconds
        self.clock.sleep(seconds)
        return 0.0

    def holds(self, begun: PendingRequest) -> bool:
        """Return whether a request is kept waiting by the plan at work."""
        assert isinstance(begun, RequestInProgress)
        return begun.fault is not None and begun.fault.do == "hold" and begun.fault in self.faults.plan.faults

    def begin(self, request: Request) -> RequestInProgress:
        """Take a request in."""
        with self.lock:
            while self._late and self._late[0][0] <= self.clock.monotonic():
                self.finish(heapq.heappop(self._late)[2])
            _, path, _ = split_url(request.url)
            if path == CONTROL or path.startswith(f"{CONTROL}/"):
                return RequestInProgress(0, request, "control", response=self.control.handle(request))
            pending = RequestInProgress(self.journal.next_number(), request, "web api")
            if path.startswith(DISCOVERY):
                pending.face = "discovery"
            elif path.startswith("/api/"):
                self._admit(pending)
            elif self.entra.owns(path):
                pending.face = "identity"
                self._plan(pending, self.faults.on_token())
            elif path == "/":
                pending.response = redirect(f"{CONTROL}/")
            else:
                pending.response = text_response(HTTPStatus.NOT_FOUND, "The Web API is under /api/data/v9.2/.\n")
            return pending

    def finish(self, begun: PendingRequest) -> Exchange:
        """Execute a request and answer it."""
        assert isinstance(begun, RequestInProgress)
        with self.lock:
            if begun.face == "control":
                assert begun.response is not None
                return Exchange(begun.response)
            response = begun.response if begun.response is not None else self._stored(begun)
            return self._close(begun, self._spoil(begun, response))

    def abandon(self, begun: PendingRequest) -> None:
        """Execute later, when the emulator's time has come, what a client no longer waits for."""
        assert isinstance(begun, RequestInProgress)
        with self.lock:
            heapq.heappush(self._late, (self.clock.monotonic() + begun.delay, begun.number, begun))

    def reset(self) -> None:
        """Put rows and switches back as they were at the start and forget everything counted; faults begin anew."""
        with self.lock:
            self._late.clear()
            self.organization.reset()
            self.protection.forget()
            self.journal.clear()
            self.referee.clear()
            self.headers.forget()
            self.faults = Faults(self.faults.plan)
            if self.latency is not None:
                self.latency = Latency(self.latency.model, self.options.seed)
            self.bearer.revoked_before = 0

    def set_faults(self, faults: Faults) -> None:
        """Put another fault plan to work."""
        with self.lock:
            self.faults = faults

    def close(self) -> None:
        """Execute what was abandoned and close the database."""
        with self.lock:
            while self._late:
                self.finish(heapq.heappop(self._late)[2])
            self.organization.close()

    # Taking a request in.

    def _admit(self, pending: RequestInProgress) -> None:
        request, now = pending.request, self.clock.monotonic()
        pending.calls = calls = calls_of(request, self.organization.entity_sets)
        pending.server = self.protection.route(_affinity(request))
        try:
            pending.identity = identity = self.bearer.identify(request)
            pending.caller = self.bearer.caller(request, identity)
        except Unauthorized as error:
            pending.response = error.response
            return
        except Refused as error:
            pending.response, pending.rule = refused(error), error.rule
            return
        self._plan(pending, self.faults.on_request(calls, identity.names))
        if pending.response is not None:
            return
        user = identity.object_id
        overlapping = self.protection.in_flight(user, pending.server) > 0
        verdict = self.protection.arrive(user, pending.server, now, seconds=self._work(calls), locks=self._locks(calls))
        early = isinstance(verdict, Throttle) and verdict.early
        pending.findings = self.referee.watch(
            pending.number,
            identity.application_id,
            calls,
            now,
            early=early,
            overlapping=overlapping,
            if_match=request.header("if-match") is not None,
        )
        if isinstance(verdict, Throttle):
            pending.response, pending.rule = throttled(verdict), f"protection.{verdict.facet}"
        else:
            pending.admission = verdict
            pending.delay += verdict.ends - now

    def _plan(self, pending: RequestInProgress, fault: Fault | None) -> None:
        """Take note of a planned fault and, where it comes before the work, of the answer it gives."""
        pending.fault = fault
        if fault is None:
            return
        pending.rule = f"fault.{fault.do}"
        if fault.do == "slow" and fault.when == "before":
            pending.delay += fault.seconds
        elif fault.do == "hold":
            pending.delay += HOLD_LOOK
        elif fault.do == "throttle":
            user = pending.identity.object_id if pending.identity else ""
            verdict = self.protection.throttle(user, pending.server, fault.facet, fault.seconds)
            pending.response = throttled(verdict) if pending.face == "web api" else token_failure(fault)
        elif fault.do == "challenge" and pending.face == "web api":
            pending.response = self.bearer.claims_challenge()
        elif fault.when == "before" and fault.do in ("status", "reset"):
            pending.response = _failed(pending, fault)

    def _work(self, calls: ObservedRequest) -> float:
        return self.latency.seconds(calls) if self.latency is not None else 0.0

    def _locks(self, calls: ObservedRequest) -> Sequence[str]:
        """Return the accounts whose rows a request writes; only worth finding out when work takes time."""
        if self.latency is None or not self.options.sql_locks:
            return ()
        records = [record for call in calls.inner if call.method in WRITES for record in call.records]
        return tuple(f"account:{account}" for account in self.organization.accounts_of(records))

    # Executing and answering.

    def _stored(self, pending: RequestInProgress) -> Response:
        """Execute; where the emulator's own database cannot keep what was done, nothing is acknowledged."""
        try:
            return self._execute(pending)
        except sqlite3.Error as error:
            _LOG.error("The database could not do what was asked: %s.", error)
            pending.rule = "fault.store"
            return refused(refuse("fault.store"))

    def _execute(self, pending: RequestInProgress) -> Response:
        if pending.face == "identity":
            return self.entra.handle(pending.request)
        if pending.face == "discovery":
            return self.discovery.answer(pending.request)
        assert pending.caller is not None
        assert pending.identity is not None
        self._callers_names, self._struck = pending.identity.names, pending.struck
        logic = self.organization.world.logic
        logic.slept = 0.0
        answer = self.api.handle(pending.request, pending.caller)
        pending.slept = logic.slept
        pending.operations = list(answer.operations)
        return answer.response

    def _trouble(self, invocation: Invocation) -> None:
        """Let planned operation faults act."""
        if not self.faults.operational:
            return
        about = (invocation.record_id,) if invocation.record_id else ()
        call = ObservedOperation("", invocation.message, invocation.table, about, "")
        fault = self.faults.on_operation(call, self._callers_names)
        if fault is not None:
            self._struck.append(fault)
            self.organization.fail(fault, invocation)

    def _spoil(self, pending: RequestInProgress, response: Response) -> Exchange:
        """Do to the answer what the plan says; the work has been committed."""
        fault = pending.fault
        if fault is None or fault.do in ("throttle", "challenge", "hold"):
            return Exchange(response, hold=pending.slept + sum(fault.hold for fault in pending.struck))
        if fault.do == "reset":
            return Exchange(response, "reset")
        if fault.do == "truncate":
            return Exchange(response, "truncate")
        if fault.when == "after":
            return Exchange(response, hold=fault.seconds) if fault.do == "slow" else Exchange(_failed(pending, fault))
        return Exchange(response)

    def _close(self, pending: RequestInProgress, exchange: Exchange) -> Exchange:
        """Close the accounts of a request, write the journal and return the answer with its common headers."""
        identity, response = pending.identity, exchange.response
        if identity is not None:
            self.protection.operations(identity.object_id, len(pending.operations))
            pending.findings += self.referee.settled(pending.number, identity.application_id, pending.operations)
        if pending.admission is not None:
            took = pending.admission.charged + pending.slept
            self.protection.leave(pending.admission, self.clock.monotonic(), executed=took)
        if pending.face == "web api":
            user = identity.object_id if identity is not None else None
            response = self.headers.dress(response, pending.request, user, pending.server)
        else:
            response = replace(response, headers=(*response.headers, self.headers.date()))
        answered = replace(exchange, response=response)
        self.journal.add(self._entry(pending, answered))
        return answered

    def _entry(self, pending: RequestInProgress, exchange: Exchange) -> Entry:
        identity = pending.identity
        rules = [pending.rule] if pending.rule else [fault.rule for fault in pending.operations if fault.rule]
        return Entry(
            number=pending.number,
            at=self.clock.now(),
            face=pending.face,
            title=pending.calls.title if pending.calls else split_url(pending.request.url)[1].rpartition("/")[2],
            user=identity.caller_id if identity else "",
            server=pending.server,
            request=kept_request(pending.request),
            status=exchange.response.status,
            error=error_of(exchange.response),
            rule=rules[0] if rules else "",
            operations=tuple(pending.operations),
            fault=", ".join(fault.title for fault in (*((pending.fault,) if pending.fault else ()), *pending.struck)),
            cut=exchange.cut,
            seconds=pending.delay + exchange.hold,
            findings=pending.findings,
            response=kept_answer(exchange.response, pending.face),
            request_size=len(pending.request.body),
            response_size=len(exchange.response.body),
        )


def _failed(pending: RequestInProgress, fault: Fault) -> Response:
    """Return the error answer of a planned fault, as the service that it is planned for answers."""
    return failure(fault) if pending.face == "web api" else token_failure(fault)


def _affinity(request: Request) -> str | None:
    """Return the value of the affinity cookie, or None."""
    cookies = request.header("cookie")
    if cookies is None:
        return None
    _, mark, rest = cookies.partition("ARRAffinity=")
    return rest.partition(";")[0].strip() if mark else None
