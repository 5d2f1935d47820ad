"""Creating, updating and deleting rows of the sales tables: what the platform's plain operations may do to them."""

from __future__ import annotations

from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import Caller
from connector.emulator.world.opportunity import LOST, OPEN, WON, close_opportunity, reopen
from connector.emulator.world.quote import ACTIVE, CLOSED, DRAFT, new_quote
from connector.emulator.world.quote import WON as QUOTE_WON
from connector.emulator.world.records import Records, Ref, TypedValue, Values
from connector.emulator.world.schema import Table, names
from connector.emulator.world.store import Row, Value

STATE_COLUMNS = frozenset({"statecode", "statuscode"})
SYSTEM_TABLES = frozenset(
    names(
        "activitypointer sdkmessage sdkmessagefilter organization role businessunit plugintype plugintypestatistic "
        "sdkmessageprocessingstep workflow callbackregistration"
    )
)
"""Tables whose rows are not created or deleted through the API of this emulator."""

_NEW_OPPORTUNITY: Row = {
    "isrevenuesystemcalculated": 0,
    "msdyn_forecastcategory": 100000001,
    "msdyn_ordertype": 192350000,
    "salesstagecode": 1,
    "opportunityratingcode": 2,
    "pricingerrorcode": 0,
}


def create_row(records: Records, caller: Caller, table: Table, values: Values) -> str:
    """Create a row as the Create message does and return its id. Raises Refused."""
    key = _create(records, caller, table, values)
    reprice(records, caller, table.logical_name, key, frozenset(values))
    return key


def _create(records: Records, caller: Caller, table: Table, values: Values) -> str:
    name = table.logical_name
    if name in SYSTEM_TABLES or table.derived_from:
        raise refuse("message.unsupported", "Create", name)
    records.access.require(caller, table, ("Create",))
    _check_lookups(records, caller, table, values)
    if name == "opportunity":
        return records.create(caller, table, _customer(values), {**_NEW_OPPORTUNITY, **_parties(values)})
    if name == "quote":
        return _create_quote(records, caller, table, values)
    if name == "opportunityclose":
        return _create_opportunity_close(records, caller, table, values)
    if name == "quoteclose":
        defaults: Row = {"statecode": 1, "statuscode": 2, "activitytypecode": name, "actualend": records.now()}
        return records.create(caller, table, values, defaults)
    if name == "quotedetail":
        _check_quote_is_draft(records, values.get("quoteid"))
    if name == "contact":
        return records.create(caller, table, values, _full_name(values))
    return records.create(caller, table, values)


def _check_lookups(records: Records, caller: Caller, table: Table, values: Values) -> None:
    targets = {value.table for value in values.values() if isinstance(value, Ref)}
    if targets:
        records.access.require(caller, table, ("Append",))
        for target in sorted(targets & records.schema.tables.keys()):
            records.access.require(caller, records.schema.tables[target], ("AppendTo",))


def _customer(values: Values) -> Values:
    if values.get("customerid") is not None:
        return values
    for parent in ("parentaccountid", "parentcontactid"):
        if isinstance(values.get(parent), Ref):
            return {**values, "customerid": values[parent]}
    return values


def _parties(values: Values) -> Row:
    customer = _customer(values).get("customerid")
    if not isinstance(customer, Ref):
        return {}
    return {"accountid" if customer.table == "account" else "contactid": customer.id}


def _changed_parties(values: Values) -> Row:
    """Return accountid and contactid, which follow customerid."""
    return {"accountid": None, "contactid": None, **_parties(values)} if "customerid" in values else {}


def _full_name(values: Values) -> Row:
    parts = (values.get("firstname"), values.get("lastname"))
    return {"fullname": " ".join(part for part in parts if isinstance(part, str))}


def _create_quote(records: Records, caller: Caller, table: Table, values: Values) -> str:
    defaults: Row = {**new_quote(records), **_parties(values)}
    opportunity = values.get("opportunityid")
    if isinstance(opportunity, Ref):
        row = records.get("opportunity", opportunity.id, ("transactioncurrencyid", "pricelevelid", "msdyn_ordertype"))
        defaults |= {name: value for name, value in row.items() if value is not None}
    return records.create(caller, table, values, defaults)


def _create_opportunity_close(records: Records, caller: Caller, table: Table, values: Values) -> str:
    if records.switches.close_row_creation == "only_stores":
        defaults: Row = {"statecode": 1, "statuscode": 2, "activitytypecode": "opportunityclose"}
        return records.create(caller, table, values, defaults)
    state = _close_row_state(records, values)
    status = values.get("opportunitystatuscode")
    reason = status if isinstance(status, int) else -1
    return close_opportunity(records, caller, values, state, reason)


def _close_row_state(records: Records, values: Values) -> int:
    state = values.get("opportunitystatecode")
    if state in (WON, LOST):
        return WON if state == WON else LOST
    status = values.get("opportunitystatuscode")
    option = records.schema.tables["opportunity"].status(status) if isinstance(status, int) else None
    return option.state if option is not None and option.state != OPEN else WON


