"""Answers in the Web API's own bytes, and a handler that gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

from connector.handler import Request, Response

BASE = "https://org.crm.dynamics.com"
ROOT = f"{BASE}/api/data/v9.2/"
JSON = (("Content-Type", "application/json; odata.metadata=minimal"), ("REQ_ID", "served"))
FIXTURES = Path(__file__).parent.parent / "fixtures" / "dataverse"
USER = UUID("99999999-9999-9999-9999-999999999999")
IMPERSONATED = UUID("88888888-8888-8888-8888-888888888888")
NO_CONTENT = Response(204, (("OData-Version", "4.0"),))


class Wire:
    """A handler that answers by the first pattern which a request's line fits, and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, Callable[[Request], Response] | Response | Exception] = {}

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answer(request)

    def answer(self, request: Request) -> Response:
        """Answer without remembering: what a batch holds, say."""
        line = f"{request.method} {request.url.removeprefix(ROOT)}"
        answer = next(answer for pattern, answer in self.answers.items() if re.match(pattern, line))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Response) else answer(request)

    def lines(self) -> list[str]:
        """Return the method and path of each request, without its query."""
        return [f"{request.method} {request.url.removeprefix(ROOT).split('?')[0]}" for request in self.requests]


def ok(body: object) -> Response:
    return Response(200, JSON, json.dumps(body).encode())


def refused(status: int, code: str = "", message: str = "") -> Response:
    return Response(status, JSON, json.dumps({"error": {"code": code, "message": message}}).encode())


def part(response: Response, content_id: int | None = None) -> bytes:
    number = "" if content_id is None else f"Content-ID: {content_id}\r\n"
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{number}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    return f"{head}HTTP/1.1 {response.status} X\r\n{fields}\r\n".encode() + response.body


def change_set(*parts: bytes, name: str = "changesetresponse_1") -> bytes:
    inner = b"".join(b"--" + name.encode() + b"\r\n" + text + b"\r\n" for text in parts)
    return f"Content-Type: multipart/mixed; boundary={name}\r\n\r\n".encode() + inner + f"--{name}--\r\n".encode()


def multipart(*parts: bytes) -> Response:
    body = b"".join(b"--batchresponse_1\r\n" + text + b"\r\n" for text in parts) + b"--batchresponse_1--\r\n"
    headers = (("Content-Type", "multipart/mixed; boundary=batchresponse_1"), ("REQ_ID", "outer"))
    return Response(200, headers, body)


def organization(*messages: str) -> Wire:
    """Return a wire that answers what its metadata is read from, in a batch or singly: it has these `messages`."""
    wire = Wire()
    wire.answers = {
        r"POST \$batch": lambda request: _batched(request, wire),
        r"GET EntityDefinitions\?": ok({"value": []}),
        "GET EntityDefinitions": _definition,
        "GET sdkmessages": ok({"value": [{"name": name} for name in messages]}),
        "GET usersettingscollection": ok({"timezonebias": -60}),
        r"GET systemusers\(": _privileges,
        "GET systemusers": ok({"value": [{"systemuserid": str(IMPERSONATED)}]}),
        "GET WhoAmI": ok({"UserId": str(USER), "BusinessUnitId": str(USER), "OrganizationId": str(USER)}),
    }
    return wire


def _privileges(request: Request) -> Response:
    """Answer that the user holds each privilege that is asked for."""
    names = json.loads(unquote(request.url.partition("@names=")[2]))
    return ok({"RolePrivileges": [{"PrivilegeName": name, "Depth": "Global"} for name in names]})


def _definition(request: Request) -> Response:
    table, column = re.findall(r"LogicalName='(\w+)'", request.url)
    return Response(200, JSON, (FIXTURES / f"{table}_{column}.json").read_bytes())


def _batched(request: Request, wire: Wire) -> Response:
    paths = re.findall(r"^GET /api/data/v9\.2/(\S+) HTTP/1\.1\r$", request.body.decode(), re.MULTILINE)
    return multipart(*[part(wire.answer(Request("GET", ROOT + path))) for path in paths])
