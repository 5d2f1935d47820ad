"""What the acting user may do: its privileges for closing, and the secured columns of what a close touches.

Nothing here is a reason to fail: what may not be read is not checked, which the plan says.
Sources: learn.microsoft.com /power-apps/developer/data-platform/webapi/reference (EntityMetadata, AttributeMetadata,
RetrieveUserSetOfPrivilegesByNames, RetrievePrincipalAttributePrivileges, AttributePrivilege).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote
from uuid import UUID

from connector.closing.plan_checks import STEP_PRIVILEGES
from connector.dataverse.answers import decoding, error_from, json_object
from connector.dataverse.reading import rows_of
from connector.dataverse.webapi import Operation
from connector.errors import NotFound, Rejected
from connector.handler import Response

_FUNCTIONS = "/Microsoft.Dynamics.CRM."
_TABLES = ("opportunity", "quote", "opportunityclose", "quoteclose")
_REQUIRED = frozenset({"SystemRequired", "ApplicationRequired"})
_FILLED_BY_ITSELF = frozenset({"Boolean", "Picklist", "Owner", "State", "Status"})
"""Kinds of columns that have a value of their own where none is given."""
_WHICH = "%20or%20".join([f"LogicalName%20eq%20'{table}'" for table in _TABLES])

TABLE_RULES = Operation(
    "GET",
    f"EntityDefinitions?$select=LogicalName,EnforceStateTransitions&$filter={_WHICH}"
    "&$expand=Attributes($select=LogicalName,AttributeType,IsSecured,IsCustomAttribute,IsValidForCreate,RequiredLevel,AutoNumberFormat;"
    "$filter=IsSecured%20eq%20true%20or%20IsCustomAttribute%20eq%20true)",
)
"""The read of which tables enforce transitions, of their secured columns and of those of the organization's own."""


@dataclass(frozen=True, slots=True)
class TableRules:
    """The tables that enforce transitions of status reasons, and the secured columns by the id of their definition.

    `required` is that of `OrganizationMetadata`.
    """

    enforced: frozenset[str]
    secured: Mapping[UUID, str]
    required: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class UserAccess:
    """What the acting user holds; the parts of `OrganizationMetadata` that tell of it."""

    privileges: frozenset[str] | None = None
    unreadable: frozenset[str] = frozenset()
    unwritable: frozenset[str] = frozenset()
    unchecked: tuple[str, ...] = ()


def table_rules(answer: Response, subject: str) -> TableRules | None:
    """Return what the answer to `TABLE_RULES` says, None where this user may not read it; raises ConnectorError."""
    if _is_withheld(answer):
        return None
    enforced, secured, required = set[str](), dict[UUID, str](), dict[str, bool]()
    with decoding(subject):
        for row in rows_of(json_object(answer, subject), subject):
            if row.get("EnforceStateTransitions"):
                enforced.add(str(row["LogicalName"]))
            for column in row.get("Attributes") or ():
                name, level = f"{row['LogicalName']}.{column['LogicalName']}", column["RequiredLevel"]["Value"]
                if column["IsSecured"]:
                    secured[UUID(column["MetadataId"])] = name
                settable = column["IsValidForCreate"] and not column.get("AutoNumberFormat")
                if column["IsCustomAttribute"] and settable and level in _REQUIRED:
                    required[name] = level == "SystemRequired" and column["AttributeType"] not in _FILLED_BY_ITSELF
    return TableRules(frozenset(enforced), secured, required)


def access_questions(users: Iterable[UUID], rules: TableRules | None) -> list[Operation]:
    """Return the reads of what each of `users` holds, who acts as the last of them, and of its secured columns."""
    ids = list(users)
    operations = [_privileges_of(user) for user in ids]
    if ids and rules is not None and rules.secured:
        operations.append(Operation("GET", f"systemusers({ids[-1]}){_FUNCTIONS}RetrievePrincipalAttributePrivileges()"))
    return operations


def read_access(answers: Sequence[Response], rules: TableRules | None, subject: str) -> UserAccess:
    """Return what the answers to `access_questions` say: what all of the users hold. Raises ConnectorError."""
    secured = rules.secured if rules is not None else {}
    of_columns = answers[-1] if secured and answers else None
    held = [_held(answer, subject) for answer in (answers if of_columns is None else answers[:-1])]
    known = [names for names in held if names is not None]
    privileges = frozenset.intersection(*known) if known and len(known) == len(held) else None
    unchecked = (
        () if privileges is not None else ("The user's privileges could not be read, so they were not checked.",)
    )
    if of_columns is None:
        return UserAccess(privileges, unchecked=unchecked)
    return _secured(of_columns, secured, privileges, unchecked, subject)


def _privileges_of(user: UUID) -> Operation:
    names = quote(json.dumps(STEP_PRIVILEGES, separators=(",", ":")), safe="[],")
    path = f"systemusers({user}){_FUNCTIONS}RetrieveUserSetOfPrivilegesByNames(PrivilegeNames=@names)?@names={names}"
    return Operation("GET", path)


def _held(answer: Response, subject: str) -> frozenset[str] | None:
    if _is_withheld(answer):
        return None
    with decoding(subject):
        rows = rows_of(json_object(answer, subject), subject, "RolePrivileges")
        names = [row.get("PrivilegeName") for row in rows]
        return frozenset(map(str, names)) if all(names) else None  # an older release answers without the names


def _secured(
    answer: Response,
    secured: Mapping[UUID, str],
    privileges: frozenset[str] | None,
    unchecked: tuple[str, ...],
    subject: str,
) -> UserAccess:
    if _is_withheld(answer):
        names = ", ".join(sorted(secured.values()))
        sentence = f"These columns are secured, and whether the user may read and set them was not checked: {names}."
        return UserAccess(privileges, unchecked=(*unchecked, sentence))
    with decoding(subject):
        rows = rows_of(json_object(answer, subject), subject, "AttributePrivileges")
        allowed = {UUID(row["AttributeId"]): row for row in rows}
        return UserAccess(
            privileges,
            frozenset(_not_allowed(secured, allowed, "CanRead")),
            frozenset(_not_allowed(secured, allowed, "CanCreate")),
            unchecked,
        )


def _not_allowed(secured: Mapping[UUID, str], allowed: Mapping[UUID, Mapping[str, object]], verb: str) -> Iterator[str]:
    yield from (name for id_, name in secured.items() if not allowed.get(id_, {}).get(verb))


def _is_withheld(answer: Response) -> bool:
    """Tell whether this user may not know it, or this release does not have the question."""
    if answer.status == HTTPStatus.FORBIDDEN:
        return True
    if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return isinstance(error_from(answer, "Reading what the user may do"), NotFound | Rejected)
    return answer.status == HTTPStatus.NOT_IMPLEMENTED
