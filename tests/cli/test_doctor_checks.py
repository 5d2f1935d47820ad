"""The findings of a doctor, each from what an organization answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from connector.cli.doctor_checks import (
    PROJECT_MESSAGES,
    STANDARD_MESSAGES,
    Check,
    Verdict,
    examine_clock,
    examine_limits,
    examine_messages,
    examine_status_reasons,
)
from connector.cli.doctor_command import kept_out
from connector.clock import VirtualClock
from connector.closing.model import OrganizationMetadata, StatusReason
from connector.dataverse.diagnosis import RemainingLimits, SignedInUser
from connector.errors import ConnectorError, Forbidden, NotSent, SignInError, Unauthorized

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNED_IN = SignedInUser(UUID(int=1), UUID(int=2), UUID(int=3), NOW, RemainingLimits(4, 5999, 1199.5))


def reason(value: int, state: int, label: str) -> StatusReason:
    return StatusReason(value, state, default=True, labels=(label,))


METADATA = OrganizationMetadata(
    (reason(1, 0, "In Progress"), reason(3, 1, "Won"), reason(4, 2, "Canceled")),
    (reason(1, 0, "In Progress"), reason(3, 1, "Open"), reason(4, 2, "Won"), reason(6, 3, "Canceled")),
)


def verdicts(checks: list[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


@pytest.mark.parametrize(
    ("error", "failed", "well"),
    [
        (SignInError("The secret expired."), "sign-in", []),
        (Unauthorized("No.", status=401), "sign-in", []),
        (NotSent("The host is not known."), "organization", []),
        (Forbidden("Not a member.", status=403), "application user", ["sign-in", "organization"]),
    ],
)
def test_being_kept_out_is_blamed_on_the_first_thing_that_is_not_well(
    error: ConnectorError, failed: str, well: list[str]
) -> None:
    found = verdicts(list(kept_out(error)))
    assert [name for name, verdict in found.items() if verdict is Verdict.FAILED] == [failed]
    assert [name for name, verdict in found.items() if verdict is Verdict.OK] == well
    assert found["privileges"] is Verdict.SKIPPED


def test_what_keeps_us_out_is_told_with_the_id_that_support_asks_for() -> None:
    error = Forbidden("Not a member.", status=403, request_id="abc", remedy="Add the application user.")
    check = next(check for check in kept_out(error) if check.verdict is Verdict.FAILED)
    assert (check.sentence, check.remedy) == ("Not a member. (Request id abc.)", "Add the application user.")


def test_status_reasons_are_listed_by_state() -> None:
    opportunity, quote = examine_status_reasons(METADATA)
    assert opportunity.sentence == "Open: In Progress (1); Won: Won (3); Lost: Canceled (4)."
    assert quote.sentence == "Draft: In Progress (1); Active: Open (3); Won: Won (4); Closed: Canceled (6)."


def test_a_state_without_a_status_reason_fails() -> None:
    opportunity, quote = examine_status_reasons(replace(METADATA, quote_statuses=METADATA.quote_statuses[:2]))
    assert (opportunity.verdict, quote.verdict) == (Verdict.OK, Verdict.FAILED)
    assert quote.sentence == "None for the state Won, Closed."
    assert quote.remedy


def test_standard_messages_are_known_by_either_name() -> None:
    for names in (frozenset(STANDARD_MESSAGES), frozenset({"Win", "Lose", "Close"})):
        assert verdicts(list(examine_messages(names, ""))) == {"messages": Verdict.OK, "Project Operations": Verdict.OK}


def test_missing_messages_are_named() -> None:
    messages, project = examine_messages(frozenset({"Win", *PROJECT_MESSAGES}), "")
    assert messages.verdict is Verdict.WARNING
    assert messages.sentence == "Not listed among its messages: LoseOpportunity, CloseQuote."
    assert project.sentence.endswith("used for project quotes.")


@pytest.mark.parametrize(("has_it", "verdict"), [(True, Verdict.OK), (False, Verdict.FAILED)])
def test_the_configured_close_action_must_be_there(has_it: bool, verdict: Verdict) -> None:
    names = frozenset({*STANDARD_MESSAGES, *(["CloseOpportunity"] if has_it else [])})
    assert verdicts(list(examine_messages(names, "CloseOpportunity")))["close action"] is verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0, Verdict.OK), (59, Verdict.OK), (61, Verdict.WARNING), (-299, Verdict.WARNING), (300, Verdict.FAILED)],
)
def test_clocks_may_be_a_minute_apart_and_not_five(seconds: int, verdict: Verdict) -> None:
    check = examine_clock(replace(SIGNED_IN, server_time=NOW + timedelta(seconds=seconds)), VirtualClock(NOW))
    assert check.verdict is verdict


def test_limits_are_told_as_the_organization_tells_them() -> None:
    check = examine_limits(SIGNED_IN)
    assert check.sentence == "5999 requests left, 1199.5 seconds of execution left, 4 requests at once recommended."
    assert check.verdict is Verdict.OK


def test_few_requests_left_is_a_warning_and_silence_is_no_finding() -> None:
    few, silent = (
        examine_limits(replace(SIGNED_IN, limits=limits))
        for limits in (RemainingLimits(None, 10, None), RemainingLimits(None, None, None))
    )
    assert (few.verdict, silent.verdict) == (Verdict.WARNING, Verdict.SKIPPED)
