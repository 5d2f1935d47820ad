#!/usr/bin/env python3
r"""Install what the tests need into a local environment and run them: for Windows, where `scripts/test` has no shell.

    py scripts\test.py                         style, types, all tests
    py scripts\test.py tests\closing           only these

Tests that need a terminal of Unix are left out there. Environment: TEST_VENV (default: .venv-test in the checkout).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECKS = (("ruff", "check", "--quiet", "connector", "scripts", "tests"), ("mypy", "--no-error-summary"))


def main() -> int:
    """Install what is missing, then check and test; return the first exit code that is not 0."""
    sys.path.insert(0, str(ROOT))
    from scripts.environment import prepared

    folder = Path(os.environ.get("TEST_VENV") or ROOT / ".venv-test")
    python = prepared(folder, ROOT / "scripts" / "requirements" / "test.txt", "scripts/test")
    checks = () if sys.argv[1:] else CHECKS
    for check in (*checks, ("pytest", "-q", *sys.argv[1:])):
        if code := subprocess.call([python, "-m", *check], cwd=ROOT):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
