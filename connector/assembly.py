"""Joins the parts: from settings to an organization. The only place that names concrete parts."""

from __future__ import annotations

import functools
import os
import platform
import random
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connector.clock import Clock, SystemClock
from connector.closing.organization import Organization
from connector.dataverse import auth
from connector.dataverse.authority import discover, distrust
from connector.dataverse.clouds import cloud_of
from connector.dataverse.gate import Gate
from connector.dataverse.organization import DataverseOrganization
from connector.dataverse.pacing import MOST_PARTS
from connector.dataverse.policies import Patience, TokenSource, anything, authorize, log, retry
from connector.dataverse.transport import Network, Transport
from connector.errors import SettingsError, SignInError
from connector.handler import Handler
from connector.settings import Identity, Settings
from connector.settings_names import SignIn
from connector.settings_service import ServiceSettings, service_problems

if TYPE_CHECKING:
    from connector.service.caller import Caller
    from connector.service.options import Admission, ServiceOptions
    from connector.service.reach import Surroundings

EMULATOR_MARK = "emulator"
"""What the secrets of emulators have in them; no secret of a real application does."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One user's way to the organization: a name for people, the handler, and the organization as that user sees it.

    Service protection limits count per user, so each lane has a gate of its own and lanes multiply what may be in
    flight.
    """

    name: str
    handler: Handler
    organization: DataverseOrganization
    gate: Gate


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to one organization, `https://host` in `base_url`; `lanes` has one for each identity."""

    base_url: str
    lanes: tuple[Lane, ...]
    tokens: tuple[TokenSource, ...]
    _closing: ExitStack

    @property
    def organization(self) -> DataverseOrganization:
        """Return the organization, seen by the first identity."""
        return self.lanes[0].organization

    @property
    def handler(self) -> Handler:
        """Return the handler of the first identity."""
        return self.lanes[0].handler

    def warm(self) -> None:
        """Have a token of every identity at hand before work begins. Raises SignInError."""
        for source in self.tokens:
            source.token()

    def close(self) -> None:
        """Close connections, and the embedded emulator if there is one."""
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
) -> Connection:
    """Return a connection to the organization of `settings`; nothing is sent yet, signing in waits for the first use.

    `tell` shows a person what to do to sign in. Raises SettingsError when settings of an emulator would reach a real
    host, or the other way round.
    """
    clock = clock or SystemClock()
    chance = chance or random.Random()  # noqa: S311 - jitter and ids of requests, no secrets
    with ExitStack() as opening:
        if settings.emulator is not None:
            way = _embedded(settings, clock, opening)
        else:
            _check_reach(settings)
            way = _remote(settings, clock, chance, tell, opening)
        lanes = tuple(
            _lane(name, settings, way, tokens, clock, chance)
            for name, tokens in zip(way.names, way.tokens, strict=True)
        )
        return Connection(way.base_url, lanes, way.tokens, opening.pop_all())


@dataclass(frozen=True, slots=True)
class _Way:
    base_url: str
    transport: Handler
    names: tuple[str, ...]
    tokens: tuple[TokenSource, ...]


def _lane(name: str, settings: Settings, way: _Way, tokens: TokenSource, clock: Clock, chance: random.Random) -> Lane:
    """Wrap the transport: log, retry, pace, authorize, outside in."""
    gate = Gate(authorize(way.transport, tokens, way.base_url), clock)
    retried = retry(gate, clock=clock, chance=chance, patience=Patience(told=settings.retry_seconds))
    handler = log(retried, clock=clock)
    organization = DataverseOrganization(
        handler,
        way.base_url,
        clock=clock,
        atomic=settings.atomic,
        close_action=settings.close_action,
        impersonate=settings.impersonate,
        cache_seconds=settings.metadata_seconds,
        batch_size=MOST_PARTS,  # who asks for fewer gives fewer plans at once
    )
    return Lane(name, handler, organization, gate)


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


def _embedded(settings: Settings, clock: Clock, opening: ExitStack) -> _Way:
    """Open the emulator in this process; its hosts exist nowhere, so nothing of it can leave the machine."""
    import sqlite3  # noqa: PLC0415 - only who uses the emulator pays for it

    from connector.emulator.embedded import open_embedded  # noqa: PLC0415 - the same

    path = settings.emulator
    assert path is not None  # noqa: S101 - the caller has looked
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        emulator = open_embedded(path, clock)
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
    tokens = auth.application_tokens(registration, lambda: auth.secret(emulator.client_secret), transport, clock)
    return _Way(emulator.url, transport, ("emulator",), (tokens,))


def _remote(
    settings: Settings, clock: Clock, chance: random.Random, tell: Callable[[str], None], opening: ExitStack
) -> _Way:
    transport = Transport(network_of(settings))
    opening.callback(transport.close)
    http = retry(transport, clock=clock, chance=chance, patience=Patience(told=60.0), repeatable=anything)
    authority = _once(lambda: settings.authority or discover(http, settings.url, settings.tenant_id))
    tokens = tuple(_tokens(settings, identity, authority, http, clock, tell) for identity in settings.identities)
    return _Way(settings.url, transport, tuple(identity.name for identity in settings.identities), tokens)


def _tokens(
    settings: Settings,
    identity: Identity,
    authority: Callable[[], str],
    http: Handler,
    clock: Clock,
    tell: Callable[[str], None],
) -> TokenSource:
    """Return the token source that signs `identity` in."""
    registration = auth.Registration(identity.client_id, authority, settings.url)
    if identity.sign_in is SignIn.MANAGED_IDENTITY:
        return auth.managed_identity_tokens(identity.managed_identity, settings.url, http, clock)
    if identity.sign_in in (SignIn.DEVICE_CODE, SignIn.INTERACTIVE):
        ask = auth.by_device_code if identity.sign_in is SignIn.DEVICE_CODE else auth.by_browser
        return auth.person_tokens(registration, http, clock, cache=settings.token_cache, tell=tell, ask=ask)
    return auth.application_tokens(registration, functools.partial(_credential, identity), http, clock)


def _credential_on_behalf(identity: Identity, http: Handler, clock: Clock) -> auth.Credential:
    """Return the credential of the endpoint's registration, for which a managed identity may stand in."""
    if identity.sign_in is not SignIn.MANAGED_IDENTITY:
        return _credential(identity)
    if not identity.client_id:
        raise SignInError(
            "The endpoint acts for its callers as a registration, but none is named.",
            remedy="Set DATAVERSE_CLIENT_ID to the registration that trusts the managed identity.",
        )
    return auth.managed_assertion(identity.managed_identity, http, clock)


