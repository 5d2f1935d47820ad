"""`scripts/bench emulator`: how fast the emulator is, beside emulators of other services that people know."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from connector.clock import SystemClock
from connector.emulator.api.batch import read_batch
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Request
from scripts.benchmarks.records import Spread
from scripts.benchmarks.rivals import Rival
from scripts.benchmarks.served import Served, cpu_seconds, memory_mb, opportunity_key, quote_key
from scripts.benchmarks.wire_load import play, request

OPPORTUNITIES = 1000
QUOTES = 2
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and what it should be: at most `bound`, or at least."""

    name: str
    unit: str
    bound: float
    least: bool = False

    def missed(self, value: float) -> bool:
        """Return whether a value misses the target."""
        return value < self.bound if self.least else value > self.bound


TARGETS = (
    Target("ready cold", "ms", 400),
    Target("close actions per second and core, over TLS", "1/s", 1500, least=True),
    Target("single-row reads per second and core, over TLS", "1/s", 3000, least=True),
    Target("a batch of 1,000 operations read", "ms", 10),
    Target("a change set of 1,000 operations read", "ms", 10),
    Target("reset", "ms", 20),
    Target("100,000 opportunities with quotes seeded", "s", 10),
    Target("memory with them in a file", "MB", 80),
    Target("call in the process", "us", 300),
)


def once() -> Mapping[str, float]:
    """Measure the emulator once, by the names of the targets and some more."""
    found = _served()
    found |= _large()
    found |= _in_process()
    return found


def rival_once(rival: Rival) -> Mapping[str, float]:
    """Measure another emulator once: what can be compared. Raises RuntimeError or OSError when it does not work."""
    process, ready = rival.start()
    try:
        _play_well(rival, rival.prepare, connections=1)
        found = {"ready cold": ready * 1000, "memory": memory_mb(process.pid)}
        for name, one in (("reads", rival.read), ("writes", rival.write)):
            found |= _rate(process.pid, name, partial(_play_well, rival, [one] * 600), 600)
        if rival.reset is not None:
            began = time.perf_counter()
            _play_well(rival, [rival.reset], connections=1)
            found["reset"] = (time.perf_counter() - began) * 1000
    finally:
        rival.stop(process)
    return found


def _play_well(rival: Rival, requests: Sequence[bytes], connections: int = 8) -> None:
    statuses = play(rival.origin, None, requests, connections)
    if sum(statuses.values()) != len(requests) or not all(200 <= status < 300 for status in statuses):
        raise RuntimeError(f"it answered {dict(statuses)} to {len(requests)} requests")


def summary(rounds: list[Mapping[str, float]]) -> Mapping[str, Spread]:
    """Return each figure's spread over the rounds."""
    return {name: Spread(tuple(one[name] for one in rounds)) for name in rounds[0]}


def _served() -> dict[str, float]:
    with Served() as server:
        found = {"ready cold": server.ready_after * 1000, "CPU until ready": cpu_seconds(server.pid) * 1000}
        found["memory with 300 opportunities"] = memory_mb(server.pid)
        reset = request("POST", f"{server.ready['control_url']}reset", {})
        began = time.perf_counter()
        play(server.url, server.ca_file, [reset], connections=1)
        found["reset"] = (time.perf_counter() - began) * 1000
        server.load(OPPORTUNITIES, QUOTES)
        headers = {"Authorization": f"Bearer {server.token()}", "Accept": _JSON}
        headers |= {"OData-Version": "4.0", "OData-MaxVersion": "4.0"}
        reads = _reads(server.url, headers) * 3
        closes = _closes(server.url, {**headers, "Content-Type": _JSON})
        found |= _rate(server.pid, "reads", lambda: _sent(server, reads, 200), len(reads))
        found |= _rate(server.pid, "closes", lambda: _sent(server, closes, 204), len(closes))
        found["close actions per second and core, over TLS"] = found.pop("closes per core")
        found["single-row reads per second and core, over TLS"] = found.pop("reads per core")
    return found


def _large() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Served("--empty", "--db", str(Path(folder) / "organization.db")) as server,
    ):
        began = time.perf_counter()
        server.control("POST", "seed", {"opportunities": 100_000, "seed": 1})
        return {
            "100,000 opportunities with quotes seeded": time.perf_counter() - began,
            "memory with them in a file": memory_mb(server.pid, peak=True),
        }


