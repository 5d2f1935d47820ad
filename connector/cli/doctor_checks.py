"""What the doctor checks of an organization: what it offers, what runs on a close, privileges, clock and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from connector.assembly import Connection
from connector.bulk.words import duration
from connector.clock import Clock
from connector.closing.model import OpportunityState, OrganizationMetadata, QuoteState, StatusReason
from connector.closing.organization import Organization
from connector.dataverse.diagnosis import Diagnosis, SignedInUser
from connector.errors import ConnectorError, ServiceError
from connector.organization.capture_model import Coverage, CurrencyFact, Section, StepFact
from connector.organization.capture_reading import CaptureReading
from connector.organization.side_effects import STATE_COLUMNS


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


STANDARD_MESSAGES = ("WinOpportunity", "LoseOpportunity", "WinQuote", "CloseQuote")
PROJECT_MESSAGES = ("msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsLost", "msdyn_CloseQuoteAsWon")
OTHER_NAMES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "WinOpportunity": frozenset({"Win"}),
        "LoseOpportunity": frozenset({"Lose"}),
        "WinQuote": frozenset({"Win"}),
        "CloseQuote": frozenset({"Close"}),
    }
)
"""The names under which plug-ins are registered for these messages; an organization may list either."""


def examine_offer(diagnosis: Diagnosis, organization: Organization, close_action: str) -> Iterator[Check]:
    """Yield what the organization has of what closing needs."""
    yield from _tried("status reasons", Verdict.FAILED, "", lambda: examine_metadata(organization.metadata()))
    plug_in_names = frozenset().union(*OTHER_NAMES.values())
    names = {*STANDARD_MESSAGES, *plug_in_names, *PROJECT_MESSAGES, *([close_action] if close_action else [])}
    yield from _tried(
        "messages",
        Verdict.WARNING,
        "They could not be listed. ",
        lambda: examine_messages(diagnosis.messages(sorted(names)), close_action),
    )
    yield from _tried("batches", Verdict.WARNING, "A batch could not be tried. ", lambda: _examine_batch(diagnosis))


def examine_what_runs(connection: Connection, clock: Clock) -> Iterator[Check]:
    """Yield the day of a close without a date, the decimals of currencies, and the own logic that a close sets off."""
    reading, organization = CaptureReading(connection.api, clock), connection.organization
    opening = "It could not be read. "
    yield from _tried("own logic", Verdict.WARNING, opening, lambda: facts_of(reading, organization.metadata()))


def _tried(name: str, verdict: Verdict, opening: str, examine: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield what is found, and last why no more could be."""
    try:
        yield from examine()
    except ConnectorError as error:
        yield of_failure(name, verdict, error, opening)


def examine_metadata(metadata: OrganizationMetadata) -> Iterator[Check]:
    """Yield what a plan cannot check for this user, the secured columns that it may not use, and the status reasons."""
    for sentence in metadata.unchecked:
        remedy = "Give the user a role that may read definitions of tables (prvReadEntity), as Basic User may."
        yield Check("checks before a write", Verdict.WARNING, sentence, remedy if "prvReadEntity" in sentence else "")
    profile = "Add the user to a column security profile that allows it, if the column is to be used."
    for what, columns in (("read", metadata.unreadable), ("set", metadata.unwritable)):
        if columns:
            sentence = f"Secured, and not for this user to {what}: {', '.join(sorted(columns))}."
            yield Check("secured columns", Verdict.WARNING, sentence, profile)
    yield from examine_status_reasons(metadata)


def _examine_batch(diagnosis: Diagnosis) -> Iterator[Check]:
    """Look whether reads can be sent as a batch; whether a change set can is seen only when one is written."""
    if diagnosis.accepts_batches():
        yield Check("batches", Verdict.OK, "$batch is answered, so a close can be one transaction.")
    else:
        sentence = "$batch is not answered as documented, so closes are done step by step."
        remedy = "Check that no proxy changes requests with multipart bodies."
        yield Check("batches", Verdict.WARNING, sentence, remedy)


