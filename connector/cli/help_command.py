"""`connector help`, `completion` and `docs`: help by the name of a command, for a shell, and as pages."""

from __future__ import annotations

import re
import sys
from importlib import resources

import click
from click.shell_completion import get_completion_class

from connector.cli.lazy import examples
from connector.cli.screen import console


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


FOLDER = resources.files("connector") / "docs"


def pages() -> dict[str, str]:
    """Return the title of each page by its name, in the order of `llms.txt`."""
    listed = re.findall(r"^- \[(.+?)\]\((\w[\w-]*)\.md\)", (FOLDER / "llms.txt").read_text("utf-8"), re.MULTILINE)
    return {page: title for title, page in listed}


@click.command(epilog=examples("docs", "docs administrator"))
@click.argument("page", required=False, metavar="[PAGE]", type=click.Choice(list(pages())))
def docs(page: str | None) -> int:
    """List the pages about the connector, or show one.

    On a terminal a page is formatted; into a file or pipe it goes as Markdown.
    """
    if page is None:
        width = max(map(len, pages()))
        for name, title in pages().items():
            click.echo(f"{name:<{width}}  {title}")
        click.echo("\nShow one: connector docs PAGE")
        return 0
    text = (FOLDER / f"{page}.md").read_text("utf-8")
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        console(sys.stdout).print(Markdown(text))
    else:
        click.echo(text, nl=False)
    return 0
