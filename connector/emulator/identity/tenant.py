"""Who can sign in to the emulated tenant: applications with their credentials, and people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

TENANT_ID = "0b4b5d3e-6a52-4c07-9d7f-2c5f0e6a1d10"
CLIENT_ID = "5a1f6f0c-9a3e-4d0b-8f51-7f1c3d2e4b60"
CLIENT_SECRET = "local-emulator-secret"
CLIENT_OBJECT_ID = "c2a9f4d1-3b7e-4e58-9a06-1d8e5f7b2c30"
USER_OBJECT_ID = "e7d0b6a2-4f1c-4b93-8c25-6a9f3e1d5b40"


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret; with `expires` in the past it is refused as expired."""

    value: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated credential: assertions of this tenant's own issuer for `subject` are accepted."""

    subject: str
    audience: str = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True)
class Application:
    """An app registration. `certificates` are PEM texts; `disabled` ones get no token and their tokens stop working."""

    client_id: str
    object_id: str
    name: str
    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    federations: tuple[Federation, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs in interactively; the emulator asks for no password."""

    object_id: str
    user_name: str
    name: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """One directory. Lifetimes are in seconds; `device_interval` is what a device-code client waits between polls."""

    tenant_id: str
    applications: tuple[Application, ...]
    people: tuple[Person, ...]
    token_lifetime: int = 3599
    token_version: str = "1.0"
    device_interval: int = 5
    managed_identity: str = CLIENT_ID
    """The client id that managed-identity endpoints sign in."""

    def application(self, client_id: str) -> Application | None:
        """Return the registration with this client id (any case), or None."""
        lowered = client_id.lower()
        return next((app for app in self.applications if app.client_id.lower() == lowered), None)


def local_tenant(client_id: str = CLIENT_ID, client_secret: str = CLIENT_SECRET, applications: int = 1) -> Tenant:
    """Return the tenant an emulator starts with: applications with a secret each, and one administrator.

    The ids of further applications end with their number; their secret is that of the first.
    """
    secrets = (Secret(client_secret),)
    further = tuple(
        Application(
            f"{client_id[:-4]}{number:04d}",
            f"{CLIENT_OBJECT_ID[:-4]}{number:04d}",
            f"Dataverse close connector {number}",
            secrets,
        )
        for number in range(2, applications + 1)
    )
    application = Application(client_id, CLIENT_OBJECT_ID, "Dataverse close connector", secrets)
    person = Person(USER_OBJECT_ID, "admin@emulator.invalid", "Emulator Administrator")
    return Tenant(TENANT_ID, (application, *further), (person,), managed_identity=client_id)
