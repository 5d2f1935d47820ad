"""The gate: a policy that lets one user's requests through as the governor says. Safe for threads.

One gate stands in front of everything that talks as one user to one organization. Requests wait in the order they came;
only the first of them waits for the time, so a hundred waiting threads cost as much as one.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from connector.clock import Clock
from connector.dataverse.answers import retry_after
from connector.dataverse.error_bodies import error_body
from connector.dataverse.error_codes import FACETS
from connector.dataverse.pacing.carried_over import CarriedOverLimits
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Facet, Feedback, Permit
from connector.dataverse.pacing.service_limits import DOCUMENTED, Budget
from connector.errors import NotSent
from connector.handler import Handler, PacingStatus, Request, Response

WRITES = "batch of writes"
"""The kind of a batch of change sets or single writes, one part per opportunity."""

_LONGEST_NAP = 0.5  # seconds until the first in line looks again whether the gate was closed
_PATIENCE = 2.0  # seconds after it was closed for which reads may still wait
_STOPPING = "The run is stopping; this request was not sent."
_AFFINITY = re.compile(r"\s*(ARRAffinity(?:SameSite)?)=([^;\s]+)", re.IGNORECASE)
_NUMBER = re.compile(r"limit of ([\d,.]+)")
_BOUNDARY = re.compile(r'boundary="?([^";]+)')


class Gate:
    """A handler that paces `handler`; while it is closed nothing waits in front of it.

    No more than `connections` requests are in flight. A request that would have to wait for more than `longest_wait`
    seconds until a Retry-After is over is not sent: it gets the refusal again that told so, with what is left of it.
    """

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        budget: Budget = DOCUMENTED,
        *,
        connections: float = math.inf,
        longest_wait: float = math.inf,
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._governor = Governor(clock.monotonic(), budget, connections)
        self._longest_wait = longest_wait
        self._refusal = Response(HTTPStatus.TOO_MANY_REQUESTS)
        self._turn = threading.Lock()
        self._state = threading.Condition()
        self._closed_at = math.inf

    def __call__(self, request: Request) -> Response:
        """Send `request` when it may go, to the server that has most room for it.

        Raises NotSent when the gate is closed, and whatever the handler raises.
        """
        permit = self._permit(*weigh(request))
        if isinstance(permit, Response):
            return permit
        feedback = Feedback(ok=False)
        response = None
        try:
            response = self._handler(_steered(request, permit.server))
            feedback = feedback_of(response)
        except NotSent:
            feedback = Feedback(ok=False, executed=False)
            raise
        finally:
            with self._state:
                if response is not None and feedback.retry_after is not None:
                    self._refusal = response
                self._governor.settle(self._clock.monotonic(), permit, feedback)
                self._state.notify_all()
        return response

    def close(self) -> None:
        """Turn away what was not sent, until it opens: what is in flight ends as it will.

        Reads, and writes of a plan that has begun, still go where they need not wait for long.
        """
        with self._state:
            self._closed_at = min(self._closed_at, self._clock.monotonic())
            self._state.notify_all()

    def open(self) -> None:
        """Let requests wait again."""
        self._closed_at = math.inf

    def sleep(self, seconds: float) -> None:
        """Wait before a request is sent again; raises NotSent where it closes meanwhile: nothing is sent twice then."""
        ends = self._clock.monotonic() + seconds
        while (left := ends - self._clock.monotonic()) > 0:
            if self._closed_at < math.inf:
                raise NotSent(_STOPPING, remedy="Resume the job.")
            self._clock.sleep(min(left, _LONGEST_NAP))

    def pace(self) -> PacingStatus:
        """Return what the governor is doing."""
        with self._state:
            return self._governor.pace(self._clock.monotonic(), WRITES, self._governor.parts(WRITES))

    def width(self) -> int:
        """Return how many requests may be under way at once."""
        with self._state:
            return self._governor.most_in_flight(self._clock.monotonic())

    def parts(self) -> int:
        """Return how many opportunities one batch of writes should carry."""
        with self._state:
            return self._governor.parts(WRITES)

    def fewest_parts(self, waiting: float) -> int:
        """Return how many a batch of writes must carry so that not the number of requests holds those `waiting`."""
        with self._state:
            return self._governor.fewest_parts(self._clock.monotonic(), WRITES, waiting)

    def expect(self, parts: float, ready: int = 0) -> int | None:
        """Take in how many opportunities are still to be closed, some in `ready` batches (`Governor.expect`)."""
        with self._state:
            return self._governor.expect(self._clock.monotonic(), WRITES, parts, self._governor.parts(WRITES), ready)

    def carried_over(self) -> dict[str, object]:
        """Return what is known of this user's limits, as plain data, for the next gate of the same user."""
        with self._state:
            return self._governor.carried_over(self._clock.monotonic()).data()

    def begin_with(self, carried_over: Mapping[str, object], age: float) -> None:
        """Begin with what another gate of this user left `age` seconds ago; what is not understood is passed over."""
        read = CarriedOverLimits.read(carried_over)
        if read is not None:
            with self._state:
                self._governor.begin_with(self._clock.monotonic(), read, max(0.0, age))
                self._state.notify_all()

    def seconds_for(self, requests: float, seconds: float, fastest: float) -> float:
        """Return how long so many requests, with so many seconds of execution in all, will take from now on."""
        with self._state:
            return self._governor.seconds_for(self._clock.monotonic(), requests, seconds, fastest)

    def _permit(self, kind: str, parts: int) -> Permit | Response:
        with self._turn:
            while True:
                with self._state:
                    now = self._clock.monotonic()
                    turned_away = self._closed_at <= now and kind == WRITES
                    leave = None if turned_away else self._governor.ask(now, kind, parts)
                    if isinstance(leave, Permit):
                        return leave
                    late = now > self._closed_at + _PATIENCE
                    if leave is None or late or (self._closed_at <= now and self._governor.pace(now).waiting):
                        raise NotSent(_STOPPING, remedy="Resume the job.")
                    if self._governor.pace(now).waiting > self._longest_wait:
                        return self._refused_again(self._governor.pace(now).waiting)
                    if leave.until == math.inf:
                        self._state.wait(_LONGEST_NAP)
                        continue
                self._clock.sleep(min(leave.until - now, _LONGEST_NAP))

    def _refused_again(self, seconds: float) -> Response:
        """Return the last refusal with the seconds that are left of its Retry-After."""
        headers = [(name, value) for name, value in self._refusal.headers if name.lower() != "retry-after"]
        return replace(self._refusal, headers=(*headers, ("Retry-After", str(math.ceil(seconds)))))


