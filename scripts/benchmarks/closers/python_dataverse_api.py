"""PyPI's dataverse-api: its reads, in a session of requests as it documents. It has no way to call an action.

An entity of it asks for definitions first, some of which the emulator does not have: those answers are made up here,
before anything is measured.
"""

from __future__ import annotations

import json
from typing import Any

import requests
from dataverse_api import DataverseClient
from requests.adapters import HTTPAdapter

from scripts.benchmarks.closers.cost import job, tell

_DEFINITION = {"EntitySetName": "opportunities", "PrimaryIdAttribute": "opportunityid", "value": []}


class _Definitions(HTTPAdapter):
    """Answers what is asked about the table."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """See `HTTPAdapter`."""
        del arguments, named
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer._content = json.dumps(_DEFINITION).encode()
        return answer


def main() -> None:
    """Read."""
    wanted = job()
    url = wanted["environment"]["DATAVERSE_URL"]
    session = requests.Session()
    session.trust_env = False
    session.verify = wanted["environment"]["DATAVERSE_CA_FILE"]
    session.headers["Authorization"] = f"Bearer {wanted['token']}"
    for asked in ("EntityDefinitions", "sdkmessagefilters"):
        session.mount(f"{url}/api/data/v9.2/{asked}", _Definitions())
    entity = DataverseClient(session=session, environment_url=f"{url}/").entity(logical_name="opportunity")
    entity.read(select=["name"], top=1)
    tell(lambda: len(entity.read(select=["name", "statecode", "statuscode"], page_size=wanted["page"])))


main()
