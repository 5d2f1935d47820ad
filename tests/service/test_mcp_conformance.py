"""The protocol's own conformance suite against `connector serve`: what a server of tools alone must hold.

It is left out without the suite, which is an npm package and needs Node 22: `npm install node@22
@modelcontextprotocol/conformance` in a folder, which MCP_CONFORMANCE then names. Its other scenarios ask for tools of its own, for
prompts, resources and sessions, which this endpoint does not have.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.process import Process, serving

PROGRAMS = Path(os.environ.get("MCP_CONFORMANCE", "")) / "node_modules" / ".bin"
SUITE = PROGRAMS / "conformance"
SCENARIOS = ("server-initialize", "ping", "tools-list", "dns-rebinding-protection")

pytestmark = pytest.mark.skipif(not SUITE.exists(), reason="MCP_CONFORMANCE names no folder with the suite")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("endpoint")) as process:
        yield process


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_suite_finds_nothing_wrong(endpoint: Process, scenario: str, tmp_path: Path) -> None:
    command: list[str | Path] = [
        PROGRAMS / "node",
        SUITE,
        "server",
        "--url",
        f"http://127.0.0.1:{endpoint.port}/mcp",
        "--scenario",
        scenario,
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    passed = re.search(r"Passed: (\d+)/(\d+), 0 failed, 0 warnings", run.stdout)
    assert passed is not None, run.stdout[-2000:]
    assert passed[1] == passed[2] != "0"
