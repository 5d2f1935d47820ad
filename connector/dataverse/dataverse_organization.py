"""A Dataverse organization: sees opportunities with their quotes, and performs plans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from decimal import Decimal
from uuid import UUID, uuid4

from connector.clock import Clock
from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.model import OrganizationMetadata, Plan, Snapshot, StepResult
from connector.closing.organization import ONLY_REASONS, MetadataRequest, Query
from connector.closing.record_keys import RecordKey, RecordMatch
from connector.dataverse.answers import decoding
from connector.dataverse.key_lookup import RecordLookup
from connector.dataverse.metadata import Metadata
from connector.dataverse.observation import Observation
from connector.dataverse.performance import Performance
from connector.dataverse.reading import read_rows
from connector.dataverse.search import Search
from connector.dataverse.webapi import Endpoint, read_set
from connector.errors import SettingsError
from connector.handler import Handler

_ACTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class DataverseOrganization:
    """One organization behind `handler`, which signs in, paces and re-sends what certainly did not happen.

    `base_url` is `https://host`, without a path. `atomic` performs each plan as one transaction; where the organization
    has no such thing the steps go one by one, as they do without it. `close_action` names an action of the
    organization's own that closes opportunities (empty: WinOpportunity and LoseOpportunity), `impersonate` the Entra
    object id of the user to act as, `bypass` the logic of the organization's own that writes leave out. A close without
    a date is dated today in `zone` (None: this machine's), which `day_of` names for people; a lost one without a
    revenue gets `lost_revenue`, if there is one. Metadata is kept for `cache_seconds`. A batch holds the change sets of
    at most `batch_size` plans, a read asks for at most `ids_per_read` opportunities.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of the settings, by name
        self,
        handler: Handler,
        base_url: str,
        *,
        clock: Clock,
        atomic: bool = True,
        close_action: str = "",
        impersonate: UUID | None = None,
        bypass: Bypass = NO_BYPASS,
        zone: tzinfo | None = UTC,
        day_of: str = "UTC",
        lost_revenue: Decimal | None = None,
        cache_seconds: float = 3600.0,
        batch_size: int = 10,
        ids_per_read: int = 400,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        if close_action and not _ACTION.fullmatch(close_action):
            raise SettingsError(f"{close_action!r} cannot be the name of an action: letters, digits and _ make a name.")
        endpoint = Endpoint(base_url.rstrip("/"), impersonate, new_id, bypass=bypass)
        self._metadata = Metadata(
            handler, endpoint, clock=clock, close_action=close_action, cache_seconds=cache_seconds
        )
        self._observation = Observation(handler, endpoint, ids_per_read=ids_per_read)
        self._performance = Performance(handler, endpoint, atomic=atomic)
        self._search = Search(handler, endpoint, clock)
        self._lookup = RecordLookup(handler, endpoint)
        self._batch_size = batch_size
        self._handler = handler
        self._endpoint = endpoint
        self._clock = clock
        self._zone = zone
        self._day_of = day_of
        self._lost_revenue = lost_revenue

    @property
    def atomic(self) -> bool:
        """Whether plans are performed as one transaction each; turns false when the organization refuses that."""
        return self._performance.atomic

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the status reasons and messages, and what `needs` asks for, from the cache while it is fresh."""
        metadata = self._metadata.get(needs)
        today = self._clock.now().astimezone(self._zone).date()
        return replace(metadata, today=today, day_of=self._day_of, lost_revenue=self._lost_revenue)

    def prepare(self) -> None:
        """Read the metadata ahead, in several requests at the same time. Raises ConnectorError."""
        self._metadata.prepare()

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return a snapshot of each opportunity that exists, with its close activities and orders if asked for.

        One request for one opportunity, two for every `ids_per_read`; the activities take two more. Raises
        ConnectorError when anything could not be read: a snapshot is whole or not there.
        """
        work_based = any(name.startswith("msdyn_") for name in self._metadata.messages())
        return self._observation.snapshots(
            list(dict.fromkeys(ids)), work_based=work_based, activities=activities, orders=orders
        )

    def activity_values(
        self, table: str, ids: Sequence[UUID], columns: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, object]]:
        """Return columns of close activities, by id; those that are not there are absent. Raises ConnectorError."""
        return read_activity_values(self._handler, self._endpoint, table, ids, columns)

    def user_ids(self, object_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """Return the users who have these Entra object ids. Raises ConnectorError."""
        return read_user_ids(self._handler, self._endpoint, object_ids)

    def find(self, query: Query) -> Iterator[UUID]:
        """Yield the ids of the opportunities that `query` means, page by page; raises InputError, ConnectorError."""
        return self._search.ids(query)

    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        """Return the records that have each key: see `closing.record_keys`."""
        return self._lookup.matches(keys)

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Perform the plans, each atomically where the organization allows it; one tuple of results per plan, in order.

        Failures are results, never exceptions.
        """
        results: list[tuple[StepResult, ...]] = []
        for start in range(0, len(plans), self._batch_size):
            results.extend(self._performance.perform(plans[start : start + self._batch_size]))
        return results


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
