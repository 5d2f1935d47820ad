"""Documented requests as they stand on the Web API's pages, made ready to be sent."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.stranger.wire import Stranger

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "protocol" / "documented_requests.jsonl"
_HOSTS = re.compile(
    r"https?://\[(?:Organization URI|Token-CRM-Org-Name)\](?:/Contoso)?|\[Organization URI\]|"
    r"https://(?:mydomain|myorg)[\w.]*|https://globaldisco\.crm\.dynamics\.com|/org1(?=/api)"
)
_ROW = re.compile(r"\b([a-z]+)\(([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\)")


@dataclass(frozen=True)
class Sample:
    """A documented request: its number among the samples, its page, the status shown for it (None: none is)."""

    number: int
    page: str
    answered: int | None
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def rows(self) -> list[tuple[str, str]]:
        """Return entity set and id of every row that the request mentions."""
        return list(dict.fromkeys(_ROW.findall(self.target + self.body.decode())))


def samples(url: str) -> list[Sample]:
    """Return every documented request, addressed to the organization at `url`."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [_sample(row, url) for row in map(json.loads, lines)]


def _sample(row: dict[str, object], url: str) -> Sample:
    text = str(row["text"]).replace("\r", "").strip()
    parts = re.split(r"\n\s*(\{|--batch)", text, maxsplit=1)
    lines, content = parts[0].split("\n"), "".join(parts[1:])
    method, _, target = _request_line(lines).partition(" ")
    target = _HOSTS.sub(url, re.sub(r"\s*HTTP/1\.1.*$", "", target.strip()))
    if content.startswith("--batch"):
        content = content.replace("\n", "\r\n") + "\r\n"
    return Sample(
        int(str(row["n"])),
        str(row["page"]),
        row["answered"] if isinstance(row["answered"], int) else None,
        method,
        target if target.startswith("http") else url + target,
        {name.strip().lower(): value for name, _, value in (line.partition(": ") for line in lines) if value},
        _HOSTS.sub(url, content).encode(),
    )


def _request_line(lines: list[str]) -> str:
    """Take the request line, which the pages break into several, off the beginning of `lines`."""
    request = lines.pop(0).strip()
    while lines and not re.match(r"\s*[A-Za-z-]+:|\s*$", lines[0]):
        more = lines.pop(0).strip()
        together = re.match(r"[&?,$(/]", more) or re.search(r"[,(=&?/]$", request)
        request += more if together and not more.startswith("HTTP/1.1") else f" {more}"
    return request


def send(client: Stranger, sample: Sample) -> int:
    """Send a documented request and return the status of its answer."""
    given = {name.replace("-", "_"): value for name, value in sample.headers.items() if name != "content-length"}
    return client.send(sample.method, sample.target, sample.body or None, **given).status_code
