"""What Dataverse tells by its webhook: that an opportunity was won or lost. Checked, read sparingly, then looked up.

The body is a `RemoteExecutionContext` as JSON of WCF: values are lists of key and value, moments are `/Date(ms)/`.
Nothing of it is believed but which opportunity it is about: the event is made of what the organization has. Above
256 KB the platform leaves the parameters out and says so in a header; then, and whenever the opportunity is not named,
the organization is asked what has changed. Source: *Use webhooks to create external handlers* (Power Apps developer).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from connector.service.problems import declined

KEY_HEADER = "x-connector-webhook-key"
"""The header of the registration's authentication (`HttpHeader`); `?code=` (`WebhookKey`) is taken as well."""

SIZE_HEADER = "x-ms-dynamics-msg-size-exceeded"
LARGEST_BODY = 512 * 1024
"""The platform strips a message above 256 KB; the rest is room for encoding."""

_MESSAGES = frozenset({"win", "lose", "winopportunity", "loseopportunity", "update", "create"})
_MOMENT = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """What a message said: the opportunity, or None when the organization must be asked what has changed.

    `occurred_at` is when it says that it happened, None where it does not.
    """

    opportunity_id: UUID | None
    occurred_at: datetime | None


def tenant_of(keys: Mapping[str, str], given: str) -> str:
    """Return the tenant whose webhook key is `given`; `keys` maps the SHA-256 of each key to its tenant.

    Every key is compared, in constant time. Raises RequestRefused (401).
    """
    digest = hashlib.sha256(given.encode()).hexdigest()
    found = [tenant for known, tenant in keys.items() if hmac.compare_digest(known.encode(), digest.encode())]
    if not given or not found:
        raise declined(401, "webhook_key_wrong", "The key of the webhook is missing or wrong. Check its registration.")
    return found[0]


def read_message(headers: Mapping[str, str], body: bytes) -> WebhookMessage | None:
    """Return what a message told; None when it is about something else. Raises RequestRefused (400, 413).

    `headers` have lower-case names.
    """
    if len(body) > LARGEST_BODY:
        raise declined(413, "message_too_large", "The message is larger than Dataverse sends.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "MessageName" not in content:
        raise declined(400, "not_a_message", "This is not a message of a Dataverse webhook.")
    about = str(content.get("PrimaryEntityName") or headers.get("x-ms-dynamics-entity-name", "")).lower()
    if str(content["MessageName"]).lower() not in _MESSAGES or about not in (
        "opportunity",
        "opportunityclose",
        "none",
        "",
    ):
        return None
    stripped = headers.get(SIZE_HEADER, "").lower() in ("true", "1")
    named = None if stripped and about != "opportunity" else _opportunity(content, about)
    return WebhookMessage(named, _moment(content.get("OperationCreatedOn")))


def _opportunity(content: Mapping[str, Any], about: str) -> UUID | None:
    """Return the opportunity that is named: by the close activity or the target, else as the primary record."""
    parameters = {pair.get("key"): pair.get("value") for pair in _pairs(content.get("InputParameters"))}
    for name in ("OpportunityClose", "Target"):
        entity = parameters.get(name)
        if not isinstance(entity, dict):
            continue
        for pair in _pairs(entity.get("Attributes")):
            reference = pair.get("value")
            if str(pair.get("key")).lower() == "opportunityid" and isinstance(reference, dict):
                return _id(reference.get("Id"))
        if str(entity.get("LogicalName")).lower() == "opportunity":
            return _id(entity.get("Id"))
    return _id(content.get("PrimaryEntityId")) if about == "opportunity" else None


def _pairs(value: object) -> list[Mapping[str, Any]]:
    return [pair for pair in value if isinstance(pair, dict)] if isinstance(value, list) else []


def _id(value: object) -> UUID | None:
    try:
        found = UUID(str(value))
    except ValueError:
        return None
    return None if found == _NO_ID else found


def _moment(value: object) -> datetime | None:
    match = _MOMENT.fullmatch(str(value))
    try:
        return _EPOCH + timedelta(milliseconds=int(match[1])) if match else None
    except OverflowError:
        return None
