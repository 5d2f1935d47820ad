"""What a doctor looks at in an organization: who we are there, what we may do, how much it says we may ask.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/reference (WhoAmI, RetrieveVersion,
RetrieveUserPrivileges, RolePrivilege) and .../api-limits, .../send-parallel-requests for the headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID, uuid4

from connector.dataverse.answers import decoding, http_date, json_object
from connector.dataverse.batch import read_batch, write_batch
from connector.dataverse.metadata import named_messages, user_id_of, who_is
from connector.dataverse.reading import WebApi, rows_of
from connector.dataverse.webapi import Endpoint, Operation, read_set
from connector.errors import NotFound
from connector.handler import Handler, Response

DEPTHS = ("Basic", "Local", "Deep", "Global")
"""How far a privilege reaches: own records, the business unit's, those below it too, the organization's."""


@dataclass(frozen=True, slots=True)
class RemainingLimits:
    """What the service says is left of its limits; None where it says nothing.

    `parallelism` is how many requests at once it recommends, `requests` and `seconds` what is left of the number of
    requests and of execution time on the web server that answered.
    """

    parallelism: int | None
    requests: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """Who signed in, in which organization, by its own account; `server_time` is its clock, to the second."""

    user_id: UUID
    business_unit_id: UUID
    organization_id: UUID
    server_time: datetime | None
    limits: RemainingLimits


class Diagnosis:
    """Asks the organization at `base_url` through `handler`; every method raises ConnectorError when it cannot."""

    def __init__(
        self, handler: Handler, base_url: str, *, impersonate: UUID | None = None, new_id: Callable[[], UUID] = uuid4
    ) -> None:
        self._api = WebApi(handler, Endpoint(base_url.rstrip("/"), impersonate, new_id))

    def who_am_i(self) -> SignedInUser:
        """Return who signed in; impersonation does not change that (see `acting_user`)."""
        subject = "Asking the organization who signed in"
        response = self._api.send(Operation("GET", "WhoAmI"))
        data = json_object(response, subject)
        with decoding(subject):
            return SignedInUser(
                UUID(data["UserId"]),
                UUID(data["BusinessUnitId"]),
                UUID(data["OrganizationId"]),
                http_date(response.header("date") or ""),
                remaining_limits(response),
            )

    def acting_user(self) -> UUID:
        """Return the user that acts: who signed in, or who is impersonated; NotFound if that is no user here."""
        subject = "Asking the organization who acts"
        user_id = user_id_of(self._api.read_object(who_is(self._api.endpoint.impersonate), subject))
        if user_id is None:
            raise NotFound(
                f"{subject}: the Entra object id to impersonate ({self._api.endpoint.impersonate}) is no user of it.",
                status=HTTPStatus.NOT_FOUND,
                remedy="Check the object id, or add the user to the environment.",
            )
        return user_id

    def version(self) -> str:
        """Return the version of the organization, such as 9.2.26032.179."""
        subject = "Asking for the organization's version"
        data = self._api.read_object(Operation("GET", "RetrieveVersion()"), subject)
        with decoding(subject):
            return str(data["Version"])

    def messages(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of the names (of messages and custom actions) that the organization lists among its messages."""
        subject = "Listing the organization's messages"
        rows = self._api.read_rows(named_messages(names), subject)
        with decoding(subject):
            return frozenset(str(row["name"]) for row in rows)

    def accepts_batches(self) -> bool:
        """Tell whether a batch of one read is answered as a batch; what became of the read does not matter here."""
        boundary = f"batch_{self._api.endpoint.new_id()}"
        body = write_batch([Operation("GET", "WhoAmI")], boundary, self._api.endpoint.part_headers())
        response = self._api.handler(self._api.endpoint.batch(body, boundary))
        return bool(read_batch(response))

    def held_privileges(self, user_id: UUID, names: Iterable[str]) -> Mapping[str, str]:
        """Return those of the privileges that user `user_id` holds by some role, its teams' included, with their depth.

        The depth is one of `DEPTHS`.
        """
        subject = "Reading the user's privileges"
        operation = Operation("GET", f"systemusers({user_id})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()")
        rows = rows_of(self._api.read_object(operation, subject), subject, "RolePrivileges")
        requested = frozenset(names)
        with decoding(subject):
            ordered = sorted(rows, key=lambda row: DEPTHS.index(row.get("Depth") or "Global"))  # the deepest counts
            depths = {UUID(row["PrivilegeId"]): str(row.get("Depth") or "Global") for row in ordered}
            named = {str(row.get("PrivilegeName") or ""): UUID(row["PrivilegeId"]) for row in rows}
        known = self._names(set(depths), requested, subject) if "" in named else named
        return {name: depths[known[name]] for name in requested if name in known}

    def _names(self, ids: set[UUID], requested: frozenset[str], subject: str) -> Mapping[str, UUID]:
        """Return the ids by name of privileges that are among `ids`: older releases answer without the names."""
        rows = self._api.read_rows(read_set("privileges", "privilegeid,name", "name", sorted(requested)), subject)
        with decoding(subject):
            ids_by_name = {str(row["name"]): UUID(row["privilegeid"]) for row in rows}
        return {name: id_ for name, id_ in ids_by_name.items() if id_ in ids}


def remaining_limits(response: Response) -> RemainingLimits:
    """Return what the headers of `response` say is left; numbers may have thousands separators (`1,200.00`)."""
    parallelism = _number(response.header("x-ms-dop-hint"))
    requests = _number(response.header("x-ms-ratelimit-burst-remaining-xrm-requests"))
    return RemainingLimits(
        None if parallelism is None else int(parallelism),
        None if requests is None else int(requests),
        _number(response.header("x-ms-ratelimit-time-remaining-xrm-requests")),
    )


def _number(value: str | None) -> float | None:
    digits = (value or "").replace(",", "").strip()
    plain = digits.replace(".", "", 1)
    return float(digits) if plain.isascii() and plain.isdigit() and len(plain) < 20 else None  # a sane number
