"""`connector docs`: the pages that are installed with the connector."""

from __future__ import annotations

import re
import sys
from importlib import resources

import click

from connector.cli.lazy import examples
from connector.cli.screen import console

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
