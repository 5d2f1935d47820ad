"""What the loop works towards: closing or reopening one opportunity, behind one shape."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

from connector.closing.model import OrganizationMetadata, Plan, Refusal, ReportStatus, Snapshot, StepKind, StepResult
from connector.closing.organization import MetadataRequest
from connector.errors import NotFound


class Goal(Protocol):
    """What a call is to do with one opportunity: a planner, and the words for the end."""

    @property
    def opportunity_id(self) -> UUID:
        """The opportunity it is about."""

    @property
    def needs(self) -> MetadataRequest:
        """What planning needs to know of the organization beside its status reasons."""

    @property
    def needs_activities(self) -> bool:
        """Whether planning needs the close activities."""

    @property
    def needs_orders(self) -> bool:
        """Whether planning needs the orders of the quotes."""

    @property
    def deciding(self) -> frozenset[StepKind]:
        """The steps of which one must be this call's own for it to say that it did it."""

    @property
    def done(self) -> ReportStatus:
        """What to report when this call did it."""

    @property
    def already(self) -> ReportStatus:
        """What to report when there was nothing left to do for this call."""

    def plan(self, snapshot: Snapshot, metadata: OrganizationMetadata) -> Plan | Refusal:
        """Return the writes that are left, or why they must not be done; raises InputError, Forbidden."""

    def warnings(
        self, results: Sequence[StepResult], after: Snapshot, metadata: OrganizationMetadata
    ) -> tuple[str, ...]:
        """Return what was done but not quite as asked, a sentence each."""


def missing(opportunity_id: UUID) -> NotFound:
    """Return the failure of an opportunity that was asked for and is not there."""
    return NotFound(
        f"There is no opportunity {opportunity_id} that the application user can see.",
        status=HTTPStatus.NOT_FOUND,
        remedy="Check the id, and that the application user may read the opportunity.",
    )
