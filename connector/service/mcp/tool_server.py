"""The protocol's server for the tools: what it lists, and how a call of a tool is asked of the app.

This brings the `mcp` package, which takes as long to import as all the rest of the endpoint: `service.mcp` imports it
when an agent first calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import ASGIApp, Message

from connector.service.mcp.tools import CONFIRMED, OPPORTUNITY_KEY, TOOLS, Tool
from connector.service.schemas.field_values import is_empty

INSTRUCTIONS = (
    "Plan first, show the plan to the person, and close only after the person has agreed. A call may be repeated: "
    "nothing happens twice."
)

WAIT_SECONDS = 40
"""Seconds after which a tool answers that its operation is still running; clients give up at 60."""
_OWN_HEADERS = frozenset((b"accept", b"content-type", b"content-length", b"transfer-encoding", b"prefer"))
_BY_NAME: Mapping[str, Tool] = {tool.name: tool for tool in TOOLS}
_ACCEPTED, _FAILED = 202, 400


def sessions(app: ASGIApp, version: str) -> StreamableHTTPSessionManager:
    """Return what answers the protocol's requests, statelessly and in JSON; `service.mcp.mount` has checked them."""
    return StreamableHTTPSessionManager(tools_server(app, version), json_response=True, stateless=True)


def tools_server(app: ASGIApp, version: str) -> Server[dict[str, Any]]:
    """Return the protocol's server for the tools, each asked of `app`."""

    async def listed(
        context: ServerRequestContext[dict[str, Any]], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_described(tool) for tool in TOOLS])

    async def called(
        context: ServerRequestContext[dict[str, Any]], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        tool = _BY_NAME.get(params.name)
        if tool is None or context.request is None:
            return _tool_result({"message": f"There is no tool {params.name}."}, failed=True)
        return await _call(app, tool, params.arguments or {}, context.request)

    return Server(
        "opportunity-close",
        version=version,
        title="Opportunity Close",
        instructions=INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=called,
    )


def _described(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=mcp_types.ToolAnnotations.model_validate({"title": tool.title, **tool.hints}),
    )


async def _call(app: ASGIApp, tool: Tool, arguments: Mapping[str, Any], request: Request) -> mcp_types.CallToolResult:
    problem = _problem(tool, arguments)
    if problem:
        return _tool_result({"message": problem, "code": "invalid_request", "result": "failed"}, failed=True)
    if tool.asks and arguments.get(CONFIRMED) is not True:
        sentence = 'Nothing was changed. Show the plan to a person; once they agree, call again with "confirmed": true.'
        return _tool_result({"message": sentence, "result": "unconfirmed", "changed": False}, failed=False)
    path = tool.path.format(quote(str(arguments[tool.place]), safe=""))
    query = urlencode({name: str(arguments[name]) for name in (OPPORTUNITY_KEY,) if arguments.get(name)})
    body = {name: value for name, value in arguments.items() if name not in (tool.place, OPPORTUNITY_KEY, CONFIRMED)}
    answer = await ask(app, request, tool.method, path, None if tool.method == "GET" else body, query)
    return _tool_result(_reading(answer), failed=answer.status >= _FAILED)


def _problem(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with the names of the arguments; their values are the operation's to check."""
    missing = [name for name in tool.required if is_empty(arguments.get(name)) and name != CONFIRMED]
    unknown = [name for name in arguments if name not in tool.inputs]
    wrong = [f"needs {', '.join(missing)}"] if missing else []
    wrong += [f"does not take {', '.join(unknown)}"] if unknown else []
    return f"{tool.name} {' and '.join(wrong)}." if wrong else ""


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """What the app answered: the status, the JSON body, and the seconds of Retry-After."""

    status: int
    body: dict[str, Any]
    retry_after: str = ""


def _reading(answer: ToolResponse) -> dict[str, Any]:
    """Return the answer as a tool tells it: always with a sentence, a failure with its code."""
    error = answer.body.get("error")
    if answer.status >= _FAILED:
        facts = error if isinstance(error, dict) else {}
        answer_data = {"message": str(facts.get("message") or "The request failed."), "result": "failed"}
        again = {"retryAfter": answer.retry_after} if answer.retry_after else {}
        return (
            answer_data | {"code": str(facts.get("code") or answer.status), "details": facts.get("details", [])} | again
        )
    answer_data = dict(answer.body)
    answer_data.pop("location", None)  # it opens without signing in: not for a conversation
    if answer.status == _ACCEPTED:
        answer_data["result"] = "running"
        answer_data["message"] = answer_data.get("message") or "It is still running: ask get_operation for its result."
    answer_data.setdefault("message", f"{answer_data.get('name', 'It')} is {answer_data.get('state', 'as told')}.")
    return answer_data


def _tool_result(content: dict[str, Any], *, failed: bool) -> mcp_types.CallToolResult:
    text = mcp_types.TextContent(type="text", text=json.dumps(content, ensure_ascii=False))
    return mcp_types.CallToolResult(content=[text], structured_content=content, is_error=failed)


async def ask(
    app: ASGIApp, request: Request, method: str, path: str, body: Mapping[str, Any] | None, query: str = ""
) -> ToolResponse:
    """Ask `app` within this process, as whoever sent `request`."""
    sent = b"" if body is None else json.dumps(body).encode()
    headers = [(name, value) for name, value in request.scope["headers"] if name not in _OWN_HEADERS]
    headers += [
        (b"prefer", b"wait=%d" % WAIT_SECONDS),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(sent)).encode()),
    ]
    outer = {key: request.scope[key] for key in ("type", "asgi", "http_version", "scheme", "server", "client", "state")
            if key in request.scope}  # fmt: skip
    scope = outer | {
        "state": {**request.scope.get("state", {}), "door": "mcp"},
        "method": method,
        "path": unquote(path) if path.startswith("/opportunities/") else path,  # a key may hold anything, as over HTTP
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
    }
    messages: list[Message] = []
    unread = [{"type": "http.request", "body": sent, "more_body": False}]

    async def receive() -> Message:
        return unread.pop() if unread else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    content = b"".join(message.get("body", b"") for message in messages[1:])
    again = dict(start["headers"]).get(b"retry-after", b"").decode()
    return ToolResponse(start["status"], json.loads(content) if content else {}, again)
