"""Words for people about a bulk job: how long, what holds the rate, and what to type."""

from __future__ import annotations

import shlex
import subprocess
import sys

WINDOWS = sys.platform == "win32"

BINDS = {
    "count": "the limit of requests",
    "time": "the limit of execution time",
    "concurrency": "the limit of requests at once",
    "latency": "how fast the organization answers",
    "rows": "nothing: no rows wait to be sent",
    "waiting": "the wait that the service asked for (Retry-After)",
}
"""What holds the rate, for people."""


def command_line(*words: str) -> str:
    """Return a command of `connector` as it is typed: with double quotes on Windows, which both shells there take."""
    line = subprocess.list2cmdline(words) if WINDOWS else shlex.join(words)
    return f"connector {line}"


def rows(count: int) -> str:
    """Return so many rows for people."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def duration(seconds: float) -> str:
    """Return seconds for people."""
    whole = round(seconds)
    if whole < 90:  # a minute and a half reads best in seconds
        return f"{whole} s"
    if whole < 5400:  # an hour and a half in minutes
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
