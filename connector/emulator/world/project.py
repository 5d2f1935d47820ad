"""The Project Operations messages: closing an opportunity's quotes together, winning and losing project quotes."""

from __future__ import annotations

from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import Access, Caller
from connector.emulator.world.opportunity import WON as OPPORTUNITY_WON
from connector.emulator.world.opportunity import Arguments, close_opportunity, status_argument
from connector.emulator.world.quote import ACTIVE, CLOSED, DRAFT, LOST_STATUS, WON, WON_STATUS, finish_quote
from connector.emulator.world.records import Records, Ref
from connector.emulator.world.store import Row

_NEEDED = ("quoteid", "statecode", "msdyn_ordertype", "quotenumber", "revisionnumber", "opportunityid")


def close_all(records: Records, access: Access, caller: Caller, target: Ref, arguments: Arguments) -> None:
    """msdyn_CloseAllOpportunityQuotes: close every draft and active quote of the opportunity. Raises Refused."""
    status = status_argument(arguments, "msdyn_CloseAllOpportunityQuotes", "quoteStatus")
    _check_privileges(records, access, caller)
    records.get("opportunity", target.id, ("statecode",))
    for row in _open_quotes(records, target.id):
        records.check_status(records.schema.tables["quote"], CLOSED, status, str(row["quoteid"]))
        _finish(records, caller, row, CLOSED, status)


def close_as_lost(records: Records, access: Access, caller: Caller, target: Ref) -> None:
    """msdyn_CloseQuoteAsLost: close one draft or active quote as Lost. Raises Refused."""
    _check_privileges(records, access, caller)
    _finish(records, caller, _open_quote(records, target.id), CLOSED, LOST_STATUS)


def close_as_won(records: Records, access: Access, caller: Caller, target: Ref) -> None:
    """msdyn_CloseQuoteAsWon: win one quote and close the opportunity's other open quotes as Lost. Raises Refused."""
    _check_privileges(records, access, caller)
    row = _open_quote(records, target.id)
    _finish(records, caller, row, WON, WON_STATUS)
    opportunity = row["opportunityid"]
    if opportunity is None:
        return
    for sibling in _open_quotes(records, str(opportunity)):
        _finish(records, caller, sibling, CLOSED, LOST_STATUS)
    if records.switches.project_win_and_opportunity == "closes":
        target = Ref("opportunity", str(opportunity))
        close_opportunity(records, access, caller, {"opportunityid": target}, OPPORTUNITY_WON, -1)


def _check_privileges(records: Records, access: Access, caller: Caller) -> None:
    access.require(caller, records.schema.tables["quote"], ("Write", "AppendTo"))
    access.require(caller, records.schema.tables["quoteclose"], ("Create", "Append"))


def _open_quote(records: Records, key: str) -> Row:
    row = records.get("quote", key, _NEEDED)
    if row["statecode"] not in (DRAFT, ACTIVE):
        raise refuse("quote.not_active", code=records.switches.quote_not_active_code)
    return row


def _open_quotes(records: Records, opportunity: str) -> list[Row]:
    names = ", ".join(_NEEDED)
    rows = records.store.rows(
        f"SELECT {names} FROM quote WHERE opportunityid = ? AND statecode IN (0, 1) ORDER BY quoteid", (opportunity,)
    )
    return [dict(zip(_NEEDED, row, strict=True)) for row in rows]


def _finish(records: Records, caller: Caller, row: Row, state: int, status: int) -> None:
    finish_quote(records, caller, {"quoteid": Ref("quote", str(row["quoteid"]))}, row, state, status)
