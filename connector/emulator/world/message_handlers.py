"""The messages the organization answers: which exist, what each does, their rows, and background jobs that do them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid5

from connector.emulator.rules.rule import Refused, Switches, refuse
from connector.emulator.world import opportunity, quote
from connector.emulator.world.callers import ACCESS_RIGHTS, Caller
from connector.emulator.world.opportunity import Arguments, MessageResult
from connector.emulator.world.records import Records, Ref
from connector.emulator.world.schema import Message, Schema
from connector.emulator.world.store import Row

Handler = Callable[[Records, Caller, Arguments, Ref], MessageResult]

_LOG = logging.getLogger(__name__)
_MOVES = {
    "opportunity": {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)},
    "quote": {(0, 0), (0, 1), (1, 0), (1, 2), (1, 3), (2, 0), (3, 0)},
}
"""Which states lead to which (markcarrington.dev: restricted state transitions, read-only sales entities)."""


def available(schema: Schema, switches: Switches) -> Mapping[str, Message]:
    """Return the messages that exist in an organization with these switches."""
    packs = {"sales", "platform"}
    if switches.project_operations != "off":
        packs.add("project operations")
    if switches.close_opportunity_message == "present":
        packs.add("organization")
    return {name: message for name, message in schema.messages.items() if message.pack in packs}


def is_valid_state_transition(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
    """IsValidStateTransition: whether a row may move to a state (by invariant name) and status reason."""
    entity, state_name, status = (arguments.get(name) for name in ("Entity", "NewState", "NewStatus"))
    if not isinstance(entity, Ref):
        raise refuse("action.parameter_missing", "Entity", "IsValidStateTransition")
    if not isinstance(state_name, str):
        raise refuse("action.parameter_missing", "NewState", "IsValidStateTransition")
    table = records.schema.tables[entity.table]
    records.access.require(caller, table, ("Read",))
    was = int(records.get(entity.table, entity.id, ("statecode",))["statecode"] or 0)
    state = next((option for option in table.states if option.invariant_name.lower() == state_name.lower()), None)
    option = table.status(status) if isinstance(status, int) else None
    if state is None or option is None or option.state != state.value:
        return {"IsValid": False}
    return {"IsValid": table.logical_name not in _MOVES or (was, state.value) in _MOVES[table.logical_name]}


def default_status(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
    """RetrieveDefaultStatusForState: the status reason a row gets in a state (called by Microsoft's own quote page)."""
    table = records.schema.tables.get(str(arguments["EntityName"]))
    state = table.state(int(str(arguments["State"]))) if table is not None else None
    if table is None or state is None:
        raise refuse("state.unknown", arguments["State"], arguments["EntityName"], "")
    records.access.require(caller, table, ("Read",))
    return {"Status": state.default_status}


def can_close(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
    """CanCloseOpportunity: whether only this quote keeps an open opportunity from being closed (the same page)."""
    deal, offer = arguments["Opportunity"], arguments["Quote"]
    if not isinstance(deal, Ref) or not isinstance(offer, Ref):
        raise refuse("action.parameter_missing", "Opportunity", "CanCloseOpportunity")
    records.access.require(caller, records.schema.tables["opportunity"], ("Read",))
    row = records.get("opportunity", deal.id, ("statecode",))
    others = records.store.rows(
        "SELECT 1 FROM quote WHERE opportunityid = ? AND statecode IN (0, 1) AND quoteid <> ?", (deal.id, offer.id)
    )
    return {"CanClose": row["statecode"] == opportunity.OPEN and not others}


# Sharing rows with users (powerapps-docs, security-sharing-assigning; the enumeration AccessRights).


def grant(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """GrantAccess: share a row with a user, the rights added to those it has. Raises Refused."""
    target, principal, rights = _shared(records, caller, arguments)
    _share(records, target, principal, rights | records.access.shared(principal, target.table, target.id))


def modify(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """ModifyAccess: replace the rights that a user has by sharing. Raises Refused."""
    _share(records, *_shared(records, caller, arguments))


def revoke(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """RevokeAccess: take away what a user has by sharing. Raises Refused."""
    target = _target(records, caller, arguments)
    _share(records, target, _principal(records, arguments.get("Revokee")), 0)


def _shared(records: Records, caller: Caller, arguments: Arguments) -> tuple[Ref, str, int]:
    target, share = _target(records, caller, arguments), arguments.get("PrincipalAccess")
    share = share if isinstance(share, Mapping) else {}
    rights = 0
    for name in str(share.get("AccessMask") or "").split(","):
        if name.strip() not in ACCESS_RIGHTS:
            raise refuse("column.type", "PrincipalAccess", "AccessMask", "Microsoft.Dynamics.CRM.AccessRights")
        rights |= ACCESS_RIGHTS[name.strip()]
    return target, _principal(records, share.get("Principal")), rights


def _target(records: Records, caller: Caller, arguments: Arguments) -> Ref:
    """Return the row that is shared, which the caller may share. Raises Refused."""
    target = _entity_of(records.schema, arguments.get("Target"))
    table = records.schema.tables[target.table]
    records.access.require(caller, table, ("Share",))
    records.access.require_row(caller, table, "Share", target.id)
    records.get(target.table, target.id, (table.primary_id,))
    return target


def _principal(records: Records, data: object) -> str:
    principal = _entity_of(records.schema, data)
    if principal.table != "systemuser":
        raise refuse("emulator.not_implemented", f"sharing with a {principal.table}")
    return str(records.get("systemuser", principal.id, ("systemuserid",))["systemuserid"])


def _entity_of(schema: Schema, data: Any) -> Ref:
    """Return the row that an entity parameter names by its type and its key. Raises Refused."""
    data = data if isinstance(data, Mapping) else {}
    name = str(data.get("@odata.type", "")).removeprefix("#").removeprefix("Microsoft.Dynamics.CRM.")
    key = data.get(schema.tables[name].primary_id) if name in schema.tables else None
    if not isinstance(key, str):
        raise refuse("action.parameter_missing", "@odata.type and the key of a row", "sharing")
    return Ref(name, key.lower())


def _share(records: Records, target: Ref, principal: str, rights: int) -> None:
    where = (target.table, target.id, principal)
    records.store.execute("DELETE FROM _shares WHERE tablename = ? AND record = ? AND principal = ?", where)
    if rights:
        records.store.execute("INSERT INTO _shares VALUES (?, ?, ?, ?)", (*where, rights))


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "WinOpportunity": partial(opportunity.close_as, "WinOpportunity", opportunity.WON),
        "LoseOpportunity": partial(opportunity.close_as, "LoseOpportunity", opportunity.LOST),
        "CloseOpportunity": opportunity.close_by_status,
        "CalculateActualValueOpportunity": opportunity.calculate_actual_value,
        "CloseQuote": partial(quote.close_as, "CloseQuote", quote.CLOSED),
        "WinQuote": partial(quote.close_as, "WinQuote", quote.WON),
        "ReviseQuote": quote.revise,
        "GenerateQuoteFromOpportunity": quote.generate,
        "ConvertQuoteToSalesOrder": quote.to_order,
        "GrantAccess": grant,
        "ModifyAccess": modify,
        "RevokeAccess": revoke,
        "IsValidStateTransition": is_valid_state_transition,
        "RetrieveDefaultStatusForState": default_status,
        "CanCloseOpportunity": can_close,
        "msdyn_CloseAllOpportunityQuotes": quote.close_all,
        "msdyn_CloseQuoteAsLost": quote.close_as_lost,
        "msdyn_CloseQuoteAsWon": quote.close_as_won,
    }
)
"""What each message does; the keys are those of the schema's messages."""


def own_action(message: str, about: Ref) -> None:
    """Do nothing for an action of the organization's own, of which only the name is known, and say so in the log."""
    _LOG.warning(
        "%s is an action of the organization's own: nothing was done for %s %s.", message, about.table, about.id
    )


_IDS = UUID("9b1b4a3c-53ef-5c12-8e0d-3a60d4cf9a77")
_PLATFORM = {
    "Create": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "Update": ("opportunity", "quote", "account", "contact", "competitor"),
    "Delete": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "Retrieve": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "RetrieveMultiple": ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "contact", "competitor"),
    "CreateMultiple": ("opportunity", "quote", "account", "contact", "competitor"),
    "UpdateMultiple": ("opportunity", "quote", "account", "contact", "competitor"),
    "Associate": (),
    "Disassociate": (),
    "WhoAmI": (),
    "SetState": ("opportunity", "quote"),
}
_SLICE = frozenset({"opportunity", "quote", "opportunityclose", "quoteclose"})
_EVENTS = {"Win": ("opportunity", "quote"), "Lose": ("opportunity",), "Close": ("quote",), "Revise": ("quote",)}
"""Under these names plug-ins register for the close messages (nishantrana.me: invalidpluginexecutionexception)."""


def write_message_rows(records: Records, messages: Mapping[str, Message]) -> None:
    """Make the rows of both tables agree with the messages that exist; writes nothing when they do already."""
    tables_by_message: dict[str, tuple[str, ...]] = {**_PLATFORM, **_EVENTS}
    tables_by_message |= {name: (message.table,) if message.table else () for name, message in messages.items()}
    if records.schema.listed:
        tables_by_message = _as_listed(tables_by_message, records.schema.listed)
    ids = {str(key) for (key,) in records.store.rows("SELECT sdkmessageid FROM sdkmessage")}
    rows = {message_id(name): name for name in tables_by_message}
    if ids == rows.keys():
        return
    with records.store.transaction():
        for gone in sorted(ids - rows.keys()):
            _remove(records, gone)
        for key in sorted(rows.keys() - ids):
            shared: Row = {"categoryname": "CRM", "isactive": 1, "isprivate": 0}
            records.store.insert("sdkmessage", {"sdkmessageid": key, "name": rows[key], **shared})
            for row in _filter_rows(key, rows[key], tables_by_message[rows[key]]):
                records.store.insert("sdkmessagefilter", row)


def _as_listed(
    usual: Mapping[str, tuple[str, ...]], listed: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return the tables of each message: those of the slice as they are listed, the others as usual."""
    elsewhere = {name: tuple(table for table in tables if table not in _SLICE) for name, tables in usual.items()}
    others = {name: tables for name, tables in elsewhere.items() if tables or not usual[name]}
    return {name: (*listed.get(name, ()), *others.get(name, ())) for name in {**listed, **others}}


def message_id(name: str) -> str:
    """Return the id of the sdkmessage row of this name."""
    return str(uuid5(_IDS, name))


def _filter_rows(key: str, name: str, tables: Iterable[str]) -> Iterator[Row]:
    for table in tables:
        yield {
            "sdkmessagefilterid": str(uuid5(_IDS, f"{name}:{table}")),
            "sdkmessageid": key,
            "primaryobjecttypecode": table,
            "isvisible": 1,
            "iscustomprocessingstepallowed": 1,
        }


def _remove(records: Records, key: str) -> None:
    rows = records.store.rows("SELECT sdkmessagefilterid FROM sdkmessagefilter WHERE sdkmessageid = ?", (key,))
    for (filter_id,) in rows:
        records.store.delete("sdkmessagefilter", str(filter_id), records.now())
    records.store.delete("sdkmessage", key, records.now())


DELAY = timedelta(seconds=30)
"""How long a job waits. The real time is not documented, only that it is long (long-running-jobs page)."""

_NOTE = "jobs"


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """One message that waits for its time (`due`, as moments are stored)."""

    due: str
    message: str
    table: str
    record_id: str
    status: int | None
    user_id: str
    opportunity: str


def waiting(records: Records) -> list[BackgroundJob]:
    """Return the jobs that wait, oldest first."""
    return [BackgroundJob(**load) for load in json.loads(records.store.note(_NOTE) or "[]")]


def enqueue(records: Records, caller: Caller, message: str, arguments: Arguments, target: Ref) -> None:
    """Take a message for later; raises Refused when the row does not exist or its opportunity has a job already."""
    mine = _opportunity(records, target)
    jobs = waiting(records)
    if any(job.opportunity == mine for job in jobs):
        raise refuse("project.busy")
    due = (records.clock.now() + DELAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = arguments.get("quoteStatus")
    number = status if isinstance(status, int) else None
    _keep_jobs(records, [*jobs, BackgroundJob(due, message, target.table, target.id, number, caller.user_id, mine)])


def run_due(records: Records) -> None:
    """Do the jobs whose time has come; one that is refused then is dropped, as a failed system job would be."""
    jobs = waiting(records)
    due = [job for job in jobs if job.due <= records.now()]
    for job in due:
        try:
            with records.store.transaction():
                arguments: Arguments = {} if job.status is None else {"quoteStatus": job.status}
                target = Ref(job.table, job.record_id)
                HANDLERS[job.message](records, records.access.user(job.user_id), arguments, target)
        except Refused:
            continue
    if due:
        _keep_jobs(records, [job for job in jobs if job not in due])


def _opportunity(records: Records, target: Ref) -> str:
    if target.table == "opportunity":
        records.get("opportunity", target.id, ("opportunityid",))
        return target.id
    return str(records.get("quote", target.id, ("opportunityid",))["opportunityid"])


def _keep_jobs(records: Records, jobs: list[BackgroundJob]) -> None:
    records.store.keep_note(_NOTE, json.dumps([asdict(job) for job in jobs]))
