"""`connector emulator`: a local stand-in for a Dataverse organization, served until it is stopped.

`connector emulator control` asks a running one, or has it do something, from another terminal or a script.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import click

from connector.cli.lazy import FILE, INPUT, CommandGroup, Decorator, examples, keep_under, options_under, with_options
from connector.cli.run_options import json_option, verbose_option, wants_json
from connector.cli.screen import print_json
from connector.emulator.command import serve
from connector.emulator.http.tls import ExtraMissing
from connector.emulator.limits.faults import InvalidFaultPlan
from connector.emulator.seeding.emulator_options import MEMORY, ServeOptions
from connector.emulator.seeding.open_organization import OrganizationError
from connector.emulator.seeding.twin import TwinRefused, read_twin
from connector.emulator.world.custom_logic import LogicError
from connector.emulator.world.customization import ImportRefused
from connector.errors import SettingsError

_FOLDER = click.Path(file_okay=False, path_type=Path)
_KEPT = "connector.cli.emulator_command"
_DEFAULTS = ServeOptions()
_OPTIONS: tuple[tuple[str, str | None, Any, str], ...] = (
    ("--db", "FILE", None, "The SQLite file that keeps the records; default: in memory."),
    ("--host", "ADDRESS", None, "The address to listen on."),
    ("--port", "N", click.IntRange(0, 65535), "The port; 0 picks a free one."),
    ("--ready-file", "FILE", FILE, "Write a JSON file with addresses and credentials when ready."),
    ("--env-file", "FILE", FILE, "Write the same as settings, for --env-file of the other commands."),
    ("--empty", None, None, "Do not fill an empty organization with made-up records."),
    ("--opportunities", "N", click.IntRange(0), "How many open opportunities to make up."),
    ("--scenario", "NAME", None, "A situation to start from instead, such as project-operations or west-of-utc."),
    ("--customizations", "FILE", INPUT, "Columns, keys and status reasons in JSON; see `connector docs emulator`."),
    ("--like", "FILE", INPUT, "Imitate the organization of a capture; see `connector docs organization`."),
    (
        "--stand-ins",
        "FILE",
        FILE,
        "Which plug-in stands in for each step of --like; the file is made if it is missing.",
    ),
    ("--volumes", None, None, "With --like: as many opportunities and quotes as the capture counted."),
    ("--applications", "N", click.IntRange(1, 99), "How many applications can sign in; --env-file lists them."),
    ("--servers", "N", click.IntRange(1), "How many web servers to act as; each has limits of its own."),
    ("--fault-plan", "FILE", INPUT, "A JSON file with the faults to play."),
    ("--plugins", "FILE.py", INPUT, "Python file with the organization's logic: plugin(context), flow(context)."),
    (
        "--clock",
        None,
        click.Choice(["real", "virtual"]),
        "real: time passes. virtual: time moves only when it is moved.",
    ),
    ("--latency", None, click.Choice(["none", "model"]), "none: answer at once. model: take as long as Dataverse."),
    ("--seed", "N", click.INT, "The seed of all random choices."),
    ("--journal", "N", click.IntRange(1), "How many of the latest requests the journal keeps."),
    ("--folder", "FOLDER", _FOLDER, "Where certificates and keys are kept; default: beside the database."),
)


def _option(flag: str, metavar: str | None, kind: Any, text: str) -> Decorator:
    """Return an option of `ServeOptions`, with the default that stands there."""
    default = getattr(_DEFAULTS, flag[2:].replace("-", "_"))
    several = isinstance(default, tuple)
    return click.option(
        flag,
        metavar=metavar,
        type=kind,
        default=None if several else default,
        is_flag=isinstance(default, bool),
        multiple=several,
        show_default=default not in (None, "", MEMORY) and not several and not isinstance(default, bool),
        expose_value=False,
        callback=keep_under(_KEPT),
        help=f"{text} May be repeated." if several else text,
    )


@click.group(
    invoke_without_command=True,
    cls=CommandGroup,
    epilog=examples(
        "emulator --db demo.db --ready-file ready.json --env-file demo.env", "emulator --scenario west-of-utc"
    ),
)
@with_options(*(_option(*option) for option in _OPTIONS))
@json_option
@verbose_option
@click.pass_context
def emulator(context: click.Context) -> None:
    """Serve a local stand-in for a Dataverse organization.

    It speaks HTTPS with a certificate authority of its own, issues its own tokens, and refuses what the documents say
    Dataverse refuses. It serves until it is stopped.
    """
    if context.invoked_subcommand is not None:
        return
    options = ServeOptions(**options_under(_KEPT))
    if options.like is None and (options.volumes or options.stand_ins):
        raise click.UsageError("--volumes and --stand-ins are of a twin: name its capture with --like.")
    if options.like is not None and (options.scenario or options.opportunities != ServeOptions().opportunities):
        raise click.UsageError("A twin is filled with --volumes, not with --opportunities or --scenario.")
    _serve(options)


_REMEDIES: Mapping[type[Exception], str] = MappingProxyType(
    {
        OrganizationError: "Name another with --scenario.",
        TwinRefused: "Make a new capture, or correct the file that --like or --stand-ins names.",
        LogicError: "Correct the file that --plugins names.",
        ImportRefused: "Correct the file that --customizations names.",
        InvalidFaultPlan: "Correct the file that --fault-plan names.",
    }
)


def _serve(options: ServeOptions) -> None:
    """Serve until stopped, and turn what keeps the emulator from starting into a settings error."""
    try:
        for gap in read_twin(options.like).gaps if options.like is not None else ():
            click.echo(f"Not known of the organization, so the emulator's own: {gap}", err=True)
        serve(options, print_json if wants_json() else _announce)
    except ExtraMissing as error:
        raise SettingsError(str(error), remedy=error.remedy) from error
    except tuple(_REMEDIES) as error:
        raise SettingsError(str(error), remedy=_REMEDIES[type(error)]) from error
    except sqlite3.DatabaseError as error:
        raise SettingsError(
            f"The file {options.db} cannot be used: {error}.",
            remedy="Name another with --db, or see who may write there and that the disk has room.",
        ) from error
    except OSError as error:
        raise _not_served(error, options.host, options.port) from error


def _not_served(error: OSError, host: str, port: int) -> SettingsError:
    """Say what was in the way: a file, or the address."""
    why = error.strerror or str(error)
    if error.filename is not None:
        remedy = "Name another place, or see who may write there and that the disk has room."
        return SettingsError(f"The emulator cannot use {error.filename}: {why}.", remedy=remedy)
    remedy = "Choose another port (0 picks a free one) or another address of this machine."
    return SettingsError(f"The emulator cannot listen on {host}, port {port}: {why}.", remedy=remedy)


def _announce(ready: Mapping[str, str]) -> None:
    click.echo(f"Serving {ready['url']} until stopped (Ctrl-C). Its page: {ready['control_url']}", err=True)


JSON = "application/json"
Call = tuple[str, str, bytes, str]
"""Method, what, body and its content type."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something to ask for: what it takes (empty: nothing; in brackets: may be left out) and the request it becomes."""

    takes: str
    call: Callable[[str], Call]


