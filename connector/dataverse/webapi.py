"""Says it in the Web API's words: requests out of values, values out of rows. No I/O.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi (compose-http-requests-handle-errors,
use-web-api-actions, perform-conditional-operations-using-web-api) and the Web API reference of opportunity, quote,
opportunityclose and quoteclose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from connector.closing.bypass import NO_BYPASS, Bypass
from connector.closing.model import ColumnValue, Step, StepKind
from connector.errors import InputError
from connector.handler import Request

SERVICE_PATH = "/api/data/v9.2/"
"""The Web API's root below the organization's address; v9.2 is the current version."""

ANNOTATIONS = 'odata.include-annotations="Microsoft.PowerApps.CDS.*"'
"""The preference that makes error bodies carry what classifies them."""

WRITE_TIMEOUT = 240.0
"""Seconds to wait for a write: a plug-in may take two minutes; Microsoft's ServiceClient waits four."""

SETS: Mapping[str, str] = {"opportunity": "opportunities", "quote": "quotes"}
"""Entity sets by the logical name of their table."""

_BASE = {
    "accept": "application/json",
    "odata-maxversion": "4.0",
    "odata-version": "4.0",
    "if-none-match": "null",  # defeats stale cached expansions, as the documents ask on every request
}
OPPORTUNITY_COLUMNS = (
    "opportunityid,name,statecode,statuscode,estimatedvalue,actualvalue,actualclosedate,_customerid_value,"
    "closeprobability,_transactioncurrencyid_value,_ownerid_value,modifiedon,_modifiedby_value"
)
QUOTE_COLUMNS = (
    "quoteid,name,quotenumber,statecode,statuscode,versionnumber,revisionnumber,totalamount,_opportunityid_value,"
    "_transactioncurrencyid_value,modifiedon,_modifiedby_value"
)
_WORK_BASED = ",msdyn_ordertype"
_BYPASSED = {"sync": "CustomSync", "async": "CustomAsync"}
_JSON = json.JSONEncoder()
_CLOSES = ("WinOpportunity", "LoseOpportunity")
# An action of the organization's own may take a parameter of the general entity type, which needs to be told the type
# of what is in it; a concrete one allows it.
_TYPED = '"@odata.type":"Microsoft.Dynamics.CRM.opportunityclose",'


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, to be sent alone or inside a batch: `path` is relative to the service root, `body` is JSON."""

    method: str
    path: str
    body: str = ""
    if_match: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go and as whom: builds them complete, with headers and ids.

    `base_url` is `https://host`, without a path. `bypass` is which of the organization's own logic writes leave out.
    `impersonate` is the Entra object id of the user to act as; the
    caller needs prvActOnBehalfOfAnotherUser. `new_id` makes the id that each request carries for support, `annotations`
    is the preference that says which annotations are wanted.
    """

    base_url: str
    impersonate: UUID | None = None
    new_id: Callable[[], UUID] = uuid4
    annotations: str = ANNOTATIONS
    bypass: Bypass = NO_BYPASS

    def request(self, operation: Operation, correlation: UUID | None = None, as_user: UUID | None = None) -> Request:
        """Return `operation` as a request of its own; `correlation` names the opportunity it serves.

        `as_user` is whom this one acts as, instead of `impersonate`.
        """
        headers = self._headers(correlation, self.annotations, as_user)
        if operation.if_match:
            headers["if-match"] = operation.if_match
        if operation.body:
            headers["content-type"] = "application/json; charset=utf-8"
        if operation.method != "GET":
            headers |= {name.lower(): value for name, value in self._bypassing()}
        timeout = None if operation.method == "GET" else WRITE_TIMEOUT
        url = f"{self.base_url}{SERVICE_PATH}{operation.path}"
        return Request(operation.method, url, headers, operation.body.encode(), timeout)

    def batch(
        self, body: bytes, boundary: str, correlation: UUID | None = None, as_user: UUID | None = None
    ) -> Request:
        """Return the request of a batch that goes on after an operation failed; `as_user` as in `request`."""
        headers = self._headers(correlation, f"odata.continue-on-error,{self.annotations}", as_user)
        headers["content-type"] = f'multipart/mixed; boundary="{boundary}"'
        return Request("POST", f"{self.base_url}{SERVICE_PATH}$batch", headers, body, WRITE_TIMEOUT)

    def part_headers(self, as_user: UUID | None = None) -> tuple[tuple[str, str], ...]:
        """Return the headers that every operation inside a batch carries itself; `as_user` as in `request`."""
        own = (("Accept", "application/json"), ("Prefer", self.annotations))
        acting = as_user or self.impersonate
        return own if acting is None else (*own, ("CallerObjectId", str(acting)))

    def write_headers(self, as_user: UUID | None = None) -> tuple[tuple[str, str], ...]:
        """Return the headers that every write inside a batch carries itself: it does not take those of its batch."""
        return (*self.part_headers(as_user), *self._bypassing())

    def _bypassing(self) -> Iterator[tuple[str, str]]:
        """Yield the headers that leave logic out."""
        names = [name for kind, name in _BYPASSED.items() if kind in self.bypass.kinds]
        if names:
            yield "MSCRM.BypassBusinessLogicExecution", ",".join(names)
        if self.bypass.steps:
            yield "MSCRM.BypassBusinessLogicExecutionStepIds", ",".join(str(step) for step in self.bypass.steps)
        if "flows" in self.bypass.kinds:
            yield "MSCRM.SuppressCallbackRegistrationExpanderJob", "true"
        if self.bypass.tag:
            yield "tag", self.bypass.tag

    def follow(self, link: str) -> Request:
        """Return the request for a next link, taken as it is; InputError if it leads out of the organization."""
        ours, theirs = urlsplit(self.base_url), urlsplit(link)
        if (theirs.scheme.lower(), theirs.netloc.lower()) != (ours.scheme.lower(), ours.netloc.lower()):
            raise InputError(
                f"The organization's answer goes on at another host ({theirs.hostname}), which is not followed.",
                remedy="Set DATAVERSE_URL to the address that the organization itself uses.",
            )
        return Request("GET", link, self._headers(None, self.annotations))

    def _headers(self, correlation: UUID | None, prefer: str, as_user: UUID | None = None) -> dict[str, str]:
        headers = {**_BASE, "prefer": prefer, "x-ms-client-request-id": str(self.new_id())}
        if correlation is not None:
            headers["x-ms-correlation-request-id"] = str(correlation)
        acting = as_user or self.impersonate
        if acting is not None:
            headers["callerobjectid"] = str(acting)
        return headers


