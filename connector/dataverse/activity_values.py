"""Reads columns of close activities, whichever a caller asks for, and which user has an Entra object id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from connector.dataverse.answers import decoding
from connector.dataverse.reading import read_rows
from connector.dataverse.webapi import Endpoint, read_set
from connector.handler import Handler

_SETS = {"opportunityclose": "opportunitycloses", "quoteclose": "quotecloses"}
_MOST_IDS = 300
"""Ids in one read: the address has a limit (see `Observation`)."""


def read_activity_values(
    handler: Handler, endpoint: Endpoint, table: str, ids: Sequence[UUID], columns: Sequence[str]
) -> Mapping[UUID, Mapping[str, object]]:
    """Return the columns of the close activities that are there, by their ids. Raises ConnectorError."""
    subject = "Reading close activities"
    values: dict[UUID, Mapping[str, object]] = {}
    for start in range(0, len(ids), _MOST_IDS):
        some = ids[start : start + _MOST_IDS]
        rows = read_rows(
            handler, endpoint, read_set(_SETS[table], ",".join(("activityid", *columns)), "activityid", some), subject
        )
        with decoding(subject):
            values |= {UUID(row["activityid"]): {name: row.get(name) for name in columns} for row in rows}
    return values


def read_user_ids(handler: Handler, endpoint: Endpoint, object_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Return the ids of the users who have these Entra object ids, by these. Raises ConnectorError."""
    column, subject = "azureactivedirectoryobjectid", "Reading users"
    rows = read_rows(handler, endpoint, read_set("systemusers", f"systemuserid,{column}", column, object_ids), subject)
    with decoding(subject):
        return {UUID(row[column]): UUID(row["systemuserid"]) for row in rows}
