"""What an endpoint may be told when it is made: who may call, what it promises, where it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class CallerSignIn(StrEnum):
    """How callers prove who they are."""

    ENTRA = "entra"
    """A bearer token of Entra, checked here."""
    EASY_AUTH = "easy_auth"
    """The token that App Service, Functions or Container Apps has checked and passes on, checked here as well."""
    DEVELOPMENT = "development"
    """Nobody does: for an emulator on this machine only."""


class Access(StrEnum):
    """As whom the organization is used."""

    ON_BEHALF_OF = "on_behalf_of"
    """As the user who calls, with that user's own rights; applications are turned away."""
    APPLICATION = "application"
    """As the endpoint's own application user, for every caller."""
    BY_CALLER = "by_caller"
    """Users as themselves, applications as the endpoint's own application user."""


_NO_TENANTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may call. Ids are lower case.

    `tenants` maps each tenant that may call to the address of its organization: callers never name one. `audiences`
    are the accepted `aud` claims, `clients` the accepted applications (`azp`, `appid`). A user needs `scope`, an
    application `role`; `operator_role` shows and manages everybody's operations. `authority` is the sign-in host with
    scheme, `v1_issuer` the same for tokens of version 1. `api_keys` maps the SHA-256 of each key to its
    tenant and name, `TENANT/NAME`.
    """

    sign_in: CallerSignIn = CallerSignIn.ENTRA
    access: Access = Access.ON_BEHALF_OF
    tenants: Mapping[str, str] = field(default_factory=lambda: _NO_TENANTS)
    audiences: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    scope: str = "user_impersonation"
    role: str = "Opportunities.Close"
    operator_role: str = "Operations.Manage"
    authority: str = "https://login.microsoftonline.com"
    v1_issuer: str = "https://sts.windows.net"
    api_keys: Mapping[str, str] = field(default_factory=lambda: _NO_TENANTS, repr=False)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How an endpoint behaves. Times are in seconds.

    `secret` signs status addresses and seals what callers entrusted; `public_url` is where callers reach the endpoint
    (empty: as the request says, which only development does). `gateway_hosts` are the ends of host names whose
    referrer prefix is believed, with their dot. `deadline` is how long a caller is kept waiting, `keep` how long an
    answer is kept, `patience` how long an operation is tried. `workers` is how many operations run side by side,
    `instances` how many such processes use the store at most, `queue` how many operations may wait.
    `requests_per_minute` is per connection, `body_limit` in bytes, `body_seconds` how long a body may take to come.
    `webhook_keys` maps the SHA-256 of each webhook key to its tenant; `callback_hosts` are the ends of host names that
    may be told of closes beside the platform's own, with their dot. `log_days` is how long the audit log keeps one.
    """

    secret: bytes = field(repr=False)
    admission: Admission = Admission()
    public_url: str = ""
    gateway_hosts: tuple[str, ...] = ()
    deadline: float = 90.0
    keep: float = 7 * 86400.0
    patience: float = 86400.0
    workers: int = 8
    instances: int = 1
    queue: int = 10_000
    requests_per_minute: int = 300
    body_limit: int = 64 * 1024
    body_seconds: float = 30.0
    webhook_keys: Mapping[str, str] = field(default_factory=lambda: _NO_TENANTS, repr=False)
    callback_hosts: tuple[str, ...] = ()
    log_days: float = 0
    version: str = ""
