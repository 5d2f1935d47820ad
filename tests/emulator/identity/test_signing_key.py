"""The kept signing key: used again, and replaced when its file holds none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from connector.emulator.identity.jwt import InvalidToken, SigningKey


def test_a_kept_key_is_used_again(tmp_path: Path) -> None:
    first = SigningKey.kept(tmp_path / "signing.pem")
    again = SigningKey.kept(tmp_path / "signing.pem")
    assert again.key_id == first.key_id
    assert again.check(first.sign({"sub": "x"}))["sub"] == "x"


def encrypted() -> bytes:
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def elliptic() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\n", encrypted(), elliptic()])
def test_a_file_that_holds_no_such_key_is_replaced_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "signing.pem"
    old = SigningKey.kept(path).sign({"sub": "x"})
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        made = SigningKey.kept(path)
    assert "holds no RSA key" in caplog.text
    assert SigningKey.kept(path).key_id == made.key_id
    with pytest.raises(InvalidToken):
        made.check(old)
