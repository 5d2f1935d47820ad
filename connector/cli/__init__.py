"""The command line: arguments in, tables or JSON out, an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line (None: this process's own) and exit with its code."""
    from connector.cli.program import run
    from connector.cli.screen import make_streams_safe, written_out

    make_streams_safe()
    code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code if written_out() else code or 1)
