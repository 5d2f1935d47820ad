"""Ids of close activities, chosen by us, so that one look tells whether a close is ours.

The close actions answer 204 with no id, but take an `activityid` inside the close entity and make it the key of the
activity they create. Choosing it makes "did my close happen?" a single read and a second activity impossible.

An id is a UUID of version 8 (RFC 9562, section 5.8: custom content) made of three hashes:

    48 bits   this connector, the opportunity          closed by this connector?
    32 bits   the same and the caller's key            closed under this key?
    42 bits   the same and the record, its version     unique for each close of each record

The row version keeps a later, legitimate close of a reopened record from colliding with the first, and gives a run that
starts again on the unchanged row the same id. A random id of another client is of version 4 and never taken for ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from uuid import UUID

from connector.closing.model import Outcome

_NAMESPACE = "dataverse-close-connector/close-activity"
_MAKER_BITS, _KEY_BITS, _RECORD_BITS = 48, 32, 42
_VERSION, _VARIANT = 8, 0b10


def natural_key(opportunity_id: UUID, outcome: Outcome) -> str:
    """Return the key of a caller who gives none: the same job on the same opportunity has the same key."""
    return f"{opportunity_id}:{outcome}"


def activity_ids(opportunity_id: UUID, key: str) -> Callable[[UUID, str], UUID]:
    """Return what names the activities that close an opportunity and its quotes under the caller's idempotency key.

    It takes the record to close, a quote of the opportunity or the opportunity itself, and the ETag of the row as it
    was read. The hashes that do not depend on them are made once, as a job asks for many.
    """
    opportunity = str(opportunity_id)
    made_under = _made_under(opportunity, key)

    def activity_id(record_id: UUID, version: str) -> UUID:
        made = (made_under << _RECORD_BITS) | _hash(_RECORD_BITS, opportunity, key, str(record_id), version)
        high, middle, low = made >> 74, (made >> 62) & 0xFFF, made & ((1 << 62) - 1)
        return UUID(int=(high << 80) | (_VERSION << 76) | (middle << 64) | (_VARIANT << 62) | low)

    return activity_id


def is_ours(candidate: UUID, opportunity_id: UUID) -> bool:
    """Tell whether this connector, anywhere and at any time, made this activity for this opportunity or its quotes."""
    return candidate.version == _VERSION and _content(candidate) >> (_KEY_BITS + _RECORD_BITS) == _maker(
        str(opportunity_id)
    )


def is_made_under(candidate: UUID, opportunity_id: UUID, key: str) -> bool:
    """Tell whether this connector made this activity for this opportunity under this key."""
    return candidate.version == _VERSION and _content(candidate) >> _RECORD_BITS == _made_under(
        str(opportunity_id), key
    )


def _maker(opportunity: str) -> int:
    return _hash(_MAKER_BITS, opportunity)


def _made_under(opportunity: str, key: str) -> int:
    return (_maker(opportunity) << _KEY_BITS) | _hash(_KEY_BITS, opportunity, key)


def _content(candidate: UUID) -> int:
    """Return the 122 bits of the id which are neither version nor variant."""
    number = candidate.int
    return ((number >> 80) << 74) | (((number >> 64) & 0xFFF) << 62) | (number & ((1 << 62) - 1))


def _hash(bits: int, *parts: str) -> int:
    text = "\0".join((_NAMESPACE, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) >> (256 - bits)
