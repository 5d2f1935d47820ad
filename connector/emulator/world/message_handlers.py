"""The messages the organization answers: which exist under the switches, and what each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from connector.emulator.rules.rule import refuse
from connector.emulator.rules.switches import Switches
from connector.emulator.world import opportunity, project, quote
from connector.emulator.world.callers import Access, Caller
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import Records, Ref
from connector.emulator.world.schema import Message, Schema

MessageResult = Mapping[str, "Ref | bool | float"] | None
"""What a message returns: `{"@ref": Ref}` for a row, the members of its complex type, None for 204."""
Handler = Callable[[Records, Access, Caller, Arguments, Ref], MessageResult]

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
        "IsValidStateTransition": is_valid_state_transition,
        "RetrieveDefaultStatusForState": default_status,
        "CanCloseOpportunity": can_close,
        "msdyn_CloseAllOpportunityQuotes": _close_all,
        "msdyn_CloseQuoteAsLost": _on_row(project.close_as_lost),
        "msdyn_CloseQuoteAsWon": _on_row(project.close_as_won),
    }
)
"""What each message does; the keys are those of the schema's messages."""
