"""Emulators of other services, started as their users start them: moto's server and Azurite, each for one table.

They are what people know; where the same thing can be measured it is: ready cold, a single-row read and write, memory,
reset. They speak plain HTTP here, which favours them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from scripts.benchmarks.wire_load import request

TOOLS = Path(__file__).parents[2] / ".state" / "bench"
"""Where other people's programs are installed, each in a folder of its own."""
AZURITE = "azurite@3.37.0"
_PATIENCE = 60.0
_AZURITE_ACCOUNT = "devstoreaccount1"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The well-known key of every Azurite; documented, no secret."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another emulator: how to start it, when it is ready, and the requests that read and write one row."""

    name: str
    command: Sequence[str]
    origin: str
    prepare: Sequence[bytes]
    read: bytes
    write: bytes
    reset: bytes | None
    folder: str

    def start(self) -> tuple[subprocess.Popen[bytes], float]:
        """Start it; returns the process and the seconds until it answered. Raises RuntimeError when it does not."""
        began = time.perf_counter()
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        while time.perf_counter() - began < _PATIENCE and process.poll() is None:
            if _answers(self.origin):
                return process, time.perf_counter() - began
            time.sleep(0.005)
        process.kill()
        raise RuntimeError("it did not start")

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop it and remove what it kept."""
        process.terminate()
        process.wait(timeout=_PATIENCE)
        shutil.rmtree(self.folder)


def moto() -> Rival | str:
    """Return moto's DynamoDB, which scripts/requirements/bench.txt installs, or why it cannot be measured."""
    program = Path(sys.executable).with_name("moto_server")
    if not program.exists():
        return "moto's server: it is not installed beside this Python"
    port = _free_port()
    origin = f"http://127.0.0.1:{port}"
    key = {"id": {"S": "1"}}
    table = {
        "TableName": "rows", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    }  # fmt: skip
    change = {"UpdateExpression": "SET done = :d", "ExpressionAttributeValues": {":d": {"N": "1"}}}
    return Rival(
        "moto (DynamoDB)",
        [str(program), "-p", str(port)],
        origin,
        [_dynamo(origin, "CreateTable", table), _dynamo(origin, "PutItem", {"TableName": "rows", "Item": key})],
        _dynamo(origin, "GetItem", {"TableName": "rows", "Key": key}),
        _dynamo(origin, "UpdateItem", {"TableName": "rows", "Key": key, **change}),
        request("POST", f"{origin}/moto-api/reset", {}),
        tempfile.mkdtemp(prefix="bench-"),
    )


def azurite() -> Rival | str:
    """Return Azurite's tables, installed on first use, or why they cannot be measured."""
    program = TOOLS / "azurite" / "node_modules" / ".bin" / "azurite-table"
    if shutil.which("npm") is None:
        return "Azurite: no npm on this machine"
    if not program.exists():
        (TOOLS / "azurite").mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(TOOLS / "azurite"), AZURITE]
        if problem := _failed(install):
            return f"{AZURITE}: npm could not install it: {problem}"
    port, folder = _free_port(), tempfile.mkdtemp(prefix="bench-")
    origin = f"http://127.0.0.1:{port}"
    row = "rows(PartitionKey='a',RowKey='1')"
    return Rival(
        "Azurite (tables)",
        [str(program), "--tablePort", str(port), "--location", folder, "--silent", "--skipApiVersionCheck"],
        origin,
        [
            _table(origin, "POST", "Tables", {"TableName": "rows"}),
            _table(origin, "POST", "rows", {"PartitionKey": "a", "RowKey": "1", "name": "one"}),
        ],
        _table(origin, "GET", row),
        _table(origin, "PUT", row, {"done": 1}),
        None,
        folder,
    )


def _dynamo(origin: str, action: str, body: Mapping[str, object]) -> bytes:
    credential = (
        "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
    )
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": credential,
    }
    return request("POST", f"{origin}/", headers, json.dumps(body).encode())


def _table(origin: str, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
    date = formatdate(usegmt=True)
    signed = f"{date}\n/{_AZURITE_ACCOUNT}/{_AZURITE_ACCOUNT}/{path}".encode()
    signature = base64.b64encode(hmac.new(base64.b64decode(_AZURITE_KEY), signed, hashlib.sha256).digest()).decode()
    headers = {
        "Date": date, "x-ms-date": date, "x-ms-version": "2019-02-02", "Accept": "application/json;odata=nometadata",
        "Content-Type": "application/json", "Authorization": f"SharedKeyLite {_AZURITE_ACCOUNT}:{signature}",
    }  # fmt: skip
    return request(method, f"{origin}/{_AZURITE_ACCOUNT}/{path}", headers, json.dumps(body).encode() if body else b"")


def _failed(command: Sequence[str]) -> str:
    """Run a command; returns the last thing it said when it failed, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["it failed"])[-1] if done.returncode else ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(origin: str) -> bool:
    try:
        urllib.request.urlopen(origin, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
