"""A load of whole requests over a number of connections, each waiting for its answer; every answer is timed."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Load:
    """How requests were answered: seconds and statuses; `results` counts the word of the result in each body."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    took: float = 0.0


def post(url: str, body: Mapping[str, object], key: str, idempotency_key: str) -> bytes:
    """Return a request as it goes on the wire."""
    parts, content = urlsplit(url), json.dumps(body).encode()
    lines = (
        f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", f"X-API-Key: {key}",
        f"Idempotency-Key: {idempotency_key}", f"Content-Length: {len(content)}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + content


async def loaded(url: str, requests: Sequence[bytes], connections: int) -> Load:
    """Send the requests over so many connections and return how they were answered; raises OSError for a lost one."""
    work, load = deque(requests), Load()
    ready = asyncio.Barrier(connections)
    began = time.perf_counter()
    await asyncio.gather(*(_connection(url, work, load, ready) for _ in range(connections)))
    load.took = time.perf_counter() - began
    return load


async def _connection(url: str, work: deque[bytes], load: Load, ready: asyncio.Barrier) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    await ready.wait()
    while work:
        request, began = work.popleft(), time.perf_counter()
        writer.write(request)
        status, body = await _answer(reader)
        load.seconds.append(time.perf_counter() - began)
        load.statuses[status] += 1
        told = json.loads(body)
        load.results[str(told.get("result") or told.get("status") or "")] += 1
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + len("content-length:")
    return int(head[9:12]), await reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
