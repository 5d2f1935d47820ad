"""`connector emulator control`: ask a running emulator, or have it do something, from another terminal or a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import click

from connector.cli.results import print_json
from connector.errors import SettingsError

Call = tuple[str, str, bytes, str]
"""Method, what, body and its content type."""


def _json(method: str, what: str, data: object) -> Call:
    return method, what, json.dumps(data).encode(), "application/json"


def _seed(given: str) -> Call:
    if given.isdecimal():
        return _json("POST", "seed", {"opportunities": int(given)})
    path = Path(given)
    if path.suffix.lower() == ".csv":
        return "POST", f"seed?table={quote(path.stem)}", path.read_bytes(), "text/csv"
    return "POST", "seed", path.read_bytes(), "application/json"


def _switch(given: str) -> Call:
    name, _, value = given.partition("=")
    return _json("PATCH", "switches", {name: value})


LOOKS = ("health", "journal", "closes", "referee", "rules", "switches", "limits", "faults", "scenarios", "clock")
ACTS: Mapping[str, Callable[[str], Call]] = MappingProxyType(
    {
        "reset": lambda _: ("POST", "reset", b"", "application/json"),
        "snapshot": lambda name: ("PUT", f"snapshots/{quote(name, safe='')}", b"", "application/json"),
        "restore": lambda name: ("POST", f"snapshots/{quote(name, safe='')}/restore", b"", "application/json"),
        "scenario": lambda name: _json("POST", "scenarios", {"name": name}),
        "seed": _seed,
        "customize": lambda file: ("POST", "customizations", Path(file).read_bytes(), "application/json"),
        "plan": lambda file: ("PUT", "faults", Path(file).read_bytes(), "application/json"),
        "switch": _switch,
        "advance": lambda seconds: _json("POST", "clock", {"advance": float(seconds)}),
    }
)


@click.command()
@click.argument("action", type=click.Choice([*LOOKS, *ACTS]))
@click.argument("argument", default="")
@click.option(
    "--ready-file",
    metavar="FILE",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that the emulator wrote when it was ready.",
)
def control(*, action: str, argument: str, ready_file: Path) -> None:
    """Ask a running emulator, or have it do something; prints its answer as JSON.

    snapshot, restore and scenario take a name; seed a number of opportunities, or a JSON or CSV file; customize a file
    of exported metadata; plan a file of faults; switch NAME=VALUE; advance seconds.
    """
    from urllib.error import HTTPError  # noqa: PLC0415 - the HTTP client is loaded when something is asked

    from connector.emulator.command import ask  # noqa: PLC0415 - the same

    ready = json.loads(ready_file.read_text(encoding="utf-8"))
    try:
        method, what, body, kind = ACTS[action](argument) if action in ACTS else ("GET", action, b"", "")
        answer = ask(ready["control_url"], Path(ready["ca_file"]), method, what, body, kind)
    except HTTPError as error:
        raise SettingsError(json.load(error)["error"], remedy="Ask for something it can do.") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"The emulator could not be asked: {error}.", remedy="Is it running?") from error
    print_json(answer)
