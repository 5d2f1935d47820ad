"""What a client's work costs its own process."""

from __future__ import annotations

import json
import resource
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
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(cost) + "\n")
