"""Results on stdout: one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click


def print_json(data: Mapping[str, object]) -> None:
    """Write `data` to stdout as the one JSON object of this run."""
    import json

    wide = (sys.stdout.encoding or "").lower().startswith("utf")  # elsewhere \\uXXXX says what the encoding cannot
    click.echo(json.dumps(data, ensure_ascii=not wide, indent=2))
