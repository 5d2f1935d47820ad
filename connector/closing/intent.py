"""The one declaration of a close: what may be asked of one opportunity, and how each door offers it.

`Intent` holds the values; `CLOSE_FIELDS` has a row for each of them. The options of the command line, the columns of a
file, the body of the endpoint, the tools for agents, the ledger, plan files and dead letters are made from these rows,
so a new field is one attribute and one row here. `ReopenIntent` and `REOPEN_FIELDS` are the same for the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from connector.closing.field import CloseField, FieldKind, Prominence
from connector.errors import InputError

ColumnValue = str | int | float | bool | Decimal | None
"""A value of an extra column, as it goes into JSON."""

NO_COLUMNS: Mapping[str, ColumnValue] = MappingProxyType({})


class Outcome(StrEnum):
    """How an opportunity is closed.

    >>> Outcome("lost") is Outcome.LOST
    True
    """

    WON = "won"
    LOST = "lost"


class DraftPolicy(StrEnum):
    """What becomes of a draft quote, which the Sales documents do not allow to be closed as it is.

    >>> [policy.value for policy in DraftPolicy]
    ['activate', 'delete', 'direct', 'leave']
    """

    ACTIVATE = "activate"
    """Activate it, then close it."""
    DELETE = "delete"
    """Delete it: documented, but its history is lost."""
    DIRECT = "direct"
    """Close it as it is, for organizations that accept that."""
    LEAVE = "leave"
    """Do not touch it: the close is refused while a draft stands."""


class RevenueSource(StrEnum):
    """Where the actual revenue is taken from.

    >>> [source.value for source in RevenueSource]
    ['quote', 'order']
    """

    QUOTE = "quote"
    """The total of the winning quote."""
    ORDER = "order"
    """The total of the quote's order."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What the caller wants done to one opportunity; see `CLOSE_FIELDS` for what each attribute means.

    `key` is the caller's idempotency key: with the record and its row version it fixes the ids of the close activities.
    None stands for the default (see `closing.plan`). A competitor, the winning quote and the user may be named by text
    (see `closing.record_keys`). The extra columns go as they are into `opportunityclose` and `quoteclose`.

    >>> Intent(UUID("6f2c0000-0000-4000-8000-00000000abcd"), Outcome.LOST, description="Too dear").drafts
    <DraftPolicy.ACTIVATE: 'activate'>
    """

    opportunity_id: UUID
    outcome: Outcome
    key: str = ""
    status: int | str | None = None
    quote_status: int | str | None = None
    closed_on: date | None = None
    actual_revenue: Decimal | RevenueSource | None = None
    subject: str | None = None
    description: str | None = None
    competitor_id: UUID | str | None = None
    winning_quote_id: UUID | str | None = None
    drafts: DraftPolicy = DraftPolicy.ACTIVATE
    opportunity_columns: Mapping[str, ColumnValue] = field(default_factory=lambda: NO_COLUMNS)
    quote_columns: Mapping[str, ColumnValue] = field(default_factory=lambda: NO_COLUMNS)
    order: bool = False
    as_user: UUID | str | None = None

    def __post_init__(self) -> None:
        """Raise InputError for text in the place of an id or an outcome, which would fit no record and no rule."""
        _check_id(self.opportunity_id)
        if not isinstance(self.outcome, Outcome):
            raise InputError(f"outcome is {self.outcome!r}.", remedy="Give Outcome.WON or Outcome.LOST.")


@dataclass(frozen=True, slots=True)
class ReopenIntent:
    """The way back: the opportunity to open, and the quotes this connector closed to draft.

    `activity_ids`, when given, narrows that to what those close activities closed (a bulk job's own, say);
    `closed_under` narrows it to what was closed under that key. An opportunity closed by anything else is then refused.
    `open_status` is the status reason it had while it was open, `open_values` the columns that a close changes, by
    name; without these the id of the close activity tells what it can, and the rest stays.

    >>> ReopenIntent(UUID("6f2c0000-0000-4000-8000-00000000abcd"), closed_under="order 4711").closed_under
    'order 4711'
    """

    opportunity_id: UUID
    key: str = ""
    activity_ids: frozenset[UUID] | None = None
    closed_under: str | None = None
    open_status: int | None = None
    open_values: Mapping[str, ColumnValue] = field(default_factory=lambda: NO_COLUMNS)

    def __post_init__(self) -> None:
        """Raise InputError for text in the place of an id, which would fit no record."""
        _check_id(self.opportunity_id)


AnyIntent = Intent | ReopenIntent
"""What a caller may ask for."""


def _check_id(value: object) -> None:
    if not isinstance(value, UUID):
        raise InputError(f"opportunity_id is {value!r}, which is no UUID.", remedy="Give uuid.UUID('...').")


OPPORTUNITY_ID = CloseField(
    "opportunityid",
    FieldKind.RECORD_ID,
    "Opportunity",
    "The id of the opportunity.",
    attribute="opportunity_id",
    wire="opportunity_id",
    table="opportunity",
    required=True,
    for_agents=True,
)
"""The record it is about: a column of a file, an argument of a command, a part of an address."""

CLOSE_FIELDS = (
    CloseField(
        "outcome",
        FieldKind.OUTCOME,
        "Outcome",
        "How the opportunity ends.",
        required=True,
        prominence=Prominence.IMPORTANT,
        for_agents=True,
    ),
    CloseField(
        "status",
        FieldKind.REASON,
        "Status Reason",
        "The status reason of the opportunity, by number or label.",
        absent="The default of the outcome when empty.",
        table="opportunity",
        limit=200,
        for_agents="The status reason of the opportunity, by number or label. The outcome's default if absent.",
    ),
    CloseField(
        "closed_on",
        FieldKind.DAY,
        "Close Date",
        "The day of the close, as in 2026-01-31.",
        absent="Today when empty.",
        for_agents="The day of the close, as in 2026-01-31.",
        column="actualend",
        quote_column="actualend",
    ),
    CloseField(
        "actual_revenue",
        FieldKind.AMOUNT,
        "Actual Revenue",
        "The actual revenue, in the opportunity's currency. When empty, the estimated one of a won opportunity.",
        for_agents=True,
        column="actualrevenue",
    ),
    CloseField(
        "description",
        FieldKind.TEXT,
        "Description",
        "The description of the close activity.",
        limit=2000,
        for_agents=True,
        column="description",
    ),
    CloseField(
        "subject",
        FieldKind.TEXT,
        "Subject",
        "The subject of the close activity. When empty, a sentence on the outcome.",
        limit=200,
        prominence=Prominence.ADVANCED,
        column="subject",
    ),
    CloseField(
        "competitor",
        FieldKind.RECORD_NAME,
        "Competitor",
        "The competitor that a lost opportunity went to, by id or name.",
        attribute="competitor_id",
        table="competitor",
        prominence=Prominence.ADVANCED,
        limit=100,
        for_agents="The competitor it was lost to, by id or name.",
        column="competitorid",
    ),
    CloseField(
        "winning_quote",
        FieldKind.RECORD_NAME,
        "Winning Quote",
        "The quote that the customer accepted, by id or number; the others are closed.",
        attribute="winning_quote_id",
        table="quote",
        limit=100,
        prominence=Prominence.ADVANCED,
        for_agents=True,
    ),
    CloseField(
        "quote_status",
        FieldKind.REASON,
        "Quote Status Reason",
        "The status reason of the closed quotes.",
        absent="When empty, Lost with a lost opportunity, else Canceled.",
        table="quote",
        limit=200,
        prominence=Prominence.ADVANCED,
    ),
    CloseField(
        "drafts",
        FieldKind.DRAFTS,
        "Draft Quotes",
        "What becomes of draft quotes: activate and close them, delete them, close them directly, or leave them, which "
        "refuses the close.",
        prominence=Prominence.ADVANCED,
        for_agents="What becomes of draft quotes; activate and close them if absent.",
    ),
    CloseField(
        "order", FieldKind.FLAG, "Order", "Makes the sales order of the winning quote, unless it has one.", hosted=False
    ),
    CloseField(
        "as_user",
        FieldKind.RECORD_NAME,
        "As User",
        "The user in whose name it is closed: mail, domain name, Entra object id or user id.",
        absent="When empty, the user who signs in.",
        table="systemuser",
        limit=320,
        hosted=False,
    ),
    CloseField(
        "opportunity_columns",
        FieldKind.COLUMNS,
        "Close Columns",
        "Values of the organization's own columns of the opportunity's close activity.",
        flag="opportunity-column",
        wire="columns",
        table="opportunityclose",
        prominence=Prominence.ADVANCED,
    ),
    CloseField(
        "quote_columns",
        FieldKind.COLUMNS,
        "Quote Close Columns",
        "Values of the organization's own columns of each quote's close activity.",
        flag="quote-column",
        table="quoteclose",
        prominence=Prominence.ADVANCED,
    ),
)
"""What may be asked of a close, in the order in which a form shows it."""

REOPEN_FIELDS = (
    CloseField(
        "activities", FieldKind.RECORD_IDS, "Activities", "The close activities to undo.", attribute="activity_ids"
    ),
    CloseField("open_status", FieldKind.REASON, "Open Status Reason", "The status reason it had before the close."),
    CloseField("open_values", FieldKind.COLUMNS, "Values Before", "What it had in the columns that the close changed."),
    CloseField(
        "closed_under",
        FieldKind.TEXT,
        "Closed Under Key",
        "Reopens only what was closed under this idempotency key.",
        limit=255,
        prominence=Prominence.ADVANCED,
    ),
)
"""What narrows the way back."""

OFFERED_REOPEN_FIELDS = tuple(field for field in REOPEN_FIELDS if field.kind is FieldKind.TEXT)
"""Those that a caller may give; the others come from the ledger of a job."""

HOSTED_FIELDS = tuple(field for field in CLOSE_FIELDS if field.hosted)
"""Those that callers of the endpoint are offered."""

PLAIN_FIELDS = tuple(field for field in CLOSE_FIELDS if field.kind is not FieldKind.COLUMNS)
"""The fields that are one value, and one column of a file."""

COLUMN_FIELDS = tuple(field for field in CLOSE_FIELDS if field.kind is FieldKind.COLUMNS)
"""The fields that are as many columns as the caller gives."""

FILE_COLUMNS = (OPPORTUNITY_ID, *PLAIN_FIELDS)
"""The columns of a file of rows, those of extra columns apart."""
