"""What a person should know of a plan beside its steps: what is not written, not checked, not to be read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from connector.closing.model import Intent, OrganizationMetadata, Outcome


def notes_of(
    intent: Intent, metadata: OrganizationMetadata, assumed: frozenset[str], asked_for: Sequence[str]
) -> tuple[str, ...]:
    """Return the sentences on a close, in reading order.

    `assumed` columns have values that the caller did not give; `asked_for` have none, and the organization's forms
    require one.
    """
    return tuple(_notes(intent, metadata, assumed, asked_for))


def _notes(
    intent: Intent, metadata: OrganizationMetadata, assumed: frozenset[str], asked_for: Sequence[str]
) -> Iterator[str]:
    if "actualend" in assumed:
        yield f"The close date is {metadata.today}, the day it is now by {metadata.day_of}."
    if intent.outcome is Outcome.LOST and intent.actual_revenue is None:
        yield "No actual revenue is written. (Microsoft's own form writes 0: DATAVERSE_LOST_REVENUE=zero does so too.)"
    for column, value in (("actualvalue", intent.actual_revenue), ("actualclosedate", intent.closed_on)):
        if value is not None and f"opportunity.{column}" in metadata.unreadable:
            yield (
                f"The column opportunity.{column} is secured and the user may not read it: what is written there "
                "cannot be compared afterwards."
            )
    if asked_for:
        yield (
            f"The organization's forms require {', '.join(asked_for)}, which this close leaves empty. The service "
            "does not; plug-ins may."
        )
    yield from metadata.unchecked
