"""A reader that checks the demo: it signs in and reads with the standard library alone, not with the connector."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from connector.cli.demo.emulator_process import RunningEmulator


class IndependentReader:
    """Reads an organization over HTTP with nothing but the standard library. Raises OSError when it cannot."""

    def __init__(self, ready: RunningEmulator) -> None:
        self._url = ready.url
        tls = ssl.create_default_context(cafile=str(ready.ca_file))
        # Straight to the emulator, whatever proxy the environment names for the world outside.
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        form = {
            "grant_type": "client_credentials",
            "client_id": ready.client_id,
            "client_secret": ready.client_secret,
            "scope": f"{ready.url}/.default",
        }
        request = Request(f"{ready.authority}/oauth2/v2.0/token", urlencode(form).encode(), method="POST")
        self._token = self._answer(request)["access_token"]

    def rows(self, entity_set: str, select: str, where: str = "") -> list[dict[str, Any]]:
        """Return all rows of an entity set that satisfy the filter."""
        query = f"?$select={select}" + (f"&$filter={quote(where)}" if where else "")
        link: str | None = f"{self._url}/api/data/v9.2/{entity_set}{query}"
        rows: list[dict[str, Any]] = []
        while link:
            page = self._answer(Request(link, headers={"Authorization": f"Bearer {self._token}"}))
            rows += page["value"]
            link = page.get("@odata.nextLink")
        return rows

    def _answer(self, request: Request) -> dict[str, Any]:
        with self._opener.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
