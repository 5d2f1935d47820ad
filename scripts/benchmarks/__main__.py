"""The command `scripts/bench`: which benchmark to run, and where its results go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from scripts.benchmarks import (
    beside_command,
    clients_command,
    emulator_command,
    endpoint_command,
    flows_command,
    governor_command,
    jobs_command,
    rehearsal_command,
    scale_command,
    silence_command,
    truth_command,
    weekend_command,
)
from scripts.benchmarks.records import FOLDER

COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "governor": governor_command.main,
    "jobs": jobs_command.main,
    "emulator": emulator_command.main,
    "clients": clients_command.main,
    "scale": scale_command.main,
    "truth": truth_command.main,
    "beside": beside_command.main,
    "endpoint": endpoint_command.main,
    "flows": flows_command.main,
    "silence": silence_command.main,
    "weekend": weekend_command.main,
    "rehearsal": rehearsal_command.main,
}


def main() -> int:
    """Run one benchmark; returns the exit code: 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the connector beside others.")
    parser.add_argument("what", choices=[*COMMANDS, "all", "plots"])
    parser.add_argument("--quick", action="store_true", help="a reduced form")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    parser.add_argument(
        "--keep", action="store_true", help="write data, tables and plots to scripts/benchmarks/results"
    )
    parser.add_argument("--jobs", action="store_true", help="governor: jobs of a number of rows instead")
    parser.add_argument("--cells", action="store_true", help="governor: services that are otherwise, and neighbours")
    parser.add_argument("--ablate", action="store_true", help="governor: what each rule is worth")
    parser.add_argument("--clock", choices=["real", "virtual", "both"], default="both", help="jobs: which cells")
    parser.add_argument("--forever", action="store_true", help="truth: seeded random plans until stopped")
    parser.add_argument("--plugins", action="store_true", help="truth: with the emulator's example plug-ins at work")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (default: %(default)s)")
    parser.add_argument(
        "--rows",
        type=int,
        default=0,
        help="weekend: how many rows; jobs: only cells of at most so many per web server; "
        "rehearsal: one of so many rows, for its time and memory",
    )
    options = parser.parse_args()
    if options.what == "plots":
        from scripts.benchmarks.plots import draw

        draw(FOLDER)
        return 0
    if options.what == "all":
        return max(command(options) for command in COMMANDS.values())
    return COMMANDS[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
