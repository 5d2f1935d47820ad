"""What an organization has: its status reasons, the messages that matter here, the acting user's place in time.

Read once and kept for a while; one thread reads while the others wait. Sources: learn.microsoft.com
/power-apps/developer/data-platform/webapi/query-metadata-web-api (status and state columns),
.../bulk-operations (messages by `sdkmessages`), .../specify-time-zone-settings-user (`timezonebias`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from connector.clock import Clock
from connector.closing.model import OrganizationMetadata, StatusReason
from connector.dataverse.answers import decoding, expect, json_object
from connector.dataverse.reading import read_object, read_several, rows_of
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import SettingsError
from connector.handler import Handler, Response

MESSAGES = ("msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsLost", "msdyn_CloseQuoteAsWon")
"""The messages of Project Operations which close quotes of work-based opportunities."""

BYPASS_PRIVILEGE = "prvBypassCustomBusinessLogic"
"""What leaving out custom logic and flows needs (bypass-custom-business-logic, bypass-power-automate-flows)."""

_SUBJECT = "Reading the organization's metadata"


class Metadata:
    """The organization's metadata, read when it is first asked for and again after `cache_seconds` on `clock`."""

    def __init__(
        self, handler: Handler, endpoint: Endpoint, *, clock: Clock, close_action: str, cache_seconds: float
    ) -> None:
        self._handler = handler
        self._endpoint = endpoint
        self._clock = clock
        self._close_action = close_action
        self._cache_seconds = cache_seconds
        self._reading = threading.Lock()
        self._kept: tuple[OrganizationMetadata, float] | None = None

    def get(self) -> OrganizationMetadata:
        """Return the metadata; raises ConnectorError when it has to be read and cannot be."""
        kept = self._fresh()
        if kept is not None:
            return kept
        with self._reading:
            kept = self._fresh()
            if kept is None:
                answers = read_several(self._handler, self._endpoint, self._operations(), _SUBJECT)
                kept = self._keep(answers)
            return kept

    def prepare(self) -> None:
        """Read the metadata ahead of many closes, its parts at the same time: in a batch they would come one by one.

        Raises as `get`.
        """
        operations = self._operations()
        with self._reading, ThreadPoolExecutor(len(operations)) as threads:
            requests = map(self._endpoint.request, operations)
            self._keep(list(threads.map(self._handler, requests)))

    def _keep(self, answers: Sequence[Response]) -> OrganizationMetadata:
        metadata = self._made_of(answers)
        self._kept = (metadata, self._clock.monotonic())
        return metadata

    def _fresh(self) -> OrganizationMetadata | None:
        kept = self._kept
        if kept is None or self._clock.monotonic() - kept[1] >= self._cache_seconds:
            return None
        return kept[0]

    @property
    def _messages(self) -> tuple[str, ...]:
        return (*MESSAGES, self._close_action) if self._close_action else MESSAGES

    def _operations(self) -> list[Operation]:
        return [
            *_definitions("opportunity"),
            *_definitions("quote"),
            named_messages(self._messages),
            who_is(self._endpoint.impersonate),
        ]

    def _made_of(self, answers: Sequence[Response]) -> OrganizationMetadata:
        messages = frozenset[str]() if _is_hidden(answers[4]) else _names(json_object(answers[4], _SUBJECT))
        bodies = [json_object(answers[number], _SUBJECT) for number in range(4)]
        user_id = user_id_of(json_object(answers[5], _SUBJECT))
        if self._endpoint.bypass.needs_privilege:
            self._check_bypass(user_id)
        return OrganizationMetadata(
            opportunity_statuses=status_reasons(bodies[0], bodies[1]),
            quote_statuses=status_reasons(bodies[2], bodies[3]),
            messages=frozenset(self._messages) & messages,
            utc_offset_minutes=self._utc_offset(user_id),
            close_action=self._close_action or None,
            bypass=self._endpoint.bypass,
        )

    def _check_bypass(self, user_id: UUID | None) -> None:
        """Raise SettingsError, before anything is written, unless the acting user may leave logic out."""
        privileges = f"systemusers({user_id})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
        body = read_object(self._handler, self._endpoint, Operation("GET", privileges), _SUBJECT)
        with decoding(_SUBJECT):
            held = {privilege["PrivilegeName"] for privilege in body["RolePrivileges"]}
        if BYPASS_PRIVILEGE not in held:
            raise SettingsError(
                f"The user {user_id} may not leave out the organization's own logic: {BYPASS_PRIVILEGE} is missing. "
                "Nothing was changed.",
                remedy="Give a security role with that privilege to the user, or run without --bypass.",
            )

    def _utc_offset(self, user_id: UUID | None) -> int:
        """Return the user's offset in minutes east of UTC; 0 where it has no settings or may not read them."""
        if user_id is None:
            return 0
        operation = Operation("GET", f"usersettingscollection({user_id})?$select=timezonebias")
        return _offset(self._handler(self._endpoint.request(operation)))


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


def status_reasons(statuses: Mapping[str, Any], states: Mapping[str, Any]) -> tuple[StatusReason, ...]:
    """Return the status reasons in the definitions of a table's `statuscode` and `statecode` columns.

    Labels come in every language, the user's own first. Raises Unanswered for definitions of another shape.
    """
    with decoding(_SUBJECT):
        defaults = {(option["Value"], option["DefaultStatus"]) for option in _options(states)}
        return tuple(
            StatusReason(
                value=int(option["Value"]),
                state=int(option["State"]),
                default=(option["State"], option["Value"]) in defaults,
                labels=_labels(option["Label"]),
            )
            for option in _options(statuses)
        )


def _definitions(table: str) -> tuple[Operation, Operation]:
    attributes = f"EntityDefinitions(LogicalName='{table}')/Attributes"
    query = "?$select=LogicalName&$expand=OptionSet($select=Options)"
    return (
        Operation(
            "GET", f"{attributes}(LogicalName='statuscode')/Microsoft.Dynamics.CRM.StatusAttributeMetadata{query}"
        ),
        Operation("GET", f"{attributes}(LogicalName='statecode')/Microsoft.Dynamics.CRM.StateAttributeMetadata{query}"),
    )


def named_messages(names: tuple[str, ...]) -> Operation:
    """Return the read of those messages (custom actions among them) which the organization has under these names."""
    values = ",".join([f"'{name}'" for name in names])
    condition = f"Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=%5B{values}%5D)"
    return Operation("GET", f"sdkmessages?$select=name&$filter={condition}")


def _is_hidden(answer: Response) -> bool:
    """Tell whether this user may not read the list of messages: then none of them is used, which is the Sales way."""
    return answer.status == 403


def _names(body: Mapping[str, Any]) -> frozenset[str]:
    with decoding(_SUBJECT):
        return frozenset(row["name"] for row in rows_of(body, _SUBJECT))


def _options(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = definition["OptionSet"]["Options"]
    return list(options)


def _labels(label: Mapping[str, Any]) -> tuple[str, ...]:
    own = label.get("UserLocalizedLabel")
    localized = [*([own] if own else []), *(label.get("LocalizedLabels") or [])]
    return tuple(dict.fromkeys(str(entry["Label"]) for entry in localized if entry["Label"]))


def _offset(response: Response) -> int:
    if 400 <= response.status < 500 and response.status not in (401, 429):  # not there, or not for this user
        return 0
    with decoding(_SUBJECT):
        bias = json_object(expect(response, _SUBJECT), _SUBJECT).get("timezonebias")
        return 0 if bias is None else -int(bias)
