"""`connector completion`: the script by which a shell completes commands, options and the names of jobs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from connector.cli.lazy import examples

_READ_BY = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/connector.fish",
    "powershell": "$PROFILE",
}


@click.command(epilog=examples("completion bash >> ~/.bashrc", "completion powershell >> $PROFILE"))
@click.argument("shell", type=click.Choice(list(_READ_BY)))
def completion(shell: str) -> None:
    """Print the script that completes command lines in a shell.

    Add it to the file that the shell reads when it begins. Names of jobs are completed too.
    """
    from connector.cli.program import program

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(program, {}, "connector", "_CONNECTOR_COMPLETE").source())
    click.echo(f"Add this to {_READ_BY[shell]}, then open a new shell.", err=True)
