"""The command `scripts/bench clients`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from scripts.benchmarks import clients, startup
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import Spread, keep, markdown
from scripts.benchmarks.served import Served

Rounds = dict[str, list[Mapping[str, float]]]
PACKAGES = (
    "requests",
    "urllib3",
    "msal",
    "pydantic",
    "PowerPlatform-Dataverse-Client",
    "azure-identity",
    "dataverse-api",
)


def main(options: argparse.Namespace) -> int:
    """Close, read and start, round by round, the clients interleaved."""
    before = conditions(PACKAGES)
    rounds = 1 if options.quick else 5
    modules = clients.node_modules()
    skipped = [modules] if isinstance(modules, str) else []
    names = [name for name, program in clients.CLIENTS.items() if not (skipped and program.endswith(".js"))]
    closing: Rounds = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            closing[name].append(clients.close_once(name))
    reads: Rounds = {name: [] for name in names}

    def read(server: Served, token: str, first: str) -> None:
        for _ in range(rounds):
            for name in names:
                reads[name].append(clients.read_once(name, server, token, first))

    clients.reading(read)
    starts = startup.measure(2 * rounds + 1, None if isinstance(modules, str) else modules)
    tables = _tables(closing, reads, starts)
    data = {
        "benchmark": "clients",
        "conditions": before,
        "conditions_after": conditions(),
        "closing": _data(closing),
        "reading": _data(reads),
        "start": {name: spread.data() for name, spread in starts.items()},
        "skipped": skipped,
    }
    if options.keep:
        keep("clients", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else tables)
    return 0


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
