"""A client that knows the documents and nothing else: plain requests, a token asked for with a form, JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import requests

Json = dict[str, Any]
_NUMBERS = itertools.count(1)


def fresh_id() -> str:
    """Return an id that no other row has."""
    return str(UUID(int=0xC0FFEE00000040008000000000000000 + next(_NUMBERS)))


def error_of(answer: requests.Response) -> tuple[int, str, str]:
    """Return status, code and message of a refusal."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@dataclass
class Stranger:
    """A client of one organization; `headers` go with every request to the Web API."""

    session: requests.Session
    url: str
    authority: str
    client_id: str
    client_secret: str
    headers: dict[str, str] = field(default_factory=lambda: {"Accept": "application/json", "OData-Version": "4.0"})

    @property
    def api(self) -> str:
        """The service root."""
        return f"{self.url}/api/data/v9.2/"

    # Signing in.

    def token(self, **fields: str) -> requests.Response:
        """Ask for a token; fields given as empty are left out of the form."""
        form = {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.client_secret}
        form |= {"scope": f"{self.url}/.default"} | fields
        form = {name: value for name, value in form.items() if value}
        return self.session.post(f"{self.authority}/oauth2/v2.0/token", data=form, timeout=60)

    def sign_in(self) -> Stranger:
        """Send the application's token from now on."""
        self.headers["Authorization"] = f"Bearer {self.token().json()['access_token']}"
        return self

    # The Web API.

    def send(self, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        """Send one request below the service root; headers are given with `_` for `-`."""
        given = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("https://") else self.api + path
        if isinstance(body, bytes):
            return self.session.request(method, url, data=body, headers=given, timeout=400)
        return self.session.request(method, url, json=body, headers=given, timeout=400)

    def read(self, path: str, **headers: str) -> Json:
        """Return the JSON of a read that works."""
        answer = self.send("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refused(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, str]:
        """Return status, code and message of a request that is refused."""
        answer = self.send(method, path, body, **headers)
        assert answer.status_code >= 400, answer.text
        return error_of(answer)

    def create(self, entity_set: str, values: Mapping[str, object]) -> str:
        """Create a row and return its id."""
        answer = self.send("POST", entity_set, dict(values))
        assert answer.status_code == 204, answer.text
        return answer.headers["OData-EntityId"].rpartition("(")[2].rstrip(")")

    # The job.

    def deal(self, **values: object) -> str:
        """Create an open opportunity."""
        return self.create("opportunities", {"name": "Deal", **values})

    def offer(self, deal: str | None = None, *, state: int = 0, **values: object) -> str:
        """Create a quote, a draft, or an active one with state 1."""
        bind = {"opportunityid@odata.bind": f"/opportunities({deal})"} if deal else {}
        made = self.create("quotes", {"name": "Offer", **bind, **values})
        if state:
            assert self.send("PATCH", f"quotes({made})", {"statecode": 1, "statuscode": 2}).status_code == 204
        return made

    def close(self, message: str, row: str, status: int, **entity: object) -> requests.Response:
        """Send WinOpportunity, LoseOpportunity, CloseQuote or WinQuote."""
        parameter, column, entity_set = (
            ("QuoteClose", "quoteid", "quotes")
            if message.endswith("Quote")
            else ("OpportunityClose", "opportunityid", "opportunities")
        )
        bind = {f"{column}@odata.bind": f"/{entity_set}({row})"}
        return self.send("POST", message, {parameter: {**bind, **entity}, "Status": status})

    def state(self, entity_set: str, row: str) -> tuple[int, int]:
        """Return state and status reason of a row."""
        found = self.read(f"{entity_set}({row})?$select=statecode,statuscode")
        return found["statecode"], found["statuscode"]

    # The control interface.

    def control(self, method: str, what: str, data: object = None) -> Any:
        """Ask or move the emulator itself."""
        answer = self.session.request(method, f"{self.url}/_emulator/{what}", json=data, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def switch(self, **values: str) -> None:
        """Answer open questions otherwise."""
        self.control("PATCH", "switches", values)

    def plan(self, *faults: Json, seed: int = 1) -> None:
        """Put a fault plan to work."""
        self.control("PUT", "faults", {"seed": seed, "faults": list(faults)})

    def pass_time(self, seconds: float) -> None:
        """Let time pass at once."""
        self.control("POST", "clock", {"advance": seconds})
