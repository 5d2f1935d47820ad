"""`connector init`: asks for what is needed to reach an organization, tries it, and writes it down."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

import click

from connector.assembly import connect
from connector.cli.doctor_command import examined
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import FILE, examples
from connector.cli.run_options import verbose_option
from connector.cli.screen import say
from connector.errors import SettingsError
from connector.settings.environment import commented, load
from connector.settings.variables import organization_url

_METHODS = {
    "secret": "an application with a client secret",
    "certificate": "an application with a certificate (PFX or PEM file)",
    "managed_identity": "the managed identity of this Azure machine",
    "azure_cli": "you, as signed in to the Azure CLI (az login)",
    "interactive": "you, in a browser",
    "device_code": "you, with a code in a browser elsewhere",
    "emulator": "an emulator inside this program, to try things out",
}
WINDOWS = sys.platform == "win32"


@click.command(epilog=examples("init", "init --from az --url https://ORG.crm4.dynamics.com", "init --example"))
@click.option("--url", metavar="ADDRESS", help="The organization's address; asked for without it.")
@click.option("--from", "method", type=click.Choice([*_METHODS, "az"]), help="How to sign in; asked for without it.")
@click.option("--out", default=".env", type=FILE, help="The file to write. Default: .env.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--example", is_flag=True, help="Print every setting with its explanation and default; do nothing else.")
@verbose_option
def init(*, url: str | None, method: str | None, out: Path, force: bool, example: bool) -> int:
    """Ask for an organization and a way to sign in, try them, and write .env.

    Nothing is written before the sign-in works. The file explains every setting and is readable by you alone; secrets
    in it are not encrypted. In the end `doctor` says what is well.
    """
    if example:
        click.echo(commented({}), nl=False)
        return ExitCode.DONE
    if out.exists() and not force:
        raise click.UsageError(f"{out} is there already. Give --force to replace it, or another name with --out.")
    values = _prompted(url, "azure_cli" if method == "az" else method)
    return _tried(values, out)


def _prompted(url: str | None, method: str | None) -> dict[str, str]:
    """Return the settings that the person gives; what an option has given is not asked for."""
    if method is None:
        for number, (name, text) in enumerate(_METHODS.items(), start=1):
            click.echo(f"  {number}  {name:<16}  {text}", err=True)
        method = click.prompt("Sign in as (number or name)", value_proc=_method, err=True)
    if method == "emulator":
        return {"DATAVERSE_URL": "emulator:.state/emulator.db"}
    question = "Address of the organization (https://ORG.crm4.dynamics.com)"
    url = _address(url) if url else click.prompt(question, value_proc=_address, err=True)
    values = {"DATAVERSE_URL": url, "DATAVERSE_SIGN_IN": method}
    if method == "managed_identity":
        return values | {"DATAVERSE_MANAGED_IDENTITY": "system"}
    if method == "azure_cli":
        return values
    values["DATAVERSE_CLIENT_ID"] = click.prompt("Application (client) id", err=True).strip()
    if method == "secret":
        values["DATAVERSE_CLIENT_SECRET"] = click.prompt("Client secret (not shown)", hide_input=True, err=True).strip()
    elif method == "certificate":
        values["DATAVERSE_CLIENT_CERTIFICATE"] = click.prompt("File of the certificate", err=True).strip()
    return values


def _address(answer: str) -> str:
    try:
        return organization_url(answer.strip())
    except ValueError as error:
        raise click.UsageError(f"The address {error}.") from None


def _method(answer: str) -> str:
    """Return the way to sign in of that number or name. Raises UsageError, which makes the prompt ask again."""
    names = [*_METHODS]
    answer = answer.strip()
    if answer in names:
        return answer
    if answer.isdecimal() and 0 < int(answer) <= len(names):
        return names[int(answer) - 1]
    raise click.UsageError(f"Give a number from 1 to {len(names)}, or a name of the list.")


def _tried(values: dict[str, str], out: Path) -> int:
    """Write the settings beside their place, try them, and put them there if they work."""
    aside = out.with_name(f"{out.name}.new")
    try:
        write_private(aside, commented({name: _quoted(value) for name, value in values.items()}))
        settings = load(env_file=aside)
        with connect(settings) as connection:
            connection.warm()
            healthy = examined(lambda: settings)
        aside.replace(out)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written: {error.strerror}.", remedy="Name another with --out.") from error
    finally:
        if aside.exists():  # where nothing can be written, nothing can be removed either
            aside.unlink()
    say(f"Written to {out}, readable by you alone. Next: connector list")
    return ExitCode.DONE if healthy else ExitCode.FAILED


def _quoted(value: str) -> str:
    """Return a value as a settings file takes it."""
    return f"'{value}'" if set(value) & set(' #"\\') and "'" not in value else value


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read: by its mode, on Windows by its access list. Raises OSError."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        if WINDOWS:
            who = ["whoami", "/user", "/fo", "csv"]  # by number: the letters of a name come in some code page
            number = re.search(rb"S-1-[0-9-]+", subprocess.run(who, capture_output=True, check=False).stdout)
            user = f"*{number[0].decode()}" if number else getpass.getuser()
            only_me = ["icacls", str(path), "/inheritance:r", "/grant:r", f"{user}:F"]
            if subprocess.run(only_me, capture_output=True, check=False).returncode:
                raise OSError(0, "its access list could not be set (icacls)", str(path))
        file.write(text)
