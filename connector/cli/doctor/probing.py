"""`connector doctor --probe`: asks by change sets that must fail, and keeps the answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import connect
from connector.assembly.asked_answers import answers_path
from connector.cli.failure_text import ExitCode
from connector.cli.screen import TextTable, print_json, say, show, tell
from connector.clock import Clock, SystemClock
from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.organization import Organization
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.metadata import BYPASS_PRIVILEGE
from connector.dataverse.reading import WebApi
from connector.errors import ConnectorError
from connector.organization.capture_model import AnswerFact
from connector.organization.capture_reading import caller_mark
from connector.organization.kept_answers import KeptAnswers, basis_text, read_answers, write_answers
from connector.organization.probes import QUESTIONS, Probes
from connector.organization.safe_requests import CHANGED, RowChange, changes
from connector.organization.sample_records import SampleRecords
from connector.settings.settings import Settings

ASK_AGAIN = "`connector doctor --probe OPPORTUNITY` asks, and changes nothing."
"""What to do about answers that are missing or old."""
_WARNING = (
    "About ten change sets are sent to {base_url} that cannot succeed: each asks something and ends in a write that is "
    "impossible, so the organization undoes all of it. {logic}Locks are held for a moment and numbers of a "
    "sequence may be used up. Before and after, all rows concerned are read and compared."
)
_RUNS = (
    "This user may not leave out the organization's own logic ({privilege} is missing): its synchronous plug-ins run "
    "before that, and what they send to other systems is not undone. "
)
_UNCHANGED = "Nothing changed: {} rows and their versions are as before."
_NOT_KEPT = "The answers are not kept: rows changed while it asked. Ask again, on a record that nobody works on."
_LEFT_OUT = "The organization's own synchronous logic is left out. "


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What was asked for: the opportunity (None: make one), the file for the answers besides, who agreed."""

    opportunity_id: UUID | None
    out: Path | None
    agreed: bool
    as_json: bool


def state_of_answers(settings: Settings, diagnosis: Diagnosis, clock: Clock) -> tuple[bool | None, str]:
    """Return whether the kept answers are good (None: never asked), and what plans rely on. Raises ConnectorError."""
    kept = read_answers(answers_path(settings))
    version, caller = diagnosis.version(), caller_mark(diagnosis.acting_user())
    if kept is None:
        return None, f"Never asked. Plans rely on this. {basis_text(None)}."
    if why := kept.stale(clock.now(), version, caller):
        return False, f"They should be asked again: {why}."
    return True, f"Plans rely on this. {basis_text(kept)}."


def probe(settings: Settings, request: ProbeRequest) -> int:
    """Ask, show the answers, keep them, and return the exit code; 1 when anything changed."""
    with connect(settings) as connection:
        diagnosis = connection.diagnosis
        user = diagnosis.acting_user()
        may_bypass = bool(diagnosis.held_privileges(user, [BYPASS_PRIVILEGE]))
        logic = _LEFT_OUT if may_bypass else _RUNS.format(privilege=BYPASS_PRIVILEGE)
        tell(_WARNING.format(base_url=connection.base_url, logic=logic))
        if not request.agreed and not _agrees():
            return ExitCode.REFUSED
        bypass = Bypass(("sync",)) if may_bypass else NO_BYPASS
        api = WebApi(connection.handler, replace(connection.api.endpoint, bypass=bypass))
        rows, answers, changed, left = _asked(connection.organization, api, request.opportunity_id, user)
        kept = KeptAnswers(
            asked=SystemClock().now(), version=diagnosis.version(), caller=caller_mark(user), rows=tuple(answers)
        )
    for path in () if changed else (answers_path(settings), request.out):
        if path is not None:
            write_answers(path, kept)
    _show(kept, rows, changed, left, as_json=request.as_json)
    return ExitCode.FAILED if changed or left else ExitCode.DONE


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on, so nothing was sent. Agree with --yes.")
    return click.confirm("Ask now?", default=False, err=True)


def _asked(
    organization: Organization, api: WebApi, opportunity_id: UUID | None, user: UUID
) -> tuple[int, list[AnswerFact], list[RowChange], list[str]]:
    """Return how many rows were compared, the answers, what changed, and what was made and could not be removed.

    A failure comes after what changed.
    """
    samples = SampleRecords(api)
    for sentence in samples.leftovers() if opportunity_id is None else ():
        tell(sentence)
    left: list[str] = []
    try:
        key = opportunity_id if opportunity_id is not None else samples.make()
        probes = Probes(api, organization, key)
        before = probes.state()
        try:
            answers = list(probes.answers())
        except ConnectorError:
            changed = [_line(change) for change in changes(before, probes.state(), user)]
            tell("\n".join(changed or [_UNCHANGED.format(len(before))]))
            raise
        differences = changes(before, probes.state(), user)
    finally:
        left = samples.remove()
        for sentence in left:
            tell(sentence)
    return len(before), answers, differences, left


def _line(change: RowChange) -> str:
    return f"{CHANGED[change.by_others]}: {change.text}"


def _show(kept: KeptAnswers, rows: int, changed: list[RowChange], left: list[str], *, as_json: bool) -> None:
    if as_json:
        answers = [{**row.model_dump(), "text": QUESTIONS[row.question]} for row in kept.rows]
        ours = bool(left) or not all(change.by_others for change in changed)
        status = "changed" if ours else "changed_by_others" if changed else "asked"
        print_json({"status": status, "rows_compared": rows, "changed": [*(change.text for change in changed), *left],
                    "answers": answers})  # fmt: skip
        return
    for change in changed:
        say(_line(change))
    cells = tuple((QUESTIONS[row.question], row.value, row.code) for row in kept.rows)
    show(TextTable("What the organization answered", ("question", "answer", "code"), cells), sys.stdout)
    say(_NOT_KEPT if changed else f"{_UNCHANGED.format(rows)} The answers are kept.")
