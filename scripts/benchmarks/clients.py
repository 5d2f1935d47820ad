"""`scripts/bench clients`: the same closes and reads by this connector and by others, effects counted on the server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.rivals import TOOLS
from scripts.benchmarks.served import Served

ROOT = Path(__file__).parents[2]
CLOSERS = Path(__file__).parent / "closers"
OPPORTUNITIES, QUOTES = 3000, 2
REQUESTS = 5 * OPPORTUNITIES
"""More than any client sends: the journal keeps them all, to be counted."""
ROWS, PAGE = 20_000, 5000
DYNAMICS_WEB_API = "dynamics-web-api@2.5.0"
DATAVERSE_API = "dataverse-api==1.4.3"

CLIENTS: Mapping[str, str] = {
    "this connector": "ours.py",
    "dynamics-web-api 2.5.0 (Node)": "dynamics_web_api.js",
    "Microsoft's Python SDK 1.1.0 (private request path)": "microsoft_sdk.py",
    "requests, 16 threads": "plain_requests.py",
}
READERS: Mapping[str, str] = {
    **CLIENTS,
    "this connector": "ours_reading.py",
    "dataverse-api 1.4.3 (PyPI)": "python_dataverse_api.py",
}
"""Those that can read: dataverse-api has no way to call an action, so it closes nothing."""
_WRITES = frozenset({"CloseQuote", "WinQuote", "WinOpportunity", "LoseOpportunity", "Update", "Create"})


def node_modules() -> Path | str:
    """Return the folder of dynamics-web-api, installed on first use, or why it is not there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "dynamics-web-api: no node and npm on this machine"
    folder = TOOLS / "dynamics-web-api"
    if not (folder / "node_modules" / "dynamics-web-api").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), DYNAMICS_WEB_API]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{DYNAMICS_WEB_API}: npm could not install it"
    return folder / "node_modules"


def dataverse_api() -> Path | str:
    """Return the Python that has dataverse-api, installed on first use, or why it is not there."""
    folder = TOOLS / "dataverse-api"
    if not list(folder.glob("lib/*/site-packages/dataverse_api")):
        for command in (["-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "-q", DATAVERSE_API]):
            program = [sys.executable, *command] if command[0] == "-m" else command
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{DATAVERSE_API}: pip could not install it"
    return folder / "bin" / "python"


def close_once(client: str) -> Mapping[str, float]:
    """Let a client close everything on a fresh emulator; its cost per opportunity, and what the server counted."""
    with Served("--empty", "--journal", str(REQUESTS)) as server:
        keys = [str(key) for key in server.load(OPPORTUNITIES, QUOTES)]
        token = server.token()
        told = _run(CLIENTS[client], server, {"what": "close", "opportunities": keys, "token": token})
        _check_effects(server)
        reads, writes = _requests(server)
    return {
        "closes per second": OPPORTUNITIES / told["seconds"],
        "CPU ms per opportunity": told["cpu"] / OPPORTUNITIES * 1000,
        "write requests per opportunity": writes / OPPORTUNITIES,
        "reads per opportunity": reads / OPPORTUNITIES,
        "peak MB": told["peak_mb"],
    }


def read_once(client: str, server: Served, token: str, first: str) -> Mapping[str, float]:
    """Let a client read every opportunity by pages; its cost per row."""
    told = _run(READERS[client], server, {"what": "read", "opportunities": [first], "page": PAGE, "token": token})
    if told["rows"] != ROWS:
        raise RuntimeError(f"{client} read {told['rows']} rows, not {ROWS}.")
    return {
        "us CPU per row": told["cpu"] / ROWS * 1e6,
        "us per row": told["seconds"] / ROWS * 1e6,
        "peak MB": told["peak_mb"],
    }


def reading(use: Callable[[Served, str, str], None]) -> None:
    """Serve the rows to read and hand the server on, with a token and the first row's id."""
    with Served("--empty") as server:
        keys = server.load(ROWS, 0)
        use(server, server.token(), str(keys[0]))


def command(program: str, file: Path) -> list[str]:
    """Return the command that lets a client's program do the job in a file."""
    if program.endswith(".js"):
        return ["node", str(CLOSERS / program), str(file)]
    python = str(dataverse_api()) if program == "python_dataverse_api.py" else sys.executable
    return [python, "-m", f"scripts.benchmarks.closers.{program.removesuffix('.py')}", str(file)]


def environment(server: Served) -> Mapping[str, str]:
    """Return the environment of a client's process."""
    return {**os.environ, "NODE_EXTRA_CA_CERTS": str(server.ca_file), "NODE_PATH": str(node_modules())}


def _run(program: str, server: Served, wanted: Mapping[str, Any]) -> Mapping[str, float]:
    file = server.folder / "job.json"
    file.write_text(json.dumps({**wanted, "environment": dict(server.environment())}))
    done = subprocess.run(
        command(program, file), env=environment(server), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr.strip()[-1500:]}")
    told: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _check_effects(server: Served) -> None:
    """Raise RuntimeError unless every opportunity and every quote has exactly one close activity."""
    closes = server.control("GET", "closes?more_than=0")
    wanted = OPPORTUNITIES * (1 + QUOTES)
    if len(closes) != wanted or any(one["closes"] != 1 for one in closes):
        raise RuntimeError(f"{len(closes)} records were closed, not {wanted}, or some of them more than once.")


def _requests(server: Served) -> tuple[int, int]:
    """Return how many requests read and how many wrote, signing in left out."""
    reads = writes = after = 0
    if server.control("GET", "journal?limit=1")[0]["number"] > 1:
        raise RuntimeError("The journal has lost the first requests.")
    while entries := server.control("GET", f"journal?limit=500&after={after}"):
        after = entries[-1]["number"]
        for entry in entries:
            if entry["face"] == "web api":
                wrote = any(one["message"] in _WRITES for one in entry["operations"])
                writes, reads = writes + wrote, reads + (not wrote)
    return reads, writes
