"""What the loop works towards: closing or reopening one opportunity, behind one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

from connector.closing.close_columns import rows_of_intent
from connector.closing.intent import AnyIntent
from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Plan,
    Refusal,
    ReopenIntent,
    ReportStatus,
    Snapshot,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest
from connector.closing.plan import plan_close
from connector.closing.plan_checks import needs_orders
from connector.closing.reopening import plan_reopen
from connector.closing.verify import closing_warnings, left_closed, status_warnings
from connector.errors import NotFound


@dataclass(frozen=True, slots=True)
class Goal:
    """What a call is to do with one opportunity: a planner, what planning needs to see, and the words for the end.

    `plan` returns the writes that are left, or why they must not be done, and raises InputError or Forbidden;
    `warnings` says what was done but not quite as asked. `done` is reported where one of the `deciding` steps was this
    call's own, else `already`. `needs` is asked of the organization beside its status reasons.
    """

    opportunity_id: UUID
    plan: Callable[[Snapshot, OrganizationMetadata], Plan | Refusal]
    warnings: Callable[[Sequence[StepResult], Snapshot, OrganizationMetadata], tuple[str, ...]]
    deciding: frozenset[StepKind]
    done: ReportStatus
    already: ReportStatus
    needs: MetadataRequest = ONLY_REASONS
    needs_activities: bool = False
    needs_orders: bool = False


def goal_of(intent: AnyIntent) -> Goal:
    """Return what the loop works towards for an intent."""
    return _closing(intent) if isinstance(intent, Intent) else _reopening(intent)


def _closing(intent: Intent) -> Goal:
    def warnings(results: Sequence[StepResult], after: Snapshot, metadata: OrganizationMetadata) -> tuple[str, ...]:
        done = [result.step for result in results if result.status is StepStatus.DONE]
        ends = [step.activity["actualend"] for step in done if step.table == "opportunity" and step.assumed]
        sent = replace(intent, closed_on=date.fromisoformat(str(ends[-1])[:10])) if ends else intent
        sentences = [*status_warnings(results, after, metadata), *closing_warnings(sent, after, metadata)]
        if [step.kind for step in done] == [StepKind.CREATE_ORDER]:
            sentences.append(f"The opportunity was closed before; the order of quote {done[0].label} was made now.")
        return tuple(dict.fromkeys(sentences))

    revenue = intent.actual_revenue  # one without decimals is not rounded
    return Goal(
        opportunity_id=intent.opportunity_id,
        plan=lambda snapshot, metadata: plan_close(snapshot, intent, metadata),
        warnings=warnings,
        deciding=frozenset({StepKind.CLOSE_OPPORTUNITY}),
        done=ReportStatus.CLOSED,
        already=ReportStatus.ALREADY_CLOSED,
        needs=MetadataRequest(
            columns=bool(intent.opportunity_columns or intent.quote_columns),
            rows=frozenset(rows_of_intent(intent)),
            amounts=isinstance(revenue, Decimal) and revenue != revenue.to_integral_value(),
        ),
        needs_orders=needs_orders(intent),
    )


def _reopening(intent: ReopenIntent) -> Goal:
    return Goal(
        opportunity_id=intent.opportunity_id,
        plan=lambda snapshot, metadata: plan_reopen(snapshot, intent, metadata),
        warnings=lambda results, after, metadata: (
            *status_warnings(results, after, metadata),
            *left_closed(after, metadata),
        ),
        deciding=frozenset({StepKind.REOPEN_OPPORTUNITY, StepKind.REOPEN_QUOTE}),
        done=ReportStatus.REOPENED,
        already=ReportStatus.ALREADY_OPEN,
        needs_activities=True,
    )


def missing(opportunity_id: UUID, before: Snapshot | None = None) -> NotFound:
    """Return the failure of an opportunity that was asked for and is not there, or no more where it was `before`."""
    gone = " any more: somebody, or the organization's own logic, deleted it or took it from its sight meanwhile"
    return NotFound(
        f"There is no opportunity {opportunity_id} that the application user can see{gone if before else ''}.",
        status=HTTPStatus.NOT_FOUND,
        remedy=f"Check {'' if before else 'the id, and '}that the application user may read the opportunity.",
    )
