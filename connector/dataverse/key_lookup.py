"""Looks records up by their keys: 300 values in a filter, several filters in a request.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query/filter-rows (`In`),
.../use-alternate-key-reference-record, .../impersonate-another-user-web-api, and the table reference of systemuser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from urllib.parse import quote
from uuid import UUID

from connector.closing.record_keys import COMPETITOR, OPPORTUNITY, USER, RecordKey, RecordMatch
from connector.dataverse.answers import decoding, error_from, json_object
from connector.dataverse.metadata import user_id_of, who_is
from connector.dataverse.reading import Row, read_object, read_sets
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import InputError
from connector.handler import Handler

VALUES, FILTERS = 300, 10
"""Values in a filter, at most, and filters in a request."""
_LONGEST = 16_000
"""Characters of the values in a filter: an address may have 32,768."""
IMPERSONATION = "prvActOnBehalfOfAnotherUser"
"""What acting as another user needs."""

_SUBJECT = "Looking records up"
_SETS = {OPPORTUNITY: "opportunities", COMPETITOR: "competitors", USER: "systemusers"}
_NAMES = {OPPORTUNITY: "name", COMPETITOR: "name", USER: "fullname"}
_USER_IDS = ("systemuserid", "azureactivedirectoryobjectid")
_USER_NAMES = ("domainname", "internalemailaddress")
_TEXTS, _NUMBERS = frozenset({"String", "Memo"}), frozenset({"Integer", "BigInt"})


class RecordLookup:
    """Looks records up through `handler`; what a column is and whether this user may act as others is asked once."""

    def __init__(self, handler: Handler, endpoint: Endpoint) -> None:
        self._handler = handler
        self._endpoint = endpoint
        self._numbers: dict[str, bool] = {}
        self._may_impersonate: bool | None = None

    def matches(self, keys: Sequence[RecordKey]) -> dict[RecordKey, list[RecordMatch]]:
        """Return the records that have each key, without regard to case; raises InputError, ConnectorError."""
        matches: dict[RecordKey, list[RecordMatch]] = {key: [] for key in keys}
        for table, column in dict.fromkeys((key.table, key.column) for key in keys):
            chosen = [key for key in keys if (key.table, key.column) == (table, column)]
            if table == USER:
                self._match(chosen, _USER_IDS, _id_in, matches)
                self._match([key for key in chosen if not _id_in(key.value)], _USER_NAMES, _text_in, matches)
            else:
                self._match(chosen, (column,), _text_in if self._is_text(table, column) else _number_in, matches)
        return matches

    def _match(
        self,
        keys: Iterable[RecordKey],
        columns: Sequence[str],
        plain: Callable[[object], str],
        matches: Mapping[RecordKey, list[RecordMatch]],
    ) -> None:
        """Add the records that have one of the keys in one of the columns; `plain` is a value as it is compared.

        What it has no form for, no record has.
        """
        filters = _filters(key for key in keys if plain(key.value))
        while some := list(islice(filters, FILTERS)):
            sets = read_sets(
                self._handler, self._endpoint, [_operation(group, columns, plain) for group in some], _SUBJECT
            )
            for group, rows in zip(some, sets, strict=True):
                by_value: dict[str, list[RecordKey]] = {}
                for key in group:
                    by_value.setdefault(plain(key.value), []).append(key)
                for row in rows:
                    values = {plain(row.get(column)) for column in columns}
                    for key in [key for value in values for key in by_value.get(value, ())]:
                        matches[key].append(self._record(key.table, row))

    def _record(self, table: str, row: Row) -> RecordMatch:
        with decoding(_SUBJECT):
            name = str(row[_NAMES[table]] or "no name")
            if table != USER:
                return RecordMatch(UUID(row[f"{table}id"]), name)
            object_id = row.get("azureactivedirectoryobjectid")
            problem = ""
            if row["isdisabled"]:
                problem = "is disabled, so nothing can be done in that name"
            elif not object_id:
                problem = "has no Entra object id, so no application can act as that user"
            elif not self._impersonates():
                problem = f"cannot be acted as: the user who signs in lacks {IMPERSONATION}"
            return RecordMatch(UUID(object_id or row["systemuserid"]), name, problem)

    def _is_text(self, table: str, column: str) -> bool:
        """Return whether a column holds text, else it holds whole numbers; raises InputError for any other."""
        if table == COMPETITOR:
            return True
        if column not in self._numbers:
            self._numbers[column] = self._column_type(table, column) in _NUMBERS
        return not self._numbers[column]

    def _column_type(self, table: str, column: str) -> str:
        if not column.isidentifier():
            raise InputError(f"{column!r} cannot be the name of a column.", remedy="Give its logical name.")
        path = f"EntityDefinitions(LogicalName='{table}')/Attributes(LogicalName='{column.lower()}')"
        operation = Operation("GET", f"{path}?$select=LogicalName,AttributeType,IsValidForRead")
        response = self._handler(self._endpoint.request(operation))
        if response.status == HTTPStatus.NOT_FOUND:
            raise InputError(
                f"The table {table} has no column {column}.", remedy="Give the logical name, as new_legacyid."
            ) from error_from(response, _SUBJECT)
        attribute = json_object(response, _SUBJECT)
        with decoding(_SUBJECT):
            kind = str(attribute["AttributeType"])
            readable = bool(attribute["IsValidForRead"])
        if kind not in _TEXTS | _NUMBERS or not readable:
            raise InputError(
                f"The column {column} of {table} is of type {kind}, which cannot be a key here.",
                remedy="Give a column of text or whole numbers.",
            )
        return kind

    def _impersonates(self) -> bool:
        if self._may_impersonate is None:
            own = Endpoint(self._endpoint.base_url, new_id=self._endpoint.new_id)  # whoever signs in
            user = user_id_of(read_object(self._handler, own, who_is(None), _SUBJECT))
            privileges = f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
            body = read_object(self._handler, own, Operation("GET", privileges), _SUBJECT)
            with decoding(_SUBJECT):
                self._may_impersonate = IMPERSONATION in {held["PrivilegeName"] for held in body["RolePrivileges"]}
        return self._may_impersonate


def _filters(keys: Iterable[RecordKey]) -> Iterator[list[RecordKey]]:
    """Yield groups of keys, each small enough for one filter."""
    group: list[RecordKey] = []
    size = 0
    for key in keys:
        length = len(quote(key.value)) + 7
        if group and (len(group) == VALUES or size + length > _LONGEST):
            yield group
            group, size = [], 0
        group.append(key)
        size += length
    if group:
        yield group


def _operation(keys: Sequence[RecordKey], columns: Sequence[str], plain: Callable[[object], str]) -> Operation:
    table = keys[0].table
    values = list(dict.fromkeys(plain(key.value) for key in keys))
    own = (*_USER_IDS, "isdisabled", *_USER_NAMES) if table == USER else (f"{table}id", *columns)
    select = ",".join(dict.fromkeys((*own, _NAMES[table])))
    condition = " or ".join(_condition(column, values) for column in columns)
    condition = quote(condition, safe="()',:$/@=")
    return Operation("GET", f"{_SETS[table]}?$select={select}&$filter={condition}")


def _condition(column: str, values: Sequence[str]) -> str:
    """Return the filter of a column with one of the values; those with quotes are compared one by one."""
    simple = [value for value in values if "'" not in value and '"' not in value and "\\" not in value]
    others = [value for value in values if value not in simple]
    parts = ["{} eq '{}'".format(column, value.replace("'", "''")) for value in others]
    if simple:
        listed = ",".join(f"'{value}'" for value in simple)
        parts.insert(0, f"Microsoft.Dynamics.CRM.In(PropertyName='{column}',PropertyValues=[{listed}])")
    return " or ".join(parts)


def _text_in(value: object) -> str:
    return "" if value is None else str(value).strip().casefold()


def _number_in(value: object) -> str:
    text = _text_in(value)
    return str(int(text)) if text.isascii() and text.removeprefix("-").isdigit() else ""


def _id_in(value: object) -> str:
    try:
        return str(UUID(str(value)))
    except ValueError:
        return ""
