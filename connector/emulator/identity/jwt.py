"""JSON Web Tokens: signed with the tenant's RSA key, read back with every check that matters.

Imported late (from a thread that also makes the key), because loading the cryptography library and making a 2,048-bit
key cost more than the rest of a start.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from connector.emulator.http.tls import write_private

_LOG = logging.getLogger(__name__)


class InvalidToken(Exception):
    """A token that is malformed or whose signature does not fit; the message says which."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart, nothing checked yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


class SigningKey:
    """An RSA key that signs (RS256) and checks tokens, with the key id under which it is published."""

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self._public = private.public_key()
        der = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = encode(hashlib.sha1(der, usedforsecurity=False).digest())

    @classmethod
    def kept(cls, path: Path | None) -> SigningKey:
        """Return the key kept at `path`, made and written when there is none; with None, one that is not kept.

        A file that holds no RSA key is replaced, since no token can be checked with it; the log tells. Raises OSError.
        """
        if path is not None and path.exists():
            try:
                private = load_pem_private_key(path.read_bytes(), None)
            except (ValueError, TypeError, UnsupportedAlgorithm):  # no key, an encrypted one, one of another kind
                private = None
            if isinstance(private, rsa.RSAPrivateKey):
                return cls(private)
            _LOG.warning("%s holds no RSA key: a new one is made, and tokens issued before are no longer good.", path)
        made = rsa.generate_private_key(65537, 2048)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_private(path, pem)
        return cls(made)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return `claims` as a compact token signed with RS256."""
        header = {"typ": "JWT", "alg": "RS256", "kid": self.key_id, "x5t": self.key_id}
        signed = f"{_json(header)}.{_json(claims)}".encode("ascii")
        signature = self._private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return f"{signed.decode('ascii')}.{encode(signature)}"

    def check(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token this key signed; raises InvalidToken otherwise."""
        parts = take_apart(token)
        if parts.header.get("alg") != "RS256" or parts.header.get("kid") != self.key_id:
            raise InvalidToken("The token was not signed with a key of this tenant.")
        try:
            self._public.verify(parts.signature, parts.signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise InvalidToken("The signature of the token is invalid.") from error
        return parts.claims

    def public(self) -> dict[str, str]:
        """Return the key as an entry of a JWKS document."""
        numbers = self._public.public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": encode(numbers.e.to_bytes(3, "big")),
        }


def check_assertion(token: str, certificates: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the claims of a client assertion signed by one of the PEM `certificates`.

    The certificate is found by its thumbprint (`x5t#S256`, or `x5t` for SHA-1) as Entra does; RS256 and PS256 are
    accepted. Raises InvalidToken.
    """
    parts = take_apart(token)
    named = {str(parts.header.get(name, "")).rstrip("=") for name in ("x5t#S256", "x5t")}  # MSAL keeps the padding
    for pem in certificates:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        prints = {
            encode(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - older clients name the certificate so
            encode(certificate.fingerprint(hashes.SHA256())),
        }
        if named & prints:
            _verify(parts, certificate.public_key())
            return parts.claims
    raise InvalidToken("The key was not found by the thumbprint in the client assertion.")


def _verify(parts: Parts, key: object) -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    scheme = {"RS256": padding.PKCS1v15(), "PS256": pss}.get(str(parts.header.get("alg")))
    if not isinstance(key, rsa.RSAPublicKey) or scheme is None:
        raise InvalidToken("A client assertion is signed with RS256 or PS256.")
    try:
        key.verify(parts.signature, parts.signed, scheme, hashes.SHA256())
    except InvalidSignature as error:
        raise InvalidToken("The signature of the client assertion is invalid.") from error


def take_apart(token: str) -> Parts:
    """Return the parts of a compact token; raises InvalidToken when it is not one."""
    pieces = token.split(".")
    try:
        first, second, third = pieces
        header, claims = json.loads(decode(first)), json.loads(decode(second))
        signature = decode(third)
    except ValueError as error:
        raise InvalidToken("The token is malformed.") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise InvalidToken("The token is malformed.")
    return Parts(header, claims, f"{first}.{second}".encode(), signature)


def encode(value: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of base64url text without padding; raises ValueError when it is not base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(value: Mapping[str, Any]) -> str:
    return encode(json.dumps(value, separators=(",", ":")).encode())
