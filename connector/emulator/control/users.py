"""Who may do what: the organization's users as a test sees them, and the ways to give one of them less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.emulator.seeding.organization import ADMINISTRATOR, BUSINESS_UNIT_ID, define_role, role_id
from connector.emulator.world.callers import DEPTHS
from connector.emulator.world.store import Row, Value
from connector.emulator.world.world import World

Json = Mapping[str, Any]
_FIELDS = ("user", "role", "without", "depths", "unit", "disabled", "known")
_REDUCED = "ffffffff-0000-4000-8000-"
"""Begins the id of the role that holds what is left to one user; the user's own last digits end it."""


class InvalidUserChange(ValueError):
    """No such user, or no such change; the message says why."""


def users_of(world: World) -> list[Json]:
    """Return every user with the ids that tokens name it by, its roles, and whether it is disabled."""
    rows = world.store.rows(
        "SELECT u.systemuserid, u.fullname, u.applicationid, u.azureactivedirectoryobjectid, u.isdisabled, "
        "(SELECT group_concat(r.name, ', ') FROM systemuserroles s JOIN role r ON r.roleid = s.roleid "
        "WHERE s.systemuserid = u.systemuserid) FROM systemuser u ORDER BY u.systemuserid"
    )
    names = ("user", "name", "client_id", "object_id", "disabled", "roles")
    return [{**dict(zip(names, row, strict=True)), "disabled": bool(row[4])} for row in rows]


def change_user(world: World, change: Json) -> Json:
    """Change one user, named by user id, client id or object id, and return it as it is now.

    `role` names its only role, None leaves it none; `without` is a list of privileges taken out of that role (of the
    administrator's when none is named); `depths` is an object of privileges with `Basic` (own rows), `Local` (its
    business unit's) or `Deep` (of the units below too) instead of the whole organization; `unit` is its business unit,
    by the names below the first one (`North/Oslo`, made where it is missing), and its rows go with it; `disabled` is
    true or false; `known: false` takes its ids away.
    An unknown user or change raises InvalidUserChange.
    """
    unknown = sorted(set(change) - set(_FIELDS))
    if unknown:
        raise InvalidUserChange(f"A user has no {', '.join(unknown)}; what can be given is {', '.join(_FIELDS)}.")
    key = _key(world, str(change.get("user", "")).lower())
    with world.store.transaction():
        if not {"role", "without", "depths"}.isdisjoint(change):
            role, without, depths = change.get("role", ADMINISTRATOR), change.get("without"), change.get("depths")
            _give_role(world, key, role, without if without is not None else [], {} if depths is None else depths)
        if "unit" in change:
            _move(world, key, str(change["unit"]))
        if "disabled" in change:
            world.store.update("systemuser", key, {"isdisabled": int(_truth(change, "disabled"))})
        if "known" in change and not _truth(change, "known"):
            world.store.update("systemuser", key, {"applicationid": None, "azureactivedirectoryobjectid": None})
    return next(user for user in users_of(world) if user["user"] == key)


def _key(world: World, name: str) -> str:
    rows = world.store.rows(
        "SELECT systemuserid FROM systemuser WHERE ? IN (systemuserid, applicationid, azureactivedirectoryobjectid)",
        (name,),
    )
    if not rows:
        raise InvalidUserChange(f"There is no user {name!r}; a user is named by its user id, client id or object id.")
    return str(rows[0][0])


def _move(world: World, key: str, path: str) -> None:
    """Put a user, and the rows it owns, into the business unit at the end of a path of names."""
    unit: Value = BUSINESS_UNIT_ID
    for name in filter(None, path.split("/")):
        below = "SELECT businessunitid FROM businessunit WHERE parentbusinessunitid = ? AND name = ?"
        rows = world.store.rows(below, (unit, name))
        made = str(rows[0][0]) if rows else world.records.new_id()
        if not rows:
            row: Row = {"businessunitid": made, "name": name, "isdisabled": 0, "parentbusinessunitid": unit}
            world.store.insert("businessunit", row)
        unit = made
    world.store.update("systemuser", key, {"businessunitid": unit})
    for table in world.schema.tables.values():
        if table.ownership == "user" and not table.derived_from:
            owned = f'UPDATE "{table.logical_name}" SET owningbusinessunit = ? WHERE ownerid = ?'
            world.store.execute(owned, (unit, key))


def _truth(change: Json, name: str) -> bool:
    if not isinstance(change[name], bool):
        raise InvalidUserChange(f"{name} is true or false, not {change[name]!r}.")
    return bool(change[name])


def _give_role(world: World, key: str, role: object, without: object, depths: object) -> None:
    for (held,) in world.store.rows("SELECT roleid FROM systemuserroles WHERE systemuserid = ?", (key,)):
        world.store.disassociate("systemuserroles", {"systemuserid": key, "roleid": str(held)})
    if role is None:
        return
    try:
        role_key = role_id(str(role))
    except KeyError:
        raise InvalidUserChange(f"There is no role {role!r}.") from None
    if without or depths != {}:
        role_key = _reduced(world, key, role_key, without, depths)
    world.store.associate("systemuserroles", {"systemuserid": key, "roleid": role_key})


def _reduced(world: World, key: str, role: str, without: object, depths: object) -> str:
    """Define a role that holds what `role` holds but for some privileges or their depth, and return its id."""
    held = {
        str(privilege)
        for (privilege,) in world.store.rows("SELECT privilege FROM _roleprivileges WHERE roleid = ?", (role,))
    }
    if not isinstance(without, list) or not set(without) <= held:
        raise InvalidUserChange(f"without is a list of privileges that the role holds, not {without!r}.")
    if not isinstance(depths, Mapping) or not set(depths) <= held or not set(depths.values()) <= set(DEPTHS):
        raise InvalidUserChange(f"depths gives privileges of the role one of {', '.join(DEPTHS)}, not {depths!r}.")
    reduced = _REDUCED + key[-12:]
    define_role(world, reduced, "Reduced", held - set(without), depths)
    return reduced
