"""What a browser keeps for the operations page: a sign-in that is under way, and who has signed in.

A cookie is sealed, ends by itself, and is sent to this host alone (`__Host-`: over https, whatever its path). It signs
in at the page only: no other address believes it, so a page of another site can ask nothing of the API with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from starlette.requests import cookie_parser
from starlette.responses import Response

from connector.clock import Clock
from connector.service.auth.caller import Caller, CallerKind
from connector.service.operations.status_links import Seal

SESSION, FLOW = "__Host-session", "__Host-sign-in"
SESSION_SECONDS, FLOW_SECONDS = 3600, 600
"""A session lasts about as long as a token: a user who loses the role loses the page within this time."""
Site = Literal["lax", "none"]
_NONCE = 12


class SessionCookie:
    """Makes and reads the cookies; `secret` seals them, `entropy` gives that many random bytes."""

    def __init__(self, secret: bytes, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self._seal = Seal(secret)
        self._clock = clock
        self._entropy = entropy

    def begin(self, response: Response, caller: Caller) -> None:
        """Sign `caller` in at the browser that gets the response, and end the sign-in."""
        facts = {name: value for name, value in asdict(caller).items() if name != "assertion"}
        self._keep(response, SESSION, facts, SESSION_SECONDS)
        self._drop(response, FLOW)

    def end(self, response: Response) -> None:
        """Sign out."""
        self._drop(response, SESSION)

    def keep_flow(self, response: Response, flow: Mapping[str, Any]) -> None:
        """Keep a sign-in that is under way; it goes along when the sign-in service sends the browser back."""
        self._keep(response, FLOW, flow, FLOW_SECONDS, "none")

    def flow(self, cookies: str) -> Mapping[str, Any]:
        """Return the sign-in that is under way in the browser that sent these cookies; empty when there is none."""
        return self._read(cookies, FLOW)

    def caller(self, cookies: str) -> Caller | None:
        """Return who has signed in at the browser that sent these cookies, or None."""
        facts = self._read(cookies, SESSION)
        try:
            return Caller(**{**facts, "kind": CallerKind(facts["kind"])}) if facts else None
        except (TypeError, ValueError, KeyError):  # a version with other facts made it: the person signs in again
            return None

    def _keep(
        self, response: Response, name: str, content: Mapping[str, Any], seconds: int, site: Site = "lax"
    ) -> None:
        expires = self._clock.now().timestamp() + seconds
        sealed = self._seal.close(json.dumps([expires, dict(content)]), name, self._entropy(_NONCE))
        response.set_cookie(name, sealed, max_age=seconds, path="/", secure=True, httponly=True, samesite=site)

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")

    def _read(self, cookies: str, name: str) -> dict[str, Any]:
        try:
            content = self._seal.open(cookie_parser(cookies).get(name, ""), name)
        except ValueError:  # a browser may send anything
            return {}
        expires, facts = json.loads(content) if content else (0.0, {})
        return dict(facts) if expires > self._clock.now().timestamp() else {}
