"""What closing needs of an organization: three verbs. `dataverse.organization` is the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from connector.closing.model import OrganizationMetadata, Plan, Snapshot, StepResult


class Organization(Protocol):
    """One Dataverse organization, seen and changed one or many opportunities at a time."""

    def metadata(self) -> OrganizationMetadata:
        """Return the status reasons and messages it has; cached with an expiry."""

    def observe(self, ids: Sequence[UUID], *, activities: bool = False) -> Mapping[UUID, Snapshot]:
        """Return a snapshot of each opportunity that exists; those that do not are absent.

        With `activities` the close activities are read too. Raises ConnectorError when nothing could be read.
        """

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Perform the plans, each atomically where the organization allows it; one tuple of results per plan, in order.

        A tuple has one result per step of its plan. Failures of the service are results, never exceptions: a plan
        whose fate is not known (lost answer, 5xx) has results with status UNKNOWN and the error. Plans are
        independent: one's failure does not stop another.
        """
