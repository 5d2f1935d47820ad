"""The words of the job: what an opportunity and its quotes are, what is wanted, what is to be done, what came of it.

States are fixed by the platform, status reasons come from the organization's metadata. Source: Microsoft Learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.intent import NO_COLUMNS, ColumnValue, DraftPolicy, Intent, Outcome, ReopenIntent
from connector.errors import ConnectorError

__all__ = ["ColumnValue", "DraftPolicy", "Intent", "Outcome", "ReopenIntent"]


class OpportunityState(IntEnum):
    """`statecode` of the opportunity table."""

    OPEN = 0
    WON = 1
    LOST = 2


class QuoteState(IntEnum):
    """`statecode` of the quote table."""

    DRAFT = 0
    ACTIVE = 1
    WON = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class StatusReason:
    """One `statuscode` of a table: its value, its state, whether it is that state's default, its labels.

    `followers` are the reasons that may come after it, None where the table does not enforce such transitions.
    """

    value: int
    state: int
    default: bool
    labels: tuple[str, ...]
    followers: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """A column as the organization defines it: `options` are labels of a choice by value, `limits` those of a number.

    `kind` is the service's AttributeType (`Lookup`), or of a virtual one what it is (`File`).
    """

    kind: str
    creatable: bool = True
    length: int | None = None
    options: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    date_only: bool = False
    limits: tuple[Decimal, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class LookupDefinition:
    """One way of a lookup: the navigation property that sets `column` to a row of `table`, and that table's set."""

    navigation: str
    column: str
    table: str
    entity_set: str = ""


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """The columns of a table by logical name, and its lookups."""

    columns: Mapping[str, ColumnDefinition]
    lookups: tuple[LookupDefinition, ...] = ()


RowRef = tuple[str, UUID]
"""A row, by its entity set and id."""


