"""An emulated organization with logic of its own, the way to ask it, and everything that it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from connector.clock import VirtualClock
from connector.dataverse.policies import authorize
from connector.dataverse.reading import WebApi
from connector.dataverse.sign_in.auth import Registration, application_tokens
from connector.dataverse.webapi import Endpoint
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.customization import Customization
from connector.handler import Handler, Request, Response
from connector.organization.capture_model import Capture
from connector.organization.capture_reading import CaptureReading

KEYS = Keys()
OPPORTUNITY = UUID("0c000000-0000-4000-8000-000000000001")
SECRET = "this must never be kept"
FLOW = "6f000000-0000-4000-8000-000000000001"

OWN = Customization.from_json(
    """{
  "columns": [
    {"table": "opportunity", "name": "new_region", "kind": "picklist", "labels": {"1033": "Region", "1036": "R\\u00e9gion"},
     "options": [{"value": 1, "labels": {"1033": "North", "1036": "Nord"}}, {"value": 2, "labels": {"1033": "South"}}]},
    {"table": "opportunity", "name": "new_accountid", "kind": "lookup", "labels": {"1033": "Partner"}, "targets": ["account"]},
    {"table": "opportunityclose", "name": "new_margin", "kind": "money", "labels": {"1033": "Margin"}, "precision": 4},
    {"table": "opportunity", "name": "new_secret", "kind": "string", "max_length": 40, "labels": {"1033": "Secret"}}
  ],
  "status_reasons": [{"table": "opportunity", "value": 100000009, "label": "Won twice", "state": 1,
                      "labels": {"1033": "Won twice", "1031": "Zweimal gewonnen"}, "transitions": [1]}],
  "keys": [{"table": "opportunity", "name": "new_code", "columns": ["new_secret"]}],
  "secured": [["opportunity", "new_secret"]]
}"""
)
"""What an organization may have of its own."""


@dataclass
class Asked:
    """One emulated organization. `sent` has every request that reached it."""

    options: EmulatorOptions = field(default_factory=lambda: EmulatorOptions(seeded=0, customization=OWN))
    path: str = ":memory:"
    sent: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.embedded: EmbeddedEmulator = open_embedded(self.path, self.clock, self.options, KEYS)

    @property
    def store(self) -> Any:
        return self.embedded.emulator.organization.store

    @property
    def base_url(self) -> str:
        return self.embedded.url

    @property
    def handler(self) -> Handler:
        """The way in, signed in as the first application."""
        registration = Registration(self.embedded.client_id, lambda: self.embedded.authority, self.embedded.url)
        tokens = application_tokens(
            registration, lambda: self.embedded.client_secret, self.embedded.handler, self.clock
        )

        def noted(request: Request) -> Response:
            self.sent.append(request)
            return self.embedded.handler(request)

        return authorize(noted, tokens, self.embedded.url)

    def has(self, table: str, **values: object) -> None:
        self.embedded.emulator.organization.load_rows(table, [values])

    def has_opportunity(self, *states: int, key: UUID = OPPORTUNITY, state: int = 0) -> list[str]:
        """An opportunity with a quote in each of these states; returns the ids of the quotes."""
        self.has(
            "opportunity", opportunityid=str(key), name="Éclair deal", statecode=state, statuscode=(1, 3, 4)[state]
        )
        quotes = [f"0d00000{number}-{str(key)[9:]}" for number in range(len(states))]
        for quote, quote_state in zip(quotes, states, strict=True):
            self.has(
                "quote", quoteid=quote, name="Quote", quotenumber=f"Q-{quote[:8]}", opportunityid=str(key),
                statecode=quote_state, statuscode=(1, 2, 4, 5)[quote_state],
            )  # fmt: skip
        return quotes

    def has_logic(self) -> None:
        """Steps, processes and flows of several vendors; what must not be kept is in them too."""
        ids = dict(self.store.rows("SELECT name, sdkmessageid FROM sdkmessage"))
        filters = {
            (message, table): key
            for message, table, key in self.store.rows(
                "SELECT m.name, f.primaryobjecttypecode, f.sdkmessagefilterid FROM sdkmessagefilter f "
                "JOIN sdkmessage m ON m.sdkmessageid = f.sdkmessageid"
            )
        }
        for number, (name, message, table, managed, mode) in enumerate(
            (
                ("Contoso.Sales.OnWin", "Win", "opportunity", False, 0),
                ("Vendor.Audit", "Update", "", True, 1),
                ("Microsoft.Dynamics.Forecast", "Lose", "opportunity", True, 0),
                ("Contoso.Elsewhere", "Create", "account", False, 0),
            ),
            1,
        ):
            plug_in = f"4602000{number}-0000-4000-8000-000000000001"
            self.has("plugintype", plugintypeid=plug_in, name=name, typename=name)
            self.has(
                "sdkmessageprocessingstep", sdkmessageprocessingstepid=f"4608000{number}-0000-4000-8000-000000000001",
                name=f"{name}: {message}", sdkmessageid=ids[message], sdkmessagefilterid=filters.get((message, table)),
                plugintypeid=plug_in, stage=40 if mode else 20, mode=mode, rank=1, ismanaged=managed, statecode=0,
                statuscode=1, canbebypassed=name != "Microsoft.Dynamics.Forecast", configuration=SECRET,
                filteringattributes="statecode, statuscode" if message == "Update" else None,
            )  # fmt: skip
        self.has(
            "plugintypestatistic", plugintypestatisticid="46030001-0000-4000-8000-000000000001",
            plugintypeid="46020001-0000-4000-8000-000000000001", averageexecutetimeinmilliseconds=420, executecount=1000,
            failurepercent=2,
        )  # fmt: skip
        owner = str(self.store.rows("SELECT systemuserid FROM systemuser WHERE applicationid IS NULL")[0][0])
        owned = {"ownerid": f"systemuser:{owner}", "owninguser": owner}
        for number, (name, category, mode, table) in enumerate(
            (("Refuse a cheap win", 0, 1, "opportunity"), ("Action", 3, 0, "opportunity"), ("Draft", 5, 0, "none")), 1
        ):
            self.has(
                "workflow", workflowid=FLOW if category == 5 else f"4703000{number}-0000-4000-8000-000000000001",
                name=name, uniquename=f"new_{name}" if category == 3 else None, category=category, type=1, mode=mode,
                scope=4, primaryentity=table, triggeroncreate=False, triggerondelete=False, ismanaged=False,
                triggeronupdateattributelist="statecode" if mode else None, statecode=1, statuscode=2,
                clientdata=SECRET, **owned,
            )  # fmt: skip
        for number, (table, columns, condition) in enumerate(
            (
                ("opportunity", "statecode", "statecode eq 1"),
                ("opportunity", "statecode", "statecode eq 2 and new_region ne null"),
                ("quote", "statecode", None),
                ("account", None, None),
            ),
            1,
        ):
            self.has(
                "callbackregistration", callbackregistrationid=f"0301000{number}-0000-4000-8000-000000000001",
                name=FLOW if number == 1 else f"Callback Registration Id: {number}", entityname=table, message=3, scope=4,
                filteringattributes=columns, filterexpression=condition, runas=1, softdeletestatus=0, **owned,
            )  # fmt: skip

    def limit_user(self, **change: object) -> None:
        """Change what the application may do (see the control's users)."""
        from connector.emulator.control.users import change_user

        change_user(self.embedded.emulator.organization.world, {"user": self.embedded.client_id, **change})

    def capture(self, old: Capture | None = None, *, volumes: bool = False) -> Capture:
        return CaptureReading(WebApi(self.handler, Endpoint(self.base_url)), self.clock).take(
            "emulator", old=old, volumes=volumes
        )

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, the emulator's own notes included."""
        names = self.store.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return {str(name): self.store.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2') for (name,) in names}
