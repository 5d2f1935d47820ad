"""From settings to an organization: the way out, one client for each identity, and what belongs around each request."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from connector.assembly.sign_in import identity_tokens
from connector.clock import Clock, SystemClock
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.pacing.concurrency import MOST_PARTS
from connector.dataverse.pacing.gate import Gate
from connector.dataverse.policies import RetryPolicy, TokenSource, anything, authorize, log, retry
from connector.dataverse.reading import WebApi
from connector.dataverse.search import Changes, read_changes
from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.authority import cloud_of, discover, distrust
from connector.dataverse.transport import Network, Transport
from connector.dataverse.webapi import Endpoint
from connector.errors import ConnectorError, SettingsError
from connector.handler import Handler
from connector.settings.settings import Settings
from connector.settings.variables import SignInMethod

USUAL_STEPS = 4
"""Writes of an opportunity with a draft and an active quote."""
EMULATOR_MARK = "emulator"
"""What the secrets of emulators have in them; no secret of a real application does."""


@dataclass(frozen=True, slots=True)
class IdentityClient:
    """One user's way to the organization: a name for people, the handler, and the organization as that user sees it.

    `user` says who it is there: the user it acts as, else the client id of its application.

    Service protection limits count per user, so each client has a gate of its own and clients multiply what may be in
    flight.
    """

    name: str
    handler: Handler
    organization: DataverseOrganization
    gate: Gate
    user: str


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to one organization, `https://host` in `base_url`; `clients` has one for each identity.

    `settings` are those it was made from, `tell` shows a person what they must know now. Use the connection in a `with`
    statement, or close it.
    """

    base_url: str
    clients: tuple[IdentityClient, ...]
    tokens: tuple[TokenSource, ...]
    settings: Settings = field(repr=False)
    tell: Callable[[str], None]
    _closing: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close it."""
        self.close()

    @property
    def organization(self) -> DataverseOrganization:
        """The organization, seen by the first identity."""
        return self.clients[0].organization

    @property
    def handler(self) -> Handler:
        """Return the handler of the first identity."""
        return self.clients[0].handler

    @property
    def api(self) -> WebApi:
        """The Web API, as the first identity sees it."""
        return WebApi(self.handler, Endpoint(self.base_url, self.settings.impersonate))

    @property
    def diagnosis(self) -> Diagnosis:
        """What asks the organization about itself, by the handler of the first identity."""
        return Diagnosis(self.handler, self.base_url, impersonate=self.settings.impersonate)

    @property
    def real(self) -> bool:
        """Whether this is an organization of a Microsoft cloud; an emulator is not."""
        return cloud_of(urlsplit(self.base_url).hostname or "") is not None

    def changes(self, link: str = "") -> Changes:
        """Return what changed of opportunities since `link` was given out, or all there are. Raises ConnectorError."""
        return read_changes(self.handler, self.base_url, link)

    def warm(self) -> None:
        """Have a token of every identity at hand before work begins. Raises SignInError."""
        for source in self.tokens:
            source.token()

    def prepare(self) -> None:
        """Have tokens and metadata of every identity at hand before many closes begin. Raises SignInError.

        Metadata that cannot be read now is read, and its failure told, when it is needed.
        """
        self.warm()
        threads = ThreadPoolExecutor(len(self.clients))
        try:
            for reading in [threads.submit(client.organization.prepare) for client in self.clients]:
                with suppress(ConnectorError):
                    reading.result()
        finally:
            threads.shutdown(wait=False)  # who interrupts it does not wait for a Retry-After

    def close(self) -> None:
        """Close connections, and the embedded emulator if there is one; what still waits to be sent is turned away."""
        for client in self.clients:
            client.gate.close()
        self._closing.close()


def tell_on_stderr(message: str) -> None:
    """Tell a person something they must do now, where it does not mix with results."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def connect(
    settings: Settings,
    clock: Clock | None = None,
    *,
    chance: random.Random | None = None,
    tell: Callable[[str], None] = tell_on_stderr,
    watched: Callable[[Handler], Handler] = lambda handler: handler,
) -> Connection:
    """Return a connection to the organization of `settings`; nothing is sent yet, signing in waits for the first use.

    `tell` shows a person what to do to sign in, `watched` goes around what carries requests to the organization. Raises
    SettingsError when settings of an emulator would reach a real host, or the other way round.

    >>> with connect(load_settings()) as connection:
    ...     opportunity_id = next(connection.organization.find(Query(where="name ne null")))
    """
    clock = clock or SystemClock()
    chance = chance or random.Random()
    with ExitStack() as opening:
        if settings.emulator is not None:
            upstream = _embedded(settings, settings.emulator, clock, opening)
        else:
            _check_reach(settings)
            upstream = _remote(settings, clock, chance, tell, opening)
        upstream = replace(upstream, transport=watched(upstream.transport))
        clients = tuple(
            identity_client(name, settings, upstream, tokens, clock, chance)
            for name, tokens in zip(upstream.names, upstream.tokens, strict=True)
        )
        return Connection(upstream.base_url, clients, upstream.tokens, settings, tell, opening.pop_all())


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the organization is, what carries requests there, and a name and tokens for each identity."""

    base_url: str
    transport: Handler
    names: tuple[str, ...]
    tokens: tuple[TokenSource, ...]


def identity_client(
    name: str, settings: Settings, upstream: Upstream, tokens: TokenSource, clock: Clock, chance: random.Random
) -> IdentityClient:
    """Wrap the transport: log, retry, pace, authorize, outside in."""
    gate = Gate(
        authorize(upstream.transport, tokens, upstream.base_url),
        clock,
        connections=max(1, settings.connections // len(upstream.names)),
        longest_wait=settings.retry_seconds,
    )
    retried = retry(gate, sleep=gate.sleep, chance=chance, policy=RetryPolicy(told=settings.retry_seconds))
    handler = log(retried, clock=clock)
    zone, day_of = zone_of(settings, clock)
    organization = DataverseOrganization(
        handler,
        upstream.base_url,
        clock=clock,
        atomic=settings.atomic,
        close_action=settings.close_action,
        bypass=settings.bypass,
        zone=zone,
        day_of=day_of,
        lost_revenue=settings.lost_revenue,
        impersonate=settings.impersonate,
        cache_seconds=settings.metadata_seconds,
        batch_size=min(MOST_PARTS, max(1, settings.parts // USUAL_STEPS)),  # who asks for fewer gives fewer at once
    )
    user = str(settings.impersonate or user_id(settings, name))
    return IdentityClient(name, handler, organization, gate, user)


def user_id(settings: Settings, name: str) -> str:
    """Return what names the user of an identity on every machine: an id, or its name where it has none."""
    identity = next((candidate for candidate in settings.identities if candidate.name == name), None)
    return (identity.client_id or identity.managed_identity or name) if identity else name


def zone_of(settings: Settings, clock: Clock) -> tuple[tzinfo | None, str]:
    """Return the zone of a close without a date (None: this machine's), and its name for people.

    It is the one of the settings; else UTC where several machines share the jobs, and so must agree.
    """
    if settings.time_zone:
        return ZoneInfo(settings.time_zone), f"{settings.time_zone} (DATAVERSE_TIME_ZONE)"
    if settings.store.startswith(("postgresql://", "postgres://")):
        return UTC, "UTC (several machines share these jobs; DATAVERSE_TIME_ZONE names another zone)"
    return None, f"this machine's time zone ({clock.now().astimezone().tzname()})"


def network_of(settings: Settings) -> Network:
    """Return how `settings` say to get out."""
    return Network(
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        no_proxy=settings.no_proxy,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        connections=settings.connections,
    )


def _embedded(settings: Settings, path: Path, clock: Clock, opening: ExitStack) -> Upstream:
    """Open the emulator in this process; its hosts exist nowhere, so nothing of it can leave the machine."""
    import sqlite3

    from connector.emulator.embedded import open_embedded
    from connector.emulator.seeding.emulator_options import EmulatorOptions
    from connector.emulator.world.custom_logic import LogicError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        emulator = open_embedded(path, clock, EmulatorOptions(plugins=settings.emulator_plugins))
    except LogicError as error:
        raise SettingsError(str(error), remedy="Correct the file that DATAVERSE_EMULATOR_PLUGINS names.") from error
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(
            f"The emulator's file {path} cannot be used: {error}.",
            remedy="Check the path in DATAVERSE_URL, who may write there, and that the disk has room.",
        ) from error
    opening.callback(emulator.close)
    sign_in_origin = emulator.authority.rpartition("/")[0]
    adapter = emulator.adapter()
    transport = Transport(network_of(settings), {f"{emulator.url}/": adapter, f"{sign_in_origin}/": adapter})
    opening.callback(transport.close)
    registration = auth.Registration(emulator.client_id, lambda: emulator.authority, emulator.url)
    tokens = auth.application_tokens(registration, lambda: emulator.client_secret, transport, clock)
    return Upstream(emulator.url, transport, ("emulator",), (tokens,))


def _remote(
    settings: Settings, clock: Clock, chance: random.Random, tell: Callable[[str], None], opening: ExitStack
) -> Upstream:
    transport = Transport(network_of(settings))
    opening.callback(transport.close)
    http = retry(transport, sleep=clock.sleep, chance=chance, policy=RetryPolicy(told=60.0), repeatable=anything)
    authority = auth.once(lambda: settings.authority or discover(http, settings.url, settings.tenant_id))
    tokens = tuple(
        identity_tokens(settings, identity, authority, http, clock, tell) for identity in settings.identities
    )
    return Upstream(settings.url, transport, tuple(identity.name for identity in settings.identities), tokens)


def _check_reach(settings: Settings) -> None:
    """Hold apart what belongs to emulators and what is real. Raises SettingsError with every problem."""
    host, problems = urlsplit(settings.url).hostname or "", []
    real = cloud_of(host) is not None
    for identity in settings.identities:
        if identity.sign_in is not SignInMethod.SECRET:
            continue
        emulated = EMULATOR_MARK in identity.secret
        secret = f"The client secret of {identity.name}" if identity.name != "default" else "DATAVERSE_CLIENT_SECRET"
        if real and emulated:
            problems.append(f"{secret} is an emulator's, but {host} is a real organization.")
        if not real and not emulated:
            problems.append(
                f"{secret} was not sent: {host} is no organization of a known cloud, and the secret is not the one that"
                " an emulator made known."
            )
    if not real and settings.ca_file is None and not problems:
        problems.append(
            f"{host} is no organization of a known cloud; if it is an emulator, set DATAVERSE_CA_FILE to its"
            " certificate authority."
        )
    if settings.authority and (problem := distrust(settings.url, settings.authority)):
        problems.append(f"DATAVERSE_AUTHORITY: {problem}")
    if problems:
        raise SettingsError("\n".join(problems), remedy="Check DATAVERSE_URL and what belongs to it.")
