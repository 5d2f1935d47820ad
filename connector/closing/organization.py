"""What closing needs of an organization: to look records up, to see, to do, and to find what to close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol
from uuid import UUID

from connector.closing.model import OrganizationMetadata, Plan, RowRef, Snapshot, StepResult
from connector.closing.record_keys import KeyLookup


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """What is needed beside the status reasons: definitions of columns, whether rows are there, what amounts are in."""

    columns: bool = False
    rows: frozenset[RowRef] = frozenset()
    amounts: bool = False


ONLY_REASONS = MetadataRequest()


def all_needs(each: Iterable[MetadataRequest]) -> MetadataRequest:
    """Return what several goals need together."""
    needs = list(each)
    return MetadataRequest(
        columns=any(request.columns for request in needs),
        rows=frozenset[RowRef]().union(*(request.rows for request in needs)),
        amounts=any(request.amounts for request in needs),
    )


class Organization(Protocol):
    """One Dataverse organization, seen and changed one or many opportunities at a time."""

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the status reasons and messages it has, and what `needs` asks for; cached with an expiry."""

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return a snapshot of each opportunity that exists; those that do not are absent.

        With `activities` the close activities are read too, with `orders` the quotes' sales orders. Raises
        ConnectorError when nothing could be read.
        """

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Perform the plans, each atomically where the organization allows it; one tuple of results per plan, in order.

        A tuple has one result per step of its plan. Failures of the service are results, never exceptions: a plan
        whose fate is not known (lost answer, 5xx) has results with status UNKNOWN and the error. Plans are
        independent: one's failure does not stop another.
        """


class LookupOrganization(Organization, KeyLookup, Protocol):
    """An organization in which records can be looked up by their keys, too."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which opportunities: those of a saved view or a FetchXML query, or the open ones that fit every condition given.

    `where` is an OData filter on opportunities, `older_than` how many days the estimated close date is past at least,
    `view` the name or id of a system view or of a view that the acting user has saved. `fetchxml` is a whole query of
    opportunities, whatever their state.

    >>> with connect(load_settings()) as connection:
    ...     len(list(connection.organization.find(Query(where="name eq 'There is none'"))))
    0
    """

    where: str = ""
    older_than: int | None = None
    view: str = ""
    fetchxml: str = ""

    def data(self) -> dict[str, object]:
        """Return what was given, as plain data."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


class Finder(Protocol):
    """An organization in which opportunities can be looked for."""

    def find(self, query: Query) -> Iterator[UUID]:
        """Yield the ids of the opportunities that `query` means, page by page; one may come twice.

        Raises InputError for a view that does not exist or a name that several have, else ConnectorError.
        """
