"""The columns of the close activities: what an intent says, as `opportunityclose` and `quoteclose` hold it.

`opportunity.actualclosedate` is a date without time or zone (DateOnly), but it is set from
`opportunityclose.actualend`, a moment that is shown in each user's own zone (UserLocal). No document says whether the
service takes the date of that moment in UTC or in the zone of the acting user; a midnight lands on the day before for
half of the world. So the moment sent is one which has the wanted date in both. That is noon UTC for everybody up to
ten hours away from it, and for the rest, from Norfolk Island to Kiritimati, the middle of the hours that have this
date in both zones. Either leaves room for summer time: the user's offset today, or without summer time, need not be
the one on the date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from connector.closing.field import FieldKind
from connector.closing.intent import OPPORTUNITY_ID, PLAIN_FIELDS, ColumnValue, Intent, Outcome
from connector.closing.model import OrganizationMetadata
from connector.errors import InputError

_NOON = 12 * 60
_FAR = 10 * 60
_DAY = 24 * 60


def moment_of(day: date, utc_offset_minutes: int) -> datetime:
    """Return a moment, in UTC, which is on `day` both in UTC and at the given offset east of it (in minutes)."""
    minute = _NOON if abs(utc_offset_minutes) <= _FAR else (_DAY - utc_offset_minutes) // 2
    return datetime.combine(day, time(), UTC) + timedelta(minutes=minute)


def iso_moment(day: date, utc_offset_minutes: int) -> str:
    """Return `moment_of` the way the Web API writes a moment: `2026-01-31T12:00:00Z`."""
    return moment_of(day, utc_offset_minutes).strftime("%Y-%m-%dT%H:%M:%SZ")


_VALUES = [field for field in PLAIN_FIELDS if field.kind is not FieldKind.RECORD_NAME]  # it is bound, not written
_COLUMNS = [(field.column, field.key) for field in _VALUES if field.column]
_QUOTE_COLUMNS = [(field.quote_column, field.key) for field in _VALUES if field.quote_column]

_WITH_A_FIELD: Mapping[str, Mapping[str, str]] = {
    "opportunityclose": {
        OPPORTUNITY_ID.name: OPPORTUNITY_ID.name,
        **{field.column: field.name for field in PLAIN_FIELDS if field.column},
    },
    "quoteclose": {
        "quoteid": "winning_quote",
        **{field.quote_column: field.name for field in PLAIN_FIELDS if field.quote_column},
    },
}
"""Columns by table that have a field of their own, by which they must be given.

The subject and description of a quote's activity may be given as columns: the fields are the opportunity's.
"""

_SET_BY_US = frozenset({"activityid", "opportunitystatecode", "statecode", "statuscode"})


def assumed_columns(intent: Intent, metadata: OrganizationMetadata) -> frozenset[str]:
    """Return the columns that `with_assumptions` fills where the caller gave none: a date, where it may be set."""
    settable = metadata.unwritable.isdisjoint({"opportunityclose.actualend", "quoteclose.actualend"})
    dated = intent.closed_on is None and metadata.today is not None and settable
    return frozenset({"actualend"}) if dated else frozenset()


def with_assumptions(intent: Intent, metadata: OrganizationMetadata) -> Intent:
    """Return the intent with the day of today, and with the revenue of a lost opportunity where the settings say one.

    Without a day the service would take its own: that of UTC, or of the user's settings.
    """
    if assumed_columns(intent, metadata):
        intent = replace(intent, closed_on=metadata.today)
    settable = "opportunityclose.actualrevenue" not in metadata.unwritable
    if intent.outcome is Outcome.LOST and intent.actual_revenue is None and settable:
        intent = replace(intent, actual_revenue=metadata.lost_revenue)
    return intent


def opportunity_close(
    intent: Intent, metadata: OrganizationMetadata, currency_id: UUID | None = None
) -> dict[str, ColumnValue]:
    """Return the columns of the opportunity's close activity; without a date the service takes today.

    A revenue goes with the opportunity's own currency: else the service takes the user's, and refuses two currencies.
    Raises InputError for a column that is not free, or one that was asked for and may not be set.
    """
    refuse_reserved("opportunityclose", intent.opportunity_columns)
    columns = _values("opportunityclose", intent, f"Opportunity closed as {intent.outcome}", _COLUMNS, metadata)
    if intent.actual_revenue is not None and currency_id is not None:
        columns["transactioncurrencyid@odata.bind"] = f"/transactioncurrencies({currency_id})"
    return columns | dict(intent.opportunity_columns)


def quote_close(intent: Intent, subject: str, metadata: OrganizationMetadata) -> dict[str, ColumnValue]:
    """Return the columns of a quote's close activity; `subject` is a sentence, as the table requires one.

    Raises InputError as `opportunity_close`.
    """
    refuse_reserved("quoteclose", intent.quote_columns)
    return _values("quoteclose", intent, subject, _QUOTE_COLUMNS, metadata) | dict(intent.quote_columns)


def refuse_reserved(table: str, columns: Iterable[str]) -> None:
    """Raise InputError when an extra column is one which has a field of its own or is set by the connector."""
    fields = _WITH_A_FIELD[table]
    for name in columns:
        plain = name.split("@", maxsplit=1)[0].lower()
        if plain in fields:
            raise InputError(f"{table}.{name} is not an extra column.", remedy=f"Use the field {fields[plain]}.")
        if plain in _SET_BY_US:
            raise InputError(f"{table}.{name} is set by the connector.", remedy="Leave it out.")


def _values(
    table: str, intent: Intent, subject: str, fields: Iterable[tuple[str, str]], metadata: OrganizationMetadata
) -> dict[str, ColumnValue]:
    """Return what the intent says, under the names of columns; `subject` is assumed where it says none."""
    values: dict[str, ColumnValue] = {} if f"{table}.subject" in metadata.unwritable else {"subject": subject}
    for column, attribute in fields:
        value = getattr(intent, attribute)
        if value is None:
            continue
        if f"{table}.{column}" in metadata.unwritable:
            raise InputError(
                f"{table}.{column} is secured, and the user may not set it. Nothing was changed.",
                remedy="Add the user to a column security profile that may set it, or leave the value out.",
            )
        values[column] = iso_moment(value, metadata.utc_offset_minutes) if isinstance(value, date) else value
    return values
