"""Addresses at which one operation is asked after: unguessable, expiring, good for that operation alone.

Flows have been seen to ask without `Authorization` (Azure/logicapps#611), so the address itself is the proof. It is
made of the operation's id, the moment it expires, and a signature over both.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connector.service.problems import declined

PREFIX_HEADER = "x-ms-apim-referrer-prefix"


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
            raise declined(404, "operation_unknown", "There is no such operation, or its address has expired.")
        return operation_id, True

    def location(self, text: str, headers: Mapping[str, str], own: str) -> str:
        """Return the absolute address of the status of `text`."""
        return f"{self.base(headers, own)}/operations/{text}"

    def base(self, headers: Mapping[str, str], own: str) -> str:
        """Return the address at which this caller reaches the endpoint, without a slash at its end.

        It is the gateway's referrer prefix when it is https and its host is allow-listed, else the configured
        address, else `own` (the request's, which only development uses): a forged header redirects no poll.
        """
        return self._gateway(headers.get(PREFIX_HEADER, "")) or self._public_url or own.rstrip("/")

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
