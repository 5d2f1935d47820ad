from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.service.problems import RequestRefused
from connector.service.webhooks.closed_elsewhere import (
    SIZE_HEADER,
    WebhookMessage,
    read_message,
    tenant_of,
)
from tests.service.messages import KEY, KEYS, win_message

ID = UUID("6f2c1f0a-0000-4000-8000-000000000001")


def read(message: Any, **headers: str) -> WebhookMessage | None:
    return read_message(headers, json.dumps(message).encode())


@pytest.mark.parametrize("name", ["Win", "Lose", "WinOpportunity", "LoseOpportunity"])
def test_the_opportunity_is_the_one_that_the_close_activity_names(name: str) -> None:
    assert read(win_message(ID, name)) == WebhookMessage(ID)


def test_an_update_names_it_as_its_target() -> None:
    message = win_message(ID, "Update")
    target = {"LogicalName": "opportunity", "Id": str(ID), "Attributes": [{"key": "statecode", "value": {"Value": 1}}]}
    message["InputParameters"] = [{"key": "Target", "value": target}]
    told = read(message)
    assert told is not None
    assert told.opportunity_id == ID


def test_without_parameters_the_primary_record_is_it() -> None:
    message = win_message(ID) | {"InputParameters": [], "PrimaryEntityId": str(ID)}
    told = read_message({SIZE_HEADER: "true"}, json.dumps(message).encode())
    assert told is not None
    assert told.opportunity_id == ID


def test_without_either_the_organization_must_be_asked() -> None:
    told = read_message({SIZE_HEADER: "true"}, json.dumps(win_message(ID) | {"InputParameters": None}).encode())
    assert told is not None
    assert told.opportunity_id is None


@pytest.mark.parametrize("changes", [{"MessageName": "Retrieve"}, {"PrimaryEntityName": "quote"}])
def test_what_is_about_something_else_is_nothing(changes: dict[str, str]) -> None:
    assert read(win_message(ID) | changes) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_message({}, body)
    assert refused.value.failure.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PAIRS = st.lists(st.fixed_dictionaries({"key": JSON, "value": JSON}), max_size=3)


@given(JSON | PAIRS, JSON)
def test_no_parameters_whatever_break_the_reading(parameters: object, name: object) -> None:
    message = win_message(ID) | {"InputParameters": parameters, "PrimaryEntityId": name}
    told = read(message)
    assert told is None or told.opportunity_id is None or isinstance(told.opportunity_id, UUID)


def test_each_of_two_live_keys_is_taken_and_tells_the_tenant() -> None:
    keys = KEYS | {hashlib.sha256(b"the next key").hexdigest(): "22222222-2222-2222-2222-222222222222"}
    assert tenant_of(keys, KEY) == "11111111-1111-1111-1111-111111111111"
    assert tenant_of(keys, "the next key") == "22222222-2222-2222-2222-222222222222"


@pytest.mark.parametrize("given_key", ["", "x", hashlib.sha256(KEY.encode()).hexdigest(), "\u00e9"])
def test_any_other_key_is_refused(given_key: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        tenant_of(KEYS, given_key)
    assert refused.value.failure.status == 401
