"""The rows of a twin: steps, processes, flows, currencies, settings, what its callers may do, and its volumes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from connector.emulator.seeding.organization import (
    BUSINESS_UNIT_ID,
    EURO_ID,
    ORGANIZATION_ID,
    US_DOLLAR_ID,
    define_role,
    row_id,
    seed_parties,
)
from connector.emulator.seeding.twin import Json, Twin, TwinRefused
from connector.emulator.world.callers import all_privileges
from connector.emulator.world.customization import Customization, SecurityProfile
from connector.emulator.world.message_handlers import message_id
from connector.emulator.world.store import DuplicateKey, Row
from connector.emulator.world.world import World

_IDS = UUID("5d0c1f4e-6c0c-5d0c-9a5e-7f2f0c1f3a77")
CALLER_ROLE = row_id(1036, 100)
"""The role of the user who signs in to a twin: it holds what the caller of the capture held."""
_CLOSING = (("Win", "opportunity"), ("Lose", "opportunity"), ("Close", "quote"), ("Win", "quote"))
"""The messages of a close, by the names and tables that plug-ins register for."""
MOST_VOLUMES = 1_000_000
"""Opportunities that a twin is filled with, at most."""
_APPLICATIONS = "SELECT systemuserid FROM systemuser WHERE applicationid IS NOT NULL ORDER BY 1"
_QUOTE_STATES = (("drafts", 0), ("actives", 1), ("closed", 3))


def fill_twin(world: World, twin: Twin, *, volumes: bool) -> None:
    """Add what the capture tells of rows to an organization that was set up. Raises TwinRefused."""
    try:
        _fill(world, twin, volumes=volumes)
    except (DuplicateKey, sqlite3.IntegrityError, sqlite3.OperationalError) as error:
        raise TwinRefused(f"The capture tells a row twice, or one that cannot be: {error}.") from error


def _fill(world: World, twin: Twin, *, volumes: bool) -> None:
    with world.store.transaction():
        _currencies(world, twin)
        settings: Row = {str(row["name"]): _plain(row.get("value")) for row in twin.rows("settings")}
        world.store.update("organization", ORGANIZATION_ID, settings | {"languagecode": int(twin.language)})
        plug_ins = {str(row.get("plug_in", "")) for row in (*twin.rows("steps"), *twin.rows("times"))}
        for name in sorted(plug_ins):
            world.store.insert("plugintype", {"plugintypeid": _id(name), "name": name, "typename": name})
        for row in twin.rows("steps"):
            world.store.insert("sdkmessageprocessingstep", _step(world, row))
        for row in twin.rows("times"):
            world.store.insert("plugintypestatistic", _statistic(row))
        owner = _owner(world)
        for row in twin.rows("processes"):
            world.store.insert("workflow", _process(row) | owner)
        for row in twin.rows("flows"):
            world.store.insert("callbackregistration", _flow(row) | owner)
        if volumes:
            _volumes(world, twin)
        _privileges(world, twin)


def list_plug_ins(world: World) -> None:
    """Make rows of the plug-ins that files brought, for each message of a close; those of an earlier opening go."""
    of_files = "SELECT plugintypeid FROM plugintype WHERE assemblyname IS NOT NULL"
    with world.store.transaction():
        world.store.execute(f"DELETE FROM sdkmessageprocessingstep WHERE plugintypeid IN ({of_files})")
        world.store.execute("DELETE FROM plugintype WHERE assemblyname IS NOT NULL")
        for step in world.logic.steps:
            if step.kind != "plugin":
                continue
            name = step.type_name
            kind: Row = {"plugintypeid": _id(name), "name": name, "typename": name, "assemblyname": step.assembly}
            world.store.insert("plugintype", kind)
            keys = (step.step_id, *(_id(step.step_id, f"{number}") for number in range(1, len(_CLOSING))))
            for key, (message, table) in zip(keys, _CLOSING, strict=True):
                row: dict[str, object] = {
                    "id": key,
                    "name": f"{name}: {message} of {table}",
                    "message": message,
                    "table": table,
                }
                row |= {"plug_in": name, "asynchronous": step.mode == "async", "bypassable": step.bypassable}
                world.store.insert("sdkmessageprocessingstep", _step(world, row | {"origin": "own"}))


def _id(*names: str) -> str:
    return str(uuid5(_IDS, "\n".join(names)))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _owner(world: World) -> Row:
    """Return the columns of an owner: the first who can sign in, so that they see what the caller saw."""
    key = str(world.store.rows(_APPLICATIONS)[0][0])
    return {"ownerid": key, "ownerid_type": "systemuser", "owninguser": key, "owningbusinessunit": BUSINESS_UNIT_ID}


def _currencies(world: World, twin: Twin) -> None:
    """Make the currencies those of the capture; the price lists of the emulator keep theirs, under another code."""
    rows = sorted(twin.rows("currencies"), key=lambda row: (not row.get("base", False), row["code"]))
    if not rows:
        return
    for key, row in zip((US_DOLLAR_ID, EURO_ID), rows, strict=False):
        named: Row = {"isocurrencycode": row["code"], "currencyname": row["code"], "currencysymbol": row["code"]}
        world.store.update("transactioncurrency", key, {**named, "currencyprecision": row["precision"]})
    if len(rows) == 1:
        world.store.update("transactioncurrency", EURO_ID, {"statecode": 1, "statuscode": 2})
    for row in rows[2:]:
        named = {"isocurrencycode": row["code"], "currencyname": row["code"], "currencysymbol": row["code"]}
        key = _id("currency", row["code"])
        shared: Row = {"exchangerate": 1.0, "statecode": 0, "statuscode": 1, "currencyprecision": row["precision"]}
        world.store.insert("transactioncurrency", {"transactioncurrencyid": key, **named, **shared})
    if not rows[0].get("base", False):
        world.store.update("organization", ORGANIZATION_ID, {"basecurrencyid": None})


def _step(world: World, row: Json) -> Row:
    message, table = str(row["message"]), row.get("table", "")
    filters = world.store.rows(
        "SELECT sdkmessagefilterid FROM sdkmessagefilter WHERE sdkmessageid = ? AND primaryobjecttypecode = ?",
        (message_id(message), table),
    )
    if not world.store.exists("sdkmessage", message_id(message)):
        shared: Row = {"name": message, "categoryname": "CRM", "isactive": 1, "isprivate": 0}
        world.store.insert("sdkmessage", {"sdkmessageid": message_id(message), **shared})
    key = str(filters[0][0]) if filters else None
    if table and key is None:
        key = _id("filter", message, table)
        made: Row = {"sdkmessageid": message_id(message), "primaryobjecttypecode": table, "isvisible": 1}
        world.store.insert("sdkmessagefilter", {"sdkmessagefilterid": key, **made})
    return {
        "sdkmessageprocessingstepid": row["id"],
        "name": row["name"],
        "sdkmessageid": message_id(message),
        "sdkmessagefilterid": key,
        "plugintypeid": _id(row.get("plug_in", "")),
        "stage": row.get("stage", 40),
        "mode": int(row.get("asynchronous", False)),
        "rank": row.get("rank", 1),
        "filteringattributes": ",".join(row.get("columns", ())) or None,
        "canbebypassed": int(row.get("bypassable", True)),
        "ismanaged": int(row["origin"] != "own"),
        "statecode": 0,
        "statuscode": 1,
    }


def _statistic(row: Json) -> Row:
    return {
        "plugintypestatisticid": _id("statistic", row["plug_in"]),
        "plugintypeid": _id(row["plug_in"]),
        "averageexecutetimeinmilliseconds": int(row["average_ms"]),
        "executecount": row["executions"],
        "failurepercent": int(row["failure_percent"]),
    }


def _process(row: Json) -> Row:
    return {
        "workflowid": row["id"],
        "name": row["name"],
        "uniquename": row.get("unique_name") or None,
        "category": 3 if row["kind"] == "action" else 0,
        "type": 1,
        "mode": int(row.get("real_time", False)),
        "scope": 4,
        "primaryentity": row["table"],
        "triggeroncreate": int(row.get("on_create", False)),
        "triggerondelete": int(row.get("on_delete", False)),
        "triggeronupdateattributelist": ",".join(row.get("columns", ())) or None,
        "ismanaged": int(row.get("managed", False)),
        "statecode": 1,
        "statuscode": 2,
    }


def _flow(row: Json) -> Row:
    return {
        "callbackregistrationid": row["id"],
        "name": row["name"],
        "entityname": row["table"],
        "message": row["message"],
        "sdkmessagename": row.get("action") or None,
        "scope": row.get("scope", 4),
        "runas": row.get("run_as"),
        "filteringattributes": ",".join(row.get("columns", ())) or None,
        "filterexpression": row.get("filter") or None,
        "softdeletestatus": 0,
    }


def _privileges(world: World, twin: Twin) -> None:
    """Give the user who signs in what the caller of the capture held; what a capture does not tell of is held."""
    held, depths = twin.privileges(all_privileges(world.schema))
    define_role(world, CALLER_ROLE, "Caller of the capture", held, depths)
    users = [str(user) for (user,) in world.store.rows(_APPLICATIONS)]
    access = twin.rows("column_access")
    if access:
        read, create, update = (
            tuple(f"{row['table']}.{row['name']}" for row in access if row.get(verb))
            for verb in ("read", "create", "update")
        )
        profile = SecurityProfile("Caller of the capture", tuple(users), read, (), create, update)
        world.customize(Customization(profiles=(profile,)))
    for user in users:
        for (role,) in world.store.rows("SELECT roleid FROM systemuserroles WHERE systemuserid = ?", (user,)):
            world.store.disassociate("systemuserroles", {"systemuserid": user, "roleid": str(role)})
        world.store.associate("systemuserroles", {"systemuserid": user, "roleid": CALLER_ROLE})


# --- volumes ---


def _volumes(world: World, twin: Twin) -> None:
    """Add as many opportunities, with as many quotes of each kind, as the capture counted."""
    total = sum(int(group["rows"]) for group in twin.rows("volumes"))
    if total > MOST_VOLUMES:
        raise TwinRefused(f"The capture counts {total:,} opportunities, and a twin holds {MOST_VOLUMES:,} at most.")
    seed_parties(world)
    number = quote = 0
    for group in twin.rows("volumes"):
        for _ in range(int(group["rows"])):
            number += 1
            world.store.insert("opportunity", _opportunity(world, number, int(group["state"])))
            for field, state in _QUOTE_STATES:
                for _ in range(int(group[field])):
                    quote += 1
                    world.store.insert("quote", _quote(world, quote, number, state))


def _shared(world: World, table: str, state: int) -> Row:
    owner: Mapping[str, Any] = _owner(world)
    reason = world.schema.tables[table].default_status(state)
    return {"statecode": state, "statuscode": reason, "transactioncurrencyid": US_DOLLAR_ID, **owner}


def _opportunity(world: World, number: int, state: int) -> Row:
    customer: Row = {"customerid": row_id(1, number % 40 + 1), "customerid_type": "account"}
    key, name = row_id(3, number), f"Opportunity {number}"
    return {
        "opportunityid": key, "name": name, "estimatedvalue": 1000.0 + number, **customer,
        **_shared(world, "opportunity", state),
    }  # fmt: skip


def _quote(world: World, number: int, opportunity: int, state: int) -> Row:
    named: Row = {"name": f"Quote {number}", "quotenumber": f"QUO-{number:07d}", "revisionnumber": 0}
    parent: Row = {"opportunityid": row_id(3, opportunity), "customerid": row_id(1, opportunity % 40 + 1)}
    return {
        "quoteid": row_id(1084, number), **named, **parent, "customerid_type": "account",
        **_shared(world, "quote", state),
    }  # fmt: skip
