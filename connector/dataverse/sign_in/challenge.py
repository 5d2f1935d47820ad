"""What a 401 answer asks for: where to sign in, to which tenant, and with which claims.

Two forms are known: `Bearer authorization_uri=https://login.../TENANT/oauth2/authorize, resource_id=https://org.../`
(unquoted, comma separated; code of Microsoft's .NET ServiceClient) and the claims challenge of continuous access
evaluation, `Bearer realm="", error="insufficient_claims", claims="<base64 JSON>"` (Microsoft Learn, "Claims
challenge").
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from connector.handler import Response

_PARAMETER = re.compile(r'([A-Za-z_][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_BEARER = re.compile(r"(?:^|,)\s*Bearer(?:\s+|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A parsed challenge; what it does not say is empty. `authority` is `https://host/tenant`, `claims` JSON text."""

    authority: str = ""
    tenant: str = ""
    resource: str = ""
    error: str = ""
    claims: str = ""


def parse_challenge(response: Response) -> Challenge:
    """Return the bearer challenge of `response`: of all its `WWW-Authenticate` headers, in any case or quoting."""
    found: dict[str, str] = {}
    for name, value in response.headers:
        if name.lower() != "www-authenticate":
            continue
        bearer = _BEARER.search(value)
        if bearer is None:
            continue
        for parameter, quoted, bare in _PARAMETER.findall(value[bearer.end() :]):
            found.setdefault(parameter.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
    authority, tenant = _authority(found.get("authorization_uri", "") or found.get("authorization", ""))
    error = re.sub(r"[^\w.-]", "", found.get("error", ""))[:80]
    claims = _claims(found.get("claims", "")) if error == "insufficient_claims" else ""
    return Challenge(authority, tenant, found.get("resource_id", ""), error, claims)


def _authority(uri: str) -> tuple[str, str]:
    """Return `https://host[:port]/tenant` and the tenant of an authorization address; empty when it is not https."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "", ""
    tenant = next(iter(filter(None, parts.path.split("/"))), "")
    if parts.scheme.lower() != "https" or not host or not re.fullmatch(r"[\w.-]+", tenant):
        return "", ""
    place = f"[{host}]" if ":" in host else host
    return f"https://{place}{f':{port}' if port else ''}/{tenant}", tenant


def _claims(encoded: str) -> str:
    """Return the JSON text of a base64 (standard or URL-safe, padded or not) claims parameter; empty when it is not."""
    text = encoded.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8")
        return decoded if isinstance(json.loads(decoded), dict) else ""
    except (binascii.Error, ValueError):
        return ""
