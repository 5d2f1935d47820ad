"""`connector bulk rehearse`: a plan worked off on a virtual clock, against a model of the organization."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from connector.bulk.planning import read_head
from connector.bulk.status import status_data
from connector.bulk.words import duration
from connector.cli.bulk.process import opened
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import examples
from connector.cli.run_options import bypass_options, read_settings, run_options
from connector.cli.screen import TextTable, print_json, say, show
from connector.emulator.seeding.twin import read_twin
from connector.errors import InputError
from connector.organization.capture_file import read_capture
from connector.rehearsal.rehearsal import NOT_KNOWN, Learned
from connector.rehearsal.rehearsal import rehearse as rehearsed
from connector.rehearsal.rehearsal_model import plan_summary, planned_shapes
from connector.settings.settings import Settings

_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.command(
    epilog=examples(
        "bulk rehearse june.plan.jsonl --like contoso.json",
        "bulk rehearse june.plan.jsonl --like contoso.json --users 3 --learn pilot",
    )
)
@click.argument("plan", type=_FILE)
@click.option("--like", type=_FILE, required=True, help="The capture of the organization: see `connector org capture`.")
@click.option(
    "--users", type=click.IntRange(1, 50), default=1, show_default=True, help="How many users share the work."
)
@click.option("--learn", metavar="JOB", help="Take work per row and web servers from a job that ran: a pilot.")
@bypass_options
@run_options
def rehearse(*, plan: Path, like: Path, users: int, learn: str | None, as_json: bool, env_file: Path | None) -> int:
    """Say how long a plan takes, worked off on a virtual clock.

    The pipeline, the pacing and the ledger are those of a real run; the organization is a model. Nothing is sent.
    """
    settings = read_settings(env_file)
    read_head(plan)
    capture, summary, rows = read_capture(like), plan_summary(plan), list(planned_shapes(plan))
    learned = _learned(settings, learn) if learn else None
    cases = rehearsed(rows, capture, users=users, bypass=settings.bypass.kinds, learned=learned)
    not_known = [*(NOT_KNOWN[2:] if learned else NOT_KNOWN), *_gaps(like)]
    if as_json:
        data = {"rehearsed": "against a model", "not_known": not_known, "plan": str(plan), "rows": len(rows)}
        print_json({**data, "users": users, "cases": [case.data() for case in cases], "summary": summary})
        return ExitCode.DONE
    say("Rehearsed against a model, not in the organization. What it does not know:")
    for sentence in not_known:
        say(f"- {sentence}")
    cells = tuple(
        (
            case.name, duration(case.seconds), f"{case.seconds_per_row:.2f} s", str(case.servers), f"{case.requests:,}",
            f"{case.throttled:,}", case.binding,
        )
        for case in cases
    )  # fmt: skip
    columns = ("case", "takes", "work per row", "servers", "requests", "turned away", "held by")
    show(TextTable(f"{len(rows):,} rows, {users} {'user' if users == 1 else 'users'}", columns, cells), sys.stdout)
    say(f"Writes, of which each counts towards the entitlement: {summary.get('steps', 0):,}.")
    refused = {name: count for name in ("refused", "failed") if (count := summary.get(name))}
    for name, count in refused.items():
        say(f"{count:,} rows of the plan are {name}: see {plan} for why.")
    for flow in _flows(summary):
        say(f"Sets off: {flow['runs']:,} runs of the flow '{flow['name']}'.")
    return ExitCode.DONE


def _gaps(like: Path) -> list[str]:
    return [gap for gap in read_twin(like).gaps if not gap.startswith(("volumes", "answers"))]


def _flows(summary: object) -> list[dict[str, object]]:
    effects = summary.get("side_effects") if isinstance(summary, dict) else None
    return list(effects["flows"]) if isinstance(effects, dict) else []


def _learned(settings: Settings, name: str) -> Learned:
    """Return work per row and servers of a job that ran. Raises InputError where it did not tell."""
    with opened(settings) as ledger:
        governor = status_data(ledger, ledger.job(name)).get("governor")
    lanes = governor.get("lanes") if isinstance(governor, dict) else None
    lanes_that_tell = [lane for lane in lanes or [] if lane.get("seconds_per_row")]
    if not lanes_that_tell:
        raise InputError(
            f"The job {name} did not tell what a row takes: it closed too few rows, or is of another version.",
            remedy="Run a pilot of a thousand rows, then rehearse with --learn.",
        )
    seconds = sum(float(lane["seconds_per_row"]) for lane in lanes_that_tell) / len(lanes_that_tell)
    return Learned(seconds, max(int(lane["servers"]) for lane in lanes_that_tell))
