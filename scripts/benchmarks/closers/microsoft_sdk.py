"""Microsoft's PowerPlatform-Dataverse-Client, one per thread: its own reads; actions through its private request path.

It has no public way to call an action, so this uses what its own operations use underneath.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.benchmarks.closers.cost import attempt, job, tell

THREADS = 16
WANTED = job()
os.environ["REQUESTS_CA_BUNDLE"] = WANTED["environment"]["DATAVERSE_CA_FILE"]  # before its requests are set up

from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.client import DataverseClient


class _Token:
    """A credential that has its token."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        del scopes, options
        return AccessToken(WANTED["token"], int(time.time()) + 3000)


def main() -> None:
    """Close or read."""
    url = WANTED["environment"]["DATAVERSE_URL"]
    local = threading.local()

    def client() -> DataverseClient:
        if not hasattr(local, "client"):
            local.client = DataverseClient(url, _Token()).__enter__()  # its documented session, kept by the thread
        made: DataverseClient = local.client
        return made

    if WANTED["what"] == "attempt":
        attempt(lambda key: _close_one(client(), url, key), THREADS)
        return
    client().records.retrieve("opportunity", WANTED["opportunities"][0], select=["name"])
    if WANTED["what"] == "read":
        tell(lambda: _read(client()))
        return
    with ThreadPoolExecutor(THREADS) as threads:
        tell(lambda: sum(threads.map(lambda key: _close_one(client(), url, key), WANTED["opportunities"])))


def _close_one(client: DataverseClient, url: str, key: str) -> int:
    where = f"_opportunityid_value eq {key} and statecode lt 2"
    for quote in client.records.list("quote", filter=where, select=["statecode"]):
        close = {"quoteid@odata.bind": f"/quotes({quote['quoteid']})", "subject": "Closed"}
        _act(client, f"{url}/api/data/v9.2/CloseQuote", {"QuoteClose": close, "Status": 5})
    close = {"opportunityid@odata.bind": f"/opportunities({key})", "subject": "Lost"}
    _act(client, f"{url}/api/data/v9.2/LoseOpportunity", {"OpportunityClose": close, "Status": 4})
    return 1


def _act(client: DataverseClient, url: str, body: dict[str, object]) -> None:
    with client._scoped_odata() as odata:
        odata._request("post", url, json=body)


def _read(client: DataverseClient) -> int:
    pages = client.records.list_pages(
        "opportunity", select=["name", "statecode", "statuscode"], page_size=WANTED["page"]
    )
    return sum(len(list(page)) for page in pages)


main()