# --- reading ---


def read_opportunity(opportunity_id: UUID, *, work_based: bool) -> Operation:
    """Return the read of one opportunity with its quotes; an expansion of a single row comes with its rows.

    `work_based` asks for `msdyn_ordertype` too, which only organizations with Project Operations have.
    """
    extra = _WORK_BASED if work_based else ""
    expand = f"$expand=opportunity_quotes($select={QUOTE_COLUMNS}{extra})"
    return Operation("GET", f"opportunities({opportunity_id})?$select={OPPORTUNITY_COLUMNS}{extra}&{expand}")


def read_opportunities(ids: Iterable[UUID], *, work_based: bool) -> Operation:
    """Return the read of many opportunities without their quotes (see `read_quotes`)."""
    return read_set("opportunities", OPPORTUNITY_COLUMNS + (_WORK_BASED if work_based else ""), "opportunityid", ids)


def read_quotes(opportunity_ids: Iterable[UUID], *, work_based: bool) -> Operation:
    """Return the read of the quotes of many opportunities.

    A query of its own, because an expansion over a set may answer with a link per row instead of the rows.
    """
    return read_set("quotes", QUOTE_COLUMNS + (_WORK_BASED if work_based else ""), "opportunityid", opportunity_ids)


def read_closes(table: str, ids: Iterable[UUID]) -> Operation:
    """Return the read of the close activities of many opportunities or quotes, each with its lookup of that record."""
    return read_set(f"{table}closes", f"activityid,statecode,createdon,_{table}id_value", f"{table}id", ids)


def read_orders(quote_ids: Iterable[UUID]) -> Operation:
    """Return the read of the sales orders of many quotes."""
    return read_set("salesorders", "salesorderid,ordernumber,totalamount,_quoteid_value", "quoteid", quote_ids)


