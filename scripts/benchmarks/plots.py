"""The governor's curves as pictures. Needs matplotlib, which nothing else here does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.trial import BIN, OURS, PEERS, Figures

_COLOURS = dict(zip((OURS, *PEERS), ("#1b7837", "#999999", "#d6604d", "#4393c3"), strict=True))


def curves(folder: Path, figures: Sequence[Figures], names: Sequence[str]) -> list[Path]:
    """Draw answered requests per second over time for each of the named scenarios; returns the files."""
    import matplotlib as mpl  # noqa: PLC0415 - only here

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    mpl.rcParams["svg.hashsalt"] = "connector"  # the same data, the same file
    made = []
    for number, name in enumerate(names, 1):
        picture, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
        shown = [one for one in figures if one.name == name]
        times = [BIN * index / 60 for index in range(len(shown[0].ceiling))]
        axes.step(times, shown[0].ceiling, where="post", color="black", linewidth=1, label="ceiling")
        for one in shown:
            axes.plot(times, _smooth(one.curve), color=_COLOURS[one.rule], linewidth=1.4, label=_label(one))
        axes.set(title=name, xlabel="minutes", ylabel="answered per second", ylim=(0, None), xlim=(0, times[-1]))
        axes.legend(loc="lower right", fontsize=7)
        file = folder / f"governor-{number}.svg"
        picture.savefig(file, metadata={"Date": None})
        plt.close(picture)
        made.append(file)
    return made


def _smooth(curve: Sequence[float], over: int = 6) -> list[float]:
    """Return running means of a minute."""
    return [sum(curve[max(0, at - over + 1) : at + 1]) / (at + 1 - max(0, at - over + 1)) for at in range(len(curve))]


def _label(one: Figures) -> str:
    return f"{one.rule}: {one.ratio_to_ceiling:.0%} of the ceiling, {one.share_429:.2%} refused"
