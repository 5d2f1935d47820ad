"""What a client's work costs its own process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def job() -> dict[str, Any]:
    """Return the job whose file is named on the command line."""
    data: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return data


def tell(work: Callable[[], int]) -> None:
    """Do the work, which returns how many rows it was about, and print its cost as JSON."""
    cpu, began = time.process_time(), time.perf_counter()
    rows = work()
    cost = {
        "rows": rows,
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - began,
        "peak_mb": peak_mb(),
    }
    sys.stdout.write(json.dumps(cost) + "\n")


def peak_mb() -> float:
    """Return the peak of this program's memory; `getrusage` would count that of the process it was started from, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
