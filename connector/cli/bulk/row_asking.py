"""`bulk plan --ask N`: whether planned rows would be refused, by whom, and how long they take, asked of a sample."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import click

from connector.assembly import Connection
from connector.cli.screen import TextTable, say, show
from connector.clock import SystemClock
from connector.closing.model import Plan, Snapshot
from connector.dataverse.webapi import Endpoint
from connector.organization.row_questions import RowAnswer, RowSample, asked_data
from connector.organization.side_effects import SideEffects
from connector.settings.settings import Settings

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

    def data(self) -> Mapping[str, object]:
        """Ask, and return what was answered, and what the plans set off where a capture tells."""
        self.answers.extend(self.ask(self.sample))
        effects = {"side_effects": self.effects.data()} if self.effects is not None else {}
        return effects | ({"asked": asked_data(self.answers)} if self.answers else {})


def ask_rows(sample: RowSample, connection: Connection, settings: Settings, *, agreed: bool) -> list[RowAnswer]:
    """Ask for the rows of the sample, after somebody agreed; says first what changed, which nothing should."""
    if not sample.plans:
        return []
    say(_WARNING.format(count=len(sample.plans), base_url=connection.base_url), sys.stderr)
    if not agreed and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on, so no row was asked. Agree with --yes.")
    if not agreed and not click.confirm("Ask now?", default=False, err=True):
        return []
    endpoint = Endpoint(connection.base_url, settings.impersonate)
    answers = list(sample.ask(connection.handler, endpoint, connection.organization, SystemClock().monotonic))
    for answer in answers:
        if answer.changed:
            say(f"CHANGED: opportunity {answer.opportunity_id} or its quotes are not as they were.", sys.stderr)
    return answers


def show_asked(effects: SideEffects | None, answers: list[RowAnswer]) -> None:
    """Write what the plans set off, where a capture tells, and what was answered, the refused rows by name."""
    for line in effects.lines() if effects is not None else ():
        say(f"Sets off: {line}")
    if not answers:
        return
    refused = [answer for answer in answers if answer.refused]
    mean = sum(answer.seconds for answer in answers) / len(answers)
    say(f"Of {len(answers)} rows that were asked {len(refused)} would be refused; {mean:.2f} s each on average.")
    if refused:
        cells = tuple(
            (str(answer.opportunity_id), answer.plug_in or "the platform", answer.reason) for answer in refused
        )
        show(TextTable("Would be refused", ("opportunity", "by", "why"), cells), sys.stdout)
