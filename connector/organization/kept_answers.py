"""The answers of probes, kept per organization and caller: what a plan rests on, and when they are too old."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from connector.errors import InputError
from connector.organization.capture_model import AnswerFact, Name

OLD = timedelta(days=30)
"""After so long an answer is asked again."""
ASSUMED = {
    "actions_in_set": ("accepted", "documented", "a change set takes all that a close sends"),
    "draft_close": ("refused", "documented", "CloseQuote does not take a draft"),
    "drafts_block": ("yes", "documented", "drafts block the close of the opportunity"),
    "activity_id": ("honored", "assumed", "a close activity gets the id chosen for it"),
    "parts": ("1000", "documented", "a change set takes 1,000 parts"),
}
"""What a plan takes for true where nobody asked: the answer, how it is known, and as a sentence.

Sources: execute-batch-operations-using-web-api; *Close a quote* and *Close an opportunity as won or lost*."""


class KeptAnswers(BaseModel):
    """What one caller's probes answered in one organization, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    answers: Literal[1] = 1
    asked: AwareDatetime
    version: Name
    caller: Name
    rows: tuple[AnswerFact, ...]

    def value(self, question: str) -> str:
        """Return the answer to a question; empty where it was not answered."""
        values = {row.question: row.value for row in self.rows}
        value = values.get(question, "")
        return "" if value in ("unknown", "logic") else value

    def stale(self, now: datetime, version: str = "", caller: str = "") -> str:
        """Return why the answers should be asked again; empty while they are good."""
        if now - self.asked > OLD:
            return f"they are {(now - self.asked).days} days old"
        if version and version != self.version:
            return f"the organization is now version {version}, then it was {self.version}"
        return "another user asked" if caller and caller != self.caller else ""


_KNOWN = {
    "asked": "Asked of this organization",
    "documented": "Documented by Microsoft",
    "assumed": "Not documented, assumed",
}


def basis_data(kept_answers: KeptAnswers | None) -> list[dict[str, str]]:
    """Return what plans rest on with these answers: each fact, its value and how it is known, `on` which day asked."""
    basis = []
    for question, (value, source, sentence) in ASSUMED.items():
        if kept_answers and (answer := kept_answers.value(question)):
            basis.append({"fact": sentence, "value": answer, "known": "asked", "on": f"{kept_answers.asked:%Y-%m-%d}"})
        else:
            basis.append({"fact": sentence, "value": value, "known": source})
    return basis


def basis_text(kept_answers: KeptAnswers | None) -> str:
    """Return what plans rest on with these answers, in words: what was asked, what is documented, what is assumed."""
    basis, parts = basis_data(kept_answers), []
    for source, title in _KNOWN.items():
        facts = [
            each["fact"] if each["value"] == usual else f"not so: {each['fact']} ({each['value']})"
            for (usual, _, _), each in zip(ASSUMED.values(), basis, strict=True)
            if each["known"] == source
        ]
        if facts:
            day = f" ({kept_answers.asked:%Y-%m-%d})" if kept_answers and source == "asked" else ""
            parts.append(f"{title}{day}: {'; '.join(facts)}")
    return ". ".join(parts)


def read_answers(path: Path) -> KeptAnswers | None:
    """Return the answers in a file; None when there is none. Raises InputError for a file that is not as written."""
    try:
        return KeptAnswers.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"The answers in {path} cannot be read.", remedy="Delete the file, and ask again with `doctor --probe`."
        ) from error


def write_answers(path: Path, kept_answers: KeptAnswers) -> None:
    """Keep the answers in a file. Raises InputError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kept_answers.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"The answers cannot be kept in {path}: {error.strerror or error}.") from error
