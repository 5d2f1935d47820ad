"""Looks at settings, sign-in and organization, and says in a line each what is well and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from uuid import UUID

from connector.assembly import Connection
from connector.cli.doctor.probing import ASK_AGAIN, state_of_answers
from connector.cli.doctor.what_runs import facts_of
from connector.clock import Clock
from connector.closing.model import OpportunityState, OrganizationMetadata, QuoteState, StatusReason
from connector.closing.organization import Organization
from connector.dataverse.diagnosis import Diagnosis, SignedInUser
from connector.errors import ConnectorError, Forbidden, ServiceError, SettingsError, SignInError, Unauthorized
from connector.organization.capture_reading import CaptureReading
from connector.settings.settings import Settings


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
IMPERSONATION = "prvActOnBehalfOfAnotherUser"

SKEW_TO_MENTION = timedelta(seconds=60)
SKEW_TOO_LARGE = timedelta(minutes=5)
"""Tokens carry times, and identity providers and services allow them to be five minutes off."""
LOW_ON_REQUESTS = 600
"""A tenth of the documented 6,000 requests in five minutes."""


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
        yield from _examine_organization(settings, connection, clock)
    finally:
        connection.close()


def _examine_organization(settings: Settings, connection: Connection, clock: Clock) -> Iterator[Check]:
    diagnosis = connection.diagnosis
    try:
        signed_in = diagnosis.who_am_i()
    except ConnectorError as error:
        yield from kept_out(error)
        return
    yield Check("sign-in", Verdict.OK, "A token was given and accepted.")
    yield Check("organization", Verdict.OK, f"Reached {connection.base_url}, id {signed_in.organization_id}.")
    yield Check("application user", Verdict.OK, f"Known there as user {signed_in.user_id}.")
    yield from _examine_others(settings, connection)
    yield from examine_privileges(diagnosis, impersonating=signed_in.user_id if settings.impersonate else None)
    yield from _examine_offer(diagnosis, connection.organization, settings.close_action)
    yield from _examine_what_runs(connection, clock)
    yield examine_clock(signed_in, clock)
    yield examine_limits(signed_in)
    yield _examine_answers(settings, diagnosis, clock)


def _examine_others(settings: Settings, connection: Connection) -> Iterator[Check]:
    """Yield a finding for each further identity: bulk work is shared out to all of them."""
    for client in connection.clients[1:]:
        name = f"identity {client.name}"
        try:
            user = Diagnosis(client.handler, connection.base_url, impersonate=settings.impersonate).who_am_i()
        except ConnectorError as error:
            yield _of_failure(name, Verdict.FAILED, error)
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
    yield _of_failure(names[reached], Verdict.FAILED, error)
    yield from _skipped(
        *names[reached + 1 :], "privileges", "status reasons", "messages", because=f"{names[reached]} failed"
    )


def examine_privileges(diagnosis: Diagnosis, *, impersonating: UUID | None) -> Iterator[Check]:
    """Yield a finding for each privilege that is missing, or one that says all are there.

    `impersonating` is the user who signed in, where another is to act.
    """
    try:
        user_id = diagnosis.acting_user()
        held = diagnosis.held_privileges(user_id, [*NEEDED_PRIVILEGES, *SOMETIMES_NEEDED])
        may_act = not impersonating or diagnosis.held_privileges(impersonating, [IMPERSONATION])
    except ConnectorError as error:
        yield _of_failure("privileges", Verdict.WARNING, error, "They could not be read. ")
        return
    missing = {*NEEDED_PRIVILEGES, *SOMETIMES_NEEDED} - set(held)
    role = "Give a security role with it to the acting user in the Power Platform admin center."
    for name, purpose in NEEDED_PRIVILEGES.items():
        if name in missing:
            yield Check(f"privilege {name}", Verdict.FAILED, f"Missing {name}, needed for {purpose}.", role)
    if not may_act:
        name = IMPERSONATION
        sentence = f"Missing {name}, which the user that signs in needs to act as another."
        yield Check(f"privilege {name}", Verdict.FAILED, sentence, "Give that user the role Delegate.")
    for name, purpose in SOMETIMES_NEEDED.items():
        if name in missing:
            yield Check(f"privilege {name}", Verdict.WARNING, f"Missing {name}, needed only for {purpose}.", role)
    shallow = [f"{name} ({held[name]})" for name in NEEDED_PRIVILEGES if name in held and held[name] != "Global"]
    if shallow:
        sentence = (
            f"Not for all records of the organization: {', '.join(shallow)}. Other records cannot be seen or closed."
        )
        yield Check("privilege depth", Verdict.WARNING, sentence, "Raise them to Organization if all are to be closed.")
    if not missing & set(NEEDED_PRIVILEGES):
        yield Check("privileges", Verdict.OK, f"Holds all {len(NEEDED_PRIVILEGES)}: {', '.join(NEEDED_PRIVILEGES)}.")


def _examine_offer(diagnosis: Diagnosis, organization: Organization, close_action: str) -> Iterator[Check]:
    """Yield what the organization has of what closing needs."""
    try:
        metadata = organization.metadata()
        yield from examine_knowledge(metadata)
        yield from examine_status_reasons(metadata)
    except ConnectorError as error:
        yield _of_failure("status reasons", Verdict.FAILED, error)
    plug_in_names = frozenset().union(*OTHER_NAMES.values())
    names = {*STANDARD_MESSAGES, *plug_in_names, *PROJECT_MESSAGES, *([close_action] if close_action else [])}
    try:
        yield from examine_messages(diagnosis.messages(sorted(names)), close_action)
    except ConnectorError as error:
        yield _of_failure("messages", Verdict.WARNING, error, "They could not be listed. ")
    yield _examine_batch(diagnosis)


def _examine_what_runs(connection: Connection, clock: Clock) -> Iterator[Check]:
    """Yield the day of a close without a date, the decimals of currencies, and the own logic that a close sets off."""
    reading = CaptureReading(connection.api, clock)
    try:
        for name, sentence, whole in facts_of(reading, connection.organization.metadata()):
            yield Check(name, Verdict.OK if whole else Verdict.SKIPPED, sentence)
    except ConnectorError as error:
        yield _of_failure("own logic", Verdict.WARNING, error, "It could not be read. ")


def examine_knowledge(metadata: OrganizationMetadata) -> Iterator[Check]:
    """Yield what a plan cannot check for this user, and the secured columns that it may not read or set."""
    for sentence in metadata.unchecked:
        remedy = "Give the user a role that may read definitions of tables (prvReadEntity), as Basic User may."
        yield Check("checks before a write", Verdict.WARNING, sentence, remedy if "prvReadEntity" in sentence else "")
    profile = "Add the user to a column security profile that allows it, if the column is to be used."
    for what, columns in (("read", metadata.unreadable), ("set", metadata.unwritable)):
        if columns:
            sentence = f"Secured, and not for this user to {what}: {', '.join(sorted(columns))}."
            yield Check("secured columns", Verdict.WARNING, sentence, profile)


def _examine_batch(diagnosis: Diagnosis) -> Check:
    """Look whether reads can be sent as a batch; whether a change set can is seen only when one is written."""
    try:
        accepted = diagnosis.accepts_batches()
    except ConnectorError as error:
        return _of_failure("batches", Verdict.WARNING, error, "A batch could not be tried. ")
    if accepted:
        return Check("batches", Verdict.OK, "$batch is answered, so a close can be one transaction.")
    sentence = "$batch is not answered as documented, so closes are done step by step."
    return Check("batches", Verdict.WARNING, sentence, "Check that no proxy changes requests with multipart bodies.")


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
    sentence = f"This machine's clock is {_duration(skew)} {where} the organization's."
    remedy = "Set this machine's clock: what a certificate signs is refused when it is minutes off."
    return Check("clock", verdict, sentence, remedy)


def _duration(span: timedelta) -> str:
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "hours"), (timedelta(minutes=1), "minutes")):
        if span >= 2 * unit:
            return f"{span / unit:.0f} {name}"
    return f"{span.total_seconds():.0f} seconds"


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


def _examine_answers(settings: Settings, diagnosis: Diagnosis, clock: Clock) -> Check:
    """Say what plans rest on here, and whether it should be asked again."""
    try:
        good, sentence = state_of_answers(settings, diagnosis, clock)
    except ConnectorError as error:
        return Check("answers", Verdict.WARNING, error.message, error.remedy)
    verdict = {None: Verdict.SKIPPED, False: Verdict.WARNING, True: Verdict.OK}[good]
    return Check("answers", verdict, sentence, "" if good else ASK_AGAIN)


def _listed(reasons: list[StatusReason]) -> str:
    return ", ".join(
        f"{reason.labels[0] if reason.labels else 'without a label'} ({reason.value})" for reason in reasons
    )


def _skipped(*names: str, because: str) -> Iterator[Check]:
    yield from (Check(name, Verdict.SKIPPED, f"Not looked at: {because}.") for name in names)


def _of_failure(name: str, verdict: Verdict, error: ConnectorError, opening: str = "") -> Check:
    """Return what a failure means: its sentence, what the organization said, and the id that support asks for.

    A remedy that sends to this very command is none here.
    """
    sentence = f"{opening}{error.message}"
    if isinstance(error, ServiceError):
        detail = " ".join(error.detail.split())
        sentence += f" The organization said: {detail}" if detail else ""
        sentence += f" (Request id {error.request_id}.)" if error.request_id else ""
    return Check(name, verdict, sentence, "" if "connector doctor" in error.remedy else error.remedy)
