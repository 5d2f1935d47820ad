"""Status addresses: unguessable, expiring, of one operation, and never led astray."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.service.operations.status_links import Seal, StatusLinks
from connector.service.problems import RequestRefused

LINKS = StatusLinks(b"s" * 32, "https://close.contoso.com", (".azure-apim.net",))
SIGNED = LINKS.sign("abc", 1000.0)


def test_an_address_proves_the_right_to_ask_after_its_operation() -> None:
    assert LINKS.operation_of(SIGNED, 999.0) == ("abc", True)


def test_an_id_alone_proves_nothing() -> None:
    assert LINKS.operation_of("abc", 0.0) == ("abc", False)


@given(st.integers(0, len(SIGNED) - 1), st.characters(codec="ascii"))
def test_an_address_with_any_other_letter_is_no_address(place: int, letter: str) -> None:
    changed = SIGNED[:place] + letter + SIGNED[place + 1 :]
    if changed == SIGNED:
        return
    try:
        _, proven = LINKS.operation_of(changed, 0.0)
    except RequestRefused:
        return
    assert not proven


@given(st.text().filter(lambda text: text != SIGNED))
def test_whatever_has_a_dot_is_an_address_or_nothing(text: str) -> None:
    if "." in text:
        with pytest.raises(RequestRefused):
            LINKS.operation_of(text, 0.0)
    else:
        assert LINKS.operation_of(text, 0.0) == (text, False)


def test_an_address_expires() -> None:
    with pytest.raises(RequestRefused):
        LINKS.operation_of(SIGNED, 1001.0)


def test_another_endpoints_address_is_none() -> None:
    with pytest.raises(RequestRefused):
        StatusLinks(b"t" * 32, "", ()).operation_of(SIGNED, 0.0)


def test_an_address_is_absolute_at_the_configured_place() -> None:
    assert LINKS.location("x", {}, lambda: "http://inside/") == "https://close.contoso.com/operations/x"


def test_the_gateways_prefix_is_used_where_its_host_is_listed() -> None:
    headers = {"x-ms-apim-referrer-prefix": "https://europe-002.azure-apim.net/apim/close-1"}
    assert LINKS.location("x", headers, str) == "https://europe-002.azure-apim.net/apim/close-1/operations/x"


@pytest.mark.parametrize(
    "prefix",
    [
        "https://evil.example/apim",
        "https://azure-apim.net.evil.example/",
        "https://.azure-apim.net/",
        "https://evilazure-apim.net/",
        "http://europe.azure-apim.net/apim",
        "https://europe.azure-apim.net@evil.example/",
        "https://europe.azure-apim.net:8443/",
        "https://evil.example\\.azure-apim.net/",
        "https://[::1].azure-apim.net/",
        "javascript:alert(1)//.azure-apim.net",
        "https://europe.azure-apim.net/?x=",
        "//europe.azure-apim.net/",
    ],
)
def test_a_forged_prefix_leads_nowhere_else(prefix: str) -> None:
    location = LINKS.location("x", {"x-ms-apim-referrer-prefix": prefix}, str)
    assert location == "https://close.contoso.com/operations/x"


@given(st.text())
def test_what_is_sealed_opens_for_its_operation_only(text: str) -> None:
    seal = Seal(b"s" * 32)
    sealed = seal.close(text, "abc", bytes(12))
    assert seal.open(sealed, "abc") == text
    assert seal.open(sealed, "abd") == ""
    assert Seal(b"t" * 32).open(sealed, "abc") == ""
    assert len(text) < 4 or text not in sealed