def examine_status_reasons(metadata: OrganizationMetadata) -> Iterator[Check]:
    """Yield what status reasons each state of opportunity and quote has; closing needs one at least of each."""
    tables: tuple[tuple[str, type[IntEnum], tuple[StatusReason, ...]], ...] = (
        ("opportunity", OpportunityState, metadata.opportunity_statuses),
        ("quote", QuoteState, metadata.quote_statuses),
    )
    for table, states, reasons in tables:
        name = f"status reasons of {table}"
        listed = {state: [reason for reason in reasons if reason.state == state] for state in states}
        empty = [state.name.capitalize() for state, values in listed.items() if not values]
        if empty:
            remedy = (
                "Check that the application user may read the definition of the table, and that Sales is installed."
            )
            yield Check(name, Verdict.FAILED, f"None for the state {', '.join(empty)}.", remedy)
        else:
            states_with_reasons = [f"{state.name.capitalize()}: {_listed(values)}" for state, values in listed.items()]
            yield Check(name, Verdict.OK, f"{'; '.join(states_with_reasons)}.")


def examine_messages(messages: frozenset[str], close_action: str) -> Iterator[Check]:
    """Yield which of the messages that closing calls the organization lists by the names in `messages`."""
    absent = [name for name in STANDARD_MESSAGES if not messages & {name, *OTHER_NAMES[name]}]
    if absent:
        sentence = f"Not listed among its messages: {', '.join(absent)}."
        yield Check(
            "messages", Verdict.WARNING, sentence, "They come with Dynamics 365 Sales: check that it is installed."
        )
    else:
        yield Check("messages", Verdict.OK, f"Has {', '.join(STANDARD_MESSAGES)}.")
    project = [name for name in PROJECT_MESSAGES if name in messages]
    sentence = f"Has {', '.join(project)}; used for project quotes." if project else "Not installed, not needed."
    yield Check("Project Operations", Verdict.OK, sentence)
    if close_action and close_action not in messages:
        sentence = f"The organization has no action {close_action}."
        remedy = "Correct or remove DATAVERSE_CLOSE_ACTION; without it WinOpportunity and LoseOpportunity are called."
        yield Check("close action", Verdict.FAILED, sentence, remedy)
    elif close_action:
        yield Check("close action", Verdict.OK, f"Has the action {close_action}.")


def _listed(reasons: list[StatusReason]) -> str:
    return ", ".join(
        f"{reason.labels[0] if reason.labels else 'without a label'} ({reason.value})" for reason in reasons
    )


def of_failure(name: str, verdict: Verdict, error: ConnectorError, opening: str = "") -> Check:
    """Return what a failure means: its sentence, what the organization said, and the id that support asks for.

    A remedy that sends to this very command is none here.
    """
    sentence = f"{opening}{error.message}"
    if isinstance(error, ServiceError):
        detail = " ".join(error.detail.split())
        sentence += f" The organization said: {detail}" if detail else ""
        sentence += f" (Request id {error.request_id}.)" if error.request_id else ""
    return Check(name, verdict, sentence, "" if "connector doctor" in error.remedy else error.remedy)


_CLOSES = frozenset({"opportunityclose", "quoteclose"})
_MOST_NAMES = 6


