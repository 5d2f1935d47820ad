"""The command `connector emulator`: serve one organization on one port until stopped."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.clock import SystemClock, VirtualClock
from connector.emulator.core import Emulator
from connector.emulator.http.server import Server, listening
from connector.emulator.http.tls import Certificates, certificates, write_private
from connector.emulator.identity.issuer import Tenant, local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.limits.faults import FaultPlan, read_plan
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions, ServeOptions
from connector.emulator.seeding.open_organization import TravelClock
from connector.emulator.seeding.twin import Twin, read_twin
from connector.emulator.stand_ins import read_stand_ins, stand_ins_text
from connector.emulator.world.customization import Customization

Announce = Callable[[Mapping[str, str]], None]
"""Told what a client needs to know (see `ready_data`), once there is an answer to be had."""

HERE = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})  # noqa: S104 - to be told from others, not bound
"""Addresses under which this machine is `localhost` to itself."""


def serve(options: ServeOptions, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is called when ready, after the files are written.

    Raises OSError (a taken port, a file), InvalidFaultPlan, LogicError, and the store's errors for an unusable
    database. Certificates and the signing key are kept in `<db>-keys`, so that trust and tokens survive a restart.
    """
    own_folder = _folder(options)
    folder = own_folder if own_folder is not None else Path(tempfile.mkdtemp(prefix="emulator-"))
    keys = Keys(folder / "signing.pem")
    try:
        with listening(options.host, options.port) as sock:
            _run(options, sock, keys, certificates(folder), announce)
    finally:
        keys.wait()
        if own_folder is None:
            shutil.rmtree(folder)


def ready_data(emulator: Emulator, files: Certificates) -> Mapping[str, str]:
    """Return what a client needs to know, the contents of the ready file."""
    places = {"ca_file": str(files.authority.resolve()), "control_url": f"{emulator.options.url}/_emulator/"}
    return emulator.options.sign_in() | places


def env_text(ready: Mapping[str, str]) -> str:
    """Return the same as settings of the connector."""
    names = {
        "DATAVERSE_URL": "url",
        "DATAVERSE_TENANT_ID": "tenant_id",
        "DATAVERSE_CLIENT_ID": "client_id",
        "DATAVERSE_CLIENT_SECRET": "client_secret",
        "DATAVERSE_CA_FILE": "ca_file",
        "DATAVERSE_AUTHORITY": "authority",
    }
    return "".join(f"{name}={ready[key]}\n" for name, key in names.items())


def ask(
    control_url: str, ca_file: Path, method: str, what: str, body: bytes = b"", content_type: str = "application/json"
) -> Any:
    """Ask a running emulator's control interface (see control); returns the JSON of the answer.

    Raises urllib's HTTPError for a refusal (its body says why) and URLError when nothing answers.
    """
    url = control_url.rstrip("/") + "/" + what.lstrip("/")
    if not url.startswith("https://"):
        raise ValueError(f"The control address is https, not {control_url}.")
    import urllib.request

    request = urllib.request.Request(url, data=body or None, method=method)
    request.add_header("Content-Type", content_type)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file))),
    )
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


def _run(options: ServeOptions, sock: socket.socket, keys: Keys, files: Certificates, announce: Announce) -> None:
    host = "localhost" if options.host in HERE else options.host
    origin = f"https://{host}:{sock.getsockname()[1]}"
    clock = TravelClock(VirtualClock() if options.clock == "virtual" else SystemClock())
    emulator = Emulator(_emulator_options(options, origin), clock, keys)
    emulator.authority_file = files.authority
    gc.freeze()  # what is there now stays: the collector need not walk it at every turn, nor once before it serves
    try:
        _loop_runner()(_until_stopped(options, emulator, sock, files, announce))
    finally:
        emulator.close()


async def _until_stopped(
    options: ServeOptions, emulator: Emulator, sock: socket.socket, files: Certificates, announce: Announce
) -> None:
    stop = asyncio.Event()
    stop_on_signals(asyncio.get_running_loop(), stop)
    server = Server(emulator, emulator.options.url, files.server_context())
    await server.start(sock)
    try:
        ready = ready_data(emulator, files)
        if options.env_file is not None:
            _write_settings(options.env_file, ready, emulator.options.tenant)
        if options.ready_file is not None:
            write_private(options.ready_file, (json.dumps(ready, indent=2) + "\n").encode())
        announce(ready)
        emulator.keys.begin()
        await stop.wait()
    finally:
        await server.stop()  # also when a file could not be written: a loop with a server in it does not end


def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when the process is asked to end; the loops of Windows have no signal handlers of their own."""
    names = ("SIGTERM", "SIGINT", "SIGBREAK")  # the last is Ctrl-Break, of Windows alone
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(stop.set))


def _write_settings(env_file: Path, ready: Mapping[str, str], tenant: Tenant) -> None:
    """Write settings of the connector, and beside them the file of further identities where there are any."""
    text = env_text(ready)
    if len(tenant.applications) > 1:
        identities = env_file.with_name(f"{env_file.name}.identities.toml")
        tables = (
            f'[[identity]]\nname = "user{number}"\nclient_id = "{application.client_id}"\n'
            f'client_secret = "{application.secrets[0].value}"\n'
            for number, application in enumerate(tenant.applications[1:], 2)
        )
        write_private(identities, "\n".join(tables).encode())
        text += f"DATAVERSE_IDENTITIES={identities.resolve()}\n"
    write_private(env_file, text.encode())


def _emulator_options(options: ServeOptions, origin: str) -> EmulatorOptions:
    plan = read_plan(options.fault_plan.read_bytes()) if options.fault_plan is not None else FaultPlan()
    twin = read_twin(options.like) if options.like is not None else None
    made = EmulatorOptions(
        path=options.db,
        url=origin,
        login_url=origin,
        latency=LatencyModel() if options.latency == "model" else None,
        faults=plan,
        seed=options.seed,
        seeded=0 if options.empty else options.opportunities,
        scenario=options.scenario,
        customization=_customization(options),
        tenant=local_tenant(applications=options.applications),
        journal_size=options.journal,
        plugins=options.plugins,
        twin=twin,
        volumes=options.volumes,
        stand_ins=_stand_ins(options, twin),
    )
    return replace(made, limits=replace(made.limits, servers=options.servers))


def _stand_ins(options: ServeOptions, twin: Twin | None) -> Mapping[str, str]:
    """Return what is to stand for the twin's logic; a file that is not there yet is written with the usual."""
    if twin is None or options.stand_ins is None:
        return {}
    if not options.stand_ins.exists():
        options.stand_ins.write_text(stand_ins_text(twin), encoding="utf-8")
    return read_stand_ins(options.stand_ins, twin)


def _customization(options: ServeOptions) -> Customization:
    if options.customizations is None:
        return Customization()
    return Customization.from_json(options.customizations.read_text("utf-8"))


def _folder(options: ServeOptions) -> Path | None:
    if options.folder is not None:
        return options.folder
    return None if options.db == MEMORY else Path(f"{options.db}-keys")


def _loop_runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