def read_set(entity_set: str, columns: str, column: str, values: Iterable[UUID | str]) -> Operation:
    """Return the read of the rows of a set whose `column` is among `values`: ids, or names without quotes."""
    listed = ",".join([f"'{value}'" for value in values])
    condition = f"Microsoft.Dynamics.CRM.In(PropertyName='{column}',PropertyValues=%5B{listed}%5D)"
    return Operation("GET", f"{entity_set}?$select={columns}&$filter={condition}")


def read_currencies() -> Operation:
    """Return the read of the currencies: their names, ISO codes and decimals."""
    return Operation("GET", "transactioncurrencies?$select=currencyname,isocurrencycode,currencyprecision")


def read_users() -> Operation:
    """Return the read of the names of users; an organization with more than a page of them shows the others' ids."""
    return Operation("GET", "systemusers?$select=fullname,azureactivedirectoryobjectid,applicationid&$top=5000")


# --- writing ---


def operation_of(step: Step) -> Operation:
    """Return the operation that performs `step`.

    Raises InputError for a value that JSON cannot carry, and for a step without the status reason or the activity id
    that its message needs: neither is left for the service to choose.
    """
    match step.kind:
        case StepKind.ACTIVATE_QUOTE | StepKind.REOPEN_OPPORTUNITY | StepKind.REOPEN_QUOTE:
            columns = "".join([f",{_JSON.encode(name)}:{_json(step, value)}" for name, value in step.columns.items()])
            state = (
                f'{{"statecode":{_required(step, step.state)},"statuscode":{_required(step, step.status)}{columns}}}'
            )
            return Operation("PATCH", _row(step), state, step.version or "*")
        case StepKind.DELETE_QUOTE:
            return Operation("DELETE", _row(step), "", step.version or "*")
        case StepKind.CLOSE_QUOTE | StepKind.WIN_QUOTE:
            body = _close_body(step, "QuoteClose", "")
        case StepKind.CLOSE_OPPORTUNITY:
            body = _close_body(step, "OpportunityClose", "" if step.message in _CLOSES else _TYPED)
        case StepKind.CREATE_ORDER:
            columns = '"ColumnSet":{"AllColumns":false,"Columns":["salesorderid"]}'
            body = f'{{"QuoteId":"{step.record_id}",{columns}}}'
        case StepKind.CLOSE_PROJECT_QUOTE:
            return Operation("POST", f"{_row(step)}/Microsoft.Dynamics.CRM.{step.message}", "{}")
        case StepKind.CLOSE_ALL_QUOTES:
            body = f'{{"quoteStatus":{_required(step, step.status)}}}'
            return Operation("POST", f"{_row(step)}/Microsoft.Dynamics.CRM.{step.message}", body)
    return Operation("POST", step.message, body)


def subject_of(step: Step) -> str:
    """Return what `step` does and to which row, in words that hold no customer text ("close quote 2222...")."""
    return f"{step.kind.replace('_', ' ').capitalize()}, {step.table} {step.record_id}"


def _row(step: Step) -> str:
    return f"{SETS[step.table]}({step.record_id})"


def _required(step: Step, value: int | None) -> int:
    """Return `value`, a state or status reason; -1, which lets the platform choose, is not one."""
    if value is None or value < 0:
        raise InputError(f"{subject_of(step)}: the step has no state or status reason.")
    return value


def _close_body(step: Step, parameter: str, kind: str) -> str:
    if step.activity_id is None:
        raise InputError(f"{subject_of(step)}: the step has no id for its close activity.")
    bind = f'"{step.table}id@odata.bind":"/{_row(step)}"'
    competitor = f',"competitorid@odata.bind":"/competitors({step.competitor_id})"' if step.competitor_id else ""
    columns = "".join([f",{_JSON.encode(name)}:{_json(step, value)}" for name, value in step.activity.items()])
    entity = f'{{{kind}"activityid":"{step.activity_id}",{bind}{competitor}{columns}}}'
    return f'{{"Status":{_required(step, step.status)},"{parameter}":{entity}}}'


def _json(step: Step, value: ColumnValue) -> str:
    """Return `value` in JSON; a Decimal keeps every digit."""
    if isinstance(value, Decimal | float) and not math.isfinite(value):
        raise InputError(f"{subject_of(step)}: a column holds a number that is not finite.")
    return f"{value:f}" if isinstance(value, Decimal) else _JSON.encode(value)
