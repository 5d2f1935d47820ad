"""Which callbacks may be told: https, at an allowed host, in a form that every reader of addresses reads alike.

A callback is chosen by the caller and called by us: without this, an endpoint could be made to call into its own
network. The hosts are name endings of the platform's own domains, so names that resolve elsewhere are not ours to fear.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from connector.service.problems import declined

PLATFORM_HOSTS = (".logic.azure.com", ".api.powerplatform.com", ".azure-apim.net", ".azure-apihub.net")
"""Where flows wait for notifications; other clouds and newer domains are added by configuration."""

LONGEST = 4096
_PLAIN = re.compile(r"https://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::443)?(?:[/?][!-~]*)?", re.IGNORECASE)
_HTTPS = 443


def check_callback(url: str, hosts: tuple[str, ...]) -> None:
    """Return when `url` may be called; raises RequestRefused (400), without the address, when it may not."""
    if not allowed(url, hosts):
        raise declined(
            400,
            "callback_not_allowed",
            "The callback is not at a host that this endpoint may call. Flows fill it in by themselves; for another "
            "host, ask the administrator of the endpoint to allow it.",
        )


def allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Return whether `url` is a plain https address at a host that ends with one of `hosts` (each with its dot)."""
    match = _PLAIN.fullmatch(url) if len(url) <= LONGEST else None
    if match is None or "\\" in url or "#" in url:
        return False
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if host != match[1].lower() or parts.username is not None or parts.port not in (None, _HTTPS):
        return False
    return any(host.endswith(end) and len(host) > len(end) for end in hosts if end.startswith("."))
