"""The command line: arguments in, tables or JSON out, an exit code."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

ALLOCATIONS = 50_000
"""Allocations between looks for garbage: starting makes many objects and no garbage, and looks cost a tenth of it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line (None: this process's own) and exit with its code."""
    gc.set_threshold(ALLOCATIONS)
    from connector.cli.program import run
    from connector.cli.screen import make_streams_safe, written_out

    make_streams_safe()
    code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code if written_out() else code or 1)
