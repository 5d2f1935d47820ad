"""Looks records up by their keys: 300 values in a filter, several filters in a request.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query/filter-rows (`In`),
.../use-alternate-key-reference-record, .../impersonate-another-user-web-api, and the table reference of systemuser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from itertools import islice
from urllib.parse import quote
from uuid import UUID

from connector.closing.record_keys import COMPETITOR, OPPORTUNITY, USER, RecordKey, RecordMatch
from connector.dataverse.answers import decoding, error_from, json_object
from connector.dataverse.metadata import user_id_of, who_is
from connector.dataverse.reading import Row, WebApi
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import InputError

VALUES, FILTERS = 300, 10
"""Values in a filter, at most, and filters in a request."""
_LONGEST = 16_000
"""Characters of the values in a filter: an address may have 32,768."""
IMPERSONATION = "prvActOnBehalfOfAnotherUser"
"""What acting as another user needs."""

_SUBJECT = "Looking records up"
_SETS = {OPPORTUNITY: "opportunities", COMPETITOR: "competitors", USER: "systemusers"}
_NAMES = {OPPORTUNITY: "name", COMPETITOR: "name", USER: "fullname"}
_TEXTS, _LOOKUPS = frozenset({"String", "Memo"}), frozenset({"Lookup", "Customer", "Owner"})
_NUMBERS = frozenset({"Integer", "BigInt", "Picklist", "Decimal"})


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a key: its name in a query, its form of a value, empty for none, and a literal of that."""

    name: str
    form: Callable[[object], str]
    is_text: bool = False

    def equals(self, value: str) -> str:
        """Return the condition that it has this value."""
        return f"{self.name} eq " + ("'{}'".format(value.replace("'", "''")) if self.is_text else value)


def _text_in(value: object) -> str:
    return "" if value is None else str(value).strip().casefold()


def _number_in(value: object) -> str:
    try:
        number = Decimal(_text_in(value) or "NaN")
    except InvalidOperation:
        return ""
    return f"{number.normalize():f}" if number.is_finite() and "_" not in str(value) else ""


def _id_in(value: object) -> str:
    try:
        return str(UUID(str(value).strip()))
    except ValueError:
        return ""


_USER_IDS = tuple(_Column(name, _id_in) for name in ("systemuserid", "azureactivedirectoryobjectid"))
_USER_NAMES = tuple(_Column(name, _text_in, is_text=True) for name in ("domainname", "internalemailaddress"))
_COMPETITOR_NAMES = (_Column("name", _text_in, is_text=True),)
_Form = tuple[str, ...]
"""The values of a key or row as they are compared, one for each column."""


class RecordLookup:
    """Looks records up through the Web API; what a column is and whether this user may act as others is asked once."""

    def __init__(self, api: WebApi) -> None:
        self._api = api
        self._known: dict[str, _Column] = {}
        self._may_impersonate: bool | None = None

    def matches(self, keys: Sequence[RecordKey]) -> dict[RecordKey, list[RecordMatch]]:
        """Return the records that have each key, without regard to case unless that tells them apart.

        Raises InputError, ConnectorError.
        """
        matches: dict[RecordKey, list[RecordMatch]] = {key: [] for key in keys}
        for table, column in dict.fromkeys((key.table, key.column) for key in keys):
            chosen = [key for key in keys if (key.table, key.column) == (table, column)]
            if table == USER:
                matches |= self._matches(chosen, [(each,) for each in _USER_IDS])
                names = [key for key in chosen if not _id_in(key.value)]
                matches |= self._matches(names, [(each,) for each in _USER_NAMES])
            else:
                known = table == COMPETITOR
                columns = _COMPETITOR_NAMES if known else tuple(map(self._column, chosen[0].columns))
                matches |= self._matches(chosen, [columns])
        return matches

    def _matches(
        self, keys: Iterable[RecordKey], alternatives: Sequence[tuple[_Column, ...]]
    ) -> dict[RecordKey, list[RecordMatch]]:
        """Return the records that have each key in one of the alternative columns.

        What these have no form for, no record has.
        """
        forms = {key: form for key in keys if (form := _form(alternatives[0], key.values))}
        rows: dict[RecordKey, list[tuple[bool, Row]]] = {}
        filters = _filters(forms, alternatives[0])
        while some := list(islice(filters, FILTERS)):
            operations = [_operation(group[0].table, {forms[key] for key in group}, alternatives) for group in some]
            sets = self._api.read_sets(operations, _SUBJECT)
            for group, answers in zip(some, sets, strict=True):
                by_form: dict[_Form, list[RecordKey]] = {}
                for key in group:
                    by_form.setdefault(forms[key], []).append(key)
                for row in answers:
                    values = [[row.get(column.name) for column in columns] for columns in alternatives]
                    for form in {_form(columns, each) for columns, each in zip(alternatives, values, strict=True)}:
                        for key in by_form.get(form, ()):
                            rows.setdefault(key, []).append(([*key.values] in values, row))
        return {key: [self._record(key.table, row) for row in _nearest(candidates)] for key, candidates in rows.items()}

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

    def _column(self, name: str) -> _Column:
        """Return a column of opportunities; raises InputError for one that is not there or cannot be of a key."""
        if name not in self._known:
            self._known[name] = self._defined(name)
        return self._known[name]

    def _defined(self, column: str) -> _Column:
        name = column.lower()
        name = name[1 : -len("_value")] if name.startswith("_") and name.endswith("_value") else name
        if not name.isidentifier():
            raise InputError(f"{column!r} cannot be the name of a column.", remedy="Give its logical name.")
        path = f"EntityDefinitions(LogicalName='{OPPORTUNITY}')/Attributes(LogicalName='{name}')"
        operation = Operation("GET", f"{path}?$select=LogicalName,AttributeType,IsValidForRead")
        response = self._api.send(operation)
        if response.status == HTTPStatus.NOT_FOUND:
            raise InputError(
                f"The table {OPPORTUNITY} has no column {column}.", remedy="Give the logical name, as new_legacyid."
            ) from error_from(response, _SUBJECT)
        attribute = json_object(response, _SUBJECT)
        with decoding(_SUBJECT):
            kind = str(attribute["AttributeType"])
            readable = bool(attribute["IsValidForRead"])
        if readable and kind in _TEXTS:
            return _Column(name, _text_in, is_text=True)
        if readable and kind in _NUMBERS:
            return _Column(name, _number_in)
        if readable and kind in _LOOKUPS:
            return _Column(f"_{name}_value", _id_in)
        raise InputError(
            f"The column {column} of {OPPORTUNITY} is of type {kind}, which cannot be a key here.",
            remedy="Give a column of text, numbers or ids.",
        )

    def _impersonates(self) -> bool:
        if self._may_impersonate is None:
            endpoint = Endpoint(self._api.endpoint.base_url, new_id=self._api.endpoint.new_id)
            own = WebApi(self._api.handler, endpoint)  # the user who signs in
            user = user_id_of(own.read_object(who_is(None), _SUBJECT))
            privileges = f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
            body = own.read_object(Operation("GET", privileges), _SUBJECT)
            with decoding(_SUBJECT):
                self._may_impersonate = IMPERSONATION in {held["PrivilegeName"] for held in body["RolePrivileges"]}
        return self._may_impersonate


