"""`connector org`: what the organization tells of itself, kept as a file and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from connector.assembly import connect
from connector.assembly.asked_answers import fresh_answers, kept_capture_path
from connector.cli.failure_text import ExitCode
from connector.cli.lazy import FILE, CommandGroup, examples
from connector.cli.run_options import json_option, read_settings, run_options, wants_json
from connector.cli.screen import TextTable, print_json, say, show
from connector.clock import SystemClock


@click.group(cls=CommandGroup, epilog=examples("org capture --out contoso.json", "org diff before.json contoso.json"))
def org() -> None:
    """Read into a file what a close depends on in an organization."""


@org.command(epilog=examples("org capture --out contoso.json", "org capture --out contoso.json --volumes"))
@click.option("--out", type=FILE, required=True, help="The file; one of this organization is brought up to date.")
@click.option("--volumes", is_flag=True, help="Count opportunities by state and their quotes: pages of 5,000 rows.")
@run_options
def capture(*, out: Path, volumes: bool) -> int:
    """Read columns, status reasons, logic and limits into a file.

    Logic is plug-in steps, processes and flows. Only reads are sent, and nothing of a customer is kept.
    Each section says how much of it this user could see.
    """
    from connector.organization.capture_file import read_capture, write_capture
    from connector.organization.capture_model import SECTIONS, section, sorted_section
    from connector.organization.capture_reading import CaptureReading

    settings = read_settings()
    old = read_capture(out) if out.exists() else None
    with connect(settings) as connection:
        reading = CaptureReading(connection.api, SystemClock())
        kept_answers = fresh_answers(settings, SystemClock().now())
        answers = sorted_section(list(kept_answers.rows)) if kept_answers else None
        of: Literal["organization", "emulator"] = "organization" if connection.real else "emulator"
        new = reading.take(of, old=old, volumes=volumes, answers=answers)
    write_capture(out, new)
    kept_capture_path(settings).parent.mkdir(parents=True, exist_ok=True)
    write_capture(kept_capture_path(settings), new)
    parts = [(name, section(new, name)) for name in SECTIONS]
    if wants_json():
        counts = {name: {"read": part.read.value, "why": part.why, "rows": len(part.rows)} for name, part in parts}
        print_json({"capture": str(out), "of": new.of, "version": new.version, "sections": counts})
        return ExitCode.DONE
    cells = tuple((name, part.read.value.replace("_", " "), f"{len(part.rows):,}", part.why) for name, part in parts)
    show(TextTable(f"Capture of {connection.base_url}", ("section", "read", "rows", "why not all"), cells), sys.stdout)
    say(f"Written to {out}. Nothing was changed in the organization. What was not read wholly may hold more.")
    return ExitCode.DONE


@org.command(epilog=examples("org diff before.json after.json"))
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@json_option
def diff(*, old: Path, new: Path) -> int:
    """Show what changed between two captures, a line each.

    Rows that only one of the two could see count neither as added nor as removed.
    """
    from connector.organization.capture_file import differences, read_capture

    before, after = read_capture(old), read_capture(new)
    changes = list(differences(before, after))
    if wants_json():
        print_json({"old": str(old), "new": str(new), "differences": [each.data() for each in changes]})
        return ExitCode.DONE
    if before.organization != after.organization:
        say("These are captures of two organizations.")
    if before.caller != after.caller:
        say("Two users made the captures: what one of them cannot see may still be there.")
    for each in changes:
        say(each.line())
    say(f"{len(changes):,} {'difference' if len(changes) == 1 else 'differences'}.")
    return ExitCode.DONE
