"""Plain requests: a session with a pool as large as its threads, one call for each read and each action."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter

from scripts.benchmarks.closers.cost import attempt, job, tell

THREADS = 16


def main() -> None:
    """Close or read."""
    wanted = job()
    session = requests.Session()
    session.trust_env = False
    session.verify = wanted["environment"]["DATAVERSE_CA_FILE"]
    session.mount("https://", HTTPAdapter(pool_maxsize=THREADS))
    session.headers.update({"Authorization": f"Bearer {wanted['token']}", "Accept": "application/json"})
    api = wanted["environment"]["DATAVERSE_URL"] + "/api/data/v9.2"
    if wanted["what"] == "attempt":
        attempt(lambda key: _close_one(session, api, key), THREADS)
        return
    session.get(f"{api}/WhoAmI()", timeout=30).raise_for_status()
    tell(
        lambda: (
            _close(session, api, wanted["opportunities"]) if wanted["what"] == "close" else _read(session, api, wanted)
        )
    )


def _close(session: requests.Session, api: str, keys: list[str]) -> int:
    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(lambda key: _close_one(session, api, key), keys))


def _close_one(session: requests.Session, api: str, key: str) -> int:
    query = f"$select=statecode&$filter=_opportunityid_value eq {key} and statecode lt 2"
    quotes = session.get(f"{api}/quotes?{query}", timeout=60)
    quotes.raise_for_status()
    for quote in quotes.json()["value"]:
        close = {"quoteid@odata.bind": f"/quotes({quote['quoteid']})", "subject": "Closed"}
        _act(session, f"{api}/CloseQuote", {"QuoteClose": close, "Status": 5})
    close = {"opportunityid@odata.bind": f"/opportunities({key})", "subject": "Lost"}
    _act(session, f"{api}/LoseOpportunity", {"OpportunityClose": close, "Status": 4})
    return 1


def _act(session: requests.Session, url: str, body: dict[str, object]) -> None:
    session.post(url, json=body, timeout=60).raise_for_status()


def _read(session: requests.Session, api: str, wanted: dict[str, int]) -> int:
    url, rows = f"{api}/opportunities?$select=name,statecode,statuscode", 0
    while url:
        answer = session.get(url, headers={"Prefer": f"odata.maxpagesize={wanted['page']}"}, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        rows += len(page["value"])
        url = page.get("@odata.nextLink", "")
    return rows


main()
