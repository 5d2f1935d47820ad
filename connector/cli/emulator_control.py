"""`connector emulator control`: ask a running emulator, or have it do something, from another terminal or a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import click

from connector.cli.lazy import examples
from connector.cli.screen import print_json
from connector.errors import SettingsError

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
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
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
