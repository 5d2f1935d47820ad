from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulator.api.batch import MultipartError, boundary_of, inner_request, join, split

PART = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
GET = PART + b"GET /api/data/v9.2/accounts HTTP/1.1\r\nAccept: application/json\r\n"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/mixed; boundary=batch_1", "batch_1"),
        ('multipart/mixed;boundary="batch 1"', "batch 1"),
        ("Multipart/Mixed; charset=utf-8; Boundary=b", "b"),
        ("application/json; boundary=b", None),
        ("multipart/mixed", None),
        (None, None),
    ],
)
def test_a_boundary_is_read_quoted_or_not(content_type: str | None, boundary: str | None) -> None:
    assert boundary_of(content_type) == boundary


@given(st.lists(st.binary(max_size=40).filter(lambda one: b"--b" not in one), min_size=1, max_size=5))
def test_what_is_joined_comes_apart_again(bodies: list[bytes]) -> None:
    parts = split(join([PART + body for body in bodies], "b"), "b", strict=True)
    assert [part.body for part in parts] == bodies


def test_a_get_needs_its_blank_line() -> None:
    (part,) = split(join([GET], "b"), "b", strict=True)
    assert inner_request(part).headers == {"accept": "application/json"}
    (part,) = split(join([GET.removesuffix(b"\r\n")], "b"), "b", strict=True)
    with pytest.raises(MultipartError, match="Stream was not readable"):
        inner_request(part)


def test_bare_line_feeds_are_refused_unless_loose() -> None:
    body = join([GET], "b").replace(b"\r\n", b"\n")
    with pytest.raises(MultipartError):
        split(body, "b", strict=True)
    assert inner_request(split(body, "b", strict=False)[0]).method == "GET"


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"--b", b"--b--", b"\r\n", b"\n", PART, GET, b"x: y", b"--"])).map(b"".join)
)
def test_noise_comes_apart_or_is_refused_and_nothing_else(body: bytes) -> None:
    for strict in (True, False):
        with contextlib.suppress(MultipartError):
            for part in split(body, "b", strict=strict):
                inner_request(part)
