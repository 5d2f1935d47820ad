"""A client of the Web API over an organization in memory, without tokens, limits or a socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.emulator.api.api import Api
from connector.emulator.http.exchange import ApiResponse
from connector.emulator.world.callers import Caller
from connector.emulator.world.world import World
from connector.handler import Request, Response

ORIGIN = "https://org.crm.dynamics.com"
ROOT = f"{ORIGIN}/api/data/v9.2/"


@dataclass
class Client:
    """Sends requests; headers are given by keyword with `_` for `-`."""

    api: Api
    caller: Caller
    world: World

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> ApiResponse:
        given = {"accept": "application/json", "odata-version": "4.0"} | dict(headers or {})
        raw = b""
        if isinstance(body, bytes):
            raw = body
        elif body is not None:
            raw = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        url = path if path.startswith("https://") else ROOT + path
        return self.api.handle(Request(method, url, given, raw), self.caller)

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        return self.ask(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}).response

    def get(self, path: str, **headers: str) -> Any:
        response = self.send("GET", path, **headers)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def error(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, str]:
        response = self.send(method, path, body, **headers)
        assert response.status >= 400, response.body
        error = json.loads(response.body)["error"]
        return response.status, error["code"], error["message"]

    def create(self, entity_set: str, values: Mapping[str, object]) -> str:
        response = self.send("POST", entity_set, values)
        assert response.status == 204, response.body
        address = response.header("OData-EntityId")
        assert address is not None
        return address.rpartition("(")[2].rstrip(")")

    def batch(self, lines: str, **headers: str) -> Response:
        body = lines.strip("\n").replace("\n", "\r\n") + "\r\n"
        given = {"content_type": 'multipart/mixed; boundary="b"'} | headers
        return self.send("POST", "$batch", body.encode(), **given)
