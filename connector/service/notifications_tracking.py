"""Where no webhook is registered: ask the organization from time to time which opportunities have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from connector.bulk.ledger_database import Database
from connector.service.notifications import Notices
from connector.service.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Changed:
    """The opportunities that changed since a token, and the token to ask with next time."""

    ids: Sequence[UUID]
    token: str


Changes = Callable[[str, str | None], Changed]
"""Takes a tenant and the last token (None: from now on, so `ids` is ignored). Raises ConnectorError; a token that has
expired is the callable's to begin anew with."""

_PIECE = 500


class Tracker:
    """Asks for the changes of every tenant with subscriptions and announces them; the tokens are kept in the store."""

    def __init__(self, database: Database, subscriptions: Subscriptions, notices: Notices, changes: Changes) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._notices = notices
        self._changes = changes

    def round(self) -> int:
        """Ask once for every tenant and return how many deliveries are new."""
        return sum(self.look(tenant) for tenant in self._subscriptions.tenants())

    def look(self, tenant: str) -> int:
        """Ask once for one tenant; the token moves on only after everything was announced. Raises ConnectorError."""
        found = self._database.rows("SELECT token FROM tracking WHERE tenant = ?", (tenant,))
        token = found[0][0] if found else None
        changed = self._changes(tenant, token)
        told = 0
        for start in range(0, len(changed.ids) if token is not None else 0, _PIECE):
            told += self._notices.announce(tenant, changed.ids[start : start + _PIECE], "change_tracking")
        with self._database.transaction() as transaction:
            transaction.run(
                "INSERT INTO tracking (tenant, token) VALUES (?, ?)"
                " ON CONFLICT (tenant) DO UPDATE SET token = excluded.token",
                (tenant, changed.token),
            )
        return told
