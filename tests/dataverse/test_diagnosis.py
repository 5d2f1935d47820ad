from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from connector.dataverse.diagnosis import Diagnosis, RemainingLimits, remaining_limits
from connector.errors import Forbidden, NotFound, Unanswered
from connector.handler import Response
from tests.dataverse.wire import BASE, IMPERSONATED, USER, Wire, ok, organization, refused

# The limits' headers as a live organization sent them in May 2024.
LIVE = {
    "x-ms-dop-hint": "4",
    "x-ms-ratelimit-time-remaining-xrm-requests": "1,200.00",
    "x-ms-ratelimit-burst-remaining-xrm-requests": "7999",
    "Date": "Sun, 31 May 2026 10:00:00 GMT",
}


def privileges(*rows: dict[str, object]) -> Wire:
    wire = Wire()
    wire.answers[r"GET systemusers\([0-9a-f-]+\)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges\(\)$"] = ok(
        {"RolePrivileges": list(rows)}
    )
    return wire


def test_who_signed_in_is_told_with_the_servers_clock_and_what_is_left_of_its_limits() -> None:
    wire = organization()
    answer = wire.answers["GET WhoAmI"]
    assert isinstance(answer, Response)
    wire.answers["GET WhoAmI"] = Response(200, (*answer.headers, *LIVE.items()), answer.body)
    signed_in = Diagnosis(wire, BASE).who_am_i()
    assert signed_in.user_id == USER
    assert signed_in.server_time == datetime(2026, 5, 31, 10, tzinfo=UTC)
    assert signed_in.limits == RemainingLimits(4, 7999, 1200.0)


@pytest.mark.parametrize("value", ["", "many", "-1", "1e3", "²", "9" * 40])
def test_limits_that_are_not_told_are_not_known(value: str) -> None:
    headers = tuple((name, value) for name in LIVE)
    assert remaining_limits(Response(200, headers)) == RemainingLimits(None, None, None)


def test_the_acting_user_is_who_signed_in_or_who_is_impersonated() -> None:
    assert Diagnosis(organization(), BASE).acting_user() == USER
    assert Diagnosis(organization(), BASE, impersonate=IMPERSONATED).acting_user() == IMPERSONATED


def test_an_impersonated_user_whom_the_organization_does_not_have_is_named() -> None:
    wire = organization()
    wire.answers["GET systemusers"] = ok({"value": []})
    with pytest.raises(NotFound, match=str(IMPERSONATED)):
        Diagnosis(wire, BASE, impersonate=IMPERSONATED).acting_user()


def test_the_version_is_told() -> None:
    wire = Wire()
    wire.answers[r"GET RetrieveVersion\(\)$"] = ok({"Version": "9.2.26032.179"})
    assert Diagnosis(wire, BASE).version() == "9.2.26032.179"


def test_privileges_that_no_role_gives_are_missing() -> None:
    wire = privileges(
        {"PrivilegeId": str(UUID(int=1)), "PrivilegeName": "prvReadQuote", "Depth": "Global"},
        {"PrivilegeId": str(UUID(int=2)), "PrivilegeName": "prvWriteQuote", "Depth": "Basic"},
    )
    wanted = ["prvReadQuote", "prvWriteQuote", "prvWriteOpportunity"]
    assert Diagnosis(wire, BASE).held_privileges(USER, wanted) == {"prvReadQuote": "Global", "prvWriteQuote": "Basic"}


def test_privileges_without_names_are_looked_up() -> None:
    wire = privileges({"PrivilegeId": str(UUID(int=1)).upper()})
    wire.answers["GET privileges"] = ok(
        {
            "value": [
                {"privilegeid": str(UUID(int=1)), "name": "prvReadQuote"},
                {"privilegeid": str(UUID(int=2)), "name": "prvWriteQuote"},
            ]
        }
    )
    assert Diagnosis(wire, BASE).held_privileges(USER, ["prvReadQuote", "prvWriteQuote"]) == {"prvReadQuote": "Global"}


def test_a_failing_look_is_a_failure() -> None:
    wire = Wire()
    wire.answers["GET WhoAmI"] = refused(403, "0x80072560")
    with pytest.raises(Forbidden, match="not a user of this organization"):
        Diagnosis(wire, BASE).who_am_i()
    wire.answers["GET WhoAmI"] = ok({"UserId": "x"})
    with pytest.raises(Unanswered):
        Diagnosis(wire, BASE).who_am_i()
