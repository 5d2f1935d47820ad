"""Winning, losing and reopening opportunities."""

from __future__ import annotations

from collections.abc import Mapping

from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import Caller
from connector.emulator.world.records import Records, Ref, TypedValue, Values
from connector.emulator.world.store import Row

Arguments = Mapping[str, "TypedValue | Values"]
"""The parameters of a message; an entity parameter is a mapping of its columns, with its table as `@table`."""
MessageResult = Mapping[str, bool | float] | Ref | None
"""What a message returns: a row, the members of its complex type, or nothing (204)."""

OPEN, WON, LOST = 0, 1, 2
_FORECAST = {OPEN: 100000001, WON: 100000005, LOST: 100000006}
_NEEDED = ("opportunityid", "statecode", "estimatedvalue", "actualvalue", "transactioncurrencyid")
_BLOCKING = {
    "active_and_draft": "SELECT 1 FROM quote WHERE opportunityid = ? AND statecode IN (0, 1) LIMIT 1",
    "active": "SELECT 1 FROM quote WHERE opportunityid = ? AND statecode = 1 LIMIT 1",
}


def entity_argument(arguments: Arguments, name: str, message: str) -> Values:
    """Return the columns of an entity parameter; raises Refused when it is absent or something else."""
    value = arguments.get(name)
    if value is None:
        raise refuse("action.parameter_missing", name, message)
    if not isinstance(value, Mapping):
        raise refuse("column.type", message, name, "entity")
    return {key: item for key, item in value.items() if key != "@table"}


def status_argument(arguments: Arguments, message: str, name: str = "Status") -> int:
    """Return the status reason asked for; raises Refused when it is absent or no whole number."""
    value = arguments.get(name)
    if value is None:
        raise refuse("action.parameter_missing", name, message)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse("column.type", message, name, "Edm.Int32")
    return value


def unchosen(records: Records) -> tuple[str, ...]:
    """Return the columns of a close activity whose value the service chooses itself, whatever the caller sends."""
    return ("activityid",) if records.switches.chosen_activity_id == "ignore" else ()


