"""A group of commands whose modules are imported only when a command is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """A click group that knows its commands by name and summary, and imports one when it is called.

    Command `plan` of the package `connector.cli` is `plan` in the module `connector.cli.plan_command`. The
    summaries stand in the group, so that `--help` imports no command at all.
    """

    def __init__(self, name: str, package: str, summaries: Mapping[str, str], help: str) -> None:  # noqa: A002 (click's own word)
        super().__init__(name=name, help=help)
        self._package = package
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their first use by somebody new."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None when there is no such command."""
        if cmd_name not in self._summaries:
            return None
        command = getattr(import_module(f"{self._package}.{cmd_name}_command"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self._package}.{cmd_name}_command.{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))
