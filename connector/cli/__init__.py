"""The command line: arguments in, tables or JSON out, an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    from connector.cli.program import run  # noqa: PLC0415 (importing connector.cli alone must stay cheap)

    sys.exit(run(sys.argv[1:]))
