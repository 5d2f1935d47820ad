"""`connector emulator`: a local stand-in for a Dataverse organization, served until it is stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from connector.cli.emulator_control import control
from connector.cli.lazy import CommandGroup, examples, keep_under
from connector.cli.run_options import json_option, verbose_option
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

_READ = click.Path(exists=True, dir_okay=False, path_type=Path)
_WRITTEN = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_KEPT = "connector.cli.emulator_command"
_DEFAULTS = ServeOptions()
_OPTIONS: tuple[tuple[str, str | None, Any, str], ...] = (
    ("--db", "FILE", None, "The SQLite file that keeps the records; default: in memory."),
    ("--host", "ADDRESS", None, "The address to listen on."),
    ("--port", "N", click.IntRange(0, 65535), "The port; 0 picks a free one."),
    ("--ready-file", "FILE", _WRITTEN, "Write a JSON file with addresses and credentials when ready."),
    ("--env-file", "FILE", _WRITTEN, "Write the same as settings, for --env-file of the other commands."),
    ("--empty", None, None, "Do not fill an empty organization with made-up records."),
    ("--opportunities", "N", click.IntRange(0), "How many open opportunities to make up."),
    ("--scenario", "NAME", None, "A situation to start from instead, such as project-operations or west-of-utc."),
    ("--customizations", "FILE", _READ, "Columns, keys and status reasons in JSON; see `connector docs emulator`."),
    ("--like", "FILE", _READ, "Imitate the organization of a capture; see `connector docs organization`."),
    (
        "--stand-ins",
        "FILE",
        _WRITTEN,
        "Which plug-in stands in for each step of --like; the file is made if it is missing.",
    ),
    ("--volumes", None, None, "With --like: as many opportunities and quotes as the capture counted."),
    ("--applications", "N", click.IntRange(1, 99), "How many applications can sign in; --env-file lists them."),
    ("--servers", "N", click.IntRange(1), "How many web servers to act as; each has limits of its own."),
    ("--fault-plan", "FILE", _READ, "A JSON file with the faults to play."),
    ("--plugins", "FILE.py", _READ, "Python file with the organization's logic: plugin(context), flow(context)."),
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


def _serve_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give the command the options of `ServeOptions`, with the defaults that stand there."""
    for flag, metavar, kind, text in reversed(_OPTIONS):
        default = getattr(_DEFAULTS, flag[2:].replace("-", "_"))
        several = isinstance(default, tuple)
        command = click.option(
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
        )(command)
    return command


@click.group(
    invoke_without_command=True,
    cls=CommandGroup,
    epilog=examples(
        "emulator --db demo.db --ready-file ready.json --env-file demo.env", "emulator --scenario west-of-utc"
    ),
)
@_serve_options
@json_option
@verbose_option
@click.pass_context
def emulator(context: click.Context, *, as_json: bool) -> None:
    """Serve a local stand-in for a Dataverse organization.

    It speaks HTTPS with a certificate authority of its own, issues its own tokens, and refuses what the documents say
    Dataverse refuses. It serves until it is stopped.
    """
    if context.invoked_subcommand is not None:
        return
    options = ServeOptions(**context.meta[_KEPT])
    if options.like is None and (options.volumes or options.stand_ins):
        raise click.UsageError("--volumes and --stand-ins are of a twin: name its capture with --like.")
    if options.like is not None and (options.scenario or options.opportunities != ServeOptions().opportunities):
        raise click.UsageError("A twin is filled with --volumes, not with --opportunities or --scenario.")
    _serve(options, as_json=as_json)


def _serve(options: ServeOptions, *, as_json: bool) -> None:
    """Serve until stopped, and turn what keeps the emulator from starting into a settings error."""
    try:
        for gap in read_twin(options.like).gaps if options.like is not None else ():
            click.echo(f"Not known of the organization, so the emulator's own: {gap}", err=True)
        serve(options, print_json if as_json else _announce)
    except ExtraMissing as error:
        raise SettingsError(str(error), remedy=error.remedy) from error
    except OrganizationError as error:
        raise SettingsError(str(error), remedy="Name another with --scenario.") from error
    except TwinRefused as error:
        remedy = "Make a new capture, or correct the file that --like or --stand-ins names."
        raise SettingsError(str(error), remedy=remedy) from error
    except LogicError as error:
        raise SettingsError(str(error), remedy="Correct the file that --plugins names.") from error
    except ImportRefused as error:
        raise SettingsError(str(error), remedy="Correct the file that --customizations names.") from error
    except InvalidFaultPlan as error:
        raise SettingsError(str(error), remedy="Correct the file that --fault-plan names.") from error
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


emulator.add_command(control)


def _announce(ready: Mapping[str, str]) -> None:
    click.echo(f"Serving {ready['url']} until stopped (Ctrl-C). Its page: {ready['control_url']}", err=True)
