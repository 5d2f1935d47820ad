"""Certificates: strict, reused, renewed, private."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.emulator.http.tls import certificates


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """Return the TLS version a client and a server agree on over a socket pair."""
    near, far = socket.socketpair()
    failures: list[Exception] = []

    def answer() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except (ssl.SSLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as wrapped:
            return str(wrapped.version())
    finally:
        near.close()
        thread.join()
        far.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_client_that_trusts_the_authority_connects(tmp_path: Path, name: str) -> None:
    files = certificates(tmp_path)
    client = ssl.create_default_context(cafile=str(files.authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(files.server_context(), client, name).startswith("TLS")


def test_a_client_that_does_not_trust_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates(tmp_path).server_context(), ssl.create_default_context(), "localhost")


def test_a_restart_uses_the_same_certificates(tmp_path: Path) -> None:
    first = certificates(tmp_path).authority.read_bytes()
    assert certificates(tmp_path).authority.read_bytes() == first


def test_certificates_about_to_expire_are_made_anew(tmp_path: Path) -> None:
    first = certificates(tmp_path).authority.read_bytes()
    later = datetime.now(UTC) + timedelta(days=340)
    assert certificates(tmp_path, now=later).authority.read_bytes() != first


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    assert stat.S_IMODE(certificates(tmp_path).key.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key", "renew-after"])
@pytest.mark.parametrize("content", ["", "garbage", "2026-01-01"])
def test_certificates_that_cannot_be_read_are_made_anew(tmp_path: Path, name: str, content: str) -> None:
    certificates(tmp_path)
    (tmp_path / name).write_text(content)
    made = certificates(tmp_path)
    made.server_context().load_verify_locations(made.authority)
    assert (tmp_path / name).read_text() != content
    (tmp_path / name).unlink()
    certificates(tmp_path)
    assert (tmp_path / name).exists()
