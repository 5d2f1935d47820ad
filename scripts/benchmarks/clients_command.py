"""The command `scripts/bench clients`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks import clients, startup
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import Spread, keep, markdown
from scripts.benchmarks.served import Served

Rounds = dict[str, list[Mapping[str, float]]]
PACKAGES = ("requests", "urllib3", "msal", "pydantic", "PowerPlatform-Dataverse-Client", "azure-identity")
"""Of this environment; dynamics-web-api and dataverse-api have environments of their own, of a fixed version."""


def main(options: argparse.Namespace) -> int:
    """Close, read and start, round by round, the clients interleaved."""
    before = conditions(PACKAGES)
    rounds = 1 if options.quick else 5
    modules = clients.node_modules()
    python = clients.dataverse_api()
    skipped = [one for one in (modules, python) if isinstance(one, str)]
    readers = [name for name, program in clients.READERS.items() if _there(program, modules, python)]
    names = [name for name in readers if name in clients.CLIENTS]
    closing: Rounds = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            closing[name].append(clients.close_once(name))
    reads: Rounds = {name: [] for name in readers}

    def read(server: Served, token: str, first: str) -> None:
        for _ in range(rounds):
            for name in readers:
                reads[name].append(clients.read_once(name, server, token, first))

    clients.reading(read)
    starts = startup.measure(2 * rounds + 1, None if isinstance(modules, str) else modules)
    after = conditions()
    tables = _tables(closing, reads, starts) + _said(before, after, rounds)
    data = {
        "benchmark": "clients",
        "conditions": before,
        "conditions_after": after,
        "rounds": rounds,
        "closing": _data(closing),
        "reading": _data(reads),
        "start": {name: spread.data() for name, spread in starts.items()},
        "skipped": skipped,
    }
    if options.keep:
        keep("clients", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else tables)
    return 0


def _there(program: str, modules: Path | str, python: Path | str) -> bool:
    """Return whether a client's program can be run here."""
    own = {"dynamics_web_api.js": modules, "python_dataverse_api.py": python}
    return not isinstance(own.get(program), str)


def _said(before: Mapping[str, Any], after: Mapping[str, Any], rounds: int) -> str:
    """Return under which conditions it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in before["versions"].items())
    machine = f"{before['processor']}, {before['processors']} processors, {before['system']}"
    return (
        f"\nMedians (least to most) of {rounds} rounds, the clients one after the other in each. Python "
        f"{before['python']}, {versions}; {machine}; "
        f"load {before['load'][0]} at the start, {after['load'][0]} at the end; {before['at']}.\n"
    )


def _data(rounds: Rounds) -> Mapping[str, object]:
    return {name: {key: one.data() for key, one in _spreads(found).items()} for name, found in rounds.items()}


def _spreads(found: list[Mapping[str, float]]) -> Mapping[str, Spread]:
    return {key: Spread(tuple(one[key] for one in found)) for key in found[0]}


def _tables(closing: Rounds, reads: Rounds, starts: Mapping[str, Spread]) -> str:
    text = []
    for title, rounds in (("closing", closing), ("reading", reads)):
        heads = list(next(iter(rounds.values()))[0])
        rows = [(name, *(_spreads(found)[key].text(2) for key in heads)) for name, found in rounds.items()]
        text.append(markdown((title, *heads), rows))
    text.append(markdown(("starting", "CPU ms"), [(name, spread.text(0)) for name, spread in starts.items()]))
    return "\n".join(text)