def _json(method: str, what: str, data: object) -> Call:
    return method, what, json.dumps(data).encode(), JSON


def _number(text: str, kind: type[int | float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"it is no {'whole ' if kind is int else ''}number") from None


def _since(what: str) -> Act:
    return Act("[NUMBER]", lambda number: ("GET", f"{what}?after={_number(number or '0', int)}", b"", ""))


def _do(method: str, what: str) -> Act:
    return Act("", lambda _: (method, what, b"", JSON))


def _seed(argument: str) -> Call:
    if argument.isdecimal():
        return _json("POST", "seed", {"opportunities": int(argument)})
    path = Path(argument)
    if path.suffix.lower() == ".csv":
        return "POST", f"seed?table={quote(path.stem)}", path.read_bytes(), "text/csv"
    return "POST", "seed", path.read_bytes(), JSON


def _named(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not equals:
        raise ValueError("it is written NAME=VALUE")
    return name, value


def _user(argument: str) -> Call:
    name, role = _named(argument)
    return _json("PATCH", "users", {"user": name, "role": role or None})


def _limit(argument: str) -> Call:
    name, value = _named(argument)
    try:
        return _json("PATCH", "limits", {name: json.loads(value)})
    except ValueError:
        raise ValueError(f"{value!r} is no number, list or truth value in JSON") from None


_LOOKS = ("health", "closes", "referee", "rules", "switches", "limits", "faults", "scenarios", "clock", "users")
ACTS: Mapping[str, Act] = MappingProxyType(
    {
        **{name: _do("GET", name) for name in _LOOKS},
        "journal": _since("journal"),
        "har": _since("har"),
        "forget": _do("DELETE", "journal"),
        "reset": _do("POST", "reset"),
        "snapshot": Act("NAME", lambda name: ("PUT", f"snapshots/{quote(name, safe='')}", b"", JSON)),
        "restore": Act("NAME", lambda name: ("POST", f"snapshots/{quote(name, safe='')}/restore", b"", JSON)),
        "scenario": Act("NAME", lambda name: _json("POST", "scenarios", {"name": name})),
        "seed": Act("NUMBER or FILE", _seed),
        "customize": Act("FILE", lambda file: ("POST", "customizations", Path(file).read_bytes(), JSON)),
        "plan": Act("FILE", lambda file: ("PUT", "faults", Path(file).read_bytes(), JSON)),
        "switch": Act("NAME=VALUE", lambda switch: _json("PATCH", "switches", dict([_named(switch)]))),
        "limit": Act("NAME=VALUE", _limit),
        "user": Act("ID=ROLE", _user),
        "advance": Act("SECONDS", lambda seconds: _json("POST", "clock", {"advance": _number(seconds, float)})),
        "revoke": _do("POST", "revoke"),
        "device": Act("CODE", lambda code: _json("POST", "device", {"user_code": code})),
    }
)


@click.command(epilog=examples("emulator control health --ready-file ready.json"))
@click.argument("action", metavar="ACTION", type=click.Choice([*ACTS]))
@click.argument("argument", metavar="[ARGUMENT]", default="")
@click.option(
    "--ready-file",
    metavar="FILE",
    required=True,
    type=INPUT,
    help="The file that the emulator wrote when it was ready.",
)
def control(*, action: str, argument: str, ready_file: Path) -> None:
    """Ask a running emulator, or have it do something.

    \b
    health             is it up, and how much is in it
    journal [NUMBER]   what was asked and answered after that request
    har [NUMBER]       the same as an archive (HAR) for browsers' developer tools
    closes             committed close activities per record
    referee            what the client does that it should not
    rules              every rule with its evidence
    switches, limits, faults, scenarios, clock, users
                       what is set, and what there is to choose from
    \b
    forget             empty the journal
    reset              rows as at the start, everything counted forgotten
    snapshot NAME      keep all rows under a name
    restore NAME       put them back
    scenario NAME      throw everything away and begin with a named situation
    seed NUMBER        replace the opportunities by so many made-up ones
    seed FILE          add the rows of a JSON file, or of a CSV file named after its table
    customize FILE     take over an organization's exported metadata
    plan FILE          let the faults of a plan happen
    switch NAME=VALUE  turn a switch
    limit NAME=VALUE   set a service protection limit
    user ID=ROLE       give a user this role alone (none when ROLE is left empty)
    advance SECONDS    let time pass at once
    revoke             let every token issued so far be refused
    device CODE        confirm the device that shows a code
    """  # noqa: D301 - the escape is click's: a paragraph that is not wrapped
    call = _call(action, argument)
    print_json(_answer(call, *_addresses(ready_file)))


def _call(action: str, argument: str) -> Call:
    """Return the request that an action and its argument become; raises SettingsError."""
    act = ACTS[action]
    if argument and not act.takes:
        raise SettingsError(f"{action} takes no argument; {argument!r} was given.", remedy="Leave it out.")
    if not argument and act.takes and not act.takes.startswith("["):
        raise SettingsError(f"{action} does nothing without {act.takes}.", remedy=f"Write: {action} {act.takes}.")
    try:
        return act.call(argument)
    except OSError as error:
        why = f"The file {argument} cannot be read: {error.strerror or error}."
        raise SettingsError(why, remedy="Name another file.") from error
    except ValueError as error:
        why = f"{argument!r} is nothing that {action} takes: {error}."
        raise SettingsError(why, remedy=f"Write: {action} {act.takes}.") from error


def _addresses(ready_file: Path) -> tuple[str, Path]:
    """Return where the emulator is controlled and what certifies it, out of its ready file; raises SettingsError."""
    try:
        ready = json.loads(ready_file.read_text(encoding="utf-8"))
        return str(ready["control_url"]), Path(ready["ca_file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"The file {ready_file} is none that an emulator wrote when it was ready: {error}.",
            remedy="Name the file that was given to the emulator as --ready-file.",
        ) from error


def _answer(call: Call, control_url: str, ca_file: Path) -> Any:
    """Return what the emulator answers; raises SettingsError."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    from connector.emulator.command import ask

    try:
        return ask(control_url, ca_file, *call)
    except HTTPError as error:
        raise SettingsError(_reason(error.read()), remedy="Ask for something it can do.") from error
    except (OSError, HTTPException, ValueError) as error:
        raise SettingsError(f"The emulator could not be asked: {error}.", remedy="Is it running?") from error


def _reason(body: bytes) -> str:
    """Return the sentence of a refusal."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"What answers there is no emulator of this kind: {body[:200].decode(errors='replace')}"


emulator.add_command(control)
