"""Sharing rows with users: GrantAccess, ModifyAccess, RevokeAccess, and what RetrievePrincipalAccess tells.

Source: powerapps-docs, security-sharing-assigning; the enumeration AccessRights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import ACCESS_RIGHTS, Access, Caller
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.records import Records, Ref
from connector.emulator.world.schema import Schema


def grant(records: Records, access: Access, caller: Caller, arguments: Arguments) -> None:
    """GrantAccess: share a row with a user, the rights added to those it has. Raises Refused."""
    target, principal, rights = _shared(records, access, caller, arguments)
    _keep(records, target, principal, rights | access.shared(principal, target.table, target.id))


def modify(records: Records, access: Access, caller: Caller, arguments: Arguments) -> None:
    """ModifyAccess: replace the rights that a user has by sharing. Raises Refused."""
    _keep(records, *_shared(records, access, caller, arguments))


def revoke(records: Records, access: Access, caller: Caller, arguments: Arguments) -> None:
    """RevokeAccess: take away what a user has by sharing. Raises Refused."""
    target = _target(records, access, caller, arguments)
    _keep(records, target, _principal(records, arguments.get("Revokee")), 0)


def _shared(records: Records, access: Access, caller: Caller, arguments: Arguments) -> tuple[Ref, str, int]:
    target, share = _target(records, access, caller, arguments), arguments.get("PrincipalAccess")
    share = share if isinstance(share, Mapping) else {}
    rights = 0
    for name in str(share.get("AccessMask") or "").split(","):
        if name.strip() not in ACCESS_RIGHTS:
            raise refuse("column.type", "PrincipalAccess", "AccessMask", "Microsoft.Dynamics.CRM.AccessRights")
        rights |= ACCESS_RIGHTS[name.strip()]
    return target, _principal(records, share.get("Principal")), rights


def _target(records: Records, access: Access, caller: Caller, arguments: Arguments) -> Ref:
    """Return the row that is shared, which the caller may share. Raises Refused."""
    target = entity_of(records.schema, arguments.get("Target"))
    table = records.schema.tables[target.table]
    access.require(caller, table, ("Share",))
    access.require_row(caller, table, "Share", target.id)
    records.get(target.table, target.id, (table.primary_id,))
    return target


def _principal(records: Records, data: object) -> str:
    principal = entity_of(records.schema, data)
    if principal.table != "systemuser":
        raise refuse("emulator.not_implemented", f"sharing with a {principal.table}")
    return str(records.get("systemuser", principal.id, ("systemuserid",))["systemuserid"])


def entity_of(schema: Schema, data: Any) -> Ref:
    """Return the row that an entity parameter names by its type and its key. Raises Refused."""
    data = data if isinstance(data, Mapping) else {}
    name = str(data.get("@odata.type", "")).removeprefix("#").removeprefix("Microsoft.Dynamics.CRM.")
    key = data.get(schema.tables[name].primary_id) if name in schema.tables else None
    if not isinstance(key, str):
        raise refuse("action.parameter_missing", "@odata.type and the key of a row", "sharing")
    return Ref(name, key.lower())


def _keep(records: Records, target: Ref, principal: str, rights: int) -> None:
    where = (target.table, target.id, principal)
    records.store.execute("DELETE FROM _shares WHERE tablename = ? AND record = ? AND principal = ?", where)
    if rights:
        records.store.execute("INSERT INTO _shares VALUES (?, ?, ?, ?)", (*where, rights))
