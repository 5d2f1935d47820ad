"""What people read: only what every terminal can show, in colors where they are wanted, as wide as there is room."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what stands around them (Unicode Standard Annex 9)."""
_STAND_IN = "\ufffd"
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, halves of characters, and separators of lines and paragraphs."""


def legible(text: str) -> str:
    """Return `text` on one line, with a stand-in for each character that could steer a terminal.

    Names come from other people: an escape sequence in one must not reach the terminal of who reads it.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if character in _OVERRIDES or unicodedata.category(character) in _UNSEEN:
        return _STAND_IN
    return character


def colored(stream: TextIO) -> bool:
    """Return whether escape codes may be written to `stream`: it is a terminal, and nobody asked for none."""
    from connector.settings.environment import wants_colors

    return stream.isatty() and wants_colors()


def console(stream: TextIO) -> Console:
    """Return what draws on `stream`; without colors it writes no escape code at all, where rich would still bolden."""
    from rich.console import Console

    return Console(file=stream, color_system="auto" if colored(stream) else None, highlight=False)


def room(stream: TextIO) -> int:
    """Return how many columns `stream` has; a stream that is no terminal has no end of them."""
    if not stream.isatty():
        return sys.maxsize
    import shutil

    return shutil.get_terminal_size().columns


def say(text: str, stream: TextIO | None = None) -> None:
    """Write lines of text to `stream` (None: stdout), legible; on a terminal they break between words."""
    stream = stream or sys.stdout
    for line in text.split("\n"):
        shown = legible(line)
        fits = len(shown) < room(stream)
        click.echo(shown if fits else click.wrap_text(shown, room(stream) - 1), file=stream)


def make_streams_safe() -> None:
    """See to it that writing never fails for want of a character, and that no stream is missing altogether.

    A narrow encoding (LANG=C, an old Windows console) gets `?` for what it lacks; a stream that was closed before the
    program began leads nowhere.
    """
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # other programs put streams of their own there
        if reconfigure is not None:
            reconfigure(errors="replace")


def written_out() -> bool:
    """Return whether all that was said has been written; what has not is dropped, lest Python fails on it in the end.

    The failure itself was told when it happened.
    """
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk, or nobody reads on
            whole = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return whole
