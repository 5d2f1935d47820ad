"""Which requests are one: the key of an operation, from what the caller says, else from the run of its flow.

1. `Idempotency-Key`, as header or body field, quoted (as the draft of the IETF has it) or not.
2. The run, the action and what is asked: a flow that sends again says the same. Loops share run and action, so what is
   asked belongs to the key. The engine's other ids are not known to be the same in its repetitions.
3. What is asked alone: joins a running operation, and begins anew when that has ended; closing looks before it acts.

A repetition gets the first answer for as long as answers are kept, even when the opportunity was opened again in
between: a delivery that was under way for hours cannot be told from a loop of the maker's, and closing what somebody
has opened again would be the worse mistake. Who means it gives each turn of such a loop an `Idempotency-Key`.

A key counts within its caller and operation. Sources: learn.microsoft.com/azure/logic-apps, REST "workflow run action
request histories"; draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

from connector.closing.identity import natural_key
from connector.closing.model import Outcome
from connector.service.auth.caller import Caller
from connector.service.problems import declined
from connector.service.schemas.request_models import LONGEST_KEY, CloseBody, ReopenBody

RUN_HEADER, ACTION_HEADER = "x-ms-workflow-run-id", "x-ms-workflow-operation-name"
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_NAME = re.compile(r"[\w.:~@/ -]{1,200}", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
_NOT_ASKED = {"idempotency_key", "mode"}


class KeyKind(StrEnum):
    """Where a key comes from."""

    GIVEN = "given"
    RUN = "run"
    NATURAL = "natural"


@dataclass(frozen=True, slots=True)
class OperationKey:
    """`ledger` finds the operation again, `content` tells whether the same is asked, `intent` is the closing's key."""

    kind: KeyKind
    ledger: str
    content: str
    intent: str


def key_of(
    header: str | None,
    headers: Mapping[str, str],
    caller: Caller,
    operation: str,
    opportunity_id: UUID,
    body: CloseBody | ReopenBody,
) -> OperationKey:
    """Return the key of a request; raises RequestRefused (400) when header and body give two."""
    values = body.model_dump(exclude=_NOT_ASKED, exclude_defaults=True)
    text = json.dumps(
        {name: _canonical(value) for name, value in values.items()}, sort_keys=True, separators=(",", ":")
    )
    content = _digest(operation, str(opportunity_id), text)
    caller_key = _given(header, body.idempotency_key)
    if caller_key is not None:
        return OperationKey(KeyKind.GIVEN, _digest("given", caller.owner, operation, caller_key), content, caller_key)
    run = run_of(headers)
    if run:
        action = headers.get(ACTION_HEADER, "")
        derived = _digest("run", caller.owner, operation, run, action, content)
        return OperationKey(KeyKind.RUN, derived, content, derived[:32])
    natural = str(opportunity_id)
    if isinstance(body, CloseBody):
        natural = natural_key(opportunity_id, Outcome(body.outcome))
    return OperationKey(KeyKind.NATURAL, _digest("natural", caller.owner, content), content, natural)


def run_of(headers: Mapping[str, str]) -> str:
    """Return the id of the flow's run, or empty; what cannot be an id is none."""
    run = headers.get(RUN_HEADER, "").strip()
    return run if _NAME.fullmatch(run) else ""


def _given(header: str | None, field: str | None) -> str | None:
    from_header, from_body = _unquoted(header), _unquoted(field)
    if from_header and from_body and from_header != from_body:
        sentence = "The header and the body name different idempotency keys; nothing was changed. Give one."
        raise declined(HTTPStatus.BAD_REQUEST, "two_keys", sentence)
    key = from_header or from_body
    if key and (len(key) > LONGEST_KEY or not key.isprintable()):
        wrong = next((f"the character U+{ord(char):04X}" for char in key if not char.isprintable()), f"{len(key):,}")
        sentence = f"An idempotency key has 1 to {LONGEST_KEY} printable characters, not {wrong}; nothing was changed."
        raise declined(HTTPStatus.BAD_REQUEST, "key_malformed", sentence)
    return key


def _unquoted(key: str | None) -> str | None:
    text = (key or "").strip()
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1]).strip()
    return text or None


def _canonical(value: object) -> object:
    """Return a value as plain data in one spelling: 100 and 100.0 are the same amount, 3 and "3" the same reason."""
    if isinstance(value, Mapping):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return str(value) if isinstance(value, UUID | date) else value


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
