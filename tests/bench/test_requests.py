"""A reduced form of `scripts/bench clients`: what closing costs in requests, and what starting costs in modules."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from connector.closing.model import ReportStatus
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.handler import Handler, Request, Response
from scripts.benchmarks.embedded_client import Stage

HEAVY = ("pydantic", "requests", "msal", "rich", "cryptography", "fastapi", "sqlite3")


def test_closing_takes_a_tenth_of_a_write_and_a_fiftieth_of_a_read() -> None:
    stage = Stage(400, EmulatorOptions(seeded=0, limits=Limits(enforced=False)), batch=20)
    sent: Counter[str] = Counter()

    def counting(handler: Handler) -> Handler:
        def wire(request: Request) -> Response:
            sent["write" if b"POST /api" in request.body else "read"] += 1
            return handler(request)

        return wire

    client = stage.client(1, counting)
    client.organization.metadata()
    sent.clear()
    reports = client.close(stage.keys)
    assert {report.status for report in reports} == {ReportStatus.CLOSED}
    assert sent["write"] <= 0.1 * len(reports)
    assert sent["read"] <= 0.02 * len(reports)
    stage.embedded.close()


def test_what_is_heavy_is_imported_by_those_who_need_it() -> None:
    for start in ("import connector", "import connector.cli; connector.cli.main(['--version'], standalone_mode=False)"):
        code = f"import sys\ntry:\n    {start}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        loaded = {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
        assert loaded & set(HEAVY) == set()
