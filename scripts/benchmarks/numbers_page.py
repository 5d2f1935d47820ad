"""The tables of connector/docs/numbers.md that come from kept figures.

`python -m scripts.benchmarks.numbers_page` renews them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.jobs import NAIVE, NODE, OURS
from scripts.benchmarks.records import FOLDER, markdown

PAGE = Path(__file__).parents[2] / "connector" / "docs" / "numbers.md"
REAL = ("rows, web servers", "this connector", "40 threads", "dynamics-web-api")
VIRTUAL = (
    "rows, web servers, work a row", "least time", "took", "ratio", "429", "end foreseen",
    "with bad rows: took", "ratio", "429", "end foreseen",
)  # fmt: skip
SERVICES = ("service", "together", "ours", "ours when they have left", "answered 429")
BAD = ", bad rows"

Run = Mapping[str, Any]


def tables() -> list[str]:
    """Return the tables as the page has them."""
    jobs = json.loads((FOLDER / "jobs.json").read_text(encoding="utf-8"))
    cells = json.loads((FOLDER / "governor-jobs.json").read_text(encoding="utf-8"))["cells"]
    return [_real(jobs["real"]["runs"]), _virtual(jobs["virtual"]["runs"]), _services(cells)]


def renewed(page: str) -> str:
    """Return the page with its tables as they are now, each in place of the one with the same head."""
    for table in tables():
        head = f"{table.splitlines()[0]}\n"
        before, there, rest = page.partition(head)
        if not there:
            raise ValueError(f"The page has no table {head}")
        page = f"{before}{table}\n{rest.partition(chr(10) * 2)[2]}"
    return page


def _real(runs: Sequence[Run]) -> str:
    by_cell: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_cell.setdefault(run["cell"], {})[run["client"]] = run
    return markdown(REAL, [_line(name, clients) for name, clients in by_cell.items()])


def _line(name: str, clients: Mapping[str, Run]) -> list[str]:
    times = [_seconds(clients[client]["took"]) if client in clients else "" for client in (OURS, NAIVE, NODE)]
    return [name.replace(", 1.2 s", ""), *times]


def _virtual(runs: Sequence[Run]) -> str:
    by_cell = {run["cell"]: run for run in runs}
    lines = []
    for name, run in by_cell.items():
        if not name.endswith(BAD):
            bad = by_cell.get(name + BAD)
            lines.append([name, _seconds(run["least"]), *_figures(run), *(_figures(bad) if bad else [""] * 4)])
    return markdown(VIRTUAL, lines)


def _figures(run: Run) -> list[str]:
    return [_seconds(run["took"]), f"{run['ratio']:.2f}", f"{run['refused'] / run['requests']:.2%}", _foreseen(run)]


def _services(cells: Sequence[Run]) -> str:
    names = ("together", "ours", "after")
    shares = [["" if cell[name] is None else f"{cell[name]:.1%}" for name in names] for cell in cells]
    return markdown(
        SERVICES, [[cell["name"], *line, f"{cell['share_429']:.2%}"] for cell, line in zip(cells, shares, strict=True)]
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "not finished"
    return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"


def _foreseen(run: Run) -> str:
    return "not known yet" if run["forecast_error"] is None else f"within {max(run['forecast_error'], 0.01):.0%}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
