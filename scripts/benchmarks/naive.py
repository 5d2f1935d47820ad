"""What somebody writes in an hour: 40 threads, one request after the other for each row, no limits in mind.

Run it with `python -m scripts.benchmarks.naive ENV_FILE ROWS.csv [--threads N]`. It signs in once, reads an opportunity
with its quotes, activates and closes the quotes, closes the opportunity; what fails, fails. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

DRAFT, ACTIVE = 0, 1
READ = "?$select=statecode&$expand=opportunity_quotes($select=quoteid,statecode)"


class Naive:
    """A connection to the organization of an environment file."""

    def __init__(self, environment: dict[str, str], threads: int) -> None:
        self._root = f"{environment['DATAVERSE_URL']}/api/data/v9.2/"
        self._environment = environment
        self._local = threading.local()
        self._token = self._sign_in()
        self.threads = threads

    def close(self, opportunity: str, outcome: str) -> None:
        """Close one opportunity with its quotes."""
        row = self._send("GET", f"opportunities({opportunity}){READ}").json()
        for quote in row["opportunity_quotes"]:
            self._close_quote(quote["quoteid"], quote["statecode"])
        action, reason = ("WinOpportunity", 3) if outcome == "won" else ("LoseOpportunity", 4)
        record = {"opportunityid@odata.bind": f"/opportunities({opportunity})", "subject": "Closed"}
        self._send("POST", action, {"OpportunityClose": record, "Status": reason})

    def _close_quote(self, quote: str, state: int) -> None:
        if state == DRAFT:
            self._send("PATCH", f"quotes({quote})", {"statecode": 1, "statuscode": 2})
        if state in (DRAFT, ACTIVE):
            record = {"quoteid@odata.bind": f"/quotes({quote})", "subject": "Closed"}
            self._send("POST", "CloseQuote", {"QuoteClose": record, "Status": 5})

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        headers = {"Authorization": f"Bearer {self._token}", "OData-Version": "4.0", "Accept": "application/json"}
        response: requests.Response = self._local.session.request(
            method,
            self._root + path,
            json=body,
            headers=headers,
            verify=self._environment["DATAVERSE_CA_FILE"],
            timeout=240,
        )
        response.raise_for_status()
        return response

    def _sign_in(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._environment["DATAVERSE_CLIENT_ID"],
            "client_secret": self._environment["DATAVERSE_CLIENT_SECRET"],
            "scope": f"{self._environment['DATAVERSE_URL']}/.default",
        }
        address = f"{self._environment['DATAVERSE_AUTHORITY']}/oauth2/v2.0/token"
        response = requests.post(address, data=form, verify=self._environment["DATAVERSE_CA_FILE"], timeout=60)
        response.raise_for_status()
        return str(response.json()["access_token"])


def main() -> int:
    """Close the rows of a file; returns 1 when one failed."""
    parser = argparse.ArgumentParser(description="Close opportunities the naive way.")
    parser.add_argument("environment", type=Path, help="as `connector emulator --env-file` writes it")
    parser.add_argument("rows", type=Path, help="a CSV file with the columns opportunityid and outcome")
    parser.add_argument("--threads", type=int, default=40)
    options = parser.parse_args()
    lines = options.environment.read_text(encoding="utf-8").splitlines()
    naive = Naive(dict(line.split("=", 1) for line in lines if "=" in line), options.threads)
    with options.rows.open(encoding="utf-8", newline="") as file:
        rows = [(row["opportunityid"], row["outcome"]) for row in csv.DictReader(file)]
    sys.stdout.write(json.dumps(run(naive, rows)) + "\n")
    return 0


def run(naive: Naive, rows: list[tuple[str, str]]) -> dict[str, object]:
    """Close all rows and return how many were closed, how many failed, and when the last of each came, in seconds."""
    began = time.perf_counter()
    closed: list[float] = []
    failed: list[float] = []

    def one(row: tuple[str, str]) -> None:
        try:
            naive.close(*row)
        except requests.RequestException:
            failed.append(time.perf_counter() - began)
        else:
            closed.append(time.perf_counter() - began)

    with ThreadPoolExecutor(naive.threads) as threads:
        list(threads.map(one, rows))
    return {
        "closed": len(closed),
        "failed": len(failed),
        "last_closed": round(max(closed, default=0.0), 2),
        "seconds": round(time.perf_counter() - began, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
