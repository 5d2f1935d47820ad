"""`connector bulk rehearse`: a plan worked off on a virtual clock, against a model of the organization."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from connector.bulk.planning import read_head, read_summary
from connector.bulk.words import BINDS, duration
from connector.cli.bulk.process import opened
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import FILE, INPUT, examples
from connector.cli.run_options import STORE_ONLY, bypass_options, read_settings, run_options, wants_json
from connector.cli.screen import TextTable, print_json, say, show
from connector.emulator.seeding.twin import TwinRefused, read_twin
from connector.emulator.stand_ins import LogicStub, all_stand_ins, read_stand_ins
from connector.errors import InputError
from connector.organization.capture_file import read_capture
from connector.rehearsal.rehearsal import MOST_PLAYED, Rehearsal
from connector.rehearsal.rehearsal_model import RowCost, cost_as_answered, cost_of_job, planned_shapes
from connector.rehearsal.rehearsal_report import ENTITLEMENT, RehearsalReport
from connector.settings.settings import Settings

LISTED = 10
"""Refused rows that are listed at a terminal."""


@click.command(
    epilog=examples(
        "bulk rehearse june.plan.jsonl --like contoso.json",
        "bulk rehearse june.plan.jsonl --like contoso.json --users 3 --learn pilot --out june.html",
    )
)
@click.argument("plan", type=INPUT)
@click.option("--like", type=INPUT, required=True, help="The capture of the organization: see `connector org capture`.")
@click.option(
    "--users", type=click.IntRange(1, 50), default=1, show_default=True, help="How many users share the work."
)
@click.option("--learn", metavar="JOB", help="Take work per row and web servers from a job that ran: a pilot.")
@click.option("--stand-ins", type=INPUT, help="What stands for steps and processes: see `connector emulator --like`.")
@click.option("--out", type=FILE, help="A page with the curve (.html).")
@bypass_options
@run_options
def rehearse(*, plan: Path, like: Path, users: int, learn: str | None, stand_ins: Path | None, out: Path | None) -> int:
    """Play a plan against a model of the organization.

    It says how long the plan takes, what it sets off and what is refused. The pipeline, the pacing
    and the ledger are those of a real run, on a virtual clock. Nothing is sent.
    """
    settings = read_settings(STORE_ONLY)
    head, capture, summary = read_head(plan), read_capture(like), read_summary(plan)
    measured, work = _measured(settings, learn, summary)
    stubs, gaps = _twin(like, stand_ins)
    if head.get("metadata") != capture.metadata:
        gaps.insert(0, "What changed between plan and capture: the organization's metadata moved.")
    every = max(1, math.ceil(int(str(summary.get("planned", 0))) / MOST_PLAYED["likely"]))
    rows = list(planned_shapes(plan, every))
    total = len(rows) if every == 1 else int(str(summary["planned"]))
    rehearsal = Rehearsal(capture, users, settings.bypass.kinds, measured, stubs)
    result = rehearsal.play(rows, total)
    report = RehearsalReport(plan, summary, total, result, rehearsal.limits(), users, work, gaps)
    if out is not None:
        report.write(out)
    if wants_json():
        print_json(report.data())
    else:
        _show(report, out)
    return ExitCode.DONE


def _show(report: RehearsalReport, out: Path | None) -> None:
    say("Rehearsed against a model, not in the organization. What it does not know:")
    for sentence in report.not_known():
        say(f"- {sentence}")
    result = report.result
    cells = tuple(
        (
            case.name, duration(case.seconds), f"{case.seconds_per_row:.2f} s", str(case.servers), f"{case.requests:,}",
            f"{case.throttled:,}", BINDS.get(case.binding, case.binding),
        )
        for case in result.cases
    )  # fmt: skip
    columns = ("case", "takes", "work per row", "servers", "requests", "turned away", "held by")
    users = f"{report.users} {'user' if report.users == 1 else 'users'}"
    show(TextTable(f"{report.rows:,} rows, {users}", columns, cells), sys.stdout)
    pairs = list(report.durations())
    servers = sorted({servers for _, servers, _ in pairs})
    lines = tuple(
        (str(users), *(duration(seconds) for each, _, seconds in pairs if each == users))
        for users in dict.fromkeys(each for each, _, _ in pairs)
    )
    heads = ("users", *(f"{count} {'server' if count == 1 else 'servers'}" for count in servers))
    show(TextTable("How long with more users and web servers", heads, lines), sys.stdout)
    share = " ".join(report.entitlement())
    say(
        f"{report.operations():,} requests count: {share} ({ENTITLEMENT:,} for a tenant, before its licenses add more)."
    )
    for line in result.effects.lines():
        say(f"Sets off: {line}")
    _show_refused(report)
    if out is not None:
        say(f"The page with the curve: {out}.")


def _show_refused(report: RehearsalReport) -> None:
    for name, count in report.planned_refusals().items():
        say(f"{count:,} rows of the plan are {name}: see {report.plan} for why.")
    result = report.result
    for cause, count in result.causes.most_common():
        say(f"{count:,} rows would be refused by {cause.by}: {cause.reason}")
    if result.rows:
        cells = tuple((str(number), key, refusal.by) for number, key, refusal in result.rows[:LISTED])
        show(
            TextTable(f"The first of {result.likely.refused:,} refused rows", ("row", "opportunity", "by"), cells),
            sys.stdout,
        )
    if result.unsure:
        say(f"{result.unsure:,} times a stand-in asks for what the plan does not know: whether it refuses is not told.")


def _twin(like: Path, stand_ins: Path | None) -> tuple[dict[str, LogicStub], list[str]]:
    """Return what stands for each step and process, and what the capture could not see. Raises InputError."""
    try:
        twin = read_twin(like)
        every = all_stand_ins(twin, read_stand_ins(stand_ins, twin) if stand_ins else {})
    except TwinRefused as error:
        raise InputError(str(error)) from error
    return every, [gap for gap in twin.gaps if not gap.startswith(("volumes", "answers"))]


def _measured(settings: Settings, job: str | None, summary: Mapping[str, object]) -> tuple[RowCost | None, str]:
    """Return the work per row as a job or rows that were asked told it, and which of them."""
    if job:
        with opened(settings) as ledger:
            return cost_of_job(ledger, job), "job"
    cost = cost_as_answered(summary)
    return cost, "inferred" if cost is None else "asked"
