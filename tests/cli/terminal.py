"""A terminal of a given size for the real program: what it writes is what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.replace("\r\n", "\n").splitlines()


def on_terminal(*arguments: str, columns: int, folder: Path, answer: str = "", **environment: str) -> Seen:
    """Run the program with a terminal for everything, and type `answer` when it asks."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=folder,
        env={**inherited, "TERM": "xterm-256color", **environment},
        close_fds=True,
    )
    os.close(its)
    seen, answered = b"", not answer
    while piece := _read(mine):
        seen += piece
        if not answered and (b"[y/N]" in seen or b"to go on" in seen):
            os.write(mine, answer.encode())
            answered = True
    os.close(mine)
    return Seen(process.wait(), seen.decode("utf-8", "replace"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side has closed
        return b""
