"""Where to sign in for an organization: the clouds, what a 401 challenge announces, and whether that may be believed.

Two forms of the challenge are known: `Bearer authorization_uri=https://login.../TENANT/oauth2/authorize,
resource_id=https://org.../` (unquoted; code of Microsoft's .NET ServiceClient) and the claims challenge of continuous
access evaluation, `Bearer realm="", error="insufficient_claims", claims="<base64 JSON>"` (Microsoft Learn, "Claims
challenge").

Sources of the clouds: Microsoft Learn, "Datacenter regions" and "Dataverse for US Government"; the discovery
endpoints of that ServiceClient. The documents place GCC (`crm9`) on the public sign-in service, yet a public test
vector shows a `crm9` host that names the government one, so that cloud accepts both: what the organization announces
is used, and this table only says whether that may be believed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

from connector.dataverse.error_bodies import sender_of
from connector.dataverse.sign_in.msal_http import SIGN_IN_SECONDS
from connector.errors import SignInError, TransportError
from connector.handler import Handler, Request, Response

_PUBLIC_SIGN_IN = ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net")
_GOVERNMENT_SIGN_IN = ("login.microsoftonline.us",)
_CHINA_SIGN_IN = ("login.partner.microsoftonline.cn", "login.chinacloudapi.cn")


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud: its name, the form of its organizations' hosts, and the hosts of its sign-in service."""

    name: str
    hosts: re.Pattern[str]
    sign_in: tuple[str, ...]


def _hosts(suffix: str) -> re.Pattern[str]:
    """Return the form of a host: the organization's name, sometimes `api`, then the region's suffix."""
    return re.compile(rf"[a-z0-9][a-z0-9-]*(\.api)?\.{suffix}")


CLOUDS = (
    Cloud("GCC", _hosts(r"crm9\.dynamics\.com"), (*_PUBLIC_SIGN_IN, *_GOVERNMENT_SIGN_IN)),
    Cloud("public", _hosts(r"crm\d{0,2}\.dynamics\.com"), _PUBLIC_SIGN_IN),
    Cloud("GCC High", _hosts(r"crm\.microsoftdynamics\.us"), _GOVERNMENT_SIGN_IN),
    Cloud("DoD", _hosts(r"crm\.appsplatform\.us"), _GOVERNMENT_SIGN_IN),
    Cloud("China", _hosts(r"crm\.dynamics\.cn"), _CHINA_SIGN_IN),
)
"""In order: the first whose form fits a host is its cloud."""


def cloud_of(host: str) -> Cloud | None:
    """Return the cloud that `host` (no scheme, no port) is an organization of, or None."""
    return next((cloud for cloud in CLOUDS if cloud.hosts.fullmatch(host.lower())), None)


def is_sign_in_host(host: str) -> bool:
    """Return whether `host` is the sign-in service of any known cloud."""
    return any(host.lower() in cloud.sign_in for cloud in CLOUDS)


def origin_of(url: str) -> str:
    """Return scheme, host and port of `url` in one comparable form (`https://host:443`); empty when it has no host.

    User information in a URL (`https://known@evil/`) never counts as the host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    if not parts.hostname or "\\" in parts.netloc:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


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
    parameters: dict[str, str] = {}
    for name, value in response.headers:
        if name.lower() != "www-authenticate":
            continue
        bearer = _BEARER.search(value)
        if bearer is None:
            continue
        for parameter, quoted, bare in _PARAMETER.findall(value[bearer.end() :]):
            parameters.setdefault(parameter.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
    authority, tenant = _authority(parameters.get("authorization_uri", "") or parameters.get("authorization", ""))
    error = re.sub(r"[^\w.-]", "", parameters.get("error", ""))[:80]
    claims = _claims(parameters.get("claims", "")) if error == "insufficient_claims" else ""
    return Challenge(authority, tenant, parameters.get("resource_id", ""), error, claims)


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


_ANY_TENANT = ("common", "organizations", "consumers")


def discover(handler: Handler, base_url: str, tenant_id: str = "") -> str:
    """Return the authority (`https://host/tenant`) of the organization at `base_url`, asked without a token.

    `tenant_id` is what the settings say; it takes the place of a tenant that is none in particular, and must agree with
    one that is. Raises SignInError when there is no usable challenge, or one that may not be believed.
    """
    try:
        address = f"{base_url}/api/data/v9.2/"
        response = handler(Request("GET", address, {"accept": "application/json"}, timeout=SIGN_IN_SECONDS))
    except TransportError as error:
        sentence = f"The organization could not be asked where to sign in. {error.message}"
        raise SignInError(sentence, remedy=error.remedy, transient=error.transient) from error
    challenge = parse_challenge(response)
    if not challenge.authority:
        busy = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS
        sender = sender_of(response)
        raise SignInError(
            f"{base_url} does not say where to sign in (status {response.status}): it is no Dataverse organization, "
            f"or a proxy answers for it{f' ({sender})' if sender else ''}.",
            remedy="Check DATAVERSE_URL; the address of an organization is in the Power Platform admin center.",
            transient=busy,
        )
    if problem := distrust(base_url, challenge.authority):
        raise SignInError(problem, remedy="Check DATAVERSE_URL; nothing secret was sent.")
    return _with_tenant(challenge.authority, challenge.tenant.lower(), tenant_id.lower())


def distrust(base_url: str, authority: str) -> str:
    """Return why credentials for the organization at `base_url` must not go to `authority`, or an empty text.

    An organization of a cloud signs in at that cloud's service. Any other host stands for an emulator, which signs in
    at its own origin and nowhere else.
    """
    host, where = urlsplit(base_url).hostname or "", urlsplit(authority).hostname or ""
    cloud = cloud_of(host)
    if not origin_of(authority).startswith("https://"):
        return f"The sign-in address {authority} is not https."
    if cloud is not None:
        if where in cloud.sign_in and origin_of(authority) == f"https://{where}:443":
            return ""
        return f"{where} is not the sign-in service of the {cloud.name} cloud, to which {host} belongs."
    if is_sign_in_host(where) or origin_of(authority) != origin_of(base_url):
        return f"{host} is no organization of a known cloud, so {where} must not be asked to sign in for it."
    return ""


def _with_tenant(authority: str, announced: str, configured: str) -> str:
    place = authority.rpartition("/")[0]
    if announced in _ANY_TENANT:
        if configured:
            return f"{place}/{configured}"
        raise SignInError("The organization does not name its tenant.", remedy="Set DATAVERSE_TENANT_ID.")
    if configured and configured != announced and _is_id(configured) and _is_id(announced):
        raise SignInError(
            f"The organization belongs to tenant {announced}, but DATAVERSE_TENANT_ID is {configured}.",
            remedy="Correct DATAVERSE_TENANT_ID, or leave it out; or DATAVERSE_URL is another organization's.",
        )
    return authority


def _is_id(tenant: str) -> bool:
    try:
        UUID(tenant)
    except ValueError:
        return False
    return True