def close_as(message: str, state: int, records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """WinOpportunity and LoseOpportunity: close as won or lost. Raises Refused."""
    if arguments.get("Caller") is not None and records.switches.caller_parameter == "refuse":
        raise refuse("action.parameter_unknown", "Caller", message)
    close = entity_argument(arguments, "OpportunityClose", message)
    close_opportunity(records, caller, close, state, status_argument(arguments, message))


def close_by_status(records: Records, caller: Caller, arguments: Arguments, _about: Ref) -> None:
    """CloseOpportunity, a message of the organization's own: won or lost by the state of the status reason."""
    close = entity_argument(arguments, "OpportunityClose", "CloseOpportunity")
    status = status_argument(arguments, "CloseOpportunity")
    option = records.schema.tables["opportunity"].status(status)
    state = option.state if option is not None and option.state != OPEN else LOST
    close_opportunity(records, caller, close, state, status)


def close_opportunity(records: Records, caller: Caller, close: Values, state: int, status: int) -> str:
    """Close an opportunity as `state` and create its close activity, whose id is returned. Raises Refused."""
    target = close.get("opportunityid")
    if not isinstance(target, Ref) or target.table != "opportunity":
        raise refuse("opportunity.id_missing")
    _check_privileges(records, caller, close)
    row = records.get("opportunity", target.id, _NEEDED)
    if records.switches.close_repeat_check == "key_first" and _key_taken(records, close):
        raise refuse("row.key_taken")
    if row["statecode"] != OPEN:
        raise refuse("opportunity.already_closed")
    table = records.schema.tables["opportunity"]
    if status == -1 and records.switches.minus_one_status == "accept":
        status = table.default_status(state)
    records.check_status(table, state, status, target.id)
    records.access.require_row(caller, table, "Write", target.id)
    blocking = _BLOCKING.get(records.switches.open_quotes_block_close)
    if blocking is not None and records.store.rows(blocking, (target.id,)):
        raise refuse("opportunity.open_quotes")
    activity = _create_activity(records, caller, close, row, state, status)
    _close(records, caller, target.id, row, activity, state, status)
    return str(activity["activityid"])


def _check_privileges(records: Records, caller: Caller, close: Values) -> None:
    tables = records.schema.tables
    records.access.require(caller, tables["opportunity"], ("Write", "AppendTo"))
    records.access.require(caller, tables["opportunityclose"], ("Create", "Append"))
    if close.get("competitorid") is not None:
        records.access.require(caller, tables["competitor"], ("AppendTo",))


def _key_taken(records: Records, close: Values) -> bool:
    key = close.get("activityid")
    return isinstance(key, str) and records.store.exists("opportunityclose", key)


def _create_activity(records: Records, caller: Caller, close: Values, row: Row, state: int, status: int) -> Row:
    currency = close.get("transactioncurrencyid")
    other = isinstance(currency, Ref) and currency.id != row["transactioncurrencyid"]
    if other and records.switches.revenue_currency == "enforce":
        raise refuse("opportunity.revenue_currency", "opportunityclose", "opportunity")
    values = {**close, "opportunitystatecode": state, "opportunitystatuscode": status}
    for name in ("statecode", "statuscode", *unchosen(records)):
        values.pop(name, None)
    defaults: Row = {
        "statecode": 1,
        "statuscode": 2,
        "actualend": records.now(),
        "regardingobjectid": row["opportunityid"],
        "regardingobjectid_type": "opportunity",
        "activitytypecode": "opportunityclose",
        "transactioncurrencyid": row["transactioncurrencyid"],
    }
    key = records.create(caller, records.schema.tables["opportunityclose"], values, defaults)
    return records.get("opportunityclose", key, ("activityid", "actualend", "actualrevenue"))


def _close(records: Records, caller: Caller, key: str, row: Row, activity: Row, state: int, status: int) -> None:
    records.write(
        caller,
        records.schema.tables["opportunity"],
        key,
        {
            "statecode": state,
            "statuscode": status,
            "actualvalue": _actual_value(records, row, activity, state),
            "actualclosedate": records.local_date(caller, str(activity["actualend"])),
            "msdyn_forecastcategory": _FORECAST[state],
        },
    )


def _actual_value(records: Records, row: Row, activity: Row, state: int) -> float | None:
    revenue = activity["actualrevenue"]
    if revenue is None and state == WON:
        revenue = row["estimatedvalue"]
    elif revenue is None:
        revenue = {"null": None, "zero": 0.0, "keep": row["actualvalue"]}[records.switches.actual_value_on_lost]
    return None if revenue is None else float(revenue)


def reopen(records: Records, key: str, was: int) -> Row:
    """Return what reopening sets on an opportunity in state `was`, and cancel its close activities; raises Refused."""
    if was == OPEN:
        if records.switches.reopen_open_opportunity == "refuse":
            raise refuse("opportunity.already_open")
        return {}
    if records.switches.close_activities_on_reopen == "cancel":
        standing = records.store.rows(
            "SELECT activityid FROM opportunityclose WHERE opportunityid = ? AND statecode = 1", (key,)
        )
        for (activity,) in standing:
            records.store.update(
                "opportunityclose", str(activity), {"statecode": 2, "statuscode": 3, "modifiedon": records.now()}
            )
    changed: Row = {"msdyn_forecastcategory": _FORECAST[OPEN]}
    if records.switches.actuals_on_reopen == "clear":
        changed |= {"actualvalue": None, "actualclosedate": None}
    return changed


def calculate_actual_value(records: Records, caller: Caller, _arguments: Arguments, about: Ref) -> MessageResult:
    """CalculateActualValueOpportunity: the actual value of a won opportunity, 0 when it has none. Raises Refused."""
    records.access.require(caller, records.schema.tables["opportunity"], ("Read",))
    row = records.get("opportunity", about.id, ("statecode", "actualvalue"))
    return {"Value": float(row["actualvalue"] or 0) if row["statecode"] == WON else 0.0}
