"""Under which conditions something was measured: versions, processors, load."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version


def conditions(packages: Sequence[str] = ()) -> Mapping[str, object]:
    """Return the machine, its load over the last minutes, and the versions of what takes part."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
        "versions": {name: found for name in packages if (found := installed(name))},
    }


def installed(package: str) -> str:
    """Return the version of an installed package, empty when it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device-like file, read line by line
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
