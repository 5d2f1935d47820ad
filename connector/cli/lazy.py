"""Groups of commands: in the order of their first use, with a suggestion for a name that is misspelt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What gives a command an option or an argument."""
FILE = click.Path(dir_okay=False, path_type=Path)
INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The types of options that name a file: any, and one that is there to be read."""


class CommandGroup(click.Group):
    """A group that lists its commands in the order in which they stand there, and suggests the one that was meant.

    `modules` has the modules of further commands, which are imported when they are called.
    """

    modules: Mapping[str, str] = MappingProxyType({})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their first use by somebody new."""
        return [*self.commands, *self.modules]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is no such command."""
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(self.modules[cmd_name]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.modules[cmd_name]}.{cmd_name} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; a name that is none is a usage error with what is like it."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            meant = self._meant(ctx, name)
            ctx.fail(f"There is no command '{name}'.{f' Did you mean {meant}?' if meant else ''}")
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        """Return the command that is like `name`, or has that name in a group of this one; empty without one."""
        from difflib import get_close_matches

        for group in (self.get_command(ctx, each) for each in self.list_commands(ctx)):
            if isinstance(group, click.Group) and name in group.list_commands(ctx):
                return f"{group.name} {name}"
        outer = ctx.parent.command if ctx.parent else None
        if isinstance(outer, click.Group) and name in outer.list_commands(ctx):
            return f"connector {name}"
        return next(iter(get_close_matches(name, self.list_commands(ctx), n=1)), "")


class LazyGroup(CommandGroup):
    """A group that knows its commands by name and summary, and imports one when it is called.

    Command `bulk` of the package `connector.cli` is `bulk` in the module `connector.cli.bulk_command`; one that stands
    `beside` another is in that one's module. The summaries stand in the group, so that `--help` imports no command.
    """

    def __init__(self, package: str, summaries: Mapping[str, str], beside: Mapping[str, str], text: str) -> None:
        super().__init__(name="connector", help=text, context_settings={"help_option_names": ["-h", "--help"]})
        self.modules = {name: f"{package}.{beside.get(name, name)}_command" for name in summaries}
        self._summaries = summaries

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))


def examples(*lines: str) -> str:
    """Return command lines as the end of a help text; click keeps them as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  connector {line}" for line in lines)


def with_options(*options: Decorator) -> Decorator:
    """Return what gives a command these options, in the order in which its help lists them."""

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def keep_under(key: str, *unsaid: object) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that keeps options by name under `key`, so that no command has to list them as arguments.

    A value that is one of `unsaid` is left out.
    """

    def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value not in unsaid:
            context.meta.setdefault(key, {})[str(option.name)] = value

    return keep


def options_under(key: str) -> dict[str, Any]:
    """Return the options of this command line that are kept under `key`; none outside of a command line."""
    context = click.get_current_context(silent=True)
    return dict(context.meta.get(key, {})) if context else {}