def weigh(request: Request) -> tuple[str, int]:
    """Return the kind of a request, for requests that cost alike, and how many parts it has."""
    boundary = _BOUNDARY.search(request.header("content-type") or "")
    if boundary is None:
        return ("read" if request.method == "GET" else "write"), 1
    parts = max(1, request.body.count(b"--" + boundary[1].encode()) - 1)
    reads = b"\r\n\r\nGET " in request.body
    return ("batch of reads" if reads else WRITES), parts


def feedback_of(response: Response) -> Feedback:
    """Return what an answer tells the governor."""
    refused = response.status == HTTPStatus.TOO_MANY_REQUESTS
    body = error_body(response) if refused else None
    facet = Facet(FACETS.get(body.code, Facet.OTHER)) if body else None
    return Feedback(
        server=_affinity(response),
        ok=response.status < HTTPStatus.INTERNAL_SERVER_ERROR,
        facet=facet,
        retry_after=retry_after(response),
        number=_limit(body.detail, facet) if body and facet else None,
        requests_left=_left(response, "x-ms-ratelimit-burst-remaining-xrm-requests"),
        seconds_left=_left(response, "x-ms-ratelimit-time-remaining-xrm-requests"),
    )


def _limit(detail: str, facet: Facet) -> float | None:
    """Return the number a refusal names, in requests or seconds (its text has milliseconds)."""
    match = _NUMBER.search(detail)
    number = _number(match[1]) if match else None
    return number / 1000 if number is not None and facet is Facet.TIME else number


def _left(response: Response, name: str) -> float | None:
    return _number(response.header(name) or "")


def _number(text: str) -> float | None:
    """Return a number written with a thousands comma and a point, as the service writes them."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _affinity(response: Response) -> str:
    for name, value in response.headers:
        if name.lower() == "set-cookie" and (match := _AFFINITY.match(value)) and match[1].lower() == "arraffinity":
            return match[2]
    return ""


def _steered(request: Request, server: str) -> Request:
    if not server:
        return request
    return replace(
        request, headers={**request.headers, "cookie": f"ARRAffinity={server}; ARRAffinitySameSite={server}"}
    )
