"""`connector demo`: opportunities of an emulator are closed over HTTP, and a reader reads back what came of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from connector.assembly import connect
from connector.cli.close_view import show_preview, show_report
from connector.cli.demo_steps import (
    PROJECT_OPERATIONS,
    DemoStep,
    IndependentReader,
    choose,
    is_verified,
    run_steps,
    running_emulator,
)
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import examples
from connector.cli.run_options import json_option, verbose_option, wants_json
from connector.cli.screen import TextTable, print_json, say, show
from connector.clock import SystemClock
from connector.closing.close import Preview
from connector.closing.model import OrganizationMetadata, Report
from connector.closing.report import preview_data, report_data
from connector.settings.environment import load


@click.command(epilog=examples("demo", "demo --scenario project-operations", "demo --json"))
@click.option(
    "--scenario",
    type=click.Choice(("default", PROJECT_OPERATIONS)),
    default="default",
    help="What the emulator has: deals of Sales, or work-based opportunities of Project Operations too, shown here.",
)
@json_option
@verbose_option
def demo(*, scenario: str) -> int:
    """Close opportunities of a local emulator and check the result, in one go.

    Nothing is needed and nothing is left behind: the emulator serves made-up data from a temporary folder.
    """
    clock, steps = SystemClock(), dict[str, DemoStep]()
    with _temporary_folder() as folder, running_emulator(Path(folder), scenario) as ready:
        reader = IndependentReader(ready)
        with connect(load({}, ready.env_file)) as connection:
            where = sys.stderr if wants_json() else sys.stdout
            say(f"An emulated organization answers at {ready.url}, with data made up for it.", where)
            for step in run_steps(connection.organization, reader, choose(reader, scenario), clock):
                steps[step.name] = step
                if not wants_json():
                    _show(step, connection.organization.metadata())
    verified = is_verified(steps)
    if wants_json():
        print_json({"verified": verified, "url": ready.url, **{name: _data(step) for name, step in steps.items()}})
    else:
        click.echo("\nVerified: everything is as it should be." if verified else "\nNOT verified: see above.")
        say(f"Next, a close of your own: README.md, 'A first close', or `{_program()} docs administrator`.")
    return ExitCode.DONE if verified else ExitCode.FAILED


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is gone at the end; on Windows a virus scanner may still hold a file of it."""
    return tempfile.TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=sys.platform == "win32")


def _program() -> str:
    """Return what to type for this program: its name, or where it is if no shell finds it by its name."""
    beside = Path(sys.executable).parent / ("connector.exe" if sys.platform == "win32" else "connector")
    if shutil.which("connector") or not beside.exists():
        return "connector"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _show(step: DemoStep, metadata: OrganizationMetadata) -> None:
    click.echo(f"\n== {step.title}")
    if isinstance(step.shown, Preview):
        show_preview(step.shown, metadata, sys.stdout)
    elif isinstance(step.shown, Report):
        show_report(step.shown, metadata, sys.stdout)
    else:
        rows = tuple(
            (fact.name, str(fact.expected), str(fact.found), "yes" if fact.holds else "NO") for fact in step.shown
        )
        show(TextTable("Read back over HTTP", ("fact", "expected", "found", "holds"), rows), sys.stdout)


def _data(step: DemoStep) -> object:
    if isinstance(step.shown, Preview):
        return preview_data(step.shown)
    if isinstance(step.shown, Report):
        return report_data(step.shown)
    return [
        {"fact": fact.name, "expected": fact.expected, "found": fact.found, "holds": fact.holds} for fact in step.shown
    ]
