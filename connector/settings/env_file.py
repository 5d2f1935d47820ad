"""Reads `.env` text: names and values, as shells and other programs write them.

python-dotenv reads the same text, but tells only a log what it cannot read, and a quote that is not closed takes in the
lines that follow; here every wrong line has its number.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*", re.ASCII)
_VALUES = (
    # the forms of a value, with all that may follow it
    re.compile(r"'(?P<literal>[^']*)'\s*(?:#.*)?"),
    re.compile(r'"(?P<escaped>(?:[^"\\]|\\.)*)"\s*(?:#.*)?'),
    re.compile(r"(?P<bare>(?!['\"#])(?:\S|\s+(?![\s#]))*)\s*(?:(?<=\s)#.*)?"),
    re.compile(r"(?P<literal>)#.*"),
)


def _assignment(line: str) -> tuple[str, str] | None:
    """Return name and value of a line, or None when it is none."""
    name = _NAME.match(line)
    if name is None:
        return None
    found = next(filter(None, (form.fullmatch(line, name.end()) for form in _VALUES)), None)
    if found is None:
        return None
    parts = found.groupdict()
    if "escaped" in parts:
        return name[1], re.sub(r"\\(.)", lambda code: "\n" if code[1] == "n" else code[1], parts["escaped"])
    return name[1], parts["bare"].strip() if "bare" in parts else parts["literal"]


def parse_env(text: str) -> tuple[dict[str, str], list[int]]:
    """Return the values of a `.env` text, and the numbers of the lines that are no `NAME=value`.

    `export`, comments and quotes are understood: single quotes keep everything, double quotes know backslash escapes
    of a quote, a backslash and `n`. An unquoted value ends before white space followed by `#`.
    """
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _assignment(line)
        if found is None:
            wrong.append(number)
        else:
            values[found[0]] = found[1]
    return values, wrong
