"""How long it takes until a client can work: processor time of fresh processes, interleaved."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.benchmarks.records import Spread
from scripts.benchmarks.served import Served

_SIGN_IN = """
from pathlib import Path
import json, os, sys
from connector import connect, load_settings
connect(load_settings(json.loads(sys.argv[1]), Path("/dev/null"))).warm()
os._exit(0)  # the token is there; what Python does to end is not counted
"""


def measure(rounds: int, modules: Path | None) -> Mapping[str, Spread]:
    """Return the milliseconds of processor time of each start."""
    with Served("--empty") as server:
        settings = json.dumps(dict(server.environment()))
        starts: dict[str, Sequence[str]] = {
            "bare Python": _python("pass"),
            "import connector": _python("import connector"),
            "connector --help": [sys.executable, "-m", "connector", "--help"],
            "this connector, to the first token": [*_python(_SIGN_IN), settings],
            "import requests": _python("import requests"),
            "import Microsoft's Python SDK": _python("import PowerPlatform.Dataverse.client"),
            "the same with azure-identity": _python("import PowerPlatform.Dataverse.client, azure.identity"),
        }
        if modules is not None:
            path = modules / "dynamics-web-api"
            starts["node with dynamics-web-api"] = ["node", "-e", f"require({str(path)!r})"]
        spent: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(rounds):
            for name, command in starts.items():
                spent[name].append(_cpu_ms(command))
    return {name: Spread(tuple(values[1:])) for name, values in spent.items()}  # the first one filled the disk's cache


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def _cpu_ms(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000
