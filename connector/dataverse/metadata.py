"""What an organization has: status reasons, messages, columns of its own for a close, the acting user's place in time.

Read once and kept for a while; one thread reads while the others wait. Sources: learn.microsoft.com /power-
apps/developer/data-platform/webapi/query-metadata-web-api (status and state columns), .../bulk-operations (messages
by `sdkmessages`), .../specify-time-zone-settings-user (`timezonebias`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import UUID

from connector.clock import Clock
from connector.closing.model import OrganizationMetadata, StatusReason
from connector.closing.organization import ONLY_REASONS, MetadataRequest
from connector.dataverse.answers import decoding, expect, json_object
from connector.dataverse.close_definitions import CloseDefinitions, labels_of
from connector.dataverse.reading import WebApi, rows_of
from connector.dataverse.user_access import TABLE_RULES, TableRules, access_questions, read_access, table_rules
from connector.dataverse.webapi import Operation, read_set
from connector.errors import SettingsError
from connector.handler import Response

MESSAGES = ("msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsLost", "msdyn_CloseQuoteAsWon")
"""The messages of Project Operations which close quotes of work-based opportunities."""

BYPASS_PRIVILEGE = "prvBypassCustomBusinessLogic"
"""What leaving out custom logic and flows needs (bypass-custom-business-logic, bypass-power-automate-flows)."""

NO_DEFINITIONS = (
    "The user may not read definitions of tables (prvReadEntity), so the status reasons are taken to be those of the "
    "platform, and nothing of the organization's own was checked."
)

Ask = Callable[[Sequence[Operation]], list[Response]]
_SUBJECT = "Reading the organization's metadata"
_FOLLOWER = re.compile(r"tostatusid\s*=\s*[\"'](-?\d+)[\"']", re.IGNORECASE)


def _platform(*rows: tuple[int, int, str]) -> tuple[StatusReason, ...]:
    """Return status reasons of (value, state, label); the first of a state is its default."""
    first = {state: value for value, state, _ in reversed(rows)}
    return tuple(StatusReason(value, state, first[state] == value, (label,)) for value, state, label in rows)


PLATFORM_OPPORTUNITY = _platform(
    (1, 0, "In Progress"), (2, 0, "On Hold"), (3, 1, "Won"), (4, 2, "Canceled"), (5, 2, "Out-Sold")
)
PLATFORM_QUOTE = _platform(
    (1, 0, "In Progress"), (2, 1, "In Progress"), (3, 1, "Open"), (4, 2, "Won"), (7, 3, "Revised"), (5, 3, "Lost"),
    (6, 3, "Canceled"),
)  # fmt: skip
"""The status reasons of a plain organization (table references of opportunity and quote), where none can be read."""


class Metadata:
    """The organization's metadata, read when it is first asked for and again after `cache_seconds` on `clock`."""

    def __init__(self, api: WebApi, *, clock: Clock, close_action: str, cache_seconds: float) -> None:
        self._api = api
        self._clock = clock
        self._close_action = close_action
        self._cache_seconds = cache_seconds
        self._reading = threading.Lock()
        self._kept: tuple[OrganizationMetadata, float] | None = None
        self._asking = threading.Lock()
        self._messages_read: frozenset[str] | None = None
        self._definitions = CloseDefinitions(api)

    def get(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the metadata with what `needs` asks for; raises ConnectorError when it cannot be read."""
        metadata = self._fresh()
        if metadata is None:
            with self._reading:
                metadata = self._fresh()
                if metadata is None:
                    ask = partial(self._api.read_each, subject=_SUBJECT)
                    answers = iter(ask(self._operations()))
                    metadata = self._keep(self._known_messages(next(answers)), answers, ask)
        return metadata if needs == ONLY_REASONS else self._definitions.add(metadata, needs)

    def prepare(self) -> None:
        """Read the metadata ahead of many closes, its parts at the same time: in a batch they would come one by one.

        Raises as `get`.
        """
        operations = self._operations()
        with self._reading, ThreadPoolExecutor(len(operations)) as threads:

            def ask(operations: Sequence[Operation]) -> Iterator[Response]:
                return threads.map(self._api.handler, map(self._api.endpoint.request, operations))

            with self._asking:
                answers = ask(operations)
                messages = self._messages_read = self._known_messages(next(answers))
            try:
                self._keep(messages, answers, lambda operations: list(ask(operations)))
            finally:
                self._messages_read = None

    def messages(self) -> frozenset[str]:
        """Return which of our messages there are, as `get` does: they are known while the rest is still read ahead."""
        with self._asking:
            read = self._messages_read
        return self.get().messages if read is None else read

    def _keep(self, messages: frozenset[str], answers: Iterator[Response], ask: Ask) -> OrganizationMetadata:
        metadata = self._made_of(messages, answers, ask)
        self._kept = (metadata, self._clock.monotonic())
        self._definitions.forget()
        return metadata

    def _fresh(self) -> OrganizationMetadata | None:
        cached = self._kept
        if cached is None or self._clock.monotonic() - cached[1] >= self._cache_seconds:
            return None
        return cached[0]

    @property
    def _messages(self) -> tuple[str, ...]:
        return (*MESSAGES, self._close_action) if self._close_action else MESSAGES

    @property
    def _users(self) -> list[UUID | None]:
        """Return the user that signs in, followed by the user it acts as, if that is another."""
        return list(dict.fromkeys((None, self._api.endpoint.impersonate)))

    def _operations(self) -> list[Operation]:
        """Return the reads, first those which others wait for."""
        first = [named_messages(self._messages), TABLE_RULES, *map(who_is, self._users)]
        return [*first, *_definitions("opportunity"), *_definitions("quote")]

    def _known_messages(self, answer: Response) -> frozenset[str]:
        messages = frozenset[str]() if _is_hidden(answer) else _names(json_object(answer, _SUBJECT))
        return frozenset(self._messages) & messages

    def _made_of(self, messages: frozenset[str], answers: Iterator[Response], ask: Ask) -> OrganizationMetadata:
        rules = table_rules(next(answers), _SUBJECT)
        users = [user_id_of(json_object(next(answers), _SUBJECT)) for _ in self._users]
        of_user = self._ask_of(users, rules, ask)
        opportunities = self._statuses("opportunity", next(answers), next(answers), rules)
        quotes = self._statuses("quote", next(answers), next(answers), rules)
        access = read_access(of_user[1:], rules, _SUBJECT)
        if self._api.endpoint.bypass.needs_privilege:
            self._check_bypass(users[-1])
        return OrganizationMetadata(
            opportunity_statuses=opportunities or PLATFORM_OPPORTUNITY,
            quote_statuses=quotes or PLATFORM_QUOTE,
            messages=messages,
            utc_offset_minutes=_offset(of_user[0]) if of_user else 0,
            close_action=self._close_action or None,
            bypass=self._api.endpoint.bypass,
            users=frozenset(user for user in users if user is not None),
            privileges=access.privileges,
            unreadable=access.unreadable,
            unwritable=access.unwritable,
            required=rules.required if rules is not None else {},
            unchecked=(*(() if opportunities and quotes else (NO_DEFINITIONS,)), *access.unchecked),
        )

    @staticmethod
    def _ask_of(users: Sequence[UUID | None], rules: TableRules | None, ask: Ask) -> list[Response]:
        """Return the answers about the users, the last of whom acts: its settings first; none if it is not known."""
        known = list(dict.fromkeys(user for user in users if user is not None))
        if users[-1] is None:
            return []
        settings = Operation("GET", f"usersettingscollection({users[-1]})?$select=timezonebias")
        return ask([settings, *access_questions(known, rules)])

    @staticmethod
    def _statuses(
        table: str, statuses: Response, states: Response, rules: TableRules | None
    ) -> tuple[StatusReason, ...]:
        """Return the table's status reasons; none where this user may not read definitions."""
        if _is_hidden(statuses) or _is_hidden(states):
            return ()
        enforced = rules is not None and table in rules.enforced
        return status_reasons(json_object(statuses, _SUBJECT), json_object(states, _SUBJECT), enforced=enforced)

    def _check_bypass(self, user_id: UUID | None) -> None:
        """Raise SettingsError, before anything is written, unless the acting user may leave logic out."""
        privileges = f"systemusers({user_id})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
        body = self._api.read_object(Operation("GET", privileges), _SUBJECT)
        with decoding(_SUBJECT):
            held = {privilege["PrivilegeName"] for privilege in body["RolePrivileges"]}
        if BYPASS_PRIVILEGE not in held:
            raise SettingsError(
                f"The user {user_id} may not leave out the organization's own logic: {BYPASS_PRIVILEGE} is missing. "
                "Nothing was changed.",
                remedy="Give a security role with that privilege to the user, or run without --bypass.",
            )


def who_is(impersonated: UUID | None) -> Operation:
    """Return the read that names the acting user: who signed in, or who is impersonated (an Entra object id).

    WhoAmI always names who signed in, so the impersonated user is looked up.
    """
    if impersonated is None:
        return Operation("GET", "WhoAmI")
    condition = f"azureactivedirectoryobjectid%20eq%20{impersonated}"
    return Operation("GET", f"systemusers?$select=systemuserid&$filter={condition}")


def user_id_of(body: Mapping[str, Any]) -> UUID | None:
    """Return the user that the answer to `who_is` names, or None."""
    with decoding(_SUBJECT):
        if "UserId" in body:
            return UUID(body["UserId"])
        return next((UUID(row["systemuserid"]) for row in rows_of(body, _SUBJECT)), None)


def status_reasons(
    statuses: Mapping[str, Any], states: Mapping[str, Any], *, enforced: bool = False
) -> tuple[StatusReason, ...]:
    """Return the status reasons in the definitions of a table's `statuscode` and `statecode` columns.

    Labels come in every language, the user's own first; where transitions are `enforced` each says which may follow.
    Raises Unanswered for definitions of another shape.
    """
    with decoding(_SUBJECT):
        defaults = {(option["Value"], option["DefaultStatus"]) for option in _options(states)}
        return tuple(
            StatusReason(
                value=int(option["Value"]),
                state=int(option["State"]),
                default=(option["State"], option["Value"]) in defaults,
                labels=labels_of(option["Label"]),
                followers=_followers(option.get("TransitionData")) if enforced else None,
            )
            for option in _options(statuses)
        )


def _followers(transitions: str | None) -> frozenset[int] | None:
    """Return the reasons that transition data names (define-custom-state-model-transitions); None: all may follow."""
    return None if not transitions else frozenset(int(value) for value in _FOLLOWER.findall(transitions))


def _definitions(table: str) -> tuple[Operation, Operation]:
    attributes = f"EntityDefinitions(LogicalName='{table}')/Attributes"
    query = "?$select=LogicalName&$expand=OptionSet($select=Options)"
    return (
        Operation(
            "GET", f"{attributes}(LogicalName='statuscode')/Microsoft.Dynamics.CRM.StatusAttributeMetadata{query}"
        ),
        Operation("GET", f"{attributes}(LogicalName='statecode')/Microsoft.Dynamics.CRM.StateAttributeMetadata{query}"),
    )


def named_messages(names: Iterable[str]) -> Operation:
    """Return the read of those messages (custom actions among them) which the organization has under these names."""
    return read_set("sdkmessages", "name", "name", names)


def _is_hidden(answer: Response) -> bool:
    """Tell whether this user may not read the list of messages: then none of them is used, which is the Sales way."""
    return answer.status == HTTPStatus.FORBIDDEN


def _names(body: Mapping[str, Any]) -> frozenset[str]:
    with decoding(_SUBJECT):
        return frozenset(row["name"] for row in rows_of(body, _SUBJECT))


def _options(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = definition["OptionSet"]["Options"]
    return list(options)


def _offset(response: Response) -> int:
    """Return the user's offset in minutes east of UTC; 0 where it has no settings or may not read them."""
    if HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR and response.status not in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.TOO_MANY_REQUESTS,
    ):  # not there, or not for this user
        return 0
    with decoding(_SUBJECT):
        bias = json_object(expect(response, _SUBJECT), _SUBJECT).get("timezonebias")
        return 0 if bias is None else -int(bias)


_COLUMNS = "Reading the custom columns"

_KINDS: Mapping[str, Mapping[str, str]] = {
    "String": {"type": "string"},
    "Memo": {"type": "string"},
    "Integer": {"type": "integer", "format": "int32"},
    "Picklist": {"type": "integer", "format": "int32"},
    "Decimal": {"type": "number", "format": "double"},
    "Double": {"type": "number", "format": "double"},
    "Money": {"type": "number", "format": "double"},
    "Boolean": {"type": "boolean"},
    "DateTime": {"type": "string", "format": "date-time"},
}
"""What a value of each type is in JSON; lookups and other types cannot be given as a plain value."""


_DATE: Mapping[str, str] = {"type": "string", "format": "date"}
"""What a column of dates alone takes; a time of day is refused there (the type Edm.Date)."""


def custom_columns(api: WebApi, table: str) -> dict[str, Any]:
    """Return the schema of the custom columns of `table` which may be set on creation; raises ConnectorError."""
    attributes = f"EntityDefinitions(LogicalName='{table}')/Attributes"
    query = "?$select=LogicalName,AttributeType,IsCustomAttribute,IsValidForCreate,DisplayName,Description"
    rows = api.read_rows(Operation("GET", attributes + query), _COLUMNS)
    with decoding(_COLUMNS):
        own = [
            row
            for row in sorted(rows, key=lambda row: str(row["LogicalName"]))
            if row["IsCustomAttribute"] and row["IsValidForCreate"] and row["AttributeType"] in _KINDS
        ]
        timed = any(row["AttributeType"] == "DateTime" for row in own)
        dates = _dates(api, attributes) if timed else frozenset()
        return {"type": "object", "properties": {str(row["LogicalName"]): _property(row, dates) for row in own}}


def _dates(api: WebApi, attributes: str) -> frozenset[str]:
    """Return the names of the columns whose behavior is a date alone: only their own type of definition tells."""
    query = "/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata?$select=LogicalName,DateTimeBehavior"
    rows = api.read_rows(Operation("GET", attributes + query), _COLUMNS)
    return frozenset(str(row["LogicalName"]) for row in rows if row["DateTimeBehavior"]["Value"] == "DateOnly")


def _property(row: Mapping[str, Any], dates: frozenset[str]) -> dict[str, str]:
    label = _label(row.get("DisplayName")) or str(row["LogicalName"])
    described = _label(row.get("Description")) or f"The column {row['LogicalName']}."
    kind = _DATE if row["LogicalName"] in dates else _KINDS[row["AttributeType"]]
    return {**kind, "title": label, "x-ms-summary": label, "description": described}


def _label(label: Mapping[str, Any] | None) -> str:
    own = (label or {}).get("UserLocalizedLabel")
    return str(own["Label"]) if own else ""