def _credential(identity: Identity) -> auth.Credential:
    if identity.certificate is not None and identity.sign_in is SignIn.CERTIFICATE:
        return auth.certificate(identity.certificate, identity.certificate_password)
    if identity.federated_token_file is not None and identity.sign_in is SignIn.FEDERATED:
        return auth.federated(identity.federated_token_file)
    return auth.secret(identity.secret)


def _once(build: Callable[[], str]) -> Callable[[], str]:
    """Return `build`, called at the first use and remembered when it succeeds."""
    lock, built = threading.Lock(), list[str]()

    def get() -> str:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return get


def _check_reach(settings: Settings) -> None:
    """Hold apart what belongs to emulators and what is real. Raises SettingsError with every problem."""
    host, problems = urlsplit(settings.url).hostname or "", []
    real = cloud_of(host) is not None
    for identity in settings.identities:
        if identity.sign_in is not SignIn.SECRET:
            continue
        emulated = EMULATOR_MARK in identity.secret
        if real and emulated:
            problems.append(
                f"The client secret of {identity.name} is an emulator's, but {host} is a real organization."
            )
        if not real and not emulated:
            problems.append(
                f"{host} is no organization of a known cloud: the client secret of {identity.name} is not sent there."
            )
    if not real and settings.ca_file is None:
        problems.append(f"{host} is an emulator by its name: set DATAVERSE_CA_FILE to its certificate authority.")
    if settings.authority and (problem := distrust(settings.url, settings.authority)):
        problems.append(f"DATAVERSE_AUTHORITY: {problem}")
    if problems:
        raise SettingsError("\n".join(problems), remedy="Check DATAVERSE_URL and what belongs to it.")


# -- the hosted endpoint ----------------------------------------------------------------------------------------------

