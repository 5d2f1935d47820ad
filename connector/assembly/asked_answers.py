"""What probes answered in this organization, for this caller, put to use in the settings."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from connector.closing.model import DraftPolicy
from connector.settings.settings import Settings

if TYPE_CHECKING:
    from connector.organization.kept_answers import KeptAnswers


def answers_path(settings: Settings) -> Path:
    """Return where the answers for the caller of these settings are kept; the name does not say who it is."""
    organization = str(settings.emulator.resolve()) if settings.emulator is not None else settings.url
    caller = settings.identities[0].client_id if settings.identities else ""
    mark = hashlib.sha256(f"{organization}\n{caller} {settings.impersonate or ''}".encode()).hexdigest()[:24]
    return settings.state / "answers" / f"{mark}.json"


def kept_capture_path(settings: Settings) -> Path:
    """Return where the last capture by the caller of these settings is kept."""
    path = answers_path(settings)
    return path.parent.with_name("captures") / path.name


def fresh_answers(settings: Settings, now: datetime) -> KeptAnswers | None:
    """Return the answers for the caller of these settings, unless they are too old. Raises InputError."""
    path = answers_path(settings)
    if not path.exists():
        return None
    from connector.organization.kept_answers import read_answers

    kept_answers = read_answers(path)
    return None if kept_answers is None or kept_answers.stale(now) else kept_answers


def with_answers(settings: Settings, now: datetime) -> Settings:
    """Return settings that follow the organization's answers: atomic or not, drafts directly, parts in a set."""
    kept_answers = fresh_answers(settings, now)
    if kept_answers is None:
        return settings
    directly = settings.drafts is DraftPolicy.ACTIVATE and kept_answers.value("draft_close") == "accepted"
    return replace(
        settings,
        atomic=settings.atomic and kept_answers.value("actions_in_set") != "refused",
        drafts=DraftPolicy.DIRECT if directly else settings.drafts,
        parts=int(parts) if (parts := kept_answers.value("parts")).isdigit() else settings.parts,
    )
