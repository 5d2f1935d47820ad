"""`connector doctor`: what is well, and what to do about the rest.

With --probe or --make-one it asks by change sets that must fail, and keeps the answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import Connection, connect
from connector.assembly.asked_answers import answers_path
from connector.cli.doctor_checks import (
    Check,
    Verdict,
    examine_clock,
    examine_limits,
    examine_offer,
    examine_privileges,
    examine_what_runs,
    of_failure,
)
from connector.cli.failure_text import ExitCode
from connector.cli.intent_options import opportunity_id
from connector.cli.lazy import FILE, examples
from connector.cli.run_options import read_settings, require_terminal, run_options, wants_json, yes_option
from connector.cli.screen import TextTable, colored, legible, print_json, room, say, show, tell
from connector.clock import Clock, SystemClock
from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.organization import Organization
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.metadata import BYPASS_PRIVILEGE
from connector.dataverse.reading import WebApi
from connector.errors import ConnectorError, Forbidden, SettingsError, SignInError, Unauthorized
from connector.organization.capture_model import AnswerFact
from connector.organization.capture_reading import caller_mark
from connector.organization.kept_answers import KeptAnswers, basis_text, read_answers, write_answers
from connector.organization.probes import QUESTIONS, Probes, SampleRecords
from connector.organization.safe_requests import CHANGED, RowChange, changes
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
@click.option("--out", type=FILE, help="Write the answers to this file too.")
@yes_option
@run_options
def doctor(*, asked_on: UUID | None, make_one: bool, out: Path | None, yes: bool) -> int:
    """Check settings, sign-in, privileges and what the organization offers.

    Nothing is changed. Exit code 1 when something must be set right before closing works. With --probe or --make-one
    it asks what the documents leave open, by writes that the organization undoes, and keeps the answers.
    """
    if asked_on is not None and make_one:
        raise click.UsageError("--probe names an opportunity and --make-one makes one: give one of the two.")
    if asked_on is None and not make_one:
        healthy = examined(read_settings)
        return ExitCode.DONE if healthy else ExitCode.FAILED
    return probe(read_settings(), asked_on, out, agreed=yes)


def examined(read: Callable[[], Settings]) -> bool:
    """Show the checks of the settings one by one, and return whether none failed."""
    checks = []
    for check in examine(read, connect, SystemClock()):
        checks.append(check)
        if not wants_json():
            _show(check)
    healthy = all(check.verdict is not Verdict.FAILED for check in checks)
    if wants_json():
        print_json({"status": "healthy" if healthy else "failed", "checks": [asdict(check) for check in checks]})
    return healthy


ASK_AGAIN = "`connector doctor --probe OPPORTUNITY` asks, and changes nothing."
"""What to do about answers that are missing or old."""


def examine(load: Callable[[], Settings], connect: Callable[[Settings], Connection], clock: Clock) -> Iterator[Check]:
    """Yield the findings one by one as they are made; nothing is changed anywhere, and no failure leaves this."""
    try:
        settings = load()
        connection = connect(settings)
    except SettingsError as error:
        for problem in error.message.splitlines():
            yield Check("settings", Verdict.FAILED, problem, error.remedy)
        yield from _skipped("sign-in", "organization", "application user", because="the settings are not right")
        return
    yield Check("settings", Verdict.OK, f"Complete, for {settings.url}.")
    try:
        yield from _examine_organization(connection, clock)
    finally:
        connection.close()


def _examine_organization(connection: Connection, clock: Clock) -> Iterator[Check]:
    settings, diagnosis = connection.settings, connection.diagnosis
    try:
        signed_in = diagnosis.who_am_i()
    except ConnectorError as error:
        yield from kept_out(error)
        return
    yield Check("sign-in", Verdict.OK, "A token was given and accepted.")
    yield Check("organization", Verdict.OK, f"Reached {connection.base_url}, id {signed_in.organization_id}.")
    yield Check("application user", Verdict.OK, f"Known there as user {signed_in.user_id}.")
    yield from _examine_others(connection)
    yield from examine_privileges(diagnosis, impersonating=signed_in.user_id if settings.impersonate else None)
    yield from examine_offer(diagnosis, connection.organization, settings.close_action)
    yield from examine_what_runs(connection, clock)
    yield examine_clock(signed_in, clock)
    yield examine_limits(signed_in)
    yield _examine_answers(settings, diagnosis, clock)


def _examine_others(connection: Connection) -> Iterator[Check]:
    """Yield a finding for each further identity: bulk work is shared out to all of them."""
    for client in connection.clients[1:]:
        name = f"identity {client.name}"
        try:
            user = Diagnosis(
                client.handler, connection.base_url, impersonate=connection.settings.impersonate
            ).who_am_i()
        except ConnectorError as error:
            yield of_failure(name, Verdict.FAILED, error)
        else:
            yield Check(name, Verdict.OK, f"Known there as user {user.user_id}.")


def kept_out(error: ConnectorError) -> Iterator[Check]:
    """Yield the findings when not even the first question was answered: how far it came, and what was in the way."""
    names = ("sign-in", "organization", "application user")
    if isinstance(error, SignInError | Unauthorized):
        reached = 0
    elif isinstance(error, Forbidden):
        yield Check(names[0], Verdict.OK, "A token was given and accepted.")
        yield Check(names[1], Verdict.OK, "Reached.")
        reached = 2
    else:
        yield Check(names[0], Verdict.SKIPPED, "Not looked at: the organization was not reached.")
        reached = 1
    yield of_failure(names[reached], Verdict.FAILED, error)
    yield from _skipped(
        *names[reached + 1 :], "privileges", "status reasons", "messages", because=f"{names[reached]} failed"
    )


def _examine_answers(settings: Settings, diagnosis: Diagnosis, clock: Clock) -> Check:
    """Say what plans rest on here, and whether it should be asked again."""
    try:
        answers = read_answers(answers_path(settings))
        why = answers.stale(clock.now(), diagnosis.version(), caller_mark(diagnosis.acting_user())) if answers else ""
    except ConnectorError as error:
        return Check("answers", Verdict.WARNING, error.message, error.remedy)
    if answers is None:
        return Check("answers", Verdict.SKIPPED, f"Never asked. Plans rely on this. {basis_text(None)}.", ASK_AGAIN)
    if why:
        return Check("answers", Verdict.WARNING, f"They should be asked again: {why}.", ASK_AGAIN)
    return Check("answers", Verdict.OK, f"Plans rely on this. {basis_text(answers)}.")


def _skipped(*names: str, because: str) -> Iterator[Check]:
    yield from (Check(name, Verdict.SKIPPED, f"Not looked at: {because}.") for name in names)


def _show(check: Check) -> None:
    mark = _MARKS[check.verdict]
    remedy = f" {check.remedy}" if check.remedy and check.verdict is not Verdict.OK else ""
    line = legible(f"{check.name}: {check.sentence}{remedy}")
    if sys.stdout.isatty():
        indent = " " * (len(mark) + 2)
        line = click.wrap_text(line, room(sys.stdout) - 1, indent, indent).lstrip()
    styled = click.style(mark, fg=_COLORS[check.verdict]) if colored(sys.stdout) else mark
    click.echo(f"{styled}  {line}")


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


def probe(settings: Settings, opportunity_id: UUID | None, out: Path | None, *, agreed: bool) -> int:
    """Ask on the opportunity (None: make one), show the answers, keep them (in `out` too), and return the exit code.

    It is 1 when anything changed.
    """
    with connect(settings) as connection:
        diagnosis = connection.diagnosis
        user = diagnosis.acting_user()
        may_bypass = bool(diagnosis.held_privileges(user, [BYPASS_PRIVILEGE]))
        logic = _LEFT_OUT if may_bypass else _RUNS.format(privilege=BYPASS_PRIVILEGE)
        tell(_WARNING.format(base_url=connection.base_url, logic=logic))
        if not agreed:
            require_terminal("nothing was sent")
            if not click.confirm("Ask now?", default=False, err=True):
                return ExitCode.REFUSED
        bypass = Bypass(("sync",)) if may_bypass else NO_BYPASS
        api = WebApi(connection.handler, replace(connection.api.endpoint, bypass=bypass))
        rows, answers, changed, left = _answers(connection.organization, api, opportunity_id, user)
        kept_answers = KeptAnswers(
            asked=SystemClock().now(), version=diagnosis.version(), caller=caller_mark(user), rows=tuple(answers)
        )
    for path in () if changed else (answers_path(settings), out):
        if path is not None:
            write_answers(path, kept_answers)
    _show_answers(kept_answers, rows, changed, left)
    return ExitCode.FAILED if changed or left else ExitCode.DONE


def _answers(
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
            changed = [_change_words(change) for change in changes(before, probes.state(), user)]
            tell("\n".join(changed or [_UNCHANGED.format(len(before))]))
            raise
        differences = changes(before, probes.state(), user)
    finally:
        left = samples.remove()
        for sentence in left:
            tell(sentence)
    return len(before), answers, differences, left


def _change_words(change: RowChange) -> str:
    return f"{CHANGED[change.by_others]}: {change.text}"


def _show_answers(kept_answers: KeptAnswers, rows: int, changed: list[RowChange], left: list[str]) -> None:
    if wants_json():
        answers = [{**row.model_dump(), "text": QUESTIONS[row.question]} for row in kept_answers.rows]
        ours = bool(left) or not all(change.by_others for change in changed)
        status = "changed" if ours else "changed_by_others" if changed else "asked"
        print_json({"status": status, "rows_compared": rows, "changed": [*(change.text for change in changed), *left],
                    "answers": answers})  # fmt: skip
        return
    for change in changed:
        say(_change_words(change))
    cells = tuple((QUESTIONS[row.question], row.value, row.code) for row in kept_answers.rows)
    show(TextTable("What the organization answered", ("question", "answer", "code"), cells), sys.stdout)
    say(_NOT_KEPT if changed else f"{_UNCHANGED.format(rows)} The answers are kept.")
