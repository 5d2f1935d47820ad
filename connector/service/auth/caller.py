"""Who calls, once that is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum


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
    on the user's behalf needs; empty when there is none.
    """

    kind: CallerKind
    tenant_id: str
    object_id: str
    application_id: str
    operator: bool = False
    assertion: str = field(default="", repr=False, compare=False)

    @property
    def owner(self) -> str:
        """Return whose operations this caller's are, in the ledger."""
        return f"{self.kind.value}:{self.tenant_id}:{self.object_id}"

    @property
    def connection(self) -> str:
        """Return what is counted as one connection by the rate limit; it names nobody."""
        return hashlib.sha256(f"{self.owner}:{self.application_id}".encode()).hexdigest()[:24]