def _form(columns: Sequence[_Column], values: Sequence[object]) -> _Form:
    """Return the values as they are compared; empty where there is not one for each column."""
    form = tuple(column.form(value) for column, value in zip(columns, values, strict=False))
    return form if len(values) == len(columns) and all(form) else ()


def _nearest(candidates: Sequence[tuple[bool, Row]]) -> list[Row]:
    """Return the rows that a key can mean: one with exactly its text, though others differ from it only by case."""
    exact = [row for same, row in candidates if same]
    return exact if len(exact) == 1 else [row for _, row in candidates]


def _filters(keys: Iterable[RecordKey], columns: Sequence[_Column]) -> Iterator[list[RecordKey]]:
    """Yield groups of keys, each small enough for one filter."""
    group: list[RecordKey] = []
    size, most = 0, VALUES // len(columns)
    names = sum(len(column.name) + len(" eq '' and ") for column in columns) if not _is_listed(columns) else 0
    for key in keys:
        length = len(quote(key.value)) + 7 + names
        if group and (len(group) == most or size + length > _LONGEST):
            yield group
            group, size = [], 0
        group.append(key)
        size += length
    if group:
        yield group


def _is_listed(columns: Sequence[_Column]) -> bool:
    """Return whether many values are compared by one condition, which is not documented for lookups."""
    return len(columns) == 1 and not columns[0].name.startswith("_")


def _operation(table: str, forms: Iterable[_Form], alternatives: Sequence[tuple[_Column, ...]]) -> Operation:
    columns = [column.name for each in alternatives for column in each]
    own = ["isdisabled", *(each.name for each in (*_USER_IDS, *_USER_NAMES))] if table == USER else [f"{table}id"]
    select = ",".join(dict.fromkeys((*own, *columns, _NAMES[table])))
    condition = " or ".join(_condition(each, sorted(forms)) for each in alternatives)
    condition = quote(condition, safe="()',:$/@=")
    return Operation("GET", f"{_SETS[table]}?$select={select}&$filter={condition}")


def _condition(columns: Sequence[_Column], forms: Sequence[_Form]) -> str:
    """Return the filter of rows with one of the forms; values with quotes are compared one by one."""
    simple = [form[0] for form in forms if not set(form[0]) & set("'\"\\")] if _is_listed(columns) else []
    parts = [
        " and ".join(column.equals(value) for column, value in zip(columns, form, strict=True))
        for form in forms
        if form[0] not in simple
    ]
    parts = [f"({part})" if len(columns) > 1 else part for part in parts]
    if simple:
        listed = ",".join(f"'{value}'" for value in simple)
        parts.insert(0, f"Microsoft.Dynamics.CRM.In(PropertyName='{columns[0].name}',PropertyValues=[{listed}])")
    return " or ".join(parts)
