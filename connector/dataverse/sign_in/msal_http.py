"""A Handler in the shape of the http client that MSAL expects: signing in goes the way that data goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from connector.handler import Handler, Request

SIGN_IN_SECONDS = 20.0
"""Seconds for which the sign-in service is waited for; all who need a token wait with the one who asks."""


class MsalHttp:
    """A Handler, in the shape of the http client that MSAL expects."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> _MsalResponse:
        """Send a GET."""
        return self._send("GET", url, params, headers, b"")

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _MsalResponse:
        """Send a POST; a mapping in `data` goes as a form."""
        body = data if isinstance(data, str) else urlencode(_present(data))
        form = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._send("POST", url, params, form, body.encode())

    def close(self) -> None:
        """Do nothing: the maker of the handler closes it."""

    def _send(
        self, method: str, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None, body: bytes
    ) -> _MsalResponse:
        query = urlencode(_present(params))
        full = url + ("&" if "?" in url else "?") + query if query else url
        lower = {name.lower(): str(value) for name, value in _present(headers).items()}
        response = self._handler(Request(method, full, lower, body, SIGN_IN_SECONDS))
        return _MsalResponse(response.status, response.body.decode("utf-8", "replace"), dict(response.headers))


def _present(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value is not None}


class _MsalResponse:
    """A response in the shape that MSAL expects."""

    def __init__(self, status_code: int, text: str, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Do nothing: MSAL asks its own copy of the response."""
