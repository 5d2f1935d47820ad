"""What the endpoint reaches beyond itself, given to it when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.clock import Clock
from connector.closing.organization import Organization
from connector.handler import Handler
from connector.ledger.ledger import Ledger
from connector.service.audit import AuditTrail
from connector.service.auth.caller import Caller
from connector.service.operations.wait import LoopWaiting, Waiting
from connector.service.telemetry import Silent, Telemetry
from connector.service.webhooks.tracking import Changes, never_asked


def never_stopped(_caller: Caller) -> float:
    """Return that nobody has to wait."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Reach:
    """The organizations, as callers may use them. All raise ConnectorError.

    `organization` is the one of the caller's tenant, with the caller's rights or the application's; `address` is where
    it is; `columns` are the custom columns of a table as a JSON schema; `check` finds out whether a token can be had,
    `changes` what changed in a tenant since a token; the default tells of nothing. `stopped` tells for how many seconds
    the organization has asked a caller to wait.
    """

    organization: Callable[[Caller], Organization]
    address: Callable[[Caller], str]
    columns: Callable[[Caller, str], Mapping[str, Any]]
    check: Callable[[], None]
    changes: Changes = never_asked
    stopped: Callable[[Caller], float] = never_stopped


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything an endpoint is placed in: `http` asks for signing keys, `entropy` and `chance` are its dice.

    `who` names the process for people, `waiting` is how requests wait, `telemetry` what is told of the work.
    """

    reach: Reach
    ledger: Ledger
    audit: AuditTrail
    http: Handler
    clock: Clock
    entropy: Callable[[int], bytes]
    chance: Callable[[], float]
    who: str
    waiting: Waiting = field(default_factory=LoopWaiting)
    telemetry: Telemetry = field(default_factory=Silent)
