"""What every command understands (`--json`, `--env-file`, `--verbose`), how it asks, and the settings that follow."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import NoReturn

import click

from connector.cli.failure_text import ExitCode
from connector.cli.intent_options import check_addresses
from connector.cli.lazy import INPUT, keep_under, options_under, with_options
from connector.cli.screen import broken, print_json, room, say
from connector.closing.bypass import bypass_of, read_bypass
from connector.settings.environment import load
from connector.settings.settings import Settings
from connector.settings.variables import EMULATOR_SCHEME

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_SAID = "connector.cli.run_options.said"
_option = partial(click.option, expose_value=False, callback=keep_under(_SAID))

json_option = _option("--json", is_flag=True, help="Print exactly one JSON object on stdout.")

env_file_option = _option(
    "--env-file",
    type=INPUT,
    help="Read settings from this file; without it from `.env` in the current folder, if there is one. "
    "The environment wins over the file.",
)


def _start_logging(_context: click.Context, _option: click.Parameter, verbose: bool) -> None:
    if not verbose:
        return
    logging.basicConfig(stream=sys.stderr, format=LOG_FORMAT, level=logging.INFO)
    logging.getLogger("connector").setLevel(logging.DEBUG)


verbose_option = click.option(
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_start_logging,
    help="Log every request on stderr (never secrets or customer text).",
)


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask before it is done.")

dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")

keep_going_option = click.option(
    "--keep-going", is_flag=True, help="Do not stop when many rows fail for the same reason and none succeeds."
)

if_plan_option = click.option(
    "--if-plan",
    metavar="DIGEST",
    help="Do it only if the plan still has this digest (see `connector plan`); do not ask.",
)


_KEPT = "connector.cli.run_options"
_SETTINGS = {"bypass": "DATAVERSE_BYPASS", "bypass_steps": "DATAVERSE_BYPASS_STEPS", "tag": "DATAVERSE_TAG"}
"""Options of the command line that stand before a setting."""


def _remember(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Keep the option for `read_settings`, which puts it before what the environment says."""
    if value is None:
        return
    try:
        read_bypass(*(value if option.name == name else "" for name in _SETTINGS))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    context.meta.setdefault(_KEPT, {})[_SETTINGS[str(option.name)]] = value


_setting_option = partial(click.option, expose_value=False, callback=_remember)
bypass_options = with_options(
    _setting_option(
        "--bypass",
        metavar="KINDS",
        help="Leave out the organization's own logic: sync, async, flows, with commas between.",
    ),
    _setting_option(
        "--bypass-steps", metavar="IDS", help="Leave out these plug-in steps: at most three ids with commas between."
    ),
    _setting_option("--tag", metavar="TEXT", help="A text that the organization's plug-ins see with each write."),
)
"""`read_settings` takes them."""

run_options = with_options(json_option, env_file_option, verbose_option)
"""See `wants_json` and `read_settings`."""


def wants_json() -> bool:
    """Return whether this command line asks for one JSON object on stdout instead of words."""
    return bool(options_under(_SAID).get("json"))


def answer(data: Mapping[str, object], words: str) -> None:
    """Write a result: `data` for programs, `words` for people."""
    if wants_json():
        print_json(data)
    else:
        say(words)


def refuse(reason: str, *, code: int = ExitCode.REFUSED, **more: object) -> NoReturn:
    """Say why nothing is done, and end."""
    answer({"status": "refused", **more, "reason": reason}, reason)
    raise click.exceptions.Exit(code)


def require_terminal(unchanged: str = "nothing was changed", ways: str = "--yes") -> None:
    """Raise click.UsageError where there is no terminal to ask on; `ways` are those to agree without one."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"There is no terminal to ask on, so {unchanged}. Agree with {ways}.")


_ANSWERS = " [y/N]: y"
_NOTHING: Mapping[str, object] = MappingProxyType({})


def agree(
    question: str, *, agreed: bool = False, count: int | None = None, about: Mapping[str, object] = _NOTHING
) -> None:
    """Ask, unless somebody `agreed` already; who does not agree is told that nothing was changed, and it ends.

    Where nobody has listed the records, `count` is how many there are, and is typed to agree; `about` is what programs
    are told besides. Raises click.UsageError where there is no terminal to ask on.
    """
    if agreed:
        return
    require_terminal()
    code = ExitCode.REFUSED
    question = broken(question, room(sys.stderr) - len(_ANSWERS))
    try:
        if count is None and click.confirm(question, default=False, err=True):
            return
        if count is not None and _typed(f"{question}\nType their number to go on") == str(count):
            return
    except click.Abort:  # Ctrl-C or the end of what is typed, in the middle of a line
        click.echo(err=True)
        code = ExitCode.INTERRUPTED
    refuse("Not confirmed; nothing was changed.", code=code, **about)


def _typed(question: str) -> str:
    text = click.prompt(question, default="", show_default=False, err=True)
    return str(text).strip().replace(",", "")


def as_begun(settings: Settings, options: Mapping[str, object]) -> Settings:
    """Return the settings for a job, or for a plan, that was begun with these options: what it leaves out stays so.

    What is given on this command line goes before it.
    """
    return settings if options_under(_KEPT) else replace(settings, bypass=bypass_of(options, settings.bypass))


STORE_ONLY: Mapping[str, str] = {"DATAVERSE_URL": EMULATOR_SCHEME}
"""What stands for the organization where a command only reads and writes the store."""


def read_settings(defaults: Mapping[str, str] | None = None) -> Settings:
    """Return the settings, and log on stderr as much as they say. Raises SettingsError, with all that is wrong.

    They follow what probes answered in this organization; `defaults` stand for what is not set.

    Raises click.UsageError when the command line names a record by the address of another organization.
    """
    from connector.assembly.asked_answers import with_answers
    from connector.clock import SystemClock

    settings = load(
        env_file=options_under(_SAID).get("env_file"), options=options_under(_KEPT), defaults=defaults or {}
    )
    check_addresses(settings.url)
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format=LOG_FORMAT)  # no effect after --verbose
    return with_answers(settings, SystemClock().now())
