"""An endpoint in this process, on an emulated organization in memory, with a wire on which trouble can be made."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.testclient import TestClient

from connector.clock import Clock, SystemClock, VirtualClock
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.metadata import custom_columns
from connector.dataverse.policies import RetryPolicy, retry
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import seed_json
from connector.errors import Unanswered
from connector.handler import Handler, Request, Response
from connector.ledger.audit import AuditFilter
from connector.ledger.store import open_ledger
from connector.service.app import create_app
from connector.service.auth.caller import Caller
from connector.service.dependencies import Dependencies
from connector.service.service_options import Access, Admission, CallerSignIn, ServiceOptions
from connector.service.webhooks.closed_elsewhere import ChangedOpportunities, Changes

DEVELOPMENT = Admission(sign_in=CallerSignIn.DEVELOPMENT, access=Access.APPLICATION)
OPTIONS = ServiceOptions(secret=b"s" * 32, admission=DEVELOPMENT, requests_per_minute=499, version="1.2.3")

TOKEN_LASTS = 3000.0
"""Seconds for which a token is used: those of the emulator are good for about an hour."""

Trouble = Callable[[Request, Handler], Response]
"""Answers a request instead of the organization, or passes it on."""


def busy(seconds: int) -> Trouble:
    """Turn a request away as the service protection does."""

    def trouble(_request: Request, _pass_on: Handler) -> Response:
        body = {"error": {"code": "0x80072322", "message": "Number of requests exceeded the limit of 6000"}}
        return Response(429, (("Retry-After", str(seconds)),), json.dumps(body).encode())

    return trouble


def unavailable(_request: Request, _pass_on: Handler) -> Response:
    """Fail as a service that is down."""
    return Response(503, (), b"<html>Service Unavailable</html>")


def lost(request: Request, pass_on: Handler) -> Response:
    """Act, and lose the answer."""
    pass_on(request)
    raise Unanswered("The connection was reset before the answer came.")


def _no_changes(_tenant: str, token: str | None) -> ChangedOpportunities:
    return ChangedOpportunities([], token or "now")


@dataclass
class StageAccess:
    """The organization of the stage, as any caller may use it."""

    organization: Callable[[Caller], DataverseOrganization]
    address: Callable[[Caller], str]
    user: Callable[[Caller], str]
    columns: Callable[[Caller, str], Mapping[str, Any]]
    check: Callable[[], None]
    changes: Changes
    stopped: Callable[[Caller], float]


@dataclass
class Stage:
    """The organization, and what an endpoint on it needs. `troubles` befall the next requests, one each."""

    folder: Path
    clock: Clock = field(default_factory=SystemClock)
    keys: Keys | None = None
    pause: Callable[[float], None] | None = None
    troubles: deque[Trouble] = field(default_factory=deque)
    gate: threading.Event | None = None
    token: str = ""
    token_until: float = float("-inf")
    changes: Changes = _no_changes
    stopped: float = 0.0
    check: Callable[[], None] = lambda: None
    store: str = ""
    journal_size: int = 5000
    sent: int = 0
    made: int = 0

    def __post_init__(self) -> None:
        self.embedded: EmbeddedEmulator = open_embedded(
            ":memory:",
            VirtualClock() if isinstance(self.clock, SystemClock) else self.clock,
            EmulatorOptions(seeded=0, journal_size=self.journal_size),
            self.keys,
        )
        chance = random.Random(7)
        again = retry(self._wire, sleep=self.clock.sleep, chance=chance, policy=RetryPolicy(told=0.0, tries=1))
        self.handler = again
        self.organization = DataverseOrganization(again, self.embedded.url, clock=self.clock)
        self.ledger = open_ledger(self.store or str(self.folder / "jobs.db"), self.clock)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self.ledger.close()
        self.embedded.close()

    def dependencies(self) -> Dependencies:
        organizations = StageAccess(
            organization=self.organization_for,
            address=lambda _caller: self.embedded.url,
            user=lambda _caller: self.embedded.client_id,
            columns=lambda _caller, table: custom_columns(WebApi(self.handler, Endpoint(self.embedded.url)), table),
            check=self.check,
            changes=self.changes,
            stopped=lambda _caller: self.stopped,
        )
        return Dependencies(
            organizations=organizations, ledger=self.ledger, http=self._wire, keys_http=self._wire, clock=self.clock,
            entropy=self._entropy, chance=lambda: 0.0, who="test",
        )  # fmt: skip

    def organization_for(self, _caller: Caller) -> DataverseOrganization:
        return self.organization

    @contextmanager
    def client(self, **changed: Any) -> Iterator[TestClient]:
        """Serve the endpoint and give a client of it, which is on this machine."""
        app = create_app(replace(OPTIONS, **changed), self.dependencies())
        with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
            yield client

    def opportunity(self, *quotes: int) -> UUID:
        """Make an open opportunity with quotes of these status reasons."""
        self.made += 1
        key = UUID(int=(0x0C << 120) | (self.made << 16))
        states = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 3}
        own = {"opportunityid": str(key), "name": f"Secret Name {self.made}", "statecode": 0, "statuscode": 1}
        rows = [
            {"quoteid": str(UUID(int=key.int + n)), "name": f"Quote {n}", "quotenumber": f"QUO-{self.made}-{n}",
             "opportunityid": str(key), "statecode": states[status], "statuscode": status}
            for n, status in enumerate(quotes, 1)
        ]  # fmt: skip
        with self.embedded.emulator.lock:
            seed_json(self.embedded.emulator.organization.world, {"opportunity": [own], "quote": rows})
        return key

    def log(self) -> list[dict[str, object]]:
        """Return the audit log as it is exported."""
        return [json.loads(json.dumps(entry.data())) for entry in self.ledger.audit.entries(AuditFilter())]

    def delete_quotes(self, opportunity: UUID) -> None:
        """Delete the quotes of an opportunity, as somebody else might."""
        emulator = self.embedded.emulator
        with emulator.lock, emulator.organization.store.transaction():
            emulator.organization.store.rows("DELETE FROM quote WHERE opportunityid = ?", (str(opportunity),))

    def state(self, opportunity: UUID) -> tuple[int, list[int], int, int]:
        """Return the opportunity's state, its quotes' states, and how many close activities each kind has."""
        store = self.embedded.emulator.organization.store
        with self.embedded.emulator.lock:
            key = (str(opportunity),)
            ((own,),) = store.rows("SELECT statecode FROM opportunity WHERE opportunityid = ?", key)
            quotes = store.rows("SELECT statecode FROM quote WHERE opportunityid = ? ORDER BY quoteid", key)
            ((closes,),) = store.rows("SELECT COUNT(*) FROM opportunityclose WHERE opportunityid = ?", key)
            ((quote_closes,),) = store.rows(
                "SELECT COUNT(*) FROM quoteclose WHERE quoteid IN (SELECT quoteid FROM quote WHERE opportunityid = ?)",
                key,
            )
        return int(str(own)), [int(str(state)) for (state,) in quotes], int(str(closes)), int(str(quote_closes))

    def _entropy(self, length: int) -> bytes:
        return next(self._numbers).to_bytes(length, "big")

    def _wire(self, request: Request) -> Response:
        if self.gate is not None:
            assert self.gate.wait(300), "a test left its gate closed"
        self.sent += 1
        trouble = self.troubles.popleft() if self.troubles else None
        return trouble(request, self.answer) if trouble else self.answer(request)

    def answer(self, request: Request) -> Response:
        """Answer as the organization does."""
        return self.embedded.emulator.handle(self.signed(request))

    def signed(self, request: Request) -> Request:
        """Return the request with a token that is valid for a while."""
        if self.clock.monotonic() >= self.token_until:
            self.token, self.token_until = self._new_token(), self.clock.monotonic() + TOKEN_LASTS
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self.token}"})

    def _new_token(self) -> str:
        form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": self.embedded.client_id,
                "client_secret": self.embedded.client_secret,
                "scope": f"{self.embedded.url}/.default",
            }
        )
        url = f"{self.embedded.authority}/oauth2/v2.0/token"
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = self.embedded.emulator.handle(Request("POST", url, kind, form.encode()))
        return str(json.loads(answer.body)["access_token"])
