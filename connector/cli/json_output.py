"""Results on stdout: one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

import click


def print_json(data: Mapping[str, object]) -> None:
    """Write `data` to stdout as the one JSON object of this run."""
    import json

    click.echo(json.dumps(data, ensure_ascii=in_ascii(sys.stdout), indent=2))


def in_ascii(stream: TextIO) -> bool:
    r"""Return whether JSON is written in ASCII there: \uXXXX says what an encoding of few characters cannot."""
    return not (stream.encoding or "").lower().startswith("utf")
