"""Who calls, once that is known, and what a caller may do and see."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connector.ledger.jobs import Job
from connector.ledger.operation_store import StoredOperation
from connector.service.service_options import Access, Admission


class CallerKind(StrEnum):
    """What kind of caller it is."""

    USER = "user"
    APPLICATION = "application"
    KEY = "key"
    DEVELOPER = "developer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant, the object in it (a key's name for API keys), the application that speaks for it.

    `operator` may see and manage everybody's operations. `assertion` is the user's own token, which getting a token
    on the user's behalf needs; empty when there is none. `name` is for people and decides nothing.
    """

    kind: CallerKind
    tenant_id: str
    object_id: str
    application_id: str
    operator: bool = False
    assertion: str = field(default="", repr=False, compare=False)
    name: str = field(default="", compare=False)

    @property
    def owner(self) -> str:
        """Return whose operations this caller's are, in the ledger."""
        return f"{self.kind.value}:{self.tenant_id}:{self.object_id}"

    @property
    def connection(self) -> str:
        """Return what the rate limit counts as one connection; it names no person."""
        return hashlib.sha256(f"{self.owner}:{self.application_id}".encode()).hexdigest()[:24]


def acts_as_user(caller: Caller, access: Access) -> bool:
    """Return whether the organization is used with the caller's own rights."""
    return caller.kind is CallerKind.USER and access is not Access.APPLICATION


def may_see(caller: Caller, operation: StoredOperation) -> bool:
    """Return whether the operation is the caller's own, or one of the caller's tenant where the caller operates it."""
    return operation.owner == caller.owner or (caller.operator and operation.tenant == caller.tenant_id)


def may_see_job(caller: Caller, job: Job, admission: Admission) -> bool:
    """Return whether a bulk job is one of the organization of the tenant that the caller operates.

    A job that names no organization is shown where there is one tenant only.
    """
    if not caller.operator or caller.kind is CallerKind.DEVELOPER:
        return caller.operator
    if not job.organization:
        return len(admission.tenants) == 1
    return admission.tenants.get(caller.tenant_id, "") == job.organization


class LatestAssertion:
    """The tokens of one user; `tokens` gives those of an assertion.

    An operation that was put off comes with the token of its request, which may have expired since; another request of
    the same user may have brought a fresh one.
    """

    def __init__(self, tokens: Callable[[str], Any]) -> None:
        self._tokens = tokens
        self._assertion = ""

    def present(self, assertion: str) -> None:
        """Use `assertion` from now on, unless the present one lasts longer."""
        if expiry(assertion) >= expiry(self._assertion):
            self._assertion = assertion

    def token(self) -> str:
        """Return a token. Raises SignInError."""
        return str(self._tokens(self._assertion).token())

    def renew(self, rejected: str, claims: str = "") -> str:
        """Return a token in place of `rejected`. Raises SignInError."""
        return str(self._tokens(self._assertion).renew(rejected, claims))


def expiry(token: str) -> float:
    """Return when an access token ends, in seconds since 1970; 0 when it does not say. Nothing is checked here."""
    try:
        content = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        return 0.0
