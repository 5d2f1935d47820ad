"""`connector help`: the help of a command, by its name."""

from __future__ import annotations

import click

from connector.cli.lazy import examples


@click.command(epilog=examples("help close", "help bulk run"))
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help(context: click.Context, /, words: tuple[str, ...]) -> None:  # noqa: A001 - the command's name
    """Show the help of a command."""
    parent = context.parent
    assert parent is not None
    command, shown = parent.command, parent
    for word in words:
        if not isinstance(command, click.Group):
            raise click.UsageError(f"'{shown.command_path}' has no subcommands.")
        _, subcommand, _ = command.resolve_command(shown, [word])
        assert subcommand is not None
        command, shown = subcommand, click.Context(subcommand, info_name=word, parent=shown)
    click.echo(command.get_help(shown))