MOST_USERS = 1000
"""Users whose way to the organization is kept; the one that was quiet longest is forgotten first."""
_V1_ISSUERS = {"https://login.chinacloudapi.cn": "https://sts.chinacloudapi.cn"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a hosted endpoint is made of; `close` ends what was opened for it."""

    options: ServiceOptions
    around: Surroundings
    close: Callable[[], None]


def open_endpoint(settings: Settings, clock: Clock | None = None) -> Endpoint:
    """Return what the endpoint of `settings` is made of; nothing is sent yet. Raises SettingsError, LedgerError."""
    from connector.bulk.ledger_store import open_ledger  # noqa: PLC0415 - only the endpoint pays for it
    from connector.service.audit import AuditFile  # noqa: PLC0415 - the same
    from connector.service.reach import Reach, Surroundings  # noqa: PLC0415 - the same

    problems = service_problems(settings.service, embedded=settings.emulator is not None)
    if problems:
        raise SettingsError("\n".join(problems), remedy="Every setting is explained in .env.example.")
    clock = clock or SystemClock()
    chance = random.SystemRandom()
    options = service_options(settings)
    with ExitStack() as opening:
        ways = _Ways(settings, options.admission, clock, chance, opening)
        ways.open()
        ledger = open_ledger(settings.store, clock)
        opening.callback(ledger.close)
        assert settings.service.audit is not None  # noqa: S101 - the settings name a file in any case
        audit = AuditFile(settings.service.audit)
        opening.callback(audit.close)
        around = Surroundings(
            reach=Reach(ways.organization, ways.address, ways.columns, ways.check),
            ledger=ledger,
            audit=audit,
            http=ways.keys_http(),
            clock=clock,
            entropy=secrets.token_bytes,
            chance=chance.random,
            who=f"{platform.node()}:{os.getpid()} endpoint",
        )
        return Endpoint(options, around, opening.pop_all().close)


def service_options(settings: Settings) -> ServiceOptions:
    """Return how the endpoint of `settings` behaves. Raises SettingsError when its secret cannot be had."""
    from importlib import metadata  # noqa: PLC0415 - only the endpoint pays

    from connector.service.options import Access, Admission, ServiceOptions  # noqa: PLC0415 - the same
    from connector.service.options import SignIn as CallerSignIn  # noqa: PLC0415 - the same

    wanted = settings.service
    automatic = CallerSignIn.DEVELOPMENT if settings.emulator is not None else CallerSignIn.ENTRA
    sign_in = automatic if wanted.sign_in == "auto" else CallerSignIn(wanted.sign_in)
    development = sign_in is CallerSignIn.DEVELOPMENT
    admission = Admission(
        sign_in=sign_in,
        access=Access.APPLICATION if development else Access(wanted.access),
        tenants={tenant: address or settings.url for tenant, address in wanted.tenants.items()},
        audiences=wanted.audiences,
        clients=wanted.clients,
        scope=wanted.scope,
        role=wanted.role,
        operator_role=wanted.operator_role,
        authority=wanted.authority,
        v1_issuer=_V1_ISSUERS.get(wanted.authority, "https://sts.windows.net"),
        api_keys=wanted.api_keys,
    )
    return ServiceOptions(
        secret=_service_secret(wanted, settings.store),
        admission=admission,
        public_url=wanted.public_url,
        gateway_hosts=wanted.gateway_hosts,
        deadline=wanted.deadline,
        keep=wanted.keep,
        workers=wanted.workers,
        requests_per_minute=wanted.requests_per_minute,
        version=metadata.version("dataverse-close-connector"),
    )


def _service_secret(wanted: ServiceSettings, store: str) -> bytes:
    """Return the endpoint's secret: the one that is set, else the one kept beside the store, made if need be."""
    if wanted.secret:
        return wanted.secret.encode()
    from connector.bulk.ledger_store import POSTGRES  # noqa: PLC0415 - only the endpoint pays for it

    if store.startswith(POSTGRES):
        raise SettingsError("CONNECTOR_SERVICE_SECRET is missing: instances that share a store share a secret.")
    path = Path(f"{Path(store).expanduser()}-secret")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        except FileExistsError:
            pass
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The endpoint's secret cannot be kept in {path}: {error.strerror}.",
            remedy="Set CONNECTOR_SERVICE_SECRET, or CONNECTOR_STORE to a file in a folder that can be written.",
        ) from error