def facts_of(reading: CaptureReading, metadata: OrganizationMetadata) -> Iterator[Check]:
    """Yield what is known; what could not be read in whole counts as not looked at. Raises ConnectorError."""
    today = f"A close without a date gets {metadata.today}, the day it is now by {metadata.day_of}."
    hint = "" if "DATAVERSE_TIME_ZONE" in metadata.day_of else " DATAVERSE_TIME_ZONE can name another zone."
    yield Check("today", Verdict.OK, today + hint)
    currencies, logic = reading.currencies(), reading.logic()
    steps, processes, flows = logic.steps, logic.processes, logic.flows
    yield _read_check("currencies", _currencies(currencies), whole=currencies.read is Coverage.ALL)
    own = [step for step in steps.rows if step.origin != "microsoft" and _runs(step)]
    real_time = [process for process in processes.rows if process.real_time and process.kind == "workflow"]
    named = [
        _named("plug-in steps", steps, [step.plug_in or step.name for step in own]),
        _named("real-time workflows", processes, [process.name for process in real_time]),
        _named("flows", flows, [flow.name for flow in flows.rows if flow.table in (*_CLOSES, "opportunity", "quote")]),
    ]
    whole = all(section.read is Coverage.ALL for section in (steps, processes, flows))
    yield _read_check("own logic", f"The organization lists, as set off by a close: {'; '.join(named)}.", whole=whole)


def _read_check(name: str, sentence: str, *, whole: bool) -> Check:
    return Check(name, Verdict.OK if whole else Verdict.SKIPPED, sentence)


def _currencies(section: Section[CurrencyFact]) -> str:
    if section.read is not Coverage.ALL:
        return f"They could not be read: {section.why}"
    decimals = ", ".join(f"{row.code} {row.precision}" for row in section.rows)
    return f"Amounts are rounded to the decimals of their currency: {decimals or 'there is no currency'}."


def _runs(step: StepFact) -> bool:
    """Return whether a step runs on a close: on its messages, on the change of a state, or on a close activity."""
    if step.message == "Update":
        return not step.columns or bool(STATE_COLUMNS & set(step.columns))
    return step.message != "Delete" and (step.message != "Create" or step.table in ("", *_CLOSES))


def _named(what: str, section: Section[Any], names: Sequence[str]) -> str:
    if section.read is Coverage.REFUSED:
        return f"{what} that this user may not list"
    listed = ", ".join(sorted(set(names))[:_MOST_NAMES])
    more = ", and others" if len(set(names)) > _MOST_NAMES else ""
    scope = " that this user sees" if section.read is not Coverage.ALL else ""
    return f"{len(names)} {what}{scope} ({listed}{more})" if names else f"no {what}{scope}"


NEEDED_PRIVILEGES: Mapping[str, str] = MappingProxyType(
    {
        "prvReadOpportunity": "reading opportunities",
        "prvWriteOpportunity": "winning, losing and reopening opportunities",
        "prvAppendToOpportunity": "the close activity of an opportunity",
        "prvReadQuote": "reading quotes",
        "prvWriteQuote": "activating, winning and closing quotes",
        "prvAppendToQuote": "the close activity of a quote",
        "prvReadActivity": "recognizing close activities of an earlier run",
        "prvCreateActivity": "creating close activities",
        "prvAppendActivity": "linking close activities to what they close",
        "prvReadTransactionCurrency": "amounts in the currency of the opportunity",
    }
)
"""What closing needs, and what for. Sources: the message privileges of WinOpportunity, LoseOpportunity, WinQuote and
CloseQuote (Microsoft Learn, previous versions: gg334650, gg334747, gg334662, gg328578); the reads follow from what the
connector reads."""

SOMETIMES_NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "prvReadCompetitor": "closing with --competitor",
        "prvAppendToCompetitor": "closing with --competitor",
        "prvDeleteQuote": "closing with --drafts delete",
        "prvBypassCustomBusinessLogic": "leaving out the organization's own logic with --bypass",
        "prvReadSdkMessage": "using the messages of Project Operations, which are not looked for without it",
    }
)
"""What only some closes need."""
IMPERSONATION = "prvActOnBehalfOfAnotherUser"

SKEW_TO_MENTION = timedelta(seconds=60)
SKEW_TOO_LARGE = timedelta(minutes=5)
"""Tokens carry times, and identity providers and services allow them to be five minutes off."""
LOW_ON_REQUESTS = 600
"""A tenth of the documented 6,000 requests in five minutes."""


