#!/usr/bin/env python3
r"""Close opportunities of a local emulator over HTTP and check the result, on a machine with nothing but Python.

    scripts/demo           on Linux and macOS; finds a Python
    py scripts\demo.py     on Windows
    ... --json             one JSON object instead of tables

The first run installs the connector and its pinned dependencies into a local environment; nothing else is touched.
Environment: DEMO_VENV (default: .venv in the checkout).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Install what is missing, then run `connector demo` with the arguments of this script."""
    sys.path.insert(0, str(ROOT))
    from scripts.environment import prepared

    folder = Path(os.environ.get("DEMO_VENV") or ROOT / ".venv")
    python = prepared(folder, ROOT / "scripts" / "requirements" / "demo.txt", "scripts/demo")
    return subprocess.call([python, "-m", "connector", "demo", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
