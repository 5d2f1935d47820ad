"""What a person should know of a plan beside its steps: what is not written, not checked, not to be read back."""

from __future__ import annotations

from collections.abc import Iterator

from connector.closing.model import Intent, OrganizationMetadata


def notes_of(intent: Intent, metadata: OrganizationMetadata) -> tuple[str, ...]:
    """Return the sentences, in the order in which a person reads them."""
    return tuple(_notes(intent, metadata))


def _notes(intent: Intent, metadata: OrganizationMetadata) -> Iterator[str]:
    for column, value in (("actualvalue", intent.actual_revenue), ("actualclosedate", intent.closed_on)):
        if value is not None and f"opportunity.{column}" in metadata.unreadable:
            yield (
                f"The column opportunity.{column} is secured and the user may not read it: what is written there "
                "cannot be compared afterwards."
            )
    yield from metadata.unchecked
