"""The Microsoft clouds: which hosts are Dataverse organizations, and which hosts may sign in to them.

Sources: Microsoft Learn, "Datacenter regions" and "Dataverse for US Government"; the discovery endpoints of Microsoft's
.NET ServiceClient for DoD and the sovereign hosts. The documents place GCC (`crm9`) on the public sign-in service,
yet a public test vector shows a `crm9` host that names the government one, so that cloud accepts both: what the
organization itself announces in its 401 challenge is used, and this table only says whether that may be believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

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