def _in_process() -> dict[str, float]:
    embedded = open_embedded(":memory:", SystemClock(), EmulatorOptions())
    embedded.emulator.control.set_limits({"enforced": False})
    form = urllib.parse.urlencode({
        "grant_type": "client_credentials", "client_id": embedded.client_id,
        "client_secret": embedded.client_secret, "scope": f"{embedded.url}/.default",
    }).encode()  # fmt: skip
    sign_in = Request(
        "POST", f"{embedded.authority}/oauth2/v2.0/token", {"content-type": "application/x-www-form-urlencoded"}, form
    )
    token = json.loads(embedded.handler(sign_in).body)["access_token"]
    url = f"{embedded.url}/api/data/v9.2/opportunities(00000003-0000-4000-8000-000000000001)?$select=name"
    read = Request("GET", url, {"authorization": f"Bearer {token}", "accept": _JSON}, b"")
    assert embedded.handler(read).status == 200
    body, in_set = _batch(change_set=False), _batch(change_set=True)
    return {
        "call in the process": _least(lambda: embedded.handler(read), 500) * 1e6,
        "a batch of 1,000 operations read": _least(
            lambda: read_batch("multipart/mixed; boundary=b", body, strict=True), 9
        )
        * 1000,
        "a change set of 1,000 operations read": _least(
            lambda: read_batch("multipart/mixed; boundary=b", in_set, strict=True), 9
        )
        * 1000,
    }


def _least(work: Callable[[], object], times: int) -> float:
    """Return the median seconds of processor time that `work` takes."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return sorted(spent)[times // 2]


def _rate(pid: int, name: str, work: Callable[[], object], count: int) -> dict[str, float]:
    """Return how many a second were answered, and how many for each second of the server's processor time."""
    before, began = cpu_seconds(pid), time.perf_counter()
    work()
    passed, spent = time.perf_counter() - began, cpu_seconds(pid) - before
    return {f"{name} per second": count / passed, f"{name} per core": count / max(spent, 0.01)}


def _sent(server: Served, requests: list[bytes], wanted: int) -> None:
    statuses = play(server.url, server.ca_file, requests)
    if set(statuses) != {wanted}:
        raise RuntimeError(f"The emulator answered {statuses}, not {wanted} throughout.")


def _reads(url: str, headers: Mapping[str, str]) -> list[bytes]:
    api = f"{url}/api/data/v9.2/opportunities"
    numbers = range(1, OPPORTUNITIES + 1)
    return [request("GET", f"{api}({opportunity_key(n)})?$select=name,statecode", headers) for n in numbers]


def _closes(url: str, headers: Mapping[str, str]) -> list[bytes]:
    """Return every close action: of the quotes first, of their opportunities after all quotes."""
    api, made = f"{url}/api/data/v9.2", []
    for number in range(1, OPPORTUNITIES + 1):
        for which in range(1, QUOTES + 1):
            bind = {"quoteid@odata.bind": f"/quotes({quote_key(number, which)})", "subject": "Closed"}
            body = json.dumps({"QuoteClose": bind, "Status": 5}).encode()
            made.append(request("POST", f"{api}/CloseQuote", headers, body))
    for number in range(1, OPPORTUNITIES + 1):
        bind = {"opportunityid@odata.bind": f"/opportunities({opportunity_key(number)})", "subject": "Lost"}
        body = json.dumps({"OpportunityClose": bind, "Status": 4}).encode()
        made.append(request("POST", f"{api}/LoseOpportunity", headers, body))
    return made


def _batch(*, change_set: bool) -> bytes:
    boundary = "c" if change_set else "b"
    parts = "".join(
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {number}\r\n\r\nPOST /api/data/v9.2/CloseQuote HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"
        f'{{"Status":5,"QuoteClose":{{"quoteid@odata.bind":"/quotes({quote_key(number, 1)})"}}}}\r\n'
        for number in range(1000)
    )
    if change_set:
        parts = f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{parts}--c--\r\n"
    return f"{parts}--b--\r\n".encode()
