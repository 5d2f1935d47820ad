"""The keys with which a tenant's tokens are signed: fetched when first needed, kept, fetched anew for an unknown one.

The sign-in host is the configured one and the tenant an admitted one, so a token can make this ask nowhere else; and
it asks at most once in `PAUSE` seconds and tenant, however many tokens with made-up key ids arrive.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.clock import Clock
from connector.errors import TransportError
from connector.handler import Handler, Request
from connector.service.problems import RequestRefused, busy

if TYPE_CHECKING:
    from jwt import PyJWK

KEPT = 86400.0
"""Seconds for which keys are used; Entra rolls them over slowly and publishes new ones ahead."""
PAUSE = 60.0
_OK = 200


@dataclass(slots=True)
class _CachedKeys:
    keys: Mapping[str, PyJWK]
    fetched: float
    asked: float


class SigningKeys:
    """The signing keys of tenants at `authority` (`https://host`), fetched by `http`. Safe from several threads."""

    def __init__(self, http: Handler, authority: str, clock: Clock) -> None:
        self._http = http
        self._authority = authority.rstrip("/")
        self._clock = clock
        self._kept: dict[str, _CachedKeys] = {}
        self._lock = threading.Lock()

    def find(self, tenant_id: str, key_id: str) -> PyJWK | None:
        """Return the key, or None when the tenant has no such key. Raises RequestRefused (503)."""
        with self._lock:
            kept = self._kept.get(tenant_id)
            now = self._clock.monotonic()
            if kept and key_id in kept.keys and now - kept.fetched < KEPT:
                return kept.keys[key_id]
            if kept is None or now - kept.asked >= PAUSE:
                kept = self._refresh(tenant_id, kept, now)
            return kept.keys.get(key_id)

    def _refresh(self, tenant_id: str, kept: _CachedKeys | None, now: float) -> _CachedKeys:
        try:
            keys = self._fetch(tenant_id)
        except (TransportError, ValueError) as error:
            if kept is None:
                raise RequestRefused(
                    busy(503, "keys_unavailable", "The sign-in service's keys cannot be read at the moment.", 10)
                ) from error
            kept.asked = now
            return kept
        self._kept[tenant_id] = _CachedKeys(keys, now, now)
        return self._kept[tenant_id]

    def _fetch(self, tenant_id: str) -> dict[str, PyJWK]:
        """Return the keys for signing by id; raises ValueError for a document that is none."""
        from jwt import PyJWK, PyJWKError

        answer = self._http(Request("GET", f"{self._authority}/{tenant_id}/discovery/v2.0/keys", timeout=10.0))
        if answer.status != _OK:
            raise ValueError(f"the keys were answered with {answer.status}")
        document = json.loads(answer.body)
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("the document holds no keys")  # noqa: TRY004 - every bad document is one thing here
        keys = {}
        for entry in listed:
            if isinstance(entry, dict) and entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
                try:
                    keys[str(entry.get("kid", ""))] = PyJWK.from_dict(entry, algorithm="RS256")
                except PyJWKError:  # one that cannot be read is none; the others are good
                    continue
        return keys
