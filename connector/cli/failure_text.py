"""What a person or a program is told when a command fails: one sentence, the remedy, the ids support asks for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import click

from connector.cli.screen import legible, tell
from connector.errors import ConnectorError, InputError, SettingsError


class ExitCode(IntEnum):
    """What the process ends with."""

    DONE = 0
    """Closed, or closed already; for other commands: it went well."""
    FAILED = 1
    USAGE = 2
    """The command line, its values or the settings are wrong; nothing was tried."""
    REFUSED = 3
    PARTLY_DONE = 4
    """It ended after some of its steps took effect."""
    INTERRUPTED = 130
    """Stopped from the keyboard: 128 + SIGINT, as shells have it."""


@dataclass(frozen=True, slots=True)
class ShownFailure:
    """A failure ready to be shown; `error` is in the shape of `closing.report.error_data`."""

    exit_code: ExitCode
    error: Mapping[str, object]
    unexpected: bool = False


def describe(error: Exception) -> ShownFailure:
    """Say what `error` means for the person at the command line."""
    if isinstance(error, ConnectorError):
        from connector.closing.report import error_data

        usage = isinstance(error, InputError | SettingsError)
        return ShownFailure(ExitCode.USAGE if usage else ExitCode.FAILED, error_data(error))
    if isinstance(error, click.Abort):
        why = "from the keyboard" if sys.stdin.isatty() else "by a signal, or because nobody is there to answer"
        return ShownFailure(ExitCode.INTERRUPTED, _plain("Interrupted", f"Stopped {why}.", ""))
    if isinstance(error, click.UsageError):
        where = f"{error.ctx.command_path} --help" if error.ctx else "connector --help"
        remedy = f"`{where}` shows how it is used."
        return ShownFailure(ExitCode.USAGE, _plain("InputError", error.format_message(), remedy))
    if isinstance(error, click.ClickException):
        return ShownFailure(ExitCode.FAILED, _plain("InputError", error.format_message(), ""))
    if isinstance(error, OSError) and error.strerror:
        return _of_operating_system(error)
    return _of_unexpected(error)


def sentences(error: Mapping[str, object]) -> str:
    """Return a failure for people, as `closing.report.failure_lines` has it, ready for a terminal."""
    from connector.closing.report import failure_lines

    first, *others = failure_lines(error)
    return "\n".join(legible(part) for line in (f"Error: {first}", *others) for part in line.split("\n"))


def report_failure(error: Exception) -> int:
    """Tell the person on stderr what failed, as every command does, and return the exit code.

    >>> int(report_failure(ConnectorError("The disk is full.", remedy="Make room.")))
    1
    """
    failure = describe(error)
    tell(sentences(failure.error))
    return failure.exit_code


def _of_operating_system(error: OSError) -> ShownFailure:
    where = f" ({error.filename})" if error.filename else ""
    message = f"The operating system could not read or write something{where}: {error.strerror}."
    remedy = (
        "Set that right and run it again. If it was changing records, it looks first and does only what is left: the "
        "result may be all that is missing."
    )
    return ShownFailure(ExitCode.FAILED, _plain(type(error).__name__, message, remedy) | {"effect": "unknown"})


def _of_unexpected(error: Exception) -> ShownFailure:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    data = _plain(
        type(error).__name__,
        f"This should not have happened ({what}).",
        "Please report it with what the same command says with --verbose. "
        "If it was changing records, run it again: it looks first and does only what is left.",
    )
    return ShownFailure(ExitCode.FAILED, data | {"effect": "unknown"}, unexpected=True)


def _plain(kind: str, message: str, remedy: str) -> dict[str, object]:
    return {"kind": kind, "message": message, "remedy": remedy, "effect": "none"}
