"""The root of the command line: which commands there are, and where a failure becomes a sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import click

from connector.cli.failure_text import ExitCode, describe, sentences
from connector.cli.lazy import LazyGroup
from connector.cli.screen import print_json, tell

SUMMARIES: Mapping[str, str] = MappingProxyType(
    {
        "init": "Ask for an organization and a way to sign in, try them, and write .env.",
        "demo": "Close opportunities of a local emulator and check the result, in one go.",
        "doctor": "Check settings, sign-in, privileges and what the organization offers.",
        "list": "List open opportunities: all, stale ones, those of an owner, a filter or a view.",
        "show": "Show an opportunity with its quotes, its close activities and what this connector did to it.",
        "plan": "Show what closing an opportunity would do, and a digest that names it.",
        "close": "Close an opportunity as won or lost, with its quotes.",
        "reopen": "Open a closed opportunity again, and the quotes that were closed with it.",
        "log": "Show who closed or reopened what, when, from which machine and as which user.",
        "bulk": "Close many opportunities, from a file or a query, as a job.",
        "org": "Read into a file what a close depends on in an organization.",
        "serve": "Serve the endpoint that flows and agents call.",
        "worker": "Work on the bulk jobs of a shared store, together with other machines.",
        "docs": "List the pages about the connector, or show one.",
        "emulator": "Serve a local stand-in for a Dataverse organization.",
        "completion": "Print the script that completes command lines in a shell.",
        "help": "Show the help of a command.",
    }
)
"""Every command with its summary, in the order in which somebody new needs them.

A command `x` is `x` in the module `connector.cli.x_command`; its summary is the first sentence of its help."""

BESIDE: Mapping[str, str] = MappingProxyType(
    {"plan": "close", "reopen": "close", "list": "show", "log": "show", "completion": "help", "docs": "help"}
)
"""The commands that stand in the module of another."""

HELP = """Close Dynamics 365 opportunities, with their quotes, through the Dataverse Web API.

Results go to stdout (with --json: exactly one JSON object), everything else to stderr. Exit codes: 0 done or
already so, 1 failed, 2 wrong usage or settings, 3 refused, 4 partly done, 130 interrupted."""

program = LazyGroup("connector.cli", SUMMARIES, BESIDE, HELP)
click.version_option(package_name="dataverse-close-connector", prog_name="connector")(program)


def run(arguments: Sequence[str]) -> int:
    """Run one command line of `connector` and return its exit code; no exception leaves it but the end of the process.

    Results go to stdout, everything else to stderr.

    >>> int(run_command(["doctor", "--no-such-option"]))
    2
    """
    try:
        result = program.main(list(arguments), prog_name="connector", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 (the border: the process ends here, with a sentence instead of a traceback)
        return _fail(error, arguments)
    return result if isinstance(result, int) else ExitCode.DONE


def _fail(error: Exception, arguments: Sequence[str]) -> int:
    failure = describe(error)
    if "--json" in arguments:
        with suppress(OSError):  # a full disk, say: the sentence below is what can still be said
            print_json({"status": "failed", "error": failure.error})
    tell(sentences(failure.error))
    if "--verbose" in arguments and failure.unexpected:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    return failure.exit_code
