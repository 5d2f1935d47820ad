"""Results as files: raw data as JSON, tables as Markdown, both under `results`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there


def scratch() -> Path | None:
    """Return where files are to be that a disk's time is no part of; None for the usual place."""
    return _MEMORY if _MEMORY.is_dir() else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing, in order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median."""
        return statistics.median(self.values)

    def text(self, digits: int = 1) -> str:
        """Return the median with least and most."""
        least, most = min(self.values), max(self.values)
        return f"{self.median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {"median": self.median, "least": min(self.values), "most": max(self.values), "values": list(self.values)}


def keep(name: str, data: Mapping[str, object], tables: str = "") -> None:
    """Write `name.json`, and `name.md` where there are tables."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if tables:
        (FOLDER / f"{name}.md").write_text(tables, encoding="utf-8")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"
