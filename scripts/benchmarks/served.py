"""An emulator in a process of its own, as a user starts it, and what it costs."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from connector.emulator.command import ask

_PATIENCE = 60.0
_FORM = "application/x-www-form-urlencoded"


class Served:
    """`connector emulator` on a free port; use it as a context. Limits are counted but not enforced unless asked."""

    def __init__(self, *options: str, enforced: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self._options = options
        self.ready_after = 0.0
        self._enforced = enforced
        self.folder = Path(self._folder.name)
        self.ready: Mapping[str, str] = {}
        self.began = 0.0

    def __enter__(self) -> Self:
        file = self.folder / "ready.json"
        command = [sys.executable, "-m", "connector", "emulator", "--ready-file", str(file), *self._options]
        self.began = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not file.exists():
            if self._process.poll() is not None or time.perf_counter() - self.began > _PATIENCE:
                raise RuntimeError("The emulator did not start.")
            time.sleep(0.002)
        self.ready = json.loads(file.read_text())
        self.ready_after = time.perf_counter() - self.began
        if not self._enforced:
            self.control("PATCH", "limits", {"enforced": False})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=_PATIENCE)
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Return the organization's address."""
        return self.ready["url"]

    @property
    def ca_file(self) -> Path:
        """Return the certificate authority to trust."""
        return Path(self.ready["ca_file"])

    def control(self, method: str, what: str, data: object = None) -> Any:
        """Ask the control interface."""
        body = b"" if data is None else json.dumps(data).encode()
        return ask(self.ready["control_url"], self.ca_file, method, what, body)

    def environment(self) -> Mapping[str, str]:
        """Return the connector's settings for this emulator."""
        return {
            "DATAVERSE_URL": self.url,
            "DATAVERSE_TENANT_ID": self.ready["tenant_id"],
            "DATAVERSE_CLIENT_ID": self.ready["client_id"],
            "DATAVERSE_CLIENT_SECRET": self.ready["client_secret"],
            "DATAVERSE_CA_FILE": str(self.ca_file),
            "DATAVERSE_AUTHORITY": self.ready["authority"],
        }

    def token(self) -> str:
        """Return a token for the organization."""
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": self.ready["client_id"],
            "client_secret": self.ready["client_secret"], "scope": f"{self.url}/.default",
        })  # fmt: skip
        request = urllib.request.Request(
            f"{self.ready['authority']}/oauth2/v2.0/token", form.encode(), {"content-type": _FORM}
        )
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, context=context) as answer:
            return str(json.load(answer)["access_token"])

    def load(self, opportunities: int, quotes: int) -> list[UUID]:
        """Add open opportunities with active quotes; returns the opportunities."""
        for low in range(0, opportunities, 5000):
            numbers = range(low + 1, min(low + 5000, opportunities) + 1)
            self.control("POST", "seed", {"opportunity": [opportunity_row(n) for n in numbers]})
            rows = [quote_row(n, m) for n in numbers for m in range(1, quotes + 1)]
            if rows:
                self.control("POST", "seed", {"quote": rows})
        return [opportunity_key(number) for number in range(1, opportunities + 1)]


def cpu_seconds(pid: int) -> float:
    """Return the user and system time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory_mb(pid: int, *, peak: bool = False) -> float:
    """Return the resident memory of a process in megabytes, now or at its peak."""
    wanted = "VmHWM" if peak else "VmRSS"
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(wanted))
    return int(line.split()[1]) / 1024


def opportunity_key(number: int) -> UUID:
    """Return the id of the nth opportunity that a benchmark makes."""
    return UUID(int=(0x0B << 120) | (number << 16))


def quote_key(number: int, which: int) -> UUID:
    """Return the id of one of its quotes."""
    return UUID(int=opportunity_key(number).int + which)


def opportunity_row(number: int) -> Mapping[str, object]:
    """Return an open opportunity."""
    key = str(opportunity_key(number))
    return {"opportunityid": key, "name": f"Opportunity {number}", "statecode": 0, "statuscode": 1}


def quote_row(number: int, which: int) -> Mapping[str, object]:
    """Return one of its active quotes."""
    return {
        "quoteid": str(quote_key(number, which)), "name": f"Quote {number}-{which}",
        "quotenumber": f"QUO-{number}-{which}", "opportunityid": str(opportunity_key(number)),
        "statecode": 1, "statuscode": 2,
    }  # fmt: skip
