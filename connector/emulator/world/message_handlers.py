"""The messages the organization answers: which exist, what each does, their rows, and background jobs that do them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID, uuid5

from connector.emulator.rules.rule import Refused, Switches, refuse
from connector.emulator.world import opportunity, project, quote, sharing
from connector.emulator.world.callers import Access, Caller
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import Records, Ref
from connector.emulator.world.schema import Message, Schema
from connector.emulator.world.store import Row

MessageResult = Mapping[str, "Ref | bool | float"] | None
"""What a message returns: `{"@ref": Ref}` for a row, the members of its complex type, None for 204."""
Handler = Callable[[Records, Access, Caller, Arguments, Ref], MessageResult]

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


def is_valid_state_transition(
    records: Records, access: Access, caller: Caller, arguments: Arguments, _about: Ref
) -> MessageResult:
    """IsValidStateTransition: whether a row may move to a state (by invariant name) and status reason."""
    entity, state_name, status = (arguments.get(name) for name in ("Entity", "NewState", "NewStatus"))
    if not isinstance(entity, Ref):
        raise refuse("action.parameter_missing", "Entity", "IsValidStateTransition")
    if not isinstance(state_name, str):
        raise refuse("action.parameter_missing", "NewState", "IsValidStateTransition")
    table = records.schema.tables[entity.table]
    access.require(caller, table, ("Read",))
    was = int(records.get(entity.table, entity.id, ("statecode",))["statecode"] or 0)
    state = next((option for option in table.states if option.invariant_name.lower() == state_name.lower()), None)
    option = table.status(status) if isinstance(status, int) else None
    if state is None or option is None or option.state != state.value:
        return {"IsValid": False}
    return {"IsValid": table.logical_name not in _MOVES or (was, state.value) in _MOVES[table.logical_name]}


def default_status(
    records: Records, access: Access, caller: Caller, arguments: Arguments, _about: Ref
) -> MessageResult:
    """RetrieveDefaultStatusForState: the status reason a row gets in a state (called by Microsoft's own quote page)."""
    table = records.schema.tables.get(str(arguments["EntityName"]))
    state = table.state(int(str(arguments["State"]))) if table is not None else None
    if table is None or state is None:
        raise refuse("state.unknown", arguments["State"], arguments["EntityName"], "")
    access.require(caller, table, ("Read",))
    return {"Status": state.default_status}


def can_close(records: Records, access: Access, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
    """CanCloseOpportunity: whether only this quote keeps an open opportunity from being closed (the same page)."""
    deal, offer = arguments["Opportunity"], arguments["Quote"]
    if not isinstance(deal, Ref) or not isinstance(offer, Ref):
        raise refuse("action.parameter_missing", "Opportunity", "CanCloseOpportunity")
    access.require(caller, records.schema.tables["opportunity"], ("Read",))
    row = records.get("opportunity", deal.id, ("statecode",))
    others = records.store.rows(
        "SELECT 1 FROM quote WHERE opportunityid = ? AND statecode IN (0, 1) AND quoteid <> ?", (deal.id, offer.id)
    )
    return {"CanClose": row["statecode"] == opportunity.OPEN and not others}


def _nothing(act: Callable[[Records, Access, Caller, Arguments], None]) -> Handler:
    def handle(records: Records, access: Access, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
        act(records, access, caller, arguments)
        return None

    return handle


def _row(act: Callable[[Records, Access, Caller, Arguments], Ref]) -> Handler:
    def handle(records: Records, access: Access, caller: Caller, arguments: Arguments, _about: Ref) -> MessageResult:
        return {"@ref": act(records, access, caller, arguments)}

    return handle


def _on_row(act: Callable[[Records, Access, Caller, Ref], None]) -> Handler:
    def handle(records: Records, access: Access, caller: Caller, _arguments: Arguments, about: Ref) -> MessageResult:
        act(records, access, caller, about)
        return None

    return handle


def _close_all(records: Records, access: Access, caller: Caller, arguments: Arguments, about: Ref) -> MessageResult:
    project.close_all(records, access, caller, about, arguments)
    return None


def _actual_value(records: Records, access: Access, caller: Caller, _arguments: Arguments, about: Ref) -> MessageResult:
    return {"Value": opportunity.calculate_actual_value(records, access, caller, about)}


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "WinOpportunity": _nothing(opportunity.win),
        "LoseOpportunity": _nothing(opportunity.lose),
        "CloseOpportunity": _nothing(opportunity.close_by_status),
        "CalculateActualValueOpportunity": _actual_value,
        "CloseQuote": _nothing(quote.close),
        "WinQuote": _nothing(quote.win),
        "ReviseQuote": _row(quote.revise),
        "GenerateQuoteFromOpportunity": _row(quote.generate),
        "ConvertQuoteToSalesOrder": _row(quote.to_order),
        "GrantAccess": _nothing(sharing.grant),
        "ModifyAccess": _nothing(sharing.modify),
        "RevokeAccess": _nothing(sharing.revoke),
        "IsValidStateTransition": is_valid_state_transition,
        "RetrieveDefaultStatusForState": default_status,
        "CanCloseOpportunity": can_close,
        "msdyn_CloseAllOpportunityQuotes": _close_all,
        "msdyn_CloseQuoteAsLost": _on_row(project.close_as_lost),
        "msdyn_CloseQuoteAsWon": _on_row(project.close_as_won),
    }
)
"""What each message does; the keys are those of the schema's messages."""


def own_action(message: str, about: Ref) -> MessageResult:
    """Do nothing for an action of the organization's own, of which only the name is known, and say so in the log."""
    _LOG.warning(
        "%s is an action of the organization's own: nothing was done for %s %s.", message, about.table, about.id
    )
    return None


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
            _add(records, "sdkmessage", {"sdkmessageid": key, "name": rows[key], **shared})
            for row in _filter_rows(key, rows[key], tables_by_message[rows[key]]):
                _add(records, "sdkmessagefilter", row)


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


def _add(records: Records, table: str, row: Row) -> None:
    records.store.insert(table, row)


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
    _keep(records, [*jobs, BackgroundJob(due, message, target.table, target.id, number, caller.user_id, mine)])


def run_due(records: Records, access: Access) -> None:
    """Do the jobs whose time has come; one that is refused then is dropped, as a failed system job would be."""
    jobs = waiting(records)
    due = [job for job in jobs if job.due <= records.now()]
    for job in due:
        try:
            with records.store.transaction():
                arguments: Arguments = {} if job.status is None else {"quoteStatus": job.status}
                target = Ref(job.table, job.record_id)
                HANDLERS[job.message](records, access, access.user(job.user_id), arguments, target)
        except Refused:
            continue
    if due:
        _keep(records, [job for job in jobs if job not in due])


def _opportunity(records: Records, target: Ref) -> str:
    if target.table == "opportunity":
        records.get("opportunity", target.id, ("opportunityid",))
        return target.id
    return str(records.get("quote", target.id, ("opportunityid",))["opportunityid"])


def _keep(records: Records, jobs: list[BackgroundJob]) -> None:
    records.store.keep_note(_NOTE, json.dumps([asdict(job) for job in jobs]))
