"""Ids of close activities, chosen by us, so that one look tells whether a close is ours.

The close actions answer 204 with no id, but take an `activityid` inside the close entity and make it the key of the
activity they create. Choosing it makes "did my close happen?" a single read and a second activity impossible.

An id is a UUID of version 8 (RFC 9562, section 5.8: custom content) made of three hashes:

    48 bits   this connector, the opportunity          closed by this connector?
    32 bits   the same and the caller's key            closed under this key?
    42 bits   the same and the record, its version     unique for each close of each record

Of the opportunity's own activity the last 21 bits say instead what the close changes, so that the way back needs no
other memory: 12 bits of a hash of the status reason it had, 7 bits of its probability, one bit each for an actual
revenue and a close date that were empty. The first 48 bits are another hash then, as older ids do not say it.

The row version keeps a later, legitimate close of a reopened record from colliding with the first, and gives a run that
starts again on the unchanged row the same id. A random id of another client is of version 4 and never taken for ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from connector.closing.model import Opportunity, Outcome

_NAMESPACE = "dataverse-close-connector/close-activity"
_MAKER_BITS, _KEY_BITS, _RECORD_BITS = 48, 32, 42
_BEFORE_BITS, _STATUS_BITS, _NO_PROBABILITY = 21, 12, 127
_VERSION, _VARIANT = 8, 0b10
_KEEPS = "keeps what was before"


def natural_key(opportunity_id: UUID, outcome: Outcome) -> str:
    """Return the key of a caller who gives none: the same job on the same opportunity has the same key."""
    return f"{opportunity_id}:{outcome}"


@dataclass(frozen=True, slots=True)
class OriginalState:
    """What an activity's id says of its opportunity before the close: see the top of this module.

    `probability` is None where it had none, `no_revenue` and `no_date` say that these were known to be empty.
    """

    status_hash: int
    probability: int | None
    no_revenue: bool
    no_date: bool

    def had(self, status: int) -> bool:
        """Tell whether the status reason was this one, or one of the same hash, which one in 4,096 has."""
        return _hash(_STATUS_BITS, str(status)) == self.status_hash


def state_before(opportunity: Opportunity, unreadable: frozenset[str]) -> OriginalState:
    """Return what is to be kept of an opportunity; a column that may not be read is not known to be empty."""
    probability = opportunity.close_probability
    return OriginalState(
        _hash(_STATUS_BITS, str(opportunity.status)),
        probability if probability is not None and 0 <= probability < _NO_PROBABILITY else None,
        opportunity.actual_value is None and "opportunity.actualvalue" not in unreadable,
        opportunity.actual_close_date is None and "opportunity.actualclosedate" not in unreadable,
    )


def kept_before(candidate: UUID, opportunity_id: UUID) -> OriginalState | None:
    """Return what the id of an opportunity's close activity says; None for one that is not ours or says nothing."""
    if candidate.version != _VERSION or _made_by(candidate) != _maker(str(opportunity_id), _KEEPS):
        return None
    bits = _content(candidate) & ((1 << _BEFORE_BITS) - 1)
    stored = (bits >> 2) & 0x7F
    probability = None if stored == _NO_PROBABILITY else stored
    return OriginalState(bits >> 9, probability, bool(bits & 2), bool(bits & 1))


def activity_ids(opportunity_id: UUID, key: str) -> Callable[[UUID, str, OriginalState | None], UUID]:
    """Return what names the activities that close an opportunity and its quotes under the caller's idempotency key.

    It takes the record to close, a quote of the opportunity or the opportunity itself, and the ETag of the row as it
    was read; for the opportunity also what it was before. The hashes that do not depend on them are made once, as a
    job asks for many.
    """
    opportunity = str(opportunity_id)
    under = _hash(_KEY_BITS, opportunity, key)
    makers = {keeps: _maker(opportunity, *keeps) for keeps in ((), (_KEEPS,))}

    def activity_id(record_id: UUID, version: str, before: OriginalState | None = None) -> UUID:
        record = _hash(_RECORD_BITS, opportunity, key, str(record_id), version)
        if before is not None:
            record = (record >> _BEFORE_BITS << _BEFORE_BITS) | _bits(before)
        maker = makers[() if before is None else (_KEEPS,)]
        made = (((maker << _KEY_BITS) | under) << _RECORD_BITS) | record
        high, middle, low = made >> 74, (made >> 62) & 0xFFF, made & ((1 << 62) - 1)
        return UUID(int=(high << 80) | (_VERSION << 76) | (middle << 64) | (_VARIANT << 62) | low)

    return activity_id


def is_ours(candidate: UUID, opportunity_id: UUID) -> bool:
    """Tell whether this connector, anywhere and at any time, made this activity for this opportunity or its quotes."""
    makers = _maker(str(opportunity_id)), _maker(str(opportunity_id), _KEEPS)
    return candidate.version == _VERSION and _made_by(candidate) in makers


def is_made_under(candidate: UUID, opportunity_id: UUID, key: str) -> bool:
    """Tell whether this connector made this activity for this opportunity under this key."""
    under = _content(candidate) >> _RECORD_BITS & ((1 << _KEY_BITS) - 1)
    return is_ours(candidate, opportunity_id) and under == _hash(_KEY_BITS, str(opportunity_id), key)


def _bits(before: OriginalState) -> int:
    probability = _NO_PROBABILITY if before.probability is None else before.probability
    return before.status_hash << 9 | probability << 2 | before.no_revenue << 1 | before.no_date


def _maker(opportunity: str, *keeps: str) -> int:
    return _hash(_MAKER_BITS, opportunity, *keeps)


def _made_by(candidate: UUID) -> int:
    return _content(candidate) >> (_KEY_BITS + _RECORD_BITS)


def _content(candidate: UUID) -> int:
    """Return the 122 bits of the id which are neither version nor variant."""
    number = candidate.int
    return ((number >> 80) << 74) | (((number >> 64) & 0xFFF) << 62) | (number & ((1 << 62) - 1))


def _hash(bits: int, *parts: str) -> int:
    text = "\0".join((_NAMESPACE, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) >> (256 - bits)
