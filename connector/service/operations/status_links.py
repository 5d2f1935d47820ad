"""Addresses at which one operation is asked after: unguessable, expiring, good for it alone; and their secret.

Flows have been seen to ask without `Authorization` (Azure/logicapps#611), so the address itself is the proof. It is
made of the operation's id, the moment it expires, and a signature over both. The secret is a file beside the store,
written whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connector.errors import SettingsError
from connector.service.problems import declined

PREFIX_HEADER = "x-ms-apim-referrer-prefix"
UNKNOWN = "There is no such operation, or its address has expired. Send its request again: nothing is done twice."


class StatusLinks:
    """Makes and checks addresses with `secret`; `public_url` and `gateway_hosts` as in `ServiceOptions`."""

    def __init__(self, secret: bytes, public_url: str, gateway_hosts: tuple[str, ...]) -> None:
        self._secret = hashlib.sha256(b"status-address\0" + secret).digest()
        self._public_url = public_url.rstrip("/")
        self._gateway_hosts = gateway_hosts

    def sign(self, operation_id: str, expires: float) -> str:
        """Return the operation's id with its expiry (seconds since 1970) and signature: `id.expiry.signature`."""
        plain = f"{operation_id}.{int(expires)}"
        return f"{plain}.{self._signature(plain)}"

    def operation_of(self, text: str, now: float) -> tuple[str, bool]:
        """Return the operation's id and whether the text itself proves the right to ask after it.

        Raises RequestRefused (404) when it is signed wrongly or has expired: nothing tells which, or whether it exists.
        """
        operation_id, dot, rest = text.partition(".")
        if not dot:
            return operation_id, False
        expires, _, signature = rest.partition(".")
        right = hmac.compare_digest(self._signature(f"{operation_id}.{expires}").encode(), signature.encode())
        if not right or not expires.isdecimal() or int(expires) < now:
            raise declined(HTTPStatus.NOT_FOUND, "operation_unknown", UNKNOWN)
        return operation_id, True

    def location(self, text: str, headers: Mapping[str, str], own: Callable[[], str]) -> str:
        """Return the absolute address of the status of `text`."""
        return f"{self.base(headers, own)}/operations/{text}"

    def base(self, headers: Mapping[str, str], own: Callable[[], str]) -> str:
        """Return the address at which this caller reaches the endpoint, without a slash at its end.

        It is the gateway's referrer prefix when it is https and its host is allow-listed, else the configured
        address, else `own` (the request's, which only development uses): a forged header redirects no poll.
        """
        return self._gateway(headers.get(PREFIX_HEADER, "")) or self._public_url or own().rstrip("/")

    def _gateway(self, prefix: str) -> str:
        try:
            parts = urlsplit(prefix)
            plain = parts.scheme == "https" and not (parts.username or parts.query or parts.fragment or parts.port)
        except ValueError:
            return ""
        host = (parts.hostname or "").lower()
        allowed = any(host.endswith(end) and len(host) > len(end) for end in self._gateway_hosts)
        return prefix.rstrip("/") if plain and allowed and "\\" not in prefix and prefix.isascii() else ""

    def _signature(self, plain: str) -> str:
        digest = hmac.new(self._secret, plain.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Seal:
    """Keeps what a caller entrusted (a token) unreadable in the store, bound to the one operation it is for."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"entrusted\0" + secret).digest())

    def close(self, text: str, operation_id: str, nonce: bytes) -> str:
        """Return `text` sealed for the operation; `nonce` is twelve bytes, never used before."""
        sealed = self._cipher.encrypt(nonce, text.encode(), operation_id.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, operation_id: str) -> str:
        """Return what was sealed for the operation; empty when this is not it, or the secret is another."""
        content = base64.b64decode(sealed)
        try:
            return self._cipher.decrypt(content[:12], content[12:], operation_id.encode()).decode()
        except InvalidTag:
            return ""


LENGTH = 32
"""Bytes of a secret that is made here, and of the shortest that is accepted."""


def kept_secret(path: Path) -> bytes:
    """Return the secret in the file at `path`, made if need be, for its owner only. Raises SettingsError.

    Several processes may begin side by side: one secret is kept, and all of them use it.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _keep(path, secrets.token_bytes(LENGTH))
        secret = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The endpoint's secret cannot be kept in {path}: {error.strerror or type(error).__name__}.",
            remedy="Make room, set CONNECTOR_SERVICE_SECRET, or set CONNECTOR_STORE to a file in a folder that can be "
            "written.",
        ) from error
    if len(secret) < LENGTH:
        raise SettingsError(
            f"The endpoint's secret in {path} has {len(secret)} bytes; it must have at least {LENGTH}, or links could "
            "be forged.",
            remedy="Delete the file: a new secret is made at the next start, and links given out before end.",
        )
    return secret


def _keep(path: Path, secret: bytes) -> None:
    """Write the secret beside its place and link it there: the second process leaves the first one's in place."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
        except OSError:  # some file systems have no links
            if not path.exists():
                beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
