"""A tenant that signs tokens as Entra does, and publishes its keys."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from connector.clock import Clock
from connector.handler import Request, Response
from connector.service.service_options import Admission

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
API = "33333333-3333-4333-8333-333333333333"
API_URI = "api://close.contoso.com"
CONNECTOR = "44444444-4444-4444-8444-444444444444"
USER = "55555555-5555-4555-8555-555555555555"
ADMISSION = Admission(
    tenants={TENANT: "https://org.crm4.dynamics.com"},
    audiences=frozenset({API, API_URI}),
    clients=frozenset({CONNECTOR}),
)

_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def key(name: str) -> rsa.RSAPrivateKey:
    """Return the key of this name, made once: making one takes a while."""
    if name not in _KEYS:
        _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _KEYS[name]


@dataclass
class Entra:
    """The sign-in service; `asked` holds the addresses of the requests that reached it."""

    clock: Clock
    published: list[str] = field(default_factory=lambda: ["k1"])
    asked: list[str] = field(default_factory=list)
    status: int = 200
    silent: threading.Event | None = None

    def http(self, request: Request) -> Response:
        self.asked.append(request.url)
        if self.silent is not None:
            self.silent.wait(600)
        entries = [
            json.loads(RSAAlgorithm.to_jwk(key(name).public_key())) | {"kid": name, "use": "sig"}
            for name in self.published
        ]
        return Response(self.status, (), json.dumps({"keys": entries}).encode())

    def claims(self, version: str = "2.0", **changed: Any) -> dict[str, Any]:
        now = int(self.clock.now().timestamp())
        claims: dict[str, Any] = {
            "ver": version, "tid": TENANT, "oid": USER, "sub": "pairwise", "iat": now, "nbf": now, "exp": now + 3600,
            "scp": "user_impersonation",
        }  # fmt: skip
        if version == "2.0":
            claims |= {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "aud": API, "azp": CONNECTOR}
        else:
            claims |= {"iss": f"https://sts.windows.net/{TENANT}/", "aud": API_URI, "appid": CONNECTOR}
        claims |= changed
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, version: str = "2.0", kid: str = "k1", signer: str = "", **changed: Any) -> str:
        """Return a token; a claim that is None is left out."""
        return jwt.encode(self.claims(version, **changed), key(signer or kid), algorithm="RS256", headers={"kid": kid})


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token that claims to need no signature."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
