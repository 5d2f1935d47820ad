"""The command `scripts/bench emulator`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from scripts.benchmarks import emulator
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import Spread, keep, markdown
from scripts.benchmarks.rivals import Rival, azurite, moto

COMPARED = {
    # what is compared: ours, theirs, unit
    "ready cold, ms": ("ready cold", "ready cold"),
    "single-row reads per second and core": ("single-row reads per second and core, over TLS", "reads per core"),
    "actions or writes per second and core": ("close actions per second and core, over TLS", "writes per core"),
    "reset, ms": ("reset", "reset"),
    "memory, MB": ("memory with 300 opportunities", "memory"),
}


def main(options: argparse.Namespace) -> int:
    """Measure round by round, ours and theirs interleaved; returns 1 when a target is missed."""
    before = conditions(("httptools", "uvloop", "cryptography", "moto"))
    rivals = [] if options.quick else [moto, azurite]
    ours: list[Mapping[str, float]] = []
    theirs: dict[str, list[Mapping[str, float]]] = {}
    skipped: list[str] = []
    for number in range(1 if options.quick else 3):
        ours.append(emulator.once())
        for make in tuple(rivals):
            try:
                name, measured = _measured(make())
            except (RuntimeError, OSError) as error:
                skipped.append(f"{error} (round {number + 1})")
                rivals.remove(make)
            else:
                theirs.setdefault(name, []).append(measured)
    figures = emulator.summary(ours)
    others = {name: emulator.summary(rounds) for name, rounds in theirs.items()}
    missed = [one.name for one in emulator.TARGETS if one.missed(figures[one.name].median)]
    data = {
        "benchmark": "emulator",
        "conditions": before,
        "conditions_after": conditions(),
        "figures": {name: spread.data() for name, spread in figures.items()},
        "others": {name: {key: one.data() for key, one in found.items()} for name, found in others.items()},
        "skipped": skipped,
        "missed": missed,
    }
    tables = _tables(figures, others)
    if options.keep:
        keep("emulator", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{tables}\nmissed: {missed or 'nothing'}\n")
    sys.stdout.writelines(f"left out: {one}\n" for one in skipped if not options.json)
    return 1 if missed else 0


def _measured(rival: Rival | str) -> tuple[str, Mapping[str, float]]:
    """Return the name of another emulator and what was measured; raises RuntimeError with why there is nothing."""
    if isinstance(rival, str):
        raise RuntimeError(rival)  # noqa: TRY004 - it is the reason, and no wrong type
    try:
        return rival.name, emulator.rival_once(rival)
    except (RuntimeError, OSError) as error:
        raise RuntimeError(f"{rival.name}: {error}") from error


def _tables(figures: Mapping[str, Spread], others: Mapping[str, Mapping[str, Spread]]) -> str:
    rows: list[Sequence[str]] = [
        (one.name, f"{'≥' if one.least else '≤'} {one.bound:,g} {one.unit}", figures[one.name].text())
        for one in emulator.TARGETS
    ]
    text = markdown(("figure", "target", "median (least to most)"), rows)
    if others:
        names = list(others)
        compared = [
            (
                label,
                figures[ours].text(),
                *(others[name][their].text() if their in others[name] else "" for name in names),
            )
            for label, (ours, their) in COMPARED.items()
        ]
        text += "\n" + markdown(("beside others", "this emulator, TLS", *(f"{name}, HTTP" for name in names)), compared)
    return text
