"""`connector emulator`: a local stand-in for a Dataverse organization, served until it is stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import click

from connector.cli.emulator_control import control
from connector.cli.json_output import print_json
from connector.cli.run_options import json_option, verbose_option
from connector.emulator.command import serve
from connector.emulator.http.tls import ExtraMissing
from connector.emulator.limits.faults import InvalidFaultPlan
from connector.emulator.seeding.emulator_options import MEMORY, ServeOptions
from connector.emulator.seeding.open_organization import OrganizationError
from connector.emulator.world.custom_logic import LogicError
from connector.emulator.world.customization import ImportRefused
from connector.errors import SettingsError

_FILE_TO_WRITE = click.Path(dir_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.option(
    "--db", metavar="FILE", default=MEMORY, help="The SQLite file that keeps the records; default: in memory."
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="The port; 0 picks a free one.")
@click.option(
    "--ready-file",
    metavar="FILE",
    type=_FILE_TO_WRITE,
    help="Write a JSON file with addresses and credentials when ready.",
)
@click.option(
    "--env-file",
    metavar="FILE",
    type=_FILE_TO_WRITE,
    help="Write the same as settings, for --env-file of the other commands.",
)
@click.option("--empty", is_flag=True, help="Do not fill an empty organization with made-up records.")
@click.option(
    "--opportunities",
    metavar="N",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="How many open opportunities to make up.",
)
@click.option(
    "--scenario",
    metavar="NAME",
    default="",
    help="A named situation to start from instead, such as project-operations or west-of-utc.",
)
@click.option(
    "--customizations",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file: the organization's own columns, keys, status reasons; see `connector docs emulator`.",
)
@click.option(
    "--applications",
    metavar="N",
    type=click.IntRange(1, 99),
    default=1,
    show_default=True,
    help="How many applications can sign in; --env-file names the further ones as identities.",
)
@click.option(
    "--servers",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many web servers to act as; each has limits of its own.",
)
@click.option(
    "--fault-plan",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file that says what goes wrong when.",
)
@click.option(
    "--plugins",
    metavar="FILE.py",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python file of the organization's own logic: plugin(context), flow(context). May be given several times.",
)
@click.option(
    "--clock",
    type=click.Choice(["real", "virtual"]),
    default="real",
    show_default=True,
    help="Whether time passes or only skips.",
)
@click.option(
    "--latency",
    type=click.Choice(["none", "model"]),
    default="none",
    show_default=True,
    help="Answer at once, or as fast as Dataverse does.",
)
@click.option(
    "--seed", metavar="N", type=int, default=1, show_default=True, help="Decides everything that is left to chance."
)
@click.option(
    "--journal",
    metavar="N",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="How many of the latest requests the journal keeps.",
)
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where certificates and keys are kept; default: beside the database.",
)
@json_option
@verbose_option
@click.pass_context
def emulator(  # noqa: PLR0913 (one argument per option)
    context: click.Context,
    *,
    db: str,
    host: str,
    port: int,
    ready_file: Path | None,
    env_file: Path | None,
    empty: bool,
    opportunities: int,
    scenario: str,
    customizations: Path | None,
    applications: int,
    servers: int,
    fault_plan: Path | None,
    plugins: tuple[Path, ...],
    clock: str,
    latency: str,
    seed: int,
    journal: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Serve a local stand-in for a Dataverse organization.

    It speaks HTTPS with a certificate authority of its own, issues its own tokens, and refuses what the documents say
    Dataverse refuses. It serves until it is stopped.
    """
    if context.invoked_subcommand is not None:
        return
    options = ServeOptions(
        db=db,
        host=host,
        port=port,
        ready_file=ready_file,
        env_file=env_file,
        empty=empty,
        opportunities=opportunities,
        scenario=scenario,
        customizations=customizations,
        applications=applications,
        servers=servers,
        fault_plan=fault_plan,
        plugins=plugins,
        clock=clock,
        latency=latency,
        seed=seed,
        journal=journal,
        folder=folder,
    )
    _serve(options, as_json=as_json)


def _serve(options: ServeOptions, *, as_json: bool) -> None:
    """Serve until stopped, and turn what keeps the emulator from starting into a settings error."""
    try:
        serve(options, print_json if as_json else _announce)
    except ExtraMissing as error:
        raise SettingsError(str(error), remedy=error.remedy) from error
    except OrganizationError as error:
        raise SettingsError(str(error), remedy="Name another with --scenario.") from error
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
    click.echo(f"Serving {ready['url']} until stopped (Ctrl-C). A page for people: {ready['control_url']}", err=True)
