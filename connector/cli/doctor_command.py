"""`connector doctor`: what is well, and what to do about the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import connect
from connector.cli.doctor.checks import Check, Verdict, examine
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import examples
from connector.cli.record_id import opportunity_id
from connector.cli.run_options import read_settings, run_options, yes_option
from connector.cli.screen import colored, legible, print_json, room
from connector.clock import SystemClock
from connector.settings.settings import Settings

_MARKS = {Verdict.OK: "ok     ", Verdict.WARNING: "warning", Verdict.FAILED: "FAILED ", Verdict.SKIPPED: "skipped"}
_COLORS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red", Verdict.SKIPPED: "bright_black"}


@click.command(
    epilog=examples("doctor", "doctor --env-file production.env", "doctor --probe ID", "doctor --make-one --out a.json")
)
@click.option(
    "--probe",
    "asked_on",
    metavar="OPPORTUNITY",
    callback=lambda _context, _option, text: opportunity_id(text) if text else None,
    help="Ask by change sets that must fail, on this open opportunity with a draft and an active quote.",
)
@click.option("--make-one", is_flag=True, help="Make an opportunity to ask on, in a sandbox, and remove it again.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the answers to this file too.")
@yes_option
@run_options
def doctor(
    *, asked_on: UUID | None, make_one: bool, out: Path | None, yes: bool, as_json: bool, env_file: Path | None
) -> int:
    """Check settings, sign-in, privileges and what the organization offers.

    Nothing is changed. Exit code 1 when something must be set right before closing works. With --probe or --make-one
    it asks what the documents leave open, by writes that the organization undoes, and keeps the answers.
    """
    if asked_on is not None and make_one:
        raise click.UsageError("--probe names an opportunity and --make-one makes one: give one of the two.")
    if asked_on is None and not make_one:
        healthy = examined(lambda: read_settings(env_file), as_json=as_json)
        return ExitCode.DONE if healthy else ExitCode.FAILED
    from connector.cli.doctor.probing import ProbeRequest, probe

    return probe(read_settings(env_file), ProbeRequest(asked_on, out, yes, as_json))


def examined(read: Callable[[], Settings], *, as_json: bool = False) -> bool:
    """Show the checks of the settings one by one, and return whether none failed."""
    checks = []
    for check in examine(read, connect, SystemClock()):
        checks.append(check)
        if not as_json:
            _show(check)
    healthy = all(check.verdict is not Verdict.FAILED for check in checks)
    if as_json:
        print_json({"status": "healthy" if healthy else "failed", "checks": [asdict(check) for check in checks]})
    return healthy


def _show(check: Check) -> None:
    mark = _MARKS[check.verdict]
    remedy = f" {check.remedy}" if check.remedy and check.verdict is not Verdict.OK else ""
    line = legible(f"{check.name}: {check.sentence}{remedy}")
    if sys.stdout.isatty():
        indent = " " * (len(mark) + 2)
        line = click.wrap_text(line, room(sys.stdout) - 1, indent, indent).lstrip()
    styled = click.style(mark, fg=_COLORS[check.verdict]) if colored(sys.stdout) else mark
    click.echo(f"{styled}  {line}")
