"""The columns of the close activities: what an intent says, as `opportunityclose` and `quoteclose` hold it."""

from __future__ import annotations

from collections.abc import Mapping

from connector.closing.model import ColumnValue, Intent
from connector.closing.moment import iso_moment
from connector.errors import InputError

OPPORTUNITY_CLOSE_FIELDS: Mapping[str, str] = {
    "actualend": "closed_on",
    "actualrevenue": "actual_revenue",
    "competitorid": "competitor",
    "description": "description",
    "opportunityid": "opportunityid",
    "opportunitystatuscode": "status",
    "subject": "subject",
}
"""Columns of `opportunityclose` that have a field of their own, by which they must be given."""

QUOTE_CLOSE_FIELDS: Mapping[str, str] = {"actualend": "closed_on", "quoteid": "winning_quote"}
"""The same for `quoteclose`; its subject and description may be given, they are not the opportunity's."""

_SET_BY_US = frozenset({"activityid", "opportunitystatecode", "statecode", "statuscode"})


def opportunity_close(intent: Intent, utc_offset_minutes: int) -> dict[str, ColumnValue]:
    """Return the columns of the opportunity's close activity; without a date the service takes today."""
    refuse_reserved("opportunityclose", intent.opportunity_columns, OPPORTUNITY_CLOSE_FIELDS)
    columns: dict[str, ColumnValue] = {
        "subject": intent.subject or f"Opportunity closed as {intent.outcome}",
        "description": intent.description,
        "actualrevenue": intent.actual_revenue,
        "actualend": _moment(intent, utc_offset_minutes),
    }
    return _given(columns) | dict(intent.opportunity_columns)


def quote_close(intent: Intent, subject: str, utc_offset_minutes: int) -> dict[str, ColumnValue]:
    """Return the columns of a quote's close activity; `subject` is a sentence, as the table requires one."""
    refuse_reserved("quoteclose", intent.quote_columns, QUOTE_CLOSE_FIELDS)
    columns: dict[str, ColumnValue] = {"subject": subject, "actualend": _moment(intent, utc_offset_minutes)}
    return _given(columns) | dict(intent.quote_columns)


def refuse_reserved(table: str, columns: Mapping[str, object], fields: Mapping[str, str]) -> None:
    """Raise InputError when an extra column is one which has a field of its own or is set by the connector."""
    for name in columns:
        plain = name.split("@", maxsplit=1)[0].lower()
        if plain in fields:
            raise InputError(f"{table}.{name} is not an extra column.", remedy=f"Use the field {fields[plain]}.")
        if plain in _SET_BY_US:
            raise InputError(f"{table}.{name} is set by the connector.", remedy="Leave it out.")


def _moment(intent: Intent, utc_offset_minutes: int) -> str | None:
    return iso_moment(intent.closed_on, utc_offset_minutes) if intent.closed_on else None


def _given(columns: Mapping[str, ColumnValue]) -> dict[str, ColumnValue]:
    return {name: value for name, value in columns.items() if value is not None}
