"""The tree of failures; each says whether the write may have happened and whether trying again can help.

    ConnectorError
      SettingsError        the settings are wrong or missing: nothing was tried
      InputError           what the caller asked for is malformed: nothing was tried
      SignInError          no token could be had: nothing was sent to the organization
        SignInAgain        the person has to sign in anew: a second factor, a new session, a changed password
      TransportError
        NotSent            no connection was made: it did not happen
        Unanswered         sent, but no answer came: it may have happened
      ServiceError         the service answered with an error
        Unauthorized 401   Forbidden 403   NotFound 404
        Stale 412          our picture of the row is old, or the row exists already
        Throttled 429      a service protection limit: it did not happen
        Rejected           any other 4xx: the service will not do this now
            Malformed      400: it names a column that is not there, or a value that cannot be one
            StateConflict  the record is not in a state that allows this
            TooLarge       413: more at once than the service takes
        Broken             5xx: it may have happened
      NotConverged         looked again and again, and the plan did not become empty
      LedgerError          the durable list of a job is unusable or belongs to something else

A refusal (an opportunity already closed with the other outcome, say) is not here: it is a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus


class Effect(Enum):
    """Whether the write that failed may have taken effect in the organization."""

    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(eq=False, repr=False, kw_only=True)
class ConnectorError(Exception):
    """A failure, as a sentence for the person who must act.

    `message` says what happened and to which record, `remedy` what to do next. `effect` tells whether a
    write may have happened, `transient` whether the same attempt may succeed later.

    >>> try:
    ...     load_settings({})
    ... except ConnectorError as error:
    ...     print(type(error).__name__, error.effect.value)
    SettingsError none
    """

    effect = Effect.NONE
    transient = False

    message: str = field(kw_only=False)
    remedy: str = ""

    def __str__(self) -> str:
        """Return the message followed by the remedy."""
        return f"{self.message} {self.remedy}".strip()


class SettingsError(ConnectorError):
    """The settings are wrong or missing; every problem found is named at once."""


@dataclass(eq=False, repr=False, kw_only=True)
class InputError(ConnectorError):
    """The request is malformed or names something the organization does not have; nothing was changed.

    `fields` are those of the request that it is about, by their names in `closing.intent.CLOSE_FIELDS`.
    """

    fields: tuple[str, ...] = ()


@dataclass(eq=False, repr=False, kw_only=True)
class SignInError(ConnectorError):
    """The identity provider gave no token; nothing was sent to the organization."""

    transient: bool = False


@dataclass(eq=False, repr=False, kw_only=True)
class SignInAgain(SignInError):
    """Only the person can help, by signing in anew.

    `claims` is what the identity provider asks of that sign-in: JSON text to hand on in a challenge, or empty.
    """

    claims: str = ""


class TransportError(ConnectorError):
    """No answer came over the network."""

    transient = True


class NotSent(TransportError):
    """No connection was made (name not found, refused, TLS failed, timed out connecting): nothing happened."""


class Unanswered(TransportError):
    """The request went out and no complete answer came back: it may have happened."""

    effect = Effect.UNKNOWN


@dataclass(frozen=True, slots=True)
class Origin:
    """Which plug-in failed, as far as the service tells: its type, its step's id, their solution, and its trace.

    The trace is the plug-in's own text and may be a customer's: never log it.
    """

    plug_in: str = ""
    step_id: str = ""
    solution: str = ""
    trace: str = ""


NOWHERE = Origin()


@dataclass(eq=False, repr=False, kw_only=True)
class ServiceError(ConnectorError):
    """The service answered with an error.

    `status` is the HTTP status, `code` the service's code in lower-case hexadecimal (`0x80040217`) or empty,
    `detail` the service's own message (it may hold customer text: never log it), `request_id` what support will ask
    for, `origin` which part of the organization's own logic it comes from. `lasting` says that a transient failure
    does not look as if it passed soon: few tries are enough. `timed_out` says that it took too long in the service's
    database: less at once may do.
    """

    lasting = False
    timed_out = False

    status: int
    code: str = ""
    detail: str = ""
    request_id: str = ""
    origin: Origin = NOWHERE


class Unauthorized(ServiceError):
    """401: the token was not accepted."""


class Forbidden(ServiceError):
    """403: signed in, but not allowed (no application user, no role, a missing privilege)."""


class NotFound(ServiceError):
    """404: no such row, table or message."""


class Stale(ServiceError):
    """412: the row changed since it was read, or a row with this key exists already."""


class Rejected(ServiceError):
    """Any other 4xx: the service turned this down as it stands."""


class Malformed(Rejected):
    """400: the request names a column that the table does not have, or gives it a value of another type."""


class StateConflict(Rejected):
    """The record is not in a state that allows this: somebody moved it, or the organization's own logic did."""


class TooLarge(Rejected):
    """More at once than the service takes; less of it may do."""


@dataclass(eq=False, repr=False, kw_only=True)
class Throttled(ServiceError):
    """429: a service protection limit was reached; nothing happened.

    `retry_after` is in seconds; `facet` is `count`, `time`, `concurrency` or `other`.
    """

    transient = True

    status: int = HTTPStatus.TOO_MANY_REQUESTS
    retry_after: float
    facet: str = "other"


class Broken(ServiceError):
    """5xx: the service failed; a write may have happened."""

    effect = Effect.UNKNOWN
    transient = True


@dataclass(eq=False, repr=False, kw_only=True)
class NotConverged(ConnectorError):
    """The plan did not become empty in the allowed rounds; `last` is the last failure seen, if any."""

    last: ConnectorError | None = None

    def __post_init__(self) -> None:
        """Take over whether a write may have happened."""
        self.effect = self.last.effect if self.last is not None else Effect.NONE


def cause_of(error: ConnectorError | None) -> ConnectorError | None:
    """Return the failure behind a loop that gave up, else the failure itself."""
    while isinstance(error, NotConverged) and error.last is not None:
        error = error.last
    return error


class RepeatedUndo(NotConverged):
    """A step was done more than once, and each time something in the organization undid it."""


class LedgerError(ConnectorError):
    """The job's ledger cannot be used as asked (other input, held by another run, unreadable, full disk)."""
