"""`connector serve`: the hosted endpoint for Power Automate, agents and other programs, served until it is stopped."""

from __future__ import annotations

import gc
import hashlib
import logging
import secrets
from contextlib import closing
from importlib.util import find_spec
from ipaddress import ip_address

import click

from connector.assembly.endpoint import HostedEndpoint, open_endpoint
from connector.cli.lazy import examples
from connector.cli.run_options import env_file_option, read_settings, verbose_option
from connector.errors import SettingsError

CONNECTIONS = 2000
"""Connections at a time; one more is answered 503."""
STOPPING = 8
"""Seconds for which answers that are on their way are waited for."""


@click.command(epilog=examples("serve --port 8080", "serve --make-key"))
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port.")
@click.option("--make-key", is_flag=True, help="Print a new key and what to set for it, and serve nothing.")
@env_file_option
@verbose_option
def serve(*, host: str, port: int, make_key: bool) -> None:
    """Serve the endpoint that flows and agents call.

    With DATAVERSE_URL=emulator:FILE it needs no tenant: an emulated organization is inside, there is no
    sign-in, and only this machine can reach it. Otherwise callers sign in; `connector init --example` explains
    the settings CONNECTOR_SERVICE_...
    """
    if make_key:
        _print_key()
        return
    gc.disable()  # what is loaded stays: the collector would walk it again and again until EndpointServer freezes it
    try:
        settings = read_settings()
        _require_libraries()
        logging.getLogger("connector.service").setLevel(logging.INFO)
        with closing(open_endpoint(settings)) as endpoint:
            _serve(endpoint, host, port)
    finally:
        gc.enable()


def _require_libraries() -> None:
    """Raise SettingsError when the libraries of the endpoint, which are an extra, are not all there."""
    needed = "anyio", "fastapi", "jinja2", "jwt", "mcp", "opentelemetry", "uvicorn"
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"The endpoint needs libraries that are not installed ({', '.join(missing)}).",
            remedy="Install the connector with the extra service (`connector docs administrator`).",
        )


def _serve(endpoint: HostedEndpoint, host: str, port: int) -> None:
    import uvicorn

    from connector.service.app import create_app
    from connector.service.endpoint_server import BoundedHttpProtocol, EndpointServer
    from connector.service.service_options import CallerSignIn

    development = endpoint.options.admission.sign_in is CallerSignIn.DEVELOPMENT
    if development and not _is_loopback(host):
        raise click.UsageError(
            "Without sign-in the endpoint listens on this machine only: give --host 127.0.0.1, ::1 or localhost."
        )
    who = "no sign-in; only this machine can reach it." if development else "callers sign in."

    # Its access log would hold status addresses, which prove themselves; the endpoint logs routes instead.
    config = uvicorn.Config(
        create_app(endpoint.options, endpoint.dependencies),
        host=host,
        port=port,
        http=BoundedHttpProtocol,
        access_log=False,
        log_config=None,  # its lines look as ours do
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOPPING,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: not isinstance(record.msg, OSError))  # told below
    try:
        EndpointServer(config, endpoint.dependencies.waiting.drain, who, endpoint.options.public_url).run()
    except SystemExit as ended:  # within what was in the way
        why = str(ended.__context__ or "see above").rpartition(": ")[2].rpartition("] ")[2]
        remedy = "Stop what listens there, or give another --port (0 picks a free one) or --host."
        raise SettingsError(f"The endpoint cannot listen on {host}, port {port}: {why}.", remedy=remedy) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _print_key() -> None:
    key = secrets.token_urlsafe(32)
    click.echo(f"Key, shown this once: {key}")
    digest = hashlib.sha256(key.encode()).hexdigest()
    click.echo(f"For callers: CONNECTOR_SERVICE_API_KEYS=TENANT/NAME:{digest}")
    click.echo(f"For Dataverse's webhook: CONNECTOR_SERVICE_WEBHOOK_KEYS=TENANT:{digest}")
