"""What the service's error codes mean for a close: the sentence, the remedy, whether it happened, whether to try again.

Codes, names and texts: Microsoft's list of Web service error codes
(learn.microsoft.com/power-apps/developer/data-platform/reference/web-service-error-codes). Whether the write may have
happened: a statement that fails inside the service's transaction rolls it back (plug-in errors, deadlocks, lock and
capacity refusals); where the documents leave it open it counts as unknown, which costs one more look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from connector.errors import Effect, Forbidden, NotFound, Rejected, ServiceError, Stale, StateConflict, TooLarge


@dataclass(frozen=True, slots=True)
class Case:
    """One error code: what to tell the person, and what it says about the write.

    `effect`, `transient` and `kind` are None where the HTTP status decides; the rest
    is as in `ServiceError`.
    """

    sentence: str
    remedy: str = ""
    effect: Effect | None = None
    transient: bool | None = None
    lasting: bool = False
    timed_out: bool = False
    kind: type[ServiceError] | None = None


_USERS = "Power Platform admin center > Environments > Settings > Users + permissions > Application users"
_LOOK_AT_RULE = "Ask who maintains that rule what it needs; the request id leads to its trace."
_TRY_LATER = "Try again later."
_UNCHANGED = Effect.NONE


def _plug_in(sentence: str) -> Case:
    """Return the case of a synchronous plug-in that ended the transaction: nothing happened, a repeat ends alike."""
    return Case(sentence, _LOOK_AT_RULE, _UNCHANGED, transient=False)


def _lasting(sentence: str) -> Case:
    """Return the case of a failure inside the transaction which may pass, but hardly in a moment."""
    return Case(sentence, f"{_LOOK_AT_RULE} It may pass by itself: run the same again later.", _UNCHANGED, lasting=True)


def _busy(sentence: str) -> Case:
    """Return the case of a statement that was turned away or rolled back, and may pass in a moment."""
    return Case(sentence, _TRY_LATER, _UNCHANGED, transient=True)


def _conflict(sentence: str, remedy: str = "Look at it again before deciding.") -> Case:
    """Return the case of a record that is not in the state that this needs."""
    return Case(sentence, remedy, kind=StateConflict)


def _forbidden(sentence: str, remedy: str) -> Case:
    """Return the case of what this user may not do, or of one who may do nothing here."""
    return Case(sentence, remedy, kind=Forbidden)


_ACCESS = {
    "0x80072560": _forbidden(
        "the identity that signed in, or the one to act as, is not a user of this organization.",
        f"Create an application user for this client id and give it a security role ({_USERS}), or correct "
        "DATAVERSE_CALLER_OBJECT_ID where that is set.",
    ),
    "0x80095ffc": _forbidden(
        "this organization does not let this application id use its API.",
        "Ask an administrator to add the client id to the environment's allowed applications.",
    ),
    "0x80042f09": _forbidden(
        "the user has no security role.",
        f"Give it a role with the privileges for opportunities and quotes ({_USERS}).",
    ),
    "0x8004a104 0x8004a113": _forbidden(
        "the environment is disabled, or in administration mode.",
        "Change that in the Power Platform admin center; administration mode lets in administrators only.",
    ),
    "0x8004f502 0x8004f506 0x8004f507": _forbidden(
        "a column is secured, and the user may not use it.",
        "Add the user to a column security profile that allows it, or leave the value out.",
    ),
    "0x80040220": _forbidden(
        "the user lacks a privilege that this needs.",
        f"Add the privilege to a security role of the application user ({_USERS}).",
    ),
    "0x80048306": _forbidden(
        "the user may not do this to this row.",
        "Widen the access level of its security role, or share the row with it.",
    ),
    "0x80048405": _forbidden(
        "access is denied.",
        "Check the security roles of the application user and its access to this row.",
    ),
    "0x80040225 0x8004a112": _forbidden(
        "the user is disabled or belongs to no business unit.",
        f"Enable the application user and give it a business unit ({_USERS}).",
    ),
    "0x8004a110": _forbidden(
        "the user may not act for another user.",
        "Give it prvActOnBehalfOfAnotherUser (the Delegate role), or leave out DATAVERSE_CALLER_OBJECT_ID and as_user.",
    ),
}

_NAMES = {
    "0x80040217 0x80040500 0x80060891 0x80100006": Case(
        "the record does not exist.", "Check the id; the record may have been deleted.", kind=NotFound
    ),
    "0x8006088a 0x80060888": Case(
        "the organization has no table or action of this name.", "`connector doctor` lists what is missing."
    ),
}

_STATE = {
    "0x80040515": _conflict("the opportunity is already closed."),
    "0x80040516": _conflict(
        "the opportunity cannot be closed.", "Close or delete its draft and active quotes first, then close it."
    ),
    "0x8004051a": _conflict("the opportunity is already open."),
    "0x80043b15": Case("the opportunity's id is missing or invalid."),
    "0x80043b12": Case(
        "a price list is missing on the quote or the opportunity.",
        "Set it there. A draft quote that cannot be activated can be deleted (--drafts delete), or closed by hand "
        "first (--drafts leave refuses the close until then).",
    ),
    "0x80100003": _conflict("the quote is no longer a draft, so it cannot be activated."),
    "0x80100005": Case("this organization does not let an update close an opportunity."),
    "0x80048408": Case(
        "the status reason does not belong to this state.", "Choose one of the state's own status reasons."
    ),
    "0x8004f00e": _conflict("the record cannot go from its present state to this one."),
    "0x8004f857 0x8004f858": Case("the organization's status transition rules forbid this change."),
    "0x80040233": _conflict("the record is not in a state that allows this."),
    "0x8004022e": _conflict("the record is read-only in its present state."),
    "0x80043b09": _conflict("the record's parent is read-only."),
    "0x80048d00": _conflict(
        "a newer revision of this quote is open, so it stays closed.", "Close or delete that revision first."
    ),
    "0x80040227": Case(
        "the record cannot be deleted while others refer to it.", "Activate and close the quote instead."
    ),
    "0x80048cea": Case(
        "two records have different currencies.", "Give the actual revenue in the opportunity's own currency."
    ),
    "0x80040203": Case("a value was not accepted."),
    "0x80044331": Case("a value does not fit its column.", "The detail names the column and its limit."),
    "0x80048d19": Case(
        "the columns sent are not what the organization has.", "Check the extra columns and the action."
    ),
    "0x80060883": Case("the organization wants the row version with this change."),
    "0x8006088d": Case("the organization does not check row versions on this table."),
    "0x80060882": Case("the record was changed by somebody else meanwhile.", "Look at it again.", kind=Stale),
    "0x80040237 0x80060892": Case(
        "a record with this key exists already.", "Look at it again before deciding.", kind=Stale
    ),
    "0x80040333": Case(
        "duplicate detection found another record like it.",
        "Merge the two, or let the duplicate detection rule leave this table out.",
        kind=Rejected,
    ),
}

STOPPED = _plug_in("a rule of this organization (a plug-in) stopped it.")
"""What a plug-in says with a code of its own means too."""

_RULES = {
    "0x80040265": STOPPED,
    "0x80040224": _plug_in("a plug-in of this organization failed."),
    "0x80044171 0x80044172 0x80044173 0x80081111": _plug_in("a plug-in of this organization took too long."),
    "0x80040251": _plug_in("a plug-in of this organization ended the transaction."),
    "0x8004418d": _lasting("a plug-in of this organization crashed, or the service that runs plug-ins did."),
}

_BUSY = {
    "0x80040255": _busy("the transaction was rolled back."),
    "0x80044339": _busy("another change holds a lock on the record."),
    "0x80048105": _busy("another operation is changing access to the same record."),
    "0x8004a001": _busy("the organization's database is busy."),
    "0x80072323": _busy("the organization's database has reached its limit."),
    "0x80072324": _busy("the organization's database has too many requests at once."),
    # A failed statement aborts its transaction, yet a timeout may also end the wait for one that succeeds: look again.
    "0x80044150": Case("the organization's database failed.", _TRY_LATER, Effect.UNKNOWN, transient=True, lasting=True),
    "0x80044151": Case(
        "the organization's database took too long.",
        _TRY_LATER,
        Effect.UNKNOWN,
        transient=True,
        lasting=True,
        timed_out=True,
    ),
}

RULES = frozenset(" ".join(_RULES).split())
"""The codes of the organization's own logic."""

