"""Words for people about a bulk job: how long, what holds the rate, and what to type."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime

WINDOWS = sys.platform == "win32"

BINDS = {
    "count": "the limit of requests",
    "time": "the limit of execution time",
    "concurrency": "the limit of requests at once",
    "latency": "how fast the organization answers",
    "outage": "the organization or the sign-in, which cannot be reached now: it is asked again",
    "account": "rows in flight: the other rows of their accounts wait for them",
    "rows": "nothing: every row is under way",
    "window": "the hours that were set (--window)",
    "at_most": "the rate that was set (--at-most)",
    "in_flight": "the requests at once that were set (--in-flight)",
    "waiting": "the wait that the service asked for (Retry-After)",
}
"""What holds the rate, for people."""


_LIMITS = {
    "window": "in the hours {}",
    "until": "until {}",
    "at_most": "at most {}",
    "in_flight": "{} requests at once",
    "leave": "stops when {} rows are left (--limit)",
    "max_operations": "at most {} Power Platform requests",
}


_CODE = re.compile(r"[A-Za-z]+(_[a-z]+)*")
_BETWEEN_WORDS = re.compile(r"_|(?<=[a-z])(?=[A-Z])")


def reason_words(reason: object) -> str:
    """Return what rows are counted by for people: a code of ours, as NotFound or plan_changed, in its words.

    A row in doubt has no code yet.
    """
    text = str(reason) or "in doubt"
    return _BETWEEN_WORDS.sub(" ", text).lower() if _CODE.fullmatch(text) else text


def limits_words(limits: object) -> str:
    """Return the limits of a job for people, as its data has them; empty where there are none."""
    assert isinstance(limits, Mapping)
    return ", ".join(_LIMITS[str(name)].format(_limit_words(name, value)) for name, value in limits.items())


def _limit_words(name: str, value: object) -> str:
    if isinstance(value, list):
        return " and ".join(value)
    if name == "until":
        return moment_words(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def moment_words(text: object) -> str:
    """Return a moment of JSON as the clock of this machine shows it, with the day of the week and the zone."""
    return f"{datetime.fromisoformat(str(text)).astimezone():%a %Y-%m-%d %H:%M %Z}"


def command_line(*words: str) -> str:
    """Return a command of `connector` as it is typed: with double quotes on Windows, which both shells there take."""
    line = subprocess.list2cmdline(words) if WINDOWS else " ".join(map(_quoted, words))
    return f"connector {line}"


def _quoted(word: str) -> str:
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def file_name(job: str, ending: str) -> str:
    """Return the name of a file about a job, without what a file system reads otherwise, as in `a/b`, `a:b`, `CON`.

    Source: "Naming Files, Paths, and Namespaces" (Microsoft).
    """
    name = re.sub(r'[<>:"/\\|?*]', "-", job)
    reserved = re.fullmatch(r"con|prn|aux|nul|(com|lpt)[0-9]", name.split(".")[0].rstrip(), re.IGNORECASE)
    return f"{'_' if reserved else ''}{name}{ending}"


def rows(count: int) -> str:
    """Return so many rows for people."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def duration(seconds: float) -> str:
    """Return seconds for people."""
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    if whole < 90:  # a minute and a half reads best in seconds
        return f"{whole} s"
    if whole < 5400:  # an hour and a half in minutes
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