class _Ways:
    """The organizations as the endpoint's callers may use them: as themselves, or as the endpoint's application."""

    def __init__(
        self, settings: Settings, admission: Admission, clock: Clock, chance: random.Random, opening: ExitStack
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._clock = clock
        self._chance = chance
        self._opening = opening
        self._connections: dict[str, Connection] = {}
        self._on_behalf: dict[str, tuple[auth.OnBehalfOf, Handler]] = {}
        self._users: OrderedDict[tuple[str, str], tuple[_Latest, Lane]] = OrderedDict()
        self._lock = threading.RLock()

    def open(self) -> None:
        """Open the way to the organization of the settings, so that what is wrong with them is said at the start."""
        self._connect(self._settings.url)

    def organization(self, caller: Caller) -> Organization:
        """Return the organization of the caller's tenant; raises SignInError, SettingsError."""
        return self._lane(caller).organization

    def address(self, caller: Caller) -> str:
        """Return where it is."""
        return self._connection(caller).base_url

    def columns(self, caller: Caller, table: str) -> dict[str, Any]:
        """Return the custom columns of a table; raises ConnectorError."""
        from connector.dataverse.custom_columns import custom_columns  # noqa: PLC0415 - only who asks pays for it

        return custom_columns(self._lane(caller).handler, self.address(caller), table)

    def check(self) -> None:
        """Find out whether the endpoint can sign in; raises SignInError."""
        self._connect(self._settings.url).warm()

    def keys_http(self) -> Handler:
        """Return the way to the sign-in service's keys."""
        transport = Transport(network_of(self._settings))
        self._opening.callback(transport.close)
        return retry(
            transport, clock=self._clock, chance=self._chance, patience=Patience(told=5.0), repeatable=anything
        )

    def _connection(self, caller: Caller) -> Connection:
        return self._connect(self._admission.tenants.get(caller.tenant_id, self._settings.url))

    def _connect(self, address: str) -> Connection:
        with self._lock:
            if address not in self._connections:
                own = address == self._settings.url
                settings = self._settings if own else replace(self._settings, url=address, tenant_id="", authority="")
                connection = connect(settings, self._clock, chance=self._chance)
                self._opening.callback(connection.close)
                self._connections[address] = connection
            return self._connections[address]

    def _lane(self, caller: Caller) -> Lane:
        from connector.service.operations import acts_as_user  # noqa: PLC0415 - only the endpoint pays for it

        if not acts_as_user(caller, self._admission.access):
            return self._connection(caller).lanes[0]
        if not caller.assertion:
            raise SignInError(
                "The user's sign-in is no longer at hand.", remedy="Send the same request again, signed in."
            )
        with self._lock:
            who = (caller.tenant_id, caller.object_id)
            latest, lane = self._users.get(who) or self._new_lane(caller)
            latest.assertion = caller.assertion
            self._users[who] = latest, lane
            self._users.move_to_end(who)
            if len(self._users) > MOST_USERS:
                self._users.popitem(last=False)
            return lane

    def _new_lane(self, caller: Caller) -> tuple[_Latest, Lane]:
        """Return a lane with a gate of its own: service protection limits count per user."""
        address = self._connection(caller).base_url
        on_behalf, transport = self._on_behalf.get(caller.tenant_id) or self._new_on_behalf(caller, address)
        self._on_behalf[caller.tenant_id] = on_behalf, transport
        latest = _Latest(on_behalf)
        way = _Way(address, transport, ("user",), (latest,))
        return latest, _lane("user", self._settings, way, latest, self._clock, self._chance)

    def _new_on_behalf(self, caller: Caller, address: str) -> tuple[auth.OnBehalfOf, Handler]:
        identity = self._settings.identities[0]
        transport = Transport(network_of(self._settings))
        self._opening.callback(transport.close)
        http = retry(
            transport, clock=self._clock, chance=self._chance, patience=Patience(told=60.0), repeatable=anything
        )
        authority = _once(lambda: discover(http, address, caller.tenant_id))
        registration = auth.Registration(identity.client_id, authority, address)
        credential = functools.partial(_credential_on_behalf, identity, http, self._clock)
        return auth.OnBehalfOf(registration, credential, http, self._clock), transport


class _Latest:
    """The tokens of one user, got with the latest token that user presented."""

    def __init__(self, on_behalf: auth.OnBehalfOf) -> None:
        self._on_behalf = on_behalf
        self.assertion = ""

    def token(self) -> str:
        """Return a token. Raises SignInError."""
        return self._on_behalf.tokens(self.assertion).token()

    def renew(self, rejected: str, claims: str = "") -> str:
        """Return a token in place of `rejected`. Raises SignInError."""
        return self._on_behalf.tokens(self.assertion).renew(rejected, claims)
