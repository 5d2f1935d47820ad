"""A Dataverse organization: sees opportunities with their quotes, and performs plans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID, uuid4

from connector.clock import Clock
from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.model import (
    CloseActivity,
    Opportunity,
    OrganizationMetadata,
    Plan,
    Quote,
    QuoteOrder,
    Snapshot,
    StepResult,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest, Query
from connector.closing.record_keys import RecordKey, RecordMatch
from connector.dataverse import webapi
from connector.dataverse.answers import decoding, error_from, json_object
from connector.dataverse.key_lookup import RecordLookup
from connector.dataverse.metadata import Metadata
from connector.dataverse.performance import Performance
from connector.dataverse.reading import WebApi, activity_of, opportunity_of, order_of, quote_of, rows_of
from connector.dataverse.search import Search
from connector.dataverse.webapi import Endpoint, read_set
from connector.errors import SettingsError
from connector.handler import Handler

_ACTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SETS = {"opportunityclose": "opportunitycloses", "quoteclose": "quotecloses"}
_MOST_IDS = 300
"""Ids in one read: the address has a limit (see `Observation`)."""


class DataverseOrganization:
    """One organization behind `handler`, which signs in, paces and re-sends what certainly did not happen.

    `base_url` is `https://host`, without a path. `atomic` performs each plan as one transaction; where the organization
    has no such thing the steps go one by one, as they do without it. `close_action` names an action of the
    organization's own that closes opportunities (empty: WinOpportunity and LoseOpportunity), `impersonate` the Entra
    object id of the user to act as, `bypass` the logic of the organization's own that writes leave out. A close without
    a date is dated today in `zone` (None: this machine's), which `day_of` names for people; a lost one without a
    revenue gets `lost_revenue`, if there is one. Metadata is kept for `cache_seconds`. A batch holds the change sets of
    at most `batch_size` plans.
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
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        if close_action and not _ACTION.fullmatch(close_action):
            raise SettingsError(f"{close_action!r} cannot be the name of an action: letters, digits and _ make a name.")
        api = WebApi(handler, Endpoint(base_url.rstrip("/"), impersonate, new_id, bypass=bypass))
        self._metadata = Metadata(api, clock=clock, close_action=close_action, cache_seconds=cache_seconds)
        self._observation = Observation(api)
        self._performance = Performance(api, atomic=atomic)
        self._search = Search(api, clock)
        self._lookup = RecordLookup(api)
        self._batch_size = batch_size
        self._api = api
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
        subject = "Reading close activities"
        select = ",".join(("activityid", *columns))
        values: dict[UUID, Mapping[str, object]] = {}
        for start in range(0, len(ids), _MOST_IDS):
            operation = read_set(_SETS[table], select, "activityid", ids[start : start + _MOST_IDS])
            rows = self._api.read_rows(operation, subject)
            with decoding(subject):
                values |= {UUID(row["activityid"]): {name: row.get(name) for name in columns} for row in rows}
        return values

    def user_ids(self, object_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """Return the users who have these Entra object ids. Raises ConnectorError."""
        column, subject = "azureactivedirectoryobjectid", "Reading users"
        operation = read_set("systemusers", f"systemuserid,{column}", column, object_ids)
        rows = self._api.read_rows(operation, subject)
        with decoding(subject):
            return {UUID(row[column]): UUID(row["systemuserid"]) for row in rows}

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


_NO_SUCH_ROW = "0x80040217"


class Observation:
    """Reads through the Web API, at most `ids_per_read` opportunities at a time.

    The limit keeps the address of a read below the 32,768 characters that the service takes: an id needs 39. Inside a
    batch it may be twice as long, but where there are no batches the reads go singly.
    """

    def __init__(self, api: WebApi, *, ids_per_read: int = 400) -> None:
        self._api = api
        self._ids_per_read = ids_per_read

    def snapshots(
        self, ids: Sequence[UUID], *, work_based: bool, activities: bool, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return the snapshots of those of the opportunities that exist; raises ConnectorError for a failed read."""
        if len(ids) == 1:
            pairs = self._one(ids[0], work_based=work_based)
        else:
            pairs = [pair for chunk in self._chunks(ids) for pair in self._many(chunk, work_based=work_based)]
        closes: dict[UUID, list[CloseActivity]] = {}
        if activities and pairs:
            closes = self._closes(pairs)
        made = self._orders(pairs) if orders else {}
        return {opportunity.id: _snapshot(opportunity, quotes, closes, made) for opportunity, quotes in pairs}

    def _one(self, opportunity_id: UUID, *, work_based: bool) -> list[tuple[Opportunity, list[Quote]]]:
        subject = f"Reading opportunity {opportunity_id}"
        operation = webapi.read_opportunity(opportunity_id, work_based=work_based)
        response = self._api.send(operation, opportunity_id)
        if response.status == HTTPStatus.NOT_FOUND:
            error = error_from(response, subject)
            if error.code == _NO_SUCH_ROW:
                return []
            raise error
        row = json_object(response, subject)
        quotes = rows_of(row, subject, "opportunity_quotes")
        quotes += self._api.read_on(row.get("opportunity_quotes@odata.nextLink"), subject)
        with decoding(subject):
            return [(opportunity_of(row), [quote_of(quote) for quote in quotes])]

    def _many(self, ids: Sequence[UUID], *, work_based: bool) -> list[tuple[Opportunity, list[Quote]]]:
        subject = f"Reading {len(ids)} opportunities"
        opportunities, quotes = self._api.read_sets(
            [webapi.read_opportunities(ids, work_based=work_based), webapi.read_quotes(ids, work_based=work_based)],
            subject,
        )
        with decoding(subject):
            pairs: dict[str, tuple[Opportunity, list[Quote]]] = {}
            for row in opportunities:
                pairs[row["opportunityid"].lower()] = (opportunity_of(row), [])
            for row in quotes:
                pair = pairs.get(row["_opportunityid_value"].lower())
                if pair is not None:
                    pair[1].append(quote_of(row))
            return list(pairs.values())

    def _closes(self, pairs: Sequence[tuple[Opportunity, list[Quote]]]) -> dict[UUID, list[CloseActivity]]:
        of_opportunities = self._activities("opportunity", [opportunity.id for opportunity, _ in pairs])
        of_quotes = self._activities("quote", [quote.id for _, quotes in pairs for quote in quotes])
        closes: dict[UUID, list[CloseActivity]] = {}
        for activity in (*of_opportunities, *of_quotes):
            closes.setdefault(activity.record_id, []).append(activity)
        return closes

    def _orders(self, pairs: Sequence[tuple[Opportunity, list[Quote]]]) -> dict[UUID, list[QuoteOrder]]:
        """Return the sales orders by their quotes."""
        made: dict[UUID, list[QuoteOrder]] = {}
        for chunk in self._chunks([quote.id for _, quotes in pairs for quote in quotes]):
            rows = self._api.read_rows(webapi.read_orders(chunk), "Reading orders")
            with decoding("Reading orders"):
                for order in map(order_of, rows):
                    made.setdefault(order.quote_id, []).append(order)
        return made

    def _activities(self, table: str, ids: Sequence[UUID]) -> Iterator[CloseActivity]:
        subject = "Reading close activities"
        for chunk in self._chunks(ids):
            rows = self._api.read_rows(webapi.read_closes(table, chunk), subject)
            with decoding(subject):
                activities = [activity_of(row, f"_{table}id_value") for row in rows]
            yield from (activity for activity in activities if activity is not None)

    def _chunks(self, ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
        for start in range(0, len(ids), self._ids_per_read):
            yield ids[start : start + self._ids_per_read]


def _snapshot(
    opportunity: Opportunity,
    quotes: list[Quote],
    closes: Mapping[UUID, Sequence[CloseActivity]],
    made: Mapping[UUID, Sequence[QuoteOrder]],
) -> Snapshot:
    by_id = {quote.id: quote for quote in quotes}  # a row that moves while pages are read may come twice
    ordered = tuple([by_id[quote_id] for quote_id in sorted(by_id)])
    orders = tuple(order for quote in ordered for order in sorted(made.get(quote.id, ()), key=lambda order: order.id))
    if not closes:
        return Snapshot(opportunity, ordered, (), orders)
    activities = [activity for record in (opportunity.id, *by_id) for activity in closes.get(record, ())]
    return Snapshot(opportunity, ordered, tuple(sorted(activities, key=lambda activity: activity.id)), orders)
