"""The headers every answer of the Web API carries, in the formats seen on the wire (a live capture of May 2024)."""

from __future__ import annotations

import random
from datetime import timedelta
from email.utils import format_datetime

from connector.clock import Clock
from connector.emulator.limits.protection import Protection
from connector.handler import Request, Response

_FIXED = (("Strict-Transport-Security", "max-age=31536000; includeSubDomains"), ("CRM.ServiceId", "CRMAppPool"))
_EVER = timedelta(days=50 * 365)


class CommonHeaders:
    """Adds ids, limits and cookies to answers. Ids come from the seed."""

    def __init__(self, protection: Protection, clock: Clock, seed: int) -> None:
        self._protection = protection
        self._clock = clock
        self._seed = seed
        self._random = random.Random(f"{seed}:headers")
        self._second = 0
        self._dates = ("", "")

    def forget(self) -> None:
        """Start the ids anew."""
        self._random.seed(f"{self._seed}:headers")

    def dress(self, response: Response, request: Request, user: str | None, server: int) -> Response:
        """Return `response` with the common headers; those about limits only when the user is known."""
        date, ever = self._now()
        request_id, activity_id = self._guid(), self._guid()
        present = {name.lower() for name, _ in response.headers}
        headers = [*response.headers]
        if "cache-control" not in present:
            headers.append(("Cache-Control", "no-cache"))
        if "odata-version" not in present:
            headers.append(("OData-Version", "4.0"))
        headers += [
            ("Expires", "-1"),
            ("Date", date),
            ("REQ_ID", f"{request_id},{request_id}"),
            ("x-ms-service-request-id", f"{request_id},{request_id}"),
            ("AuthActivityId", activity_id),
            *_FIXED,
        ]
        if user is not None:
            headers += self._limits(user, server)
        headers.append(("Set-Cookie", f"ARRAffinity={self._protection.cookie(server)}; path=/; secure; HttpOnly"))
        if "ReqClientId=" not in (request.header("cookie") or ""):
            cookie = f"ReqClientId={self._guid()}; expires={ever}; path=/; secure; HttpOnly"
            headers.append(("Set-Cookie", cookie))
        return Response(response.status, tuple(headers), response.body)

    def date(self) -> tuple[str, str]:
        """Return the emulator's time as a Date header."""
        return ("Date", self._now()[0])

    def _limits(self, user: str, server: int) -> list[tuple[str, str]]:
        left = self._protection.remaining(user, server, self._clock.monotonic())
        return [
            ("x-ms-dop-hint", str(self._protection.limits.dop_hint)),
            ("x-ms-ratelimit-time-remaining-xrm-requests", f"{left.seconds:,.2f}"),
            ("x-ms-ratelimit-burst-remaining-xrm-requests", str(left.requests)),
        ]

    def _now(self) -> tuple[str, str]:
        moment = self._clock.now()
        second = int(moment.timestamp())
        if second != self._second:
            self._second = second
            self._dates = (format_datetime(moment, usegmt=True), format_datetime(moment + _EVER, usegmt=True))
        return self._dates

    def _guid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
