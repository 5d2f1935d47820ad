"""Which hosts are believed to be Dataverse, and which to be its sign-in service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dataverse.sign_in.authority import cloud_of, is_sign_in_host, origin_of


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("contoso.crm.dynamics.com", "public"),
        ("contoso.crm4.dynamics.com", "public"),
        ("contoso.api.crm21.dynamics.com", "public"),
        ("Contoso.CRM4.Dynamics.Com", "public"),
        ("contoso.crm9.dynamics.com", "GCC"),
        ("contoso.crm.microsoftdynamics.us", "GCC High"),
        ("contoso.crm.appsplatform.us", "DoD"),
        ("contoso.crm.dynamics.cn", "China"),
    ],
)
def test_a_dataverse_host_is_known_by_its_cloud(host: str, cloud: str) -> None:
    known = cloud_of(host)
    assert known is not None
    assert known.name == cloud


@pytest.mark.parametrize(
    "host",
    [
        "contoso.crm4.dynamics.com.evil.example",
        "crm4.dynamics.com",
        "evil-crm4.dynamics.com",
        "contoso.crm4.dynamics.com\n",
        "a/b.crm4.dynamics.com",
        "localhost",
        "",
    ],
)
def test_a_host_that_only_looks_alike_is_no_organization(host: str) -> None:
    assert cloud_of(host) is None


def test_the_two_readings_of_the_gcc_cloud_are_both_accepted_there_and_nowhere_else() -> None:
    gcc, public = cloud_of("a.crm9.dynamics.com"), cloud_of("a.crm.dynamics.com")
    assert gcc is not None
    assert public is not None
    assert {"login.microsoftonline.com", "login.microsoftonline.us"} <= set(gcc.sign_in)
    assert "login.microsoftonline.us" not in public.sign_in


def test_sign_in_hosts_are_known_exactly() -> None:
    assert is_sign_in_host("login.microsoftonline.com")
    assert not is_sign_in_host("login.microsoftonline.com.evil.example")
    assert not is_sign_in_host("evil.login.microsoftonline.com")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Org.crm.dynamics.com", "https://org.crm.dynamics.com:443"),
        ("https://org.crm.dynamics.com:443/api/data?x=1", "https://org.crm.dynamics.com:443"),
        ("https://org.crm.dynamics.com:8443/", "https://org.crm.dynamics.com:8443"),
        ("http://org.crm.dynamics.com", "http://org.crm.dynamics.com:80"),
        ("https://org.crm.dynamics.com@evil.example/", "https://evil.example:443"),
        ("https://[::1]:8/", "https://[::1]:8"),
        ("https://org.crm.dynamics.com\\@evil.example/", ""),
        ("https://host:port/", ""),
        ("/api/data", ""),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@given(st.text(), st.text())
def test_no_path_or_user_moves_a_url_to_another_origin(user: str, path: str) -> None:
    """Whatever stands before an at sign or after the host, only the host counts."""
    origin = origin_of("https://" + user.replace("/", "").replace("?", "").replace("#", "") + "@evil.example/" + path)
    assert origin in ("", "https://evil.example:443")
