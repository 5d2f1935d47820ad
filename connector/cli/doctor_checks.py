"""Looks at settings, sign-in and organization, and says in a line each what is well and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from connector.assembly import Connection
from connector.assembly.asked_answers import answers_path
from connector.bulk.words import duration
from connector.cli.doctor_offer import Check, Verdict, examine_offer, examine_what_runs, of_failure
from connector.clock import Clock
from connector.dataverse.diagnosis import Diagnosis, SignedInUser
from connector.errors import ConnectorError, Forbidden, SettingsError, SignInError, Unauthorized
from connector.organization.capture_reading import caller_mark
from connector.organization.kept_answers import basis_text, read_answers
from connector.settings.settings import Settings

ASK_AGAIN = "`connector doctor --probe OPPORTUNITY` asks, and changes nothing."
"""What to do about answers that are missing or old."""


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
