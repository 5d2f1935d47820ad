"""An emulator as a client sees it: a session that reaches it, addresses and credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msal
import requests

from connector.clock import Clock
from connector.emulator.core import Emulator
from connector.emulator.embedded import EmbeddedEmulator
from connector.emulator.seeding.emulator_options import EmulatorOptions


@dataclass
class Face:
    """An emulator seen by a client: a session that reaches it and a token for it."""

    session: requests.Session
    emulator: Emulator
    url: str
    authority: str
    client_id: str
    client_secret: str

    @property
    def api(self) -> str:
        return f"{self.url}/api/data/v9.2/"

    def application(self) -> msal.ConfidentialClientApplication:
        return msal.ConfidentialClientApplication(
            self.client_id,
            client_credential=self.client_secret,
            authority=self.authority,
            instance_discovery=False,
            http_client=self.session,
        )

    def sign_in(self) -> None:
        answer = self.application().acquire_token_for_client([f"{self.url}/.default"])
        assert "access_token" in answer, answer
        self.session.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.api + path, headers=headers, timeout=120)

    def post(self, path: str, data: object, **headers: str) -> requests.Response:
        return self.session.post(self.api + path, json=data, headers=headers, timeout=120)

    def control(self, method: str, what: str, data: object = None) -> requests.Response:
        return self.session.request(method, f"{self.url}/_emulator/{what}", json=data, timeout=120)


def session_for(trust: str | None = None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    if trust is not None:
        session.verify = trust
    return session


def embedded_face(embedded: EmbeddedEmulator) -> Face:
    session = session_for()
    session.mount("https://org.emulator.invalid", embedded.adapter())
    session.mount("https://login.emulator.invalid", embedded.adapter())
    return Face(
        session, embedded.emulator, embedded.url, embedded.authority, embedded.client_id, embedded.client_secret
    )


MakeFace = Callable[[Clock, EmulatorOptions], Face]
"""Makes an in-process face from a clock and options."""