def update_row(records: Records, caller: Caller, table: Table, key: str, values: Values) -> None:
    """Change a row as the Update message does. Raises Refused (404 when there is no such row)."""
    name = table.logical_name
    if name in SYSTEM_TABLES and name != "organization":
        raise refuse("message.unsupported", "Update", name)
    records.access.require(caller, table, ("Write",))
    records.access.require_row(caller, table, "Write", key)
    _check_lookups(records, caller, table, values)
    if name == "opportunity":
        extra = _change_opportunity(records, table, key, values)
    elif name == "quote":
        extra = _change_quote(records, caller, table, key, values)
    elif table.states:
        extra = _change_state(records, table, key, values)
    else:
        extra = {}
    if name == "quotedetail":
        _check_quote_is_draft(records, Ref("quote", str(records.get(name, key, ("quoteid",))["quoteid"])))
    records.update(caller, table, key, _without_state(values), extra)
    reprice(records, caller, name, key, frozenset(values))


def _without_state(values: Values) -> Values:
    if STATE_COLUMNS.isdisjoint(values):
        return values
    return {name: value for name, value in values.items() if name not in STATE_COLUMNS}


def _whole(value: TypedValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _change_state(records: Records, table: Table, key: str, values: Values) -> Row:
    """Return the state and status reason an update asks for, which must fit together."""
    if STATE_COLUMNS.isdisjoint(values):
        return {}
    state, status = _whole(values.get("statecode")), _whole(values.get("statuscode"))
    if state is None:
        state = int(records.get(table.logical_name, key, ("statecode",))["statecode"] or 0)
    if status is None or status == -1:
        records.check_status(table, state, _default(table, state), key)
        status = _default(table, state)
    records.check_status(table, state, status, key)
    return {"statecode": state, "statuscode": status}


def _default(table: Table, state: int) -> int:
    option = table.state(state)
    return option.default_status if option is not None else -1


def _change_opportunity(records: Records, table: Table, key: str, values: Values) -> Row:
    row = records.get("opportunity", key, ("statecode", "transactioncurrencyid"))
    was = int(row["statecode"] or 0)
    new_state = _whole(values.get("statecode"))
    option = table.status(_whole(values.get("statuscode")) or 0)
    if new_state in (WON, LOST) or (new_state is None and was != OPEN and option is not None and option.state == was):
        state = table.state(new_state if new_state is not None else was)
        raise refuse("opportunity.state_by_update", state.label if state is not None else new_state)
    extra = _change_state(records, table, key, values)
    if new_state == OPEN:
        extra |= reopen(records, key, was)
    elif was != OPEN and records.switches.closed_opportunity_columns == "read_only":
        raise refuse("opportunity.closed_columns")
    _check_currency(records, key, values, row)
    return extra | _changed_parties(values)


def _check_currency(records: Records, key: str, values: Values, row: Row) -> None:
    currency = values.get("transactioncurrencyid")
    if not isinstance(currency, Ref) or currency.id == row["transactioncurrencyid"]:
        return
    for table in ("quote", "salesorder", "opportunityproduct"):
        if records.store.rows(f"SELECT 1 FROM {table} WHERE opportunityid = ? LIMIT 1", (key,)):
            raise refuse("opportunity.currency_locked")


def _change_quote(records: Records, caller: Caller, table: Table, key: str, values: Values) -> Row:
    row = records.get("quote", key, ("statecode", "pricelevelid", "transactioncurrencyid"))
    was = int(row["statecode"] or 0)
    new_state = _whole(values.get("statecode"))
    if new_state in (QUOTE_WON, CLOSED):
        label, message = ("Won", "WinQuoteRequest") if new_state == QUOTE_WON else ("Closed", "CloseQuoteRequest")
        raise refuse("quote.state_by_update", label, message)
    if new_state == ACTIVE and was != DRAFT:
        raise refuse("quote.not_draft")
    if DRAFT not in (was, new_state) and not values.keys() <= STATE_COLUMNS:
        administrator = caller.administrator and records.switches.active_quote_edit == "administrators"
        if was != ACTIVE or not administrator:
            raise refuse("quote.read_only")
    if new_state == ACTIVE and row["pricelevelid"] is None and records.switches.activation_price_list == "required":
        raise refuse("quote.price_list")
    currency = values.get("transactioncurrencyid")
    other = isinstance(currency, Ref) and currency.id != row["transactioncurrencyid"]
    if other and records.store.rows("SELECT 1 FROM quotedetail WHERE quoteid = ? LIMIT 1", (key,)):
        raise refuse("quote.currency_locked")
    extra = _change_state(records, table, key, values)
    if new_state == DRAFT and was in (QUOTE_WON, CLOSED):
        extra["closedon"] = None
    return extra | _changed_parties(values)


def _check_quote_is_draft(records: Records, quote: TypedValue) -> None:
    if isinstance(quote, Ref) and records.get("quote", quote.id, ("statecode",))["statecode"] != DRAFT:
        raise refuse("quote.lines_read_only")


def delete_row(records: Records, caller: Caller, table: Table, key: str) -> None:
    """Delete a row, and with an opportunity or quote the rows that belong to it alone. Raises Refused (404)."""
    name = table.logical_name
    if name in SYSTEM_TABLES or name in ("systemuser", "usersettings"):
        raise refuse("message.unsupported", "Delete", name)
    records.access.require(caller, table, ("Delete",))
    records.access.require_row(caller, table, "Delete", key)
    whole = LINES.get(name)
    row = records.get(name, key, (table.primary_id, *whole[1:]) if whole else (table.primary_id,))
    if name == "quotedetail":
        _check_quote_is_draft(records, Ref("quote", str(row["quoteid"])))
    for child, column, child_key in _CASCADES.get(name, ()):
        for (child_id,) in records.store.rows(f"SELECT {child_key} FROM {child} WHERE {column} = ?", (key,)):
            records.store.delete(child, str(child_id), records.now())
    for child, column in _EMPTIED.get(name, ()):
        records.store.execute(f"UPDATE {child} SET {column} = NULL WHERE {column} = ?", (key,))
    if name in ("opportunity", "competitor"):
        records.store.execute(f"DELETE FROM opportunitycompetitors WHERE {table.primary_id} = ?", (key,))
    records.store.delete(name, key, records.now())
    if whole is not None:
        add_up(records, caller, whole[0], str(row[whole[1]]))


_CASCADES = {
    "quote": (("quotedetail", "quoteid", "quotedetailid"), ("quoteclose", "quoteid", "activityid")),
    "opportunity": (
        ("opportunityclose", "opportunityid", "activityid"),
        ("opportunityproduct", "opportunityid", "opportunityproductid"),
    ),
}
_EMPTIED = {
    "opportunity": (("quote", "opportunityid"), ("salesorder", "opportunityid")),
    "quote": (("salesorder", "quoteid"),),
    "competitor": (("opportunityclose", "competitorid"),),
}


LINES = {"quotedetail": ("quote", "quoteid"), "opportunityproduct": ("opportunity", "opportunityid")}
"""The tables of lines: what their rows belong to, and the column that says it."""
_LINES_OF = {parent: lines for lines, (parent, _) in LINES.items()}
_OF_LINE = names("quantity priceperunit manualdiscountamount volumediscountamount tax")
_OF_WHOLE = names("discountamount discountpercentage freightamount isrevenuesystemcalculated")


def reprice(records: Records, caller: Caller, table: str, key: str, changed: frozenset[str]) -> None:
    """Compute what follows from the `changed` columns of a row: its own amounts, and those of what it belongs to."""
    if table in LINES and not changed.isdisjoint(_OF_LINE):
        line = records.get(table, key, (*_OF_LINE, LINES[table][1]))
        if line["quantity"] is not None and line["priceperunit"] is not None and _enabled(records):
            base = _sum(line["quantity"]) * _sum(line["priceperunit"])
            discounts = _sum(line["manualdiscountamount"]) + _sum(line["volumediscountamount"])
            amounts: Row = {"baseamount": base, "extendedamount": base - discounts + _sum(line["tax"])}
            records.write(caller, records.schema.tables[table], key, amounts)
            add_up(records, caller, LINES[table][0], str(line[LINES[table][1]]))
    elif table in _LINES_OF and not changed.isdisjoint(_OF_WHOLE) and _lines(records, table, key):
        add_up(records, caller, table, key)


def _lines(records: Records, table: str, key: str) -> list[tuple[Value, ...]]:
    sql = f"SELECT extendedamount, tax, manualdiscountamount FROM {_LINES_OF[table]} WHERE {table}id = ?"
    return list(records.store.rows(sql, (key,)))


def add_up(records: Records, caller: Caller, table: str, key: str) -> None:
    """Compute the totals of a quote or an opportunity out of its lines."""
    if not records.store.exists(table, key) or not _enabled(records):
        return
    rows = _lines(records, table, key)
    owned = (*_OF_WHOLE[:3], *(_OF_WHOLE[3:] if table == "opportunity" else ()))
    row = records.get(table, key, owned)
    taxes, reductions = sum(_sum(tax) for _, tax, _ in rows), sum(_sum(reduced) for *_, reduced in rows)
    detail = sum(_sum(extended) for extended, *_ in rows) - taxes
    discount = _sum(row["discountamount"]) + detail * _sum(row["discountpercentage"]) / 100
    total = detail - discount + _sum(row["freightamount"]) + taxes
    totals: Row = {
        "totallineitemamount": detail,
        "totallineitemdiscountamount": reductions,
        "totaldiscountamount": discount + reductions,
        "totalamountlessfreight": detail - discount,
        "totaltax": taxes,
        "totalamount": total,
    }
    if row.get("isrevenuesystemcalculated"):
        totals["estimatedvalue"] = total
    records.write(caller, records.schema.tables[table], key, totals)


def _enabled(records: Records) -> bool:
    rows = records.store.rows("SELECT oobpricecalculationenabled FROM organization")
    return not rows or rows[0][0] != 0


def _sum(value: Value) -> float:
    return float(value or 0)
