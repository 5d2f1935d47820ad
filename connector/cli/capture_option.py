"""`--capture`: what plans set off, by a capture of the organization."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.assembly import Connection
from connector.assembly.asked_answers import kept_capture_path
from connector.cli.screen import say
from connector.errors import InputError
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.organization.capture_model import Capture
    from connector.organization.side_effects import SideEffects

capture_option = click.option(
    "--capture",
    "capture_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Say what would be set off, by this capture; without it by the last one of `connector org capture`.",
)


def side_effects(settings: Settings, connection: Connection, file: Path | None) -> SideEffects | None:
    """Return what counts the side effects of plans; None where there is no capture. Raises InputError.

    What makes a capture less than it seems is said: another user, another time, an emulator.
    """
    from connector.dataverse.diagnosis import Diagnosis
    from connector.dataverse.webapi import Endpoint
    from connector.organization.capture_file import read_capture
    from connector.organization.capture_reading import caller_mark, read_metadata_stamp
    from connector.organization.side_effects import SideEffects

    path = file or kept_capture_path(settings)
    if file is None and not path.exists():
        return None
    capture = read_capture(path)
    diagnosis = Diagnosis(connection.handler, connection.base_url, impersonate=settings.impersonate)
    signed_in = diagnosis.who_am_i()
    if capture.organization != str(signed_in.organization_id):
        raise InputError(
            f"{path} was taken of another organization than {connection.base_url}.",
            remedy="Take one of this: `connector org capture --out FILE`.",
        )
    user = signed_in.user_id if settings.impersonate is None else diagnosis.acting_user()
    stamp = read_metadata_stamp(connection.handler, Endpoint(connection.base_url, settings.impersonate))
    for note in _notes(capture, caller_mark(user), stamp, real=connection.real):
        say(f"The capture {note}", sys.stderr)
    return SideEffects(capture, settings.bypass.kinds)


def _notes(capture: Capture, caller: str, stamp: str, *, real: bool) -> list[str]:
    day = f"of {capture.taken:%Y-%m-%d}"
    notes = []
    if capture.caller != caller:
        notes.append(f"{day} was taken by another user, who may see more or less.")
    if stamp and capture.metadata != stamp:
        notes.append(f"{day} is older than the last change of the organization's metadata.")
    if real and capture.of == "emulator":
        notes.append("was taken of an emulator, and says nothing of this organization.")
    return notes
