"""The plan of a job as people see it: what would become of its rows, what that rests on, sets off and costs."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import Connection, connect
from connector.assembly.asked_answers import fresh_answers
from connector.bulk.planning import PROBLEMS, Forecast, Summary, forecast, write_plan
from connector.bulk.reports.plan_review import ENDINGS as REVIEWS
from connector.bulk.reports.plan_review import write_plan_review
from connector.bulk.source import Source
from connector.bulk.words import command_line, duration, reason_words, rows
from connector.cli.bulk.process import read_names
from connector.cli.capture_option import side_effects
from connector.cli.failure_text import ExitCode
from connector.cli.run_options import require_terminal, wants_json
from connector.cli.screen import RowCounter, TextTable, print_json, say, show, tell
from connector.clock import SystemClock
from connector.closing.bypass import KEPT_BYPASS
from connector.closing.model import Plan, Snapshot
from connector.closing.plan import CLOSED_STATE
from connector.closing.step_words import opportunity_words
from connector.dataverse.answers import decoding
from connector.dataverse.webapi import read_currencies
from connector.errors import ConnectorError
from connector.organization.capture_reading import read_metadata_stamp
from connector.organization.kept_answers import basis_data, basis_text
from connector.organization.safe_requests import CHANGED, RowAnswer, RowSample, asked_data
from connector.organization.side_effects import SideEffects
from connector.settings.settings import Settings

SECONDS_PER_STEP = 0.3
"""Execution time of a write that a forecast assumes."""
_WARNING = (
    "{count} rows are asked of {base_url}: each is its whole plan as a change set that must fail, so the organization "
    "undoes it. The organization's own plug-ins run before that, and what they send to other systems is not undone."
)


@dataclass(frozen=True, slots=True)
class PlanCounter:
    """Takes in each plan that is written: what it sets off, and the sample that `ask` then asks about."""

    effects: SideEffects | None
    sample: RowSample
    ask: Callable[[RowSample], list[RowAnswer]]
    answers: list[RowAnswer] = field(default_factory=list)

    def add(self, plan: Plan, snapshot: Snapshot) -> None:
        """Take one plan in."""
        self.sample.add(plan, snapshot)
        if self.effects is not None:
            self.effects.add(plan, snapshot)

    @property
    def changed(self) -> bool:
        """Whether a row changed that no other user wrote."""
        return any(not change.by_others for answer in self.answers for change in answer.changes)

    def data(self) -> Mapping[str, object]:
        """Ask, and return what was answered, and what the plans set off where a capture tells."""
        self.answers.extend(self.ask(self.sample))
        effects = {"side_effects": self.effects.data()} if self.effects is not None else {}
        return effects | ({"asked": asked_data(self.answers)} if self.answers else {})


def ask_rows(sample: RowSample, connection: Connection, *, agreed: bool) -> list[RowAnswer]:
    """Ask for the rows of the sample, after somebody agreed; says first what changed, which nothing should."""
    if not sample.plans:
        return []
    tell(_WARNING.format(count=len(sample.plans), base_url=connection.base_url))
    if not agreed:
        require_terminal("no row was asked")
        if not click.confirm("Ask now?", default=False, err=True):
            return []
    user, monotonic = connection.diagnosis.acting_user(), SystemClock().monotonic
    answers = list(sample.ask(connection.api, connection.organization, monotonic, user))
    for change in (change for answer in answers for change in answer.changes):
        tell(f"{CHANGED[change.by_others]}: {change.text}")
    return answers


def show_asked(effects: SideEffects | None, answers: list[RowAnswer]) -> None:
    """Write what the plans set off, where a capture tells, and what was answered, the refused rows by name."""
    for line in effects.lines() if effects is not None else ():
        say(f"Sets off: {line}")
    if not answers:
        return
    refused = [answer for answer in answers if answer.refused]
    totals = asked_data(answers)
    time = f"; {totals['seconds']:.2f} s each on average" if "seconds" in totals else ""
    say(f"Of {len(answers)} rows that were asked {len(refused)} would be refused{time}.")
    for reason, count in Counter(answer.reason for answer in answers if answer.refused is None).most_common():
        say(f"Of {rows(count)} it is not known: {reason}")
    if refused:
        cells = tuple(
            (str(answer.opportunity_id), answer.plug_in or "the platform", answer.reason) for answer in refused
        )
        show(TextTable("Would be refused", ("opportunity", "by", "why"), cells), sys.stdout)


def _head(source: Source, connection: Connection) -> dict[str, object]:
    """Return what a plan file says of itself first."""
    stamp = read_metadata_stamp(connection.api)
    head = {"organization": connection.base_url, "metadata": stamp, **source.data()}
    return head | ({KEPT_BYPASS: connection.settings.bypass.data()} if connection.settings.bypass.text else {})


def show_job_plan(
    source: Source, settings: Settings, path: Path, capture_file: Path | None = None, ask: int = 0, *, yes: bool = False
) -> int:
    """Write the plan of a job to a file, show what it comes to, and return the exit code. Nothing else is changed.

    A `path` that ends in .xlsx or .html is for the person who approves the plan, which is written beside it.
    """
    review = path if path.suffix.lower() in REVIEWS else None
    path = source.plan_file(review) if review else path
    with connect(settings) as connection, source.opened(settings.drafts, connection) as rows:
        monotonic = SystemClock().monotonic
        deque(RowCounter("{} rows read", monotonic).counted(rows()), 0)  # problems are told before a file is begun
        effects = side_effects(connection, capture_file)
        asking = partial(ask_rows, connection=connection, agreed=yes)
        counter = PlanCounter(effects, RowSample(ask), asking)
        planned = RowCounter("{} rows planned", monotonic).counted(rows())
        summary = write_plan(path, _head(source, connection), planned, connection.organization, counter)
        cost = forecast(summary, connection.clients, SECONDS_PER_STEP)
        if review is not None:
            write_plan_review(review, path, read_names(connection))
        kept_answers = fresh_answers(settings, SystemClock().now())
        if wants_json():
            basis: dict[str, object] = {"basis": basis_data(kept_answers)}
            basis |= {"review": str(review)} if review else {}
            basis |= {"answers": [answer.data() for answer in counter.answers]} if ask else {}
            print_json({"plan": str(path), **summary.data(), "forecast": cost.data(), **basis})
        else:
            if review is not None:
                say(f"For whoever approves it: {review}.")
            show_asked(effects, counter.answers)
            show_plan(path, summary, cost, basis_text(kept_answers), connection)
    return ExitCode.FAILED if counter.changed else ExitCode.REFUSED if _bad(summary) else ExitCode.DONE


def show_plan(path: Path, summary: Summary, cost: Forecast, basis: str, connection: Connection) -> None:
    """Write what a plan comes to, what it rests on, and what to type next."""
    counts = sorted(summary.by_status.items(), key=lambda pair: pair[0] != "planned")
    by_status = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in counts)
    if not summary.rows:
        say(f"The query finds no opportunities in {connection.base_url} that this user can see: nothing is to be done.")
        return
    say(f"Plan of {rows(summary.rows)} in {connection.base_url}: {by_status}.")
    show_closes(summary, connection)
    if summary.problems:
        _show_problems(summary, path)
    say(
        f"Cost: about {cost.requests:,} {'request' if cost.requests == 1 else 'requests'} sent, "
        f"{cost.operations:,} Power Platform {'request' if cost.operations == 1 else 'requests'} counted, and "
        f"{duration(cost.seconds)} to run."
    )
    say(f"Based on: {basis}.")
    if summary.by_status["planned"]:
        say("Nothing was changed. Read the plan, then carry it out with:")
        click.echo(f"  {command_line('bulk', 'run', str(path))}")


def _bad(summary: Summary) -> int:
    return summary.by_status["refused"] + summary.by_status["failed"]


def show_closes(summary: Summary, connection: Connection) -> None:
    """Write a table of what a plan closes, and as what."""
    if not summary.closes:
        return
    metadata, currencies = connection.organization.metadata(), _currencies(connection)
    cells = []
    for group, count in summary.closes.most_common():
        words = opportunity_words(CLOSED_STATE[group.outcome], group.status, metadata)
        currency, decimals = currencies.get(group.currency_id, ("", 2))
        cells.append((words, f"{count:,}", f"{summary.values[group]:,.{decimals}f} {currency}".rstrip()))
    columns = "as", "opportunities", "estimated value"
    show(TextTable("To be closed", columns, tuple(sorted(cells, key=lambda row: row[0], reverse=True))), sys.stdout)
    if summary.days:
        (first, whose), (last, of_last) = summary.days
        future = ", in the future" if last > f"{SystemClock().now().astimezone():%Y-%m-%d}" else ""
        say(f"Close dates given: from {first} ('{whose}') to {last} ('{of_last}'){future}.")
    if summary.far[0]:
        say(f"Actual revenue far from the estimated value: {rows(summary.far[0])}, first {summary.far[1]}.")


def _show_problems(summary: Summary, path: Path) -> None:
    bad = _bad(summary)
    for problem in summary.problems:
        name = f" '{problem['name']}'" if problem.get("name") else ""
        id_ = "" if str(problem["opportunity_id"]) in str(problem["reason"]) else f", {problem['opportunity_id']}"
        say(f"Row {problem['row']}{name}{id_}: {problem['status']}: {problem['reason']}")
    more = f"These are the first {len(summary.problems)}. " if bad > PROBLEMS else ""
    by_reason = ", ".join(f"{count:,} {reason_words(reason)}" for reason, count in summary.reasons.most_common())
    say(f"{more}By reason: {by_reason}. {path} has the {'row' if bad == 1 else 'rows'}, and why.")


def _currencies(connection: Connection) -> dict[UUID | None, tuple[str, int]]:
    """Return names and decimals of the currencies; where they cannot be read, sums stand without."""
    try:
        rows = connection.api.read_rows(read_currencies(), "Reading the names of currencies")
        with decoding("Reading the names of currencies"):
            columns = ((row["transactioncurrencyid"], row["currencyname"], row["currencyprecision"]) for row in rows)
            return {UUID(key): (str(name), min(10, int(decimals))) for key, name, decimals in columns}
    except ConnectorError:
        return {}
