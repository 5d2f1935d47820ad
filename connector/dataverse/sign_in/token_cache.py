"""One token: kept while it is good, renewed in time, replaced when the organization turns it down."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from connector.clock import Clock
from connector.dataverse.sign_in.sign_in_errors import explain, unreadable_answer
from connector.errors import SignInError

_log = logging.getLogger("connector.sign_in")

MARGIN = 300.0
"""Seconds before its end at which a token counts as spent: a request must not outlive it. MSAL uses the same."""
LONG = 7200.0
"""A token that lives this many seconds or more is renewed at half of its life, as MSAL does for managed identities."""
PAUSE = 30.0
"""Seconds until renewing is tried again while the old token still works."""

Acquire = Callable[[str, bool], Mapping[str, Any]]
"""Asks for a token: the claims wanted (JSON text or empty), and whether what is kept must not be used."""


class TokenCache:
    """Keeps one token, and renews it when it is nearly spent: one caller asks, the others wait for that answer.

    When renewing fails while the old token still works, the old one is used on.
    """

    def __init__(self, acquire: Acquire, clock: Clock) -> None:
        self._acquire = acquire
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._ends_at = 0.0

    def token(self) -> str:
        """Return a token that is valid for a while. Raises SignInError."""
        if self._token and self._clock.monotonic() < self._renew_at:
            return self._token
        with self._lock:
            if self._token and self._clock.monotonic() < self._renew_at:
                return self._token
            try:
                self._keep(self._ask("", renew=False))
            except SignInError as error:
                if not self._token or self._clock.monotonic() >= self._ends_at - PAUSE:
                    raise
                _log.warning("The token could not be renewed yet; the one at hand is used on. %s", error.message)
                self._renew_at = self._clock.monotonic() + PAUSE
            return self._token

    def renew(self, rejected: str, claims: str = "") -> str:
        """Return a token in place of `rejected`, with the `claims` a challenge asked for. Raises SignInError.

        When somebody else has replaced it meanwhile, theirs is returned.
        """
        with self._lock:
            if self._token in ("", rejected):
                self._token = ""
                self._keep(self._ask(claims, renew=True))
            return self._token

    def _ask(self, claims: str, *, renew: bool) -> Mapping[str, Any]:
        result = self._acquire(claims, renew)
        if not isinstance(result, Mapping) or not result.get("access_token"):
            raise explain(result)
        return result

    def _keep(self, result: Mapping[str, Any]) -> None:
        now = self._clock.monotonic()
        try:
            token, life = str(result["access_token"]), max(0.0, float(result.get("expires_in") or 0))
        except (ValueError, TypeError, OverflowError) as error:
            raise unreadable_answer() from error
        if not (token.isascii() and token.isprintable() and math.isfinite(life)):  # a token goes into a header
            raise unreadable_answer()
        halved = life < 2 * MARGIN or life >= LONG
        self._ends_at = now + life
        self._renew_at = now + (life / 2 if halved else life - MARGIN)
        self._token = token
