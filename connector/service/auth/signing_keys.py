"""The keys with which a tenant's tokens are signed: cached, and fetched apart from those whose keys are known.

The sign-in host is the configured one and the tenant an admitted one, so a token can make this ask nowhere else. It
asks at most once in `PAUSE` seconds and tenant, however many tokens with made-up key ids arrive, and whoever presents
a token with a cached key waits for nobody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from connector.clock import Clock
from connector.errors import TransportError
from connector.handler import Handler, Request
from connector.service.problems import Problem, RequestRefused, busy

if TYPE_CHECKING:
    from jwt import PyJWK

KEPT = 86400.0
"""Seconds after which keys are fetched anew; Entra rolls them over slowly and publishes new ones ahead."""
LONGEST_KEPT = 2 * KEPT
"""Seconds for which keys are used when they cannot be fetched anew."""
PAUSE, FAILED_PAUSE = 60.0, 10.0
"""Seconds between looks at the sign-in service for a tenant: after an answer, and after none."""
TIMEOUT, KEYS_SECONDS = 4.0, 6.0
"""Seconds for which the sign-in service is waited for: for each piece of its answer, and by a request in all."""


class KeyNotCached(Exception):
    """The key is not at hand: `SigningKeys.fetch` may find it."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__()
        self.tenant_id = tenant_id


@dataclass(frozen=True, slots=True)
class _CachedKeys:
    keys: Mapping[str, PyJWK]
    fetched: float


@dataclass(slots=True)
class _KeysRead:
    """A look at the sign-in service: when it began, whether it has ended, and after how long the next may begin."""

    began: float
    ended: threading.Event
    pause: float = PAUSE


class SigningKeys:
    """The signing keys of tenants at `authority` (`https://host`), fetched by `http`. Safe from several threads."""

    def __init__(self, http: Handler, authority: str, clock: Clock) -> None:
        self._http = http
        self._authority = authority.rstrip("/")
        self._clock = clock
        self._cached: dict[str, _CachedKeys] = {}
        self._fetches: dict[str, _KeysRead] = {}
        self._lock = threading.Lock()

    def find(self, tenant_id: str, key_id: str) -> PyJWK | None:
        """Return the cached key, or None when the tenant has no such key; never waits.

        Raises KeyNotCached when it may be found by `fetch`, RequestRefused (503) when it cannot be known for now.
        """
        now, cached, fetch = self._clock.monotonic(), self._cached.get(tenant_id), self._fetches.get(tenant_id)
        age = now - cached.fetched if cached else LONGEST_KEPT
        key = cached.keys.get(key_id) if cached and age < LONGEST_KEPT else None
        asking = fetch is not None and not fetch.ended.is_set()
        may_ask = fetch is None or now - fetch.began >= fetch.pause
        if key is not None:
            if age >= KEPT and may_ask:  # whose key is known waits for nobody, so it is renewed apart
                threading.Thread(target=self.fetch, args=(tenant_id,), daemon=True).start()
            return key
        if fetch is None or asking or now - fetch.began >= fetch.pause:
            raise KeyNotCached(tenant_id)
        if key is None and age >= LONGEST_KEPT:
            raise RequestRefused(keys_unavailable())
        return key

    def fetch(self, tenant_id: str) -> None:
        """Fetch the tenant's keys, or wait for a thread that does already. Does not fail."""
        with self._lock:
            fetch, now = self._fetches.get(tenant_id), self._clock.monotonic()
            mine = fetch is None or now - fetch.began >= fetch.pause
            if fetch is None or mine:
                fetch = self._fetches[tenant_id] = _KeysRead(now, threading.Event())
        if not mine:
            fetch.ended.wait(KEYS_SECONDS)
            return
        try:
            self._cached[tenant_id] = _CachedKeys(self._read(tenant_id), now)
        except (TransportError, ValueError, RecursionError):
            fetch.pause = FAILED_PAUSE  # what is cached stays; without any, `find` says so
        finally:
            fetch.ended.set()

    def _read(self, tenant_id: str) -> dict[str, PyJWK]:
        """Return the keys for signing by id; raises ValueError when the document does not hold any."""
        from jwt import PyJWK, PyJWTError

        url = f"{self._authority}/{tenant_id}/discovery/v2.0/keys"
        response = self._http(Request("GET", url, timeout=TIMEOUT))
        if response.status != HTTPStatus.OK:
            raise ValueError(f"the keys were answered with {response.status}")
        document = json.loads(response.body)
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("the document holds no keys")  # noqa: TRY004 - every bad document is one thing here
        keys = {}
        for entry in listed:
            if isinstance(entry, dict) and entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
                try:
                    keys[str(entry.get("kid", ""))] = PyJWK.from_dict(entry, algorithm="RS256")
                except (PyJWTError, ValueError, TypeError):  # this one cannot be read; the others can
                    continue
        if not keys:
            raise ValueError("the document holds no key that can be read")
        return keys


def keys_unavailable() -> Problem:
    """Return the 503 for a token whose key cannot be known at the moment."""
    return busy("keys_unavailable", "The sign-in service's keys cannot be read at the moment.", 10)
