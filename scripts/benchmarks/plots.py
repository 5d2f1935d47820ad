"""The kept results as pictures, legible on white and on black. Needs matplotlib, which nothing else here does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from scripts.benchmarks.trial import BIN, OURS, PEERS

_INK = "#7a828e"
"""Of all text and lines: as far from white as from black."""
_COLOURS = dict(zip((OURS, *PEERS), ("#2da44e", "#bf8700", "#e5534b", "#4184e4"), strict=True))
_FILES: Mapping[str, str] = {
    "documented limits": "governor-documented.svg",
    "limits drop": "governor-dropping.svg",
    "plug-ins slow": "governor-slowing.svg",
    "hidden limits": "governor-hidden.svg",
}


def draw(folder: Path) -> list[Path]:
    """Draw what `governor.json` and `clients.json` of the folder hold; returns the files."""
    plt = _matplotlib()
    governor = json.loads((folder / "governor.json").read_text(encoding="utf-8"))
    names = list(dict.fromkeys(one["name"] for one in governor["curves"]))
    made = [
        _curves(plt, [one for one in governor["curves"] if one["name"] == name], folder / _file(name)) for name in names
    ]
    clients = json.loads((folder / "clients.json").read_text(encoding="utf-8"))
    return [*made, _bars(plt, clients["closing"], folder / "clients.svg")]


def _matplotlib() -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "connector"  # the same data, the same file
    mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False
    mpl.rcParams["axes.facecolor"] = "none"
    for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
        mpl.rcParams[name] = _INK
    return plt


def _file(name: str) -> str:
    return next(file for start, file in _FILES.items() if name.startswith(start))


def _curves(plt: Any, shown: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """Draw how many requests were answered by when, a line for each rule, below what the ceiling allows."""
    picture, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    allowed = _sums(shown[0]["ceiling"])
    times = [BIN * index / 60 for index in range(len(allowed))]
    axes.plot(times, allowed, color=_INK, linewidth=1.2, linestyle="--", label="what the limits allow")
    for one in shown:
        axes.plot(times, _sums(one["curve"]), color=_COLOURS[one["rule"]], linewidth=1.8, label=_label(one))
    axes.set(xlabel="minutes", ylabel="requests answered so far", ylim=(0, None), xlim=(0, times[-1]))
    axes.yaxis.set_major_formatter(lambda value, _at: f"{value:,.0f}")
    axes.set_title(shown[0]["name"], fontsize=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8, frameon=False)
    return _save(plt, picture, file)


def _bars(plt: Any, closing: Mapping[str, Any], file: Path) -> Path:
    """Draw closes per second and processor time per close of each client, with the spread of the rounds."""
    picture, both = plt.subplots(1, 2, figsize=(8, 1.9), layout="constrained", sharey=True)
    names = list(closing)[::-1]
    for axes, what in zip(both, ("closes per second", "CPU ms per opportunity"), strict=True):
        figures = [closing[name][what] for name in names]
        medians = [one["median"] for one in figures]
        spread = [[one["median"] - one["least"] for one in figures], [one["most"] - one["median"] for one in figures]]
        colours = [_COLOURS[OURS] if name == OURS else _INK for name in names]
        bars = axes.barh(
            [_short(name) for name in names], medians, xerr=spread, color=colours, ecolor=_INK, capsize=2, height=0.6
        )
        digits = 0 if medians[0] > 10 else 2
        axes.bar_label(bars, [f"{one:,.{digits}f}" for one in medians], padding=9, fontsize=8, color=_INK)
        axes.set_title(what, fontsize=10)
        axes.set_xlim(0, 1.25 * max(one["most"] for one in figures))
        axes.tick_params(labelsize=8)
    return _save(plt, picture, file)


def _save(plt: Any, picture: Any, file: Path) -> Path:
    picture.savefig(file, metadata={"Date": None}, transparent=True)
    plt.close(picture)
    return file


def _short(name: str) -> str:
    return name.partition(" (")[0]


def _sums(curve: Sequence[float]) -> list[float]:
    """Return how many there were by each moment, of rates per second."""
    return [0.0, *accumulate(rate * BIN for rate in curve)]


def _label(one: Mapping[str, Any]) -> str:
    return f"{one['rule']}: {one['ratio_to_ceiling']:.0%} of the ceiling, {one['share_429']:.2%} refused"
