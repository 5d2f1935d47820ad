"""What a person or a program is told when a command fails: one sentence, the remedy, the ids support asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import click

from connector.errors import ConnectorError, InputError, NotConverged, ServiceError, SettingsError


class ExitCode(IntEnum):
    """What the process ends with."""

    DONE = 0
    """Closed, or closed already; for other commands: it went well."""
    FAILED = 1
    USAGE = 2
    """The command line, its values or the settings are wrong; nothing was tried."""
    REFUSED = 3
    PARTLY_DONE = 4
    """It failed after some of its steps took effect."""
    INTERRUPTED = 130
    """Stopped from the keyboard: 128 + SIGINT, as shells have it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure ready to be shown; the ids are empty where the service gave none."""

    exit_code: ExitCode
    message: str
    remedy: str = ""
    code: str = ""
    http_status: int | None = None
    request_id: str = ""
    effect: str = "none"
    unexpected: bool = False

    @property
    def text(self) -> str:
        """The failure for people: a sentence, the remedy on its own line, then the ids."""
        ids = ", ".join(
            part
            for part in (
                f"HTTP {self.http_status}" if self.http_status else "",
                f"code {self.code}" if self.code else "",
                f"request id {self.request_id}" if self.request_id else "",
            )
            if part
        )
        lines = (f"Error: {self.message}", self.remedy, f"For support: {ids}." if ids else "")
        return "\n".join(line for line in lines if line)

    def data(self) -> dict[str, str | int | None]:
        """Return the failure as plain data for JSON."""
        return {
            "message": self.message,
            "remedy": self.remedy,
            "code": self.code,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "effect": self.effect,
        }


def describe(error: Exception) -> Failure:
    """Say what `error` means for the person at the command line."""
    if isinstance(error, ConnectorError):
        return _of_connector(error)
    if isinstance(error, click.Abort):
        return Failure(ExitCode.INTERRUPTED, "Stopped from the keyboard.")
    if isinstance(error, click.UsageError):
        return _of_usage(error)
    if isinstance(error, click.ClickException):
        return Failure(ExitCode.FAILED, error.format_message())
    return _of_unexpected(error)


def _of_connector(error: ConnectorError) -> Failure:
    usage = isinstance(error, (InputError, SettingsError))
    cause = error.last if isinstance(error, NotConverged) else error
    service = cause if isinstance(cause, ServiceError) else None
    return Failure(
        ExitCode.USAGE if usage else ExitCode.FAILED,
        error.message,
        error.remedy,
        code=service.code if service else "",
        http_status=service.status if service else None,
        request_id=service.request_id if service else "",
        effect=error.effect.value,
    )


def _of_usage(error: click.UsageError) -> Failure:
    where = f"{error.ctx.command_path} --help" if error.ctx else "connector --help"
    return Failure(ExitCode.USAGE, error.format_message(), f"`{where}` shows how it is used.")


def _of_unexpected(error: Exception) -> Failure:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return Failure(
        ExitCode.FAILED,
        f"This should not have happened ({what}).",
        "Please report it with the output of the same command with --verbose. "
        "If it was changing records, run it again: it looks first and does only what is left.",
        effect="unknown",
        unexpected=True,
    )