_ALL = {**_ACCESS, **_NAMES, **_STATE, **_RULES, **_BUSY}
CASES: Mapping[str, Case] = MappingProxyType({code: case for codes, case in _ALL.items() for code in codes.split()})
"""Every code that is told apart, by its lower-case hexadecimal form."""

DEADLOCK = _busy("the database chose this change as the victim of a deadlock.")
"""SQL error 1205, which comes inside the text of the SQL codes: the statement was rolled back."""

DEADLOCK_CODES = frozenset({"", "0x80044150", "0x80044151", "0x80044339", "0x80040216"})
"""The codes whose text may speak of a deadlock in the service's own words; a plug-in's text may say anything."""

FACETS: Mapping[str, str] = MappingProxyType({"0x80072322": "count", "0x80072321": "time", "0x80072326": "concurrency"})
"""The service protection limits by code (learn.microsoft.com/power-apps/developer/data-platform/api-limits)."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "ConcurrencyVersionMismatch": "0x80060882",
        "DuplicateRecord": "0x80040237",
        "ObjectDoesNotExist": "0x80040217",
        "PrivilegeDenied": "0x80040220",
        "IsvAborted": "0x80040265",
    }
)
"""Codes by the name in `ApiExceptionMessageName`, for answers whose code is empty."""

TEXTS: tuple[tuple[int, str, str], ...] = (
    (HTTPStatus.NOT_FOUND, "does not exist", "0x80040217"),
    (HTTPStatus.PRECONDITION_FAILED, "the version of the existing record", "0x80060882"),
    (HTTPStatus.PRECONDITION_FAILED, "matching key values already exists", "0x80040237"),
)
"""Status, text and code of the answers that older releases sent with an empty code."""

INVALID_STATE = CASES["0x8004f00e"]
"""What the code of every error that has none of its own means where the text speaks of the state."""

TOO_LARGE = Case(
    "the request is too large for the organization.", "Send fewer opportunities in one batch.", kind=TooLarge
)

UNSUPPORTED = frozenset({"0x80040315", "0x80100008", "0x80044181"})
"""NotSupported, EntityTypeNotSupported, SdkMessageNotSupportedOnClient: refused whatever the record."""
