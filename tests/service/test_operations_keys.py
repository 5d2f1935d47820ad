"""Which requests are one and which are not."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.service.auth.caller import Caller, CallerKind
from connector.service.operations.operation_keys import KeyKind, OperationKey, key_of
from connector.service.problems import RequestRefused
from connector.service.schemas.request_models import CloseBody, ReopenBody

ID = UUID("0f3c0000-0000-4000-8000-000000000001")
USER = Caller(CallerKind.USER, "tenant", "user", "app")
RUN = {"x-ms-workflow-run-id": "08585", "x-ms-workflow-operation-name": "Close"}


def close(**fields: object) -> CloseBody:
    return CloseBody.model_validate({"outcome": "won", **fields})


def made(
    header: str | None = None,
    headers: dict[str, str] | None = None,
    caller: Caller = USER,
    opportunity: UUID = ID,
    body: CloseBody | ReopenBody | None = None,
) -> OperationKey:
    return key_of(header, headers or {}, caller, "CloseOpportunity", opportunity, body or close())


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=50))
def test_a_key_is_the_same_quoted_or_not_in_the_header_or_the_body(key: str) -> None:
    body = CloseBody(outcome="won", idempotency_key=key)
    assert made(key).ledger == made(f'"{key}"').ledger == made(f" {key} ").ledger == made(body=body).ledger


def test_two_different_keys_are_refused() -> None:
    with pytest.raises(RequestRefused) as caught:
        made("a", body=close(idempotencyKey="b"))
    assert caught.value.failure.status == 400


def test_a_key_counts_within_its_caller() -> None:
    other = Caller(CallerKind.USER, "tenant", "other", "app")
    assert made("k").ledger != made("k", caller=other).ledger


def test_the_run_names_what_a_flow_sends_again() -> None:
    assert made(headers=RUN) == made(headers=RUN)
    assert made(headers=RUN).kind is KeyKind.RUN


@pytest.mark.parametrize(
    "other",
    [
        {"headers": RUN | {"x-ms-workflow-run-id": "08586"}},
        {"headers": RUN | {"x-ms-workflow-operation-name": "Close_2"}},
        {"headers": RUN, "opportunity": uuid4()},
        {"headers": RUN, "body": close(subject="x")},
        {"headers": RUN, "body": close(columns={"new_a": "7" * 5000})},
        {"headers": RUN, "caller": Caller(CallerKind.USER, "tenant2", "user", "app")},
    ],
)
def test_turns_of_a_loop_and_other_actions_are_not_one(other: dict[str, object]) -> None:
    assert made(headers=RUN).ledger != made(**other).ledger  # type: ignore[arg-type]  # one argument at a time


def test_texts_of_digits_are_one_only_where_every_digit_is() -> None:
    assert made(body=close(status="3")).content == made(body=close(status=3)).content
    assert made(body=close(subject="0012")).content != made(body=close(subject="12")).content


def test_what_a_caller_is_told_meanwhile_is_not_part_of_what_is_asked() -> None:
    assert made(headers=RUN).ledger == made(headers=RUN, body=close(mode="accept")).ledger
    assert made(headers=RUN).ledger == made(headers=RUN, body=close(drafts="activate")).ledger


def test_without_key_and_run_the_opportunity_and_the_outcome_name_it() -> None:
    key = made()
    assert (key.kind, key.intent) == (KeyKind.NATURAL, f"{ID}:won")


def test_an_id_of_a_run_that_cannot_be_one_is_ignored() -> None:
    assert made(headers={"x-ms-workflow-run-id": "a\nb"}).kind is KeyKind.NATURAL
