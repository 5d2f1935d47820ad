"""`--capture`: what plans set off, by a capture of the organization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.assembly import Connection
from connector.assembly.asked_answers import kept_capture_path
from connector.cli.lazy import FILE
from connector.cli.screen import tell
from connector.closing.close import Preview
from connector.closing.model import Plan, Refusal
from connector.errors import InputError

if TYPE_CHECKING:
    from connector.organization.capture_model import Capture
    from connector.organization.side_effects import SideEffects

_AND = "+"
"""Between the digest of a plan's steps and that of what they set off."""

capture_option = click.option(
    "--capture",
    "capture_file",
    type=FILE,
    help="Say what would be set off, by this capture; without it by the last one of `connector org capture`.",
)


def side_effects(connection: Connection, file: Path | None) -> SideEffects | None:
    """Return what counts the side effects of plans; None where there is no capture. Raises InputError.

    What makes a capture less than it seems is said: another user, another time, an emulator.
    """
    from connector.organization.capture_file import read_capture
    from connector.organization.capture_reading import caller_mark, read_metadata_stamp
    from connector.organization.side_effects import SideEffects

    settings = connection.settings
    path = file or kept_capture_path(settings)
    if file is None and not path.exists():
        return None
    capture = read_capture(path)
    signed_in = connection.diagnosis.who_am_i()
    if capture.organization != str(signed_in.organization_id):
        raise InputError(
            f"{path} was taken of another organization than {connection.base_url}.",
            remedy="Take one of this: `connector org capture --out FILE`.",
        )
    user = signed_in.user_id if settings.impersonate is None else connection.diagnosis.acting_user()
    stamp = read_metadata_stamp(connection.api)
    for note in _notes(capture, caller_mark(user), stamp, real=connection.real):
        tell(f"The capture {note}")
    return SideEffects(capture, settings.bypass.kinds)


def with_effects(preview: Preview, effects: SideEffects) -> Preview:
    """Return a preview whose plan is named by its steps and by what they set off; `effects` counts that."""
    if not isinstance(preview.verdict, Plan) or not preview.verdict.steps:
        return preview
    effects.add(preview.verdict, preview.snapshot)
    return replace(preview, verdict=replace(preview.verdict, digest=f"{preview.verdict.digest}{_AND}{effects.digest}"))


def steps_of(digest: str, connection: Connection, look: Callable[[], Preview]) -> tuple[str, Refusal | None]:
    """Return the part of a digest that names a plan's steps, and a refusal where they set off something else now.

    What they set off is told by the last capture. Raises InputError where there is none.
    """
    steps, _, approved = digest.partition(_AND)
    if not approved:
        return steps, None
    effects = side_effects(connection, None)
    if effects is None:
        raise InputError(
            "The digest names what the plan sets off, by a capture that is not here; nothing was changed.",
            remedy="Take one: `connector org capture --out FILE`. Then plan again.",
        )
    now = with_effects(look(), effects).verdict
    if not isinstance(now, Plan) or not now.steps or now.digest.partition(_AND)[2] == approved:
        return steps, None
    reason = f"What it sets off is no longer as plan {digest} says: it is {now.digest}. Review it."
    return steps, Refusal(now.opportunity_id, "plan_changed", reason)


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
