"""Closing, winning and revising quotes, making quotes and orders of other rows; the messages of Project Operations."""

from __future__ import annotations

from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import Caller
from connector.emulator.world.opportunity import WON as OPPORTUNITY_WON
from connector.emulator.world.opportunity import (
    Arguments,
    close_opportunity,
    entity_argument,
    status_argument,
    unchosen,
)
from connector.emulator.world.records import Records, Ref, TypedValue, Values
from connector.emulator.world.schema import names
from connector.emulator.world.store import Row

DRAFT, ACTIVE, WON, CLOSED = 0, 1, 2, 3
LOST_STATUS, WON_STATUS = 5, 4
WORK_BASED = 192350001
_NEEDED = ("quoteid", "statecode", "msdyn_ordertype", "quotenumber", "revisionnumber", "opportunityid")
_OF_OPPORTUNITY = names(
    "name customerid customerid_type accountid contactid pricelevelid transactioncurrencyid totaltax "
    "msdyn_ordertype totallineitemamount totalamountlessfreight discountamount discountpercentage freightamount "
    "totalamount"
)
_COPIED = (*_OF_OPPORTUNITY, *names("quotenumber opportunityid effectivefrom effectiveto expireson description"))
_LINE_COPIED = names(
    "quotedetailname productdescription quantity priceperunit baseamount extendedamount manualdiscountamount tax "
    "ispriceoverridden lineitemnumber transactioncurrencyid isproductoverridden"
)


