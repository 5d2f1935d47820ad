"""From settings to the hosted endpoint: what it is made of, how it behaves, and the secret it signs with."""

from __future__ import annotations

import logging
import os
import platform
import random
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from connector.assembly.access_provider import AccessProvider
from connector.clock import SystemClock
from connector.dataverse.policies import reads_only
from connector.errors import SettingsError
from connector.handler import Handler
from connector.settings.service_settings import ServiceSettings, key_tenant, service_problems
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.service.dependencies import Dependencies
    from connector.service.service_options import ServiceOptions
    from connector.service.telemetry import Telemetry

_log = logging.getLogger("connector.service")

STORE_PATIENCE = 8.0
"""Seconds for which the endpoint waits for one answer of its store."""
READ_SECONDS = 20.0
"""Seconds for which a read of one record waits for bytes: then it is sent again, so that silence ends soon."""
_V1_ISSUERS = {"https://login.chinacloudapi.cn": "https://sts.chinacloudapi.cn"}


@dataclass(frozen=True, slots=True)
class HostedEndpoint:
    """What a hosted endpoint is made of; `close` ends what was opened for it."""

    options: ServiceOptions
    dependencies: Dependencies
    close: Callable[[], None]


def open_endpoint(settings: Settings) -> HostedEndpoint:
    """Return what the endpoint of `settings` is made of; nothing is sent yet. Raises SettingsError, LedgerError."""
    from connector.ledger.store import SMALL_CACHE, open_ledger
    from connector.service.dependencies import Dependencies
    from connector.service.health import connections_state
    from connector.service.telemetry import traced

    problems = service_problems(settings.service, embedded=settings.emulator is not None)
    if problems:
        raise SettingsError("\n".join(problems), remedy="`connector init --example` explains every setting.")
    clock, chance = SystemClock(), random.SystemRandom()
    options = service_options(settings)
    with ExitStack() as opening:
        telemetry = telemetry_of(settings.service, options.version)
        opening.callback(telemetry.close)

        def watched(handler: Handler) -> Handler:
            return traced(_reads_within(handler, min(READ_SECONDS, settings.read_timeout)), telemetry, clock.monotonic)

        provider = AccessProvider(settings, options.admission, clock, chance, watched, opening)
        provider.open()
        store, password = settings.store, provider.store_password()
        ledger = open_ledger(store, clock, cache=SMALL_CACHE, patience=STORE_PATIENCE, password=password)
        opening.callback(ledger.close)
        if (state := connections_state(ledger.database.connections(), options.instances)) != "ok":
            _log.warning("The store may have too few connections: %s. Run fewer instances, or a larger server.", state)
        dependencies = Dependencies(
            organizations=provider,
            ledger=ledger,
            http=provider.outward(),
            keys_http=provider.outward(),
            clock=clock,
            entropy=secrets.token_bytes,
            chance=chance.random,
            operator_sign_in=provider.operator_sign_in(options.public_url),
            who=f"{platform.node()}:{os.getpid()} endpoint",
            telemetry=telemetry,
        )
        return HostedEndpoint(options, dependencies, opening.pop_all().close)


def _reads_within(handler: Handler, seconds: float) -> Handler:
    """Return `handler` with a time limit for what changes nothing; a write may take as long as the service allows."""
    return lambda request: handler(
        replace(request, timeout=min(seconds, request.timeout or seconds)) if reads_only(request) else request
    )


def telemetry_of(settings: ServiceSettings, version: str) -> Telemetry:
    """Return where spans and measures go. Raises SettingsError when what sends them is not installed."""
    from connector.service.telemetry import Telemetry

    if not settings.telemetry:
        return Telemetry(version=version)
    try:
        from connector.service.telemetry_sdk import to_collector
    except ImportError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed.",
            remedy="Install the connector with the extra telemetry (`connector docs administrator`), or set "
            "CONNECTOR_SERVICE_TELEMETRY=off.",
        ) from error
    return to_collector(version)


_ADMISSION_AS_IT_IS = ("audiences", "clients", "scope", "role", "operator_role", "authority")
_OPTIONS_AS_THEY_ARE = (
    "public_url", "gateway_hosts", "deadline", "keep", "workers", "instances", "requests_per_minute", "webhook_keys",
    "callback_hosts",
)  # fmt: skip


def service_options(settings: Settings) -> ServiceOptions:
    """Return how the endpoint of `settings` behaves. Raises SettingsError when its secret cannot be had."""
    from importlib import metadata

    from connector.service.service_options import Access, Admission, CallerSignIn, ServiceOptions

    service = settings.service
    automatic = CallerSignIn.DEVELOPMENT if settings.emulator is not None else CallerSignIn.ENTRA
    sign_in = automatic if service.sign_in == "auto" else CallerSignIn(service.sign_in)
    development = sign_in is CallerSignIn.DEVELOPMENT
    keys = service.api_keys
    admission = Admission(
        sign_in=sign_in,
        access=Access.APPLICATION if development else Access(service.access),
        tenants={tenant: address or settings.url for tenant, address in service.tenants.items()},
        **{name: getattr(service, name) for name in _ADMISSION_AS_IT_IS},
        v1_issuer=_V1_ISSUERS.get(service.authority, "https://sts.windows.net"),
        api_keys={digest: name if "/" in name else f"{key_tenant(service)}/{name}" for digest, name in keys.items()},
    )
    return ServiceOptions(
        secret=_service_secret(service, settings.store),
        admission=admission,
        **{name: getattr(service, name) for name in _OPTIONS_AS_THEY_ARE},
        log_days=settings.log_days,
        version=metadata.version("dataverse-close-connector"),
    )


def _service_secret(settings: ServiceSettings, store: str) -> bytes:
    """Return the endpoint's secret: the one that is set, else the one kept beside the store, made if need be."""
    if secret := settings.secret.get_secret_value():
        return secret.encode()
    from connector.ledger.store import POSTGRES

    if store.startswith(POSTGRES):
        raise SettingsError("CONNECTOR_SERVICE_SECRET is missing: instances that share a store share a secret.")
    from connector.service.operations.status_links import kept_secret

    return kept_secret(Path(f"{Path(store).expanduser()}-secret"))