@dataclass(frozen=True, slots=True)
class OrganizationMetadata:
    """What an organization has, read from its own metadata: status reasons and the messages that matter here.

    `messages` holds those of the names in `closing.plan.MESSAGES_OF_INTEREST` which exist. `utc_offset_minutes` is the
    acting user's, used to place a calendar date in a moment. `close_action` is an action of the organization's own that
    closes opportunities with either outcome (parameters `OpportunityClose` and `Status`), where it wants that used.
    `bypass` is which of its own logic this connection leaves out. `today` is the day of a close without a date,
    `day_of` says whose: `this machine (CET)`. `lost_revenue` is the actual revenue of a lost one without, if any.

    `users` are who signed in and who acts, by their ids. `privileges` are those that the acting user holds, None where
    they could not be read. `unreadable` and `unwritable` name secured columns that it may not read or set, `required`
    the organization's own columns that must have a value: True where the service says so, False where only forms do.
    `tables` has the definitions of close activities, `absent` the rows not to be seen, `decimals` those of the
    actual revenue by currency, under None where the column has a number of its own, and `currencies` their ISO codes,
    of what `MetadataRequest` asked for. `unchecked` says what could not be read and so is not checked, a sentence each.
    """

    opportunity_statuses: tuple[StatusReason, ...]
    quote_statuses: tuple[StatusReason, ...]
    messages: frozenset[str] = frozenset()
    utc_offset_minutes: int = 0
    close_action: str | None = None
    bypass: Bypass = NO_BYPASS
    today: date | None = None
    day_of: str = ""
    lost_revenue: Decimal | None = None
    users: frozenset[UUID] = frozenset()
    privileges: frozenset[str] | None = None
    unreadable: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()
    required: Mapping[str, bool] = field(default_factory=dict)
    tables: Mapping[str, TableDefinition] = field(default_factory=dict)
    absent: frozenset[RowRef] = frozenset()
    decimals: Mapping[UUID | None, int] = field(default_factory=dict)
    currencies: Mapping[UUID | None, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opportunity:
    """An opportunity as read; `version` is its ETag, `work_based` tells Project Operations (`msdyn_ordertype`)."""

    id: UUID
    name: str
    state: OpportunityState
    status: int
    version: str
    estimated_value: Decimal | None = None
    actual_value: Decimal | None = None
    actual_close_date: date | None = None
    close_probability: int | None = None
    customer_id: UUID | None = None
    currency_id: UUID | None = None
    owner_id: UUID | None = None
    work_based: bool = False
    modified_on: datetime | None = None
    modified_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it was read; `version` is its ETag. Of the revisions of a number one is open at most."""

    id: UUID
    name: str
    number: str
    state: QuoteState
    status: int
    version: str
    work_based: bool = False
    revision: int = 0
    total: Decimal | None = None
    currency_id: UUID | None = None
    modified_on: datetime | None = None
    modified_by: UUID | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is draft or active, and so blocks the close of its opportunity."""
        return self.state in (QuoteState.DRAFT, QuoteState.ACTIVE)


@dataclass(frozen=True, slots=True)
class CloseActivity:
    """A row of `opportunityclose` or `quoteclose`: its id, the record it closed, whether it is still Completed.

    A record that was closed, reopened and closed again has several; `created_on` tells which is the latest.
    """

    id: UUID
    record_id: UUID
    completed: bool
    created_on: datetime | None = None


@dataclass(frozen=True, slots=True)
class QuoteOrder:
    """A sales order that was made of a quote."""

    id: UUID
    quote_id: UUID
    number: str = ""
    total: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen at one moment: the opportunity and all its quotes, ordered by id.

    `activities` holds their close activities and `orders` the quotes' orders, where they were asked for.
    """

    opportunity: Opportunity
    quotes: tuple[Quote, ...]
    activities: tuple[CloseActivity, ...] = ()
    orders: tuple[QuoteOrder, ...] = ()


class StepKind(StrEnum):
    """What one write does."""

    ACTIVATE_QUOTE = "activate_quote"
    DELETE_QUOTE = "delete_quote"
    WIN_QUOTE = "win_quote"
    CLOSE_QUOTE = "close_quote"
    CLOSE_PROJECT_QUOTE = "close_project_quote"
    CLOSE_ALL_QUOTES = "close_all_quotes"
    CLOSE_OPPORTUNITY = "close_opportunity"
    CREATE_ORDER = "create_order"
    REOPEN_OPPORTUNITY = "reopen_opportunity"
    REOPEN_QUOTE = "reopen_quote"


@dataclass(frozen=True, slots=True)
class Step:
    """One write, complete: everything the Web API layer needs to say it.

    `table` is the logical name and `record_id` the key of the row that changes; `version` is its ETag as read.
    `message` is the Dataverse message to call (`WinOpportunity`, `CloseQuote`, ...), or `Update` / `Delete`.
    `state` and `status` are what the row shall have. `activity_id` and `activity` describe the close activity that
    the message creates: its chosen id and its columns, with logical names (`actualend` as an ISO moment).
    `competitor_id` is bound to the activity. `columns` are further columns of the row that an update sets. `assumed`
    names columns of the activity that nobody asked for: they are no part of what is approved. `label` is for people.
    """

    kind: StepKind
    table: str
    record_id: UUID
    label: str
    version: str
    message: str
    state: int | None = None
    status: int | None = None
    activity_id: UUID | None = None
    activity: Mapping[str, ColumnValue] = field(default_factory=lambda: NO_COLUMNS)
    competitor_id: UUID | None = None
    columns: Mapping[str, ColumnValue] = field(default_factory=lambda: NO_COLUMNS)
    assumed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes still needed, in order; empty when nothing is left to do. `digest` names it for approval.

    `bypass` says which of the organization's own logic they leave out, `as_user` the Entra object id of the user in
    whose name they are done, if that is another than who signs in; both are part of what is approved. `notes` are
    sentences on what a person should know of it: whose day is written, what is not written, what was not checked.

    >>> with connect(load_settings()) as connection:
    ...     plan = preview(connection, Intent(opportunity_id, Outcome.WON)).verdict
    >>> plan.steps[-1].message
    'WinOpportunity'
    """

    opportunity_id: UUID
    steps: tuple[Step, ...]
    digest: str
    bypass: str = ""
    as_user: UUID | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A plan that must not be made, with a stable `code` and a sentence: `reason` says why and what to do instead.

    >>> with connect(load_settings()) as connection:
    ...     intent = Intent(opportunity_id, Outcome.LOST, winning_quote_id=opportunity_id)
    ...     preview(connection, intent).verdict.code
    'winning_quote_needs_won'
    """

    opportunity_id: UUID
    code: str
    reason: str


class StepStatus(StrEnum):
    """What came of one step."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step and what came of it; `error` is the failure, `request_id` the service's id of the request.

    `note` is a sentence about how it was done, where that is not what was asked for (singly, not as one change set).
    """

    step: Step
    status: StepStatus
    error: ConnectorError | None = None
    request_id: str = ""
    note: str = ""


class ReportStatus(StrEnum):
    """What came of an intent."""

    CLOSED = "closed"
    ALREADY_CLOSED = "already_closed"
    REOPENED = "reopened"
    ALREADY_OPEN = "already_open"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an intent: the status, every step with its result, and why when it is refused or failed.

    A refusal has a `reason` with its code, a failure an `error`; `stands` says where the record of a failure stands.
    `digest` is that of the first plan; `rounds` counts observe-plan-perform turns; `partial` is true when it
    failed after some of its steps took effect; `warnings` say what was not quite as asked, `notes` are its plan's.

    >>> with connect(load_settings()) as connection:
    ...     report = close_opportunity(connection, Intent(opportunity_id, Outcome.WON))
    >>> report.status.value, report.steps[-1].status.value
    ('closed', 'done')
    """

    opportunity_id: UUID
    status: ReportStatus
    steps: tuple[StepResult, ...] = ()
    digest: str = ""
    reason: str = ""
    reason_code: str = ""
    error: ConnectorError | None = None
    stands: str = ""
    rounds: int = 0
    partial: bool = False
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    before: Snapshot | None = None
    after: Snapshot | None = None
