#!/usr/bin/env python3
"""A local environment with pinned dependencies, for the scripts that need one: on any system, with Python alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepared(folder: Path, pins: Path, name: str) -> Path:
    """Return the interpreter of an environment that has what `pins` lists and the connector; made where need be.

    Ends the process with a sentence when it cannot be had; `name` is that of the script.
    """
    if sys.version_info < OLDEST:
        sys.exit(f"{name}: this is Python {sys.version.split()[0]}; it needs 3.11 or newer.")
    python, stamp = python_of(folder), folder / f"{Path(name).stem}-installed"
    content = b"".join(path.read_bytes() for path in (pins, ROOT / "pyproject.toml")) + str(ROOT).encode()
    wanted = hashlib.sha256(content).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    if not python.exists():
        say(f"Making an environment in {folder} (Python {sys.version.split()[0]}) ...")
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError):
            sys.exit(
                f"{name}: no virtual environment could be made. On Debian and Ubuntu install the package python3-venv, "
                "then run this again."
            )
    say("Installing the connector and its pinned dependencies (once) ...")
    log = folder / "install.log"
    with log.open("w", encoding="utf-8") as output:
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
        for what in (["--require-hashes", "-r", str(pins)], ["--no-deps", "--editable", str(ROOT)]):
            if subprocess.call([*pip, *what], stdout=output, stderr=output):
                _end_with_log(log, name)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def say(sentence: str) -> None:
    """Write a sentence beside the results."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _end_with_log(log: Path, name: str) -> None:
    say("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]))
    sys.exit(
        f"{name}: the installation failed (above; all of it in {log}). It needs a package index: behind a proxy set "
        "HTTPS_PROXY, with an index of your own PIP_INDEX_URL, then run this again."
    )
