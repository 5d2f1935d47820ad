"""What the doctor tells of each thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    """Closing works, but something should be looked at."""
    FAILED = "failed"
    """Closing will not work until this is set right."""
    SKIPPED = "skipped"
    """Not looked at, because something it needs failed, or because it cannot be seen from here."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, the verdict, a sentence, and what to do when it is not well."""

    name: str
    verdict: Verdict
    sentence: str
    remedy: str = ""