def examine_privileges(diagnosis: Diagnosis, *, impersonating: UUID | None) -> Iterator[Check]:
    """Yield a finding for each privilege that is missing, or one that says all are there.

    `impersonating` is the user who signed in, where another is to act.
    """
    try:
        user_id = diagnosis.acting_user()
        held = diagnosis.held_privileges(user_id, [*NEEDED_PRIVILEGES, *SOMETIMES_NEEDED])
        may_act = not impersonating or diagnosis.held_privileges(impersonating, [IMPERSONATION])
    except ConnectorError as error:
        yield of_failure("privileges", Verdict.WARNING, error, "They could not be read. ")
        return
    missing = {*NEEDED_PRIVILEGES, *SOMETIMES_NEEDED} - set(held)
    role = "Give a security role with it to the acting user in the Power Platform admin center."
    for purposes, verdict, needed in (
        (NEEDED_PRIVILEGES, Verdict.FAILED, "needed"),
        (SOMETIMES_NEEDED, Verdict.WARNING, "needed only"),
    ):
        for name in (name for name in purposes if name in missing):
            yield Check(f"privilege {name}", verdict, f"Missing {name}, {needed} for {purposes[name]}.", role)
    if not may_act:
        sentence = f"Missing {IMPERSONATION}, which the user that signs in needs to act as another."
        yield Check(f"privilege {IMPERSONATION}", Verdict.FAILED, sentence, "Give that user the role Delegate.")
    shallow = [f"{name} ({held[name]})" for name in NEEDED_PRIVILEGES if name in held and held[name] != "Global"]
    if shallow:
        sentence = (
            f"Not for all records of the organization: {', '.join(shallow)}. Other records cannot be seen or closed."
        )
        yield Check("privilege depth", Verdict.WARNING, sentence, "Raise them to Organization if all are to be closed.")
    if not missing & set(NEEDED_PRIVILEGES):
        yield Check("privileges", Verdict.OK, f"Holds all {len(NEEDED_PRIVILEGES)}: {', '.join(NEEDED_PRIVILEGES)}.")


def examine_clock(signed_in: SignedInUser, clock: Clock) -> Check:
    """Compare this machine's clock with the organization's, which says the time to the second."""
    if signed_in.server_time is None:
        return Check("clock", Verdict.SKIPPED, "The organization did not say what time it is.")
    ahead = clock.now() - signed_in.server_time
    skew = abs(ahead)
    if skew < SKEW_TO_MENTION:
        return Check("clock", Verdict.OK, "Agrees with the organization's to the minute.")
    verdict = Verdict.FAILED if skew >= SKEW_TOO_LARGE else Verdict.WARNING
    where = "ahead of" if ahead > timedelta() else "behind"
    sentence = f"This machine's clock is {duration(skew.total_seconds())} {where} the organization's."
    remedy = "Set this machine's clock: what a certificate signs is refused when it is minutes off."
    return Check("clock", verdict, sentence, remedy)


def examine_limits(signed_in: SignedInUser) -> Check:
    """Say what the organization's headers say is left of its service protection limits."""
    limits = signed_in.limits
    facts = [
        f"{number:g} {what}"
        for number, what in (
            (limits.requests, "requests left"),
            (limits.seconds, "seconds of execution left"),
            (limits.parallelism, "requests at once recommended"),
        )
        if number is not None
    ]
    if not facts:
        return Check("limits", Verdict.SKIPPED, "The organization did not report its limits.")
    sentence = f"{', '.join(facts)}."
    if limits.requests is not None and limits.requests < LOW_ON_REQUESTS:
        remedy = "Something else uses this application user: wait five minutes, or give each program a user of its own."
        return Check("limits", Verdict.WARNING, sentence, remedy)
    return Check("limits", Verdict.OK, sentence)