def close_as(message: str, state: int, records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """CloseQuote and WinQuote: close an active quote under a status reason of its new state. Raises Refused."""
    activity = entity_argument(arguments, "QuoteClose", message)
    close_quote(records, caller, activity, state, status_argument(arguments, message))


def close_quote(records: Records, caller: Caller, activity: Values, state: int, status: int) -> str:
    """Close a quote as `state` and create its close activity, whose id is returned. Raises Refused."""
    target = activity.get("quoteid")
    if not isinstance(target, Ref) or target.table != "quote":
        raise refuse("quote.id_missing")
    table = records.schema.tables["quote"]
    _check_privileges(records, caller)
    records.access.require_row(caller, table, "Write", target.id)
    row = records.get("quote", target.id, _NEEDED)
    if records.switches.close_repeat_check == "key_first":
        key = activity.get("activityid")
        if isinstance(key, str) and records.store.exists("quoteclose", key):
            raise refuse("row.key_taken")
    if not _may_close(records, row):
        raise refuse("quote.not_active", code=records.switches.quote_not_active_code)
    if status == -1 and records.switches.minus_one_status == "accept":
        status = _default_status(records, state)
    records.check_status(table, state, status, target.id)
    return finish_quote(records, caller, activity, row, state, status)


def _check_privileges(records: Records, caller: Caller) -> None:
    records.access.require(caller, records.schema.tables["quote"], ("Write", "AppendTo"))
    records.access.require(caller, records.schema.tables["quoteclose"], ("Create", "Append"))


def _may_close(records: Records, row: Row) -> bool:
    if row["statecode"] != DRAFT:
        return row["statecode"] == ACTIVE
    drafts = records.switches.draft_quote_close
    return drafts == "accept" or (drafts == "work_based" and row["msdyn_ordertype"] == WORK_BASED)


def _default_status(records: Records, state: int) -> int:
    if state == CLOSED and records.switches.default_closed_quote_status == "lost":
        return LOST_STATUS
    return records.schema.tables["quote"].default_status(state)


def finish_quote(records: Records, caller: Caller, activity: Values, row: Row, state: int, status: int) -> str:
    """Write the new state of a quote and its close activity, unchecked; returns the activity's id."""
    dropped = ("statecode", "statuscode", *unchosen(records))
    values = {name: value for name, value in activity.items() if name not in dropped}
    defaults: Row = {
        "statecode": 1,
        "statuscode": 2,
        "actualend": records.now(),
        "quotenumber": row["quotenumber"],
        "revision": row["revisionnumber"],
        "regardingobjectid": row["quoteid"],
        "regardingobjectid_type": "quote",
        "activitytypecode": "quoteclose",
    }
    key = records.create(caller, records.schema.tables["quoteclose"], values, defaults)
    changed: Row = {"statecode": state, "statuscode": status}
    if records.switches.quote_closedon == "set":
        ended = records.get("quoteclose", key, ("actualend",))["actualend"]
        changed["closedon"] = records.local_date(caller, str(ended))
    records.write(caller, records.schema.tables["quote"], str(row["quoteid"]), changed)
    return key


def guid_argument(arguments: Arguments, name: str, message: str) -> str:
    """Return an id parameter; raises Refused when it is absent."""
    value = arguments.get(name)
    if isinstance(value, Ref):
        return value.id
    if not isinstance(value, str) or not value:
        raise refuse("action.parameter_missing", name, message)
    return value


def revise(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> Ref:
    """ReviseQuote: a new draft with the lines and number of a closed quote, one revision later. Raises Refused."""
    tables = records.schema.tables
    records.access.require(caller, tables["quote"], ("Read", "Create", "Append"))
    key = guid_argument(arguments, "QuoteId", "ReviseQuote")
    row = records.get("quote", key, (*_NEEDED, *_COPIED))
    if row["statecode"] != CLOSED:
        state = tables["quote"].state(int(row["statecode"] or 0))
        raise refuse("quote.revise_not_closed", key, state.label if state else row["statecode"])
    open_ones = "SELECT 1 FROM quote WHERE quotenumber = ? AND statecode IN (0, 1) LIMIT 1"
    if records.store.rows(open_ones, (row["quotenumber"],)):
        raise refuse("quote.revision_exists")
    defaults: Row = {name: row[name] for name in _COPIED}
    defaults["revisionnumber"] = int(row["revisionnumber"] or 0) + 1
    revised = records.create(caller, tables["quote"], {}, defaults)
    _copy_lines(records, caller, "quotedetail", Ref("quote", key), revised)
    return Ref("quote", revised)


def _copy_lines(records: Records, caller: Caller, table: str, source: Ref, quote: str) -> None:
    """Copy the lines in `table` of a quote or an opportunity to a quote."""
    own_columns = records.schema.tables[table].columns
    columns = {name: own for name in _LINE_COPIED if (own := name.replace("quotedetail", table)) in own_columns}
    sql = f'SELECT {", ".join(columns.values())} FROM "{table}" WHERE {source.table}id = ?'
    for line in records.store.rows(sql, (source.id,)):
        copied: Row = dict(zip(columns, line, strict=True))
        records.create(caller, records.schema.tables["quotedetail"], {}, {**copied, "quoteid": quote})


def generate(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> Ref:
    """GenerateQuoteFromOpportunity: a new draft with the opportunity's name, customer, amounts and lines.

    Raises Refused.
    """
    tables = records.schema.tables
    records.access.require(caller, tables["opportunity"], ("Read",))
    records.access.require(caller, tables["quote"], ("Create", "Append"))
    key = guid_argument(arguments, "OpportunityId", "GenerateQuoteFromOpportunity")
    row: Row = {**new_quote(records), **records.get("opportunity", key, _OF_OPPORTUNITY), "opportunityid": key}
    made = records.create(caller, tables["quote"], {}, row)
    _copy_lines(records, caller, "opportunityproduct", Ref("opportunity", key), made)
    return Ref("quote", made)


def new_quote(records: Records) -> Row:
    """Return what the server sets on every new quote."""
    return {
        "quotenumber": f"QUO-{records.chance.randrange(100000):05d}-{records.new_id()[:6].upper()}",
        "revisionnumber": 0,
        "msdyn_ordertype": 192350000,
        "pricingerrorcode": 0,
    }


def to_order(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> Ref:
    """ConvertQuoteToSalesOrder: an order out of a won quote, or of an active one, which is won by that; raises Refused.

    Microsoft's sample ProcessQuotesSalesOrdersInvoices wins the quote first, and converts it twice.
    """
    tables = records.schema.tables
    records.access.require(caller, tables["salesorder"], ("Create", "Append"))
    key = guid_argument(arguments, "QuoteId", "ConvertQuoteToSalesOrder")
    status = arguments.get("QuoteCloseStatus")
    activity: dict[str, TypedValue] = {"quoteid": Ref("quote", key)}
    for parameter, column in (
        ("QuoteCloseDate", "actualend"),
        ("QuoteCloseSubject", "subject"),
        ("QuoteCloseDescription", "description"),
    ):
        value = arguments.get(parameter)
        if value is not None and not isinstance(value, dict):
            activity[column] = value  # type: ignore[assignment]
    if records.get("quote", key, ("statecode",))["statecode"] != WON:
        close_quote(records, caller, activity, WON, status if isinstance(status, int) else -1)
    row = records.get("quote", key, _COPIED)
    order: Row = {name: value for name, value in row.items() if _fits(records, name)}
    order |= {"quoteid": key, "ordernumber": f"ORD-{records.new_id()[:8].upper()}", "pricingerrorcode": 0}
    return Ref("salesorder", records.create(caller, tables["salesorder"], {}, order))


def _fits(records: Records, name: str) -> bool:
    columns = records.schema.tables["salesorder"].columns
    return name in columns or (name.endswith("_type") and name.removesuffix("_type") in columns)


def close_all(records: Records, caller: Caller, arguments: Arguments, about: Ref) -> None:
    """msdyn_CloseAllOpportunityQuotes: close every draft and active quote of the opportunity. Raises Refused."""
    status = status_argument(arguments, "msdyn_CloseAllOpportunityQuotes", "quoteStatus")
    _check_privileges(records, caller)
    records.get("opportunity", about.id, ("statecode",))
    for row in _open_quotes(records, about.id):
        records.check_status(records.schema.tables["quote"], CLOSED, status, str(row["quoteid"]))
        _finish(records, caller, row, CLOSED, status)


def close_as_lost(records: Records, caller: Caller, _arguments: Arguments, about: Ref) -> None:
    """msdyn_CloseQuoteAsLost: close one draft or active quote as Lost. Raises Refused."""
    _check_privileges(records, caller)
    _finish(records, caller, _open_quote(records, about.id), CLOSED, LOST_STATUS)


def close_as_won(records: Records, caller: Caller, _arguments: Arguments, about: Ref) -> None:
    """msdyn_CloseQuoteAsWon: win one quote and close the opportunity's other open quotes as Lost. Raises Refused."""
    _check_privileges(records, caller)
    row = _open_quote(records, about.id)
    _finish(records, caller, row, WON, WON_STATUS)
    opportunity = row["opportunityid"]
    if opportunity is None:
        return
    for sibling in _open_quotes(records, str(opportunity)):
        _finish(records, caller, sibling, CLOSED, LOST_STATUS)
    if records.switches.project_win_and_opportunity == "closes":
        target = Ref("opportunity", str(opportunity))
        close_opportunity(records, caller, {"opportunityid": target}, OPPORTUNITY_WON, -1)


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
