"""Makes an opportunity with a draft and an active quote in a sandbox, to ask on, and removes all of it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import quote
from uuid import UUID

from connector.dataverse.answers import decoding, expect
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Operation
from connector.errors import ConnectorError, InputError, NotFound, Unanswered

NAME = "Probe of the close connector"
_BY_HAND = f"Delete it by hand once no probe runs: its name is '{NAME}'."
_TESTING = frozenset(
    ("CustomerTest", "CustomerFreeTest", "CustomerPreview", "TestDrive", "EmailTrial", "Developer", "Trial")
)
"""Kinds of environments in which records may be made to be asked on (OrganizationType, Web API reference)."""
_SUBJECT = "Making records to ask on"


class SampleRecords:
    """The records that were made through the Web API; `remove` deletes exactly those."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        self._made: list[str] = []

    def make(self) -> UUID:
        """Make a customer, an opportunity and two quotes; returns the opportunity's id.

        Raises InputError, before anything is made, unless the organization says that it is a sandbox or a trial.
        """
        self._require_sandbox()
        account = self._add("accounts", "accountid", {})
        customer = {"customerid_account@odata.bind": f"/accounts({account})"}
        opportunity = self._add("opportunities", "opportunityid", customer)
        for _ in range(2):
            offer = self._add(
                "quotes", "quoteid", {**customer, "opportunityid@odata.bind": f"/opportunities({opportunity})"}
            )
        self._send("PATCH", f"quotes({offer})", {"statecode": 1, "statuscode": 2})
        return opportunity

    def leftovers(self) -> Iterator[str]:
        """Yield a sentence for each record of an earlier run that was cut off before it could remove it."""
        for entity_set, key in (("quotes", "quoteid"), ("opportunities", "opportunityid"), ("accounts", "accountid")):
            operation = Operation("GET", f"{entity_set}?$select={key}&$filter=name%20eq%20'{quote(NAME)}'")
            for row in self._api.read_rows(operation, _SUBJECT):
                yield f"{entity_set}({row[key]}) was made to ask on by a run that was cut off or still runs. {_BY_HAND}"

    def remove(self) -> list[str]:
        """Delete what was made, the youngest first; returns a sentence for each record that could not be."""
        left = []
        for path in reversed(self._made):
            try:
                self._send("DELETE", path, None)
            except NotFound:
                continue
            except ConnectorError as error:
                left.append(f"{path} was made to ask on and could not be removed: {error.message} {_BY_HAND}")
        return left

    def _require_sandbox(self) -> None:
        function = "RetrieveCurrentOrganization(AccessType=Microsoft.Dynamics.CRM.EndpointAccessType'Default')"
        data = self._api.read_object(Operation("GET", function), _SUBJECT)
        with decoding(_SUBJECT):
            kind = str(data["Detail"].get("OrganizationType", "unknown"))
        if kind not in _TESTING:
            raise InputError(
                f"Records are made only in a sandbox or a trial, and this organization is of the kind {kind}; nothing "
                "was made.",
                remedy="Name an open opportunity with a draft and an active quote instead.",
            )

    def _add(self, entity_set: str, key: str, values: dict[str, str]) -> UUID:
        identity = self._api.endpoint.new_id()
        self._made.append(f"{entity_set}({identity})")  # before it is sent: a lost answer must leave nothing behind
        self._send("POST", entity_set, {key: str(identity), "name": NAME, **values})
        return identity

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> None:
        operation = Operation(method, path, json.dumps(body) if body is not None else "")
        response = self._api.send(operation)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            expect(response, _SUBJECT)
            raise Unanswered(f"{_SUBJECT}: {path} was answered with {response.status}.")
