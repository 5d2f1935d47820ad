"""The token with which a user's own tokens are got: the one that lasts longest of those that were presented."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any


class LatestAssertion:
    """The tokens of one user; `tokens` gives those of an assertion.

    An operation that was put off comes with the token of its request, which may have expired since; another request of
    the same user may have brought a fresh one.
    """

    def __init__(self, tokens: Callable[[str], Any]) -> None:
        self._tokens = tokens
        self._assertion = ""

    def present(self, assertion: str) -> None:
        """Use `assertion` from now on, unless the one at hand lasts longer."""
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
