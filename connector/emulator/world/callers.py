"""Who calls: user rows of applications and people, roles as sets of privileges, impersonation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from connector.emulator.rules.rule import Refused, refuse
from connector.emulator.world.schema import Schema, Table
from connector.emulator.world.store import Store

ACT_ON_BEHALF_PRIVILEGE = "prvActOnBehalfOfAnotherUser"
ADMINISTRATOR_ROLE = "System Administrator"
READ_DEFINITIONS_PRIVILEGE = "prvReadEntity"
BYPASS_PLUGINS_PRIVILEGE = "prvBypassCustomPlugins"
BYPASS_LOGIC_PRIVILEGE = "prvBypassCustomBusinessLogic"
KNOWN_PRIVILEGE_IDS = {
    BYPASS_LOGIC_PRIVILEGE: "0ea552b0-a491-4470-9a1b-82068deccf66",
    BYPASS_PLUGINS_PRIVILEGE: "148a9eaf-d0c4-4196-9852-c3a38e35f6a1",
}
"""Ids that are the same in every organization (bypass-custom-business-logic)."""
VERBS = ("Create", "Read", "Write", "Delete", "Append", "AppendTo", "Assign", "Share")
ACCESS_RIGHTS = {
    "ReadAccess": 1,
    "WriteAccess": 2,
    "AppendAccess": 4,
    "AppendToAccess": 16,
    "CreateAccess": 32,
    "DeleteAccess": 65536,
    "ShareAccess": 262144,
    "AssignAccess": 524288,
}
"""What may be shared, with its place in an AccessMask (Web API: AccessRights)."""

CLOSING_PRIVILEGES = frozenset(
    {
        *(f"prv{verb}Opportunity" for verb in ("Read", "Write", "Append", "AppendTo")),
        *(f"prv{verb}Quote" for verb in ("Read", "Write", "Append", "AppendTo", "Delete")),
        *(f"prv{verb}Activity" for verb in ("Create", "Read", "Append", "AppendTo")),
        *(f"prvRead{table}" for table in ("TransactionCurrency", "Competitor", "Account", "Contact", "Product")),
        *(f"prvRead{table}" for table in ("User", "UserSettings", "Organization", "BusinessUnit", "SdkMessage")),
        *(f"prvRead{table}" for table in ("Query", "UserQuery")),
        "prvAppendToCompetitor",
        READ_DEFINITIONS_PRIVILEGE,
    }
)  # fmt: skip
"""What closing needs, from the SDK's privilege tables of WinOpportunity, LoseOpportunity, CloseQuote and WinQuote."""

DEPTHS = ("Basic", "Local", "Deep", "Global")
_GLOBAL = DEPTHS.index("Global")
_UNITS_BELOW = (
    "(WITH RECURSIVE below(id) AS (SELECT '{}' UNION SELECT u.businessunitid FROM businessunit u JOIN below "
    "ON u.parentbusinessunitid = below.id) SELECT id FROM below)"
)
_SECURITY_TABLES = ("systemuser", "systemuserroles", "role", "usersettings")
_PRIVILEGE_IDS = UUID("6e0a1f4e-6c0c-5d0c-9a5e-7f2f0c1f3a11")
_USER = "systemuserid, azureactivedirectoryobjectid, applicationid, isdisabled, accessmode, businessunitid"
_ACCESS_MODES = ("Read-Write", "Administrative", "Read", "Support User", "Non-interactive", "Delegated Admin")


@dataclass(frozen=True, slots=True)
class Bypass:
    """Which of the organization's own logic an operation leaves out."""

    sync: bool = False
    asynchronous: bool = False
    flows: bool = False
    steps: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """The user an operation runs as.

    `user_id` is the user whose name is on the rows; under impersonation `impersonating_user_id` is the user who really
    calls, and `privileges` are those that both have. `utc_offset_minutes` is what to add to UTC for the user's clock.
    `reach` has the depth (`Basic`: own rows, `Local`: those of the business unit, `Deep`: of those below it too) of the
    privileges that do not reach the whole organization. `depth` is 1 for a request, and one more for each plug-in in
    between; `bypass` is what the request leaves out.
    """

    user_id: str
    azure_object_id: str
    application_id: str
    privileges: frozenset[str]
    impersonating_user_id: str | None = None
    utc_offset_minutes: int = 0
    business_unit_id: str = ""
    role_count: int = 0
    access_mode: str = "0 Read-Write"
    depth: int = 1
    bypass: Bypass = Bypass()
    reach: frozenset[tuple[str, str]] = frozenset()
    administrator: bool = False


def all_privileges(schema: Schema) -> frozenset[str]:
    """Return every privilege of the slice: what a system administrator holds."""
    names = {table.privilege_name for table in schema.tables.values()}
    fixed = {ACT_ON_BEHALF_PRIVILEGE, READ_DEFINITIONS_PRIVILEGE, *KNOWN_PRIVILEGE_IDS}
    return frozenset(fixed | {f"prv{verb}{name}" for verb in VERBS for name in names})


def privilege_id(name: str) -> str:
    """Return the id under which the emulator knows a privilege (its own, but for those known to be fixed)."""
    return KNOWN_PRIVILEGE_IDS.get(name) or str(uuid5(_PRIVILEGE_IDS, name))


class Access:
    """Finds callers and checks what they may do; what it found is remembered until a security table changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Caller] = {}
        self._seen = (-1, -1)

    def caller_for(self, *, application_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return the caller behind a token's application or object id.

        Raises Refused: no user row (0x80072560), disabled (0x80040225), no roles (0x80042f09), all 403.
        """
        if application_id is not None and self._find("applicationid", application_id):
            return self._caller("applicationid", application_id)
        if object_id is not None:
            return self._caller("azureactivedirectoryobjectid", object_id)
        raise refuse("user.unknown")

    def user(self, user_id: str) -> Caller:
        """Return the caller that a user row stands for; raises Refused as `caller_for` does."""
        return self._caller("systemuserid", user_id)

    def impersonate(self, caller: Caller, *, user_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return `caller` acting as another user, named by user id or by directory object id.

        A caller who names itself stays itself (powerapps-docs issue 2088). Raises Refused (403) when the other user
        cannot act; whether the caller may act for others is for the world to say.
        """
        other = self.user(user_id) if user_id is not None else self.caller_for(object_id=object_id)
        if other.user_id == caller.user_id:
            return caller
        return replace(other, privileges=other.privileges & caller.privileges, impersonating_user_id=caller.user_id)

    def require(self, caller: Caller, table: Table, verbs: Iterable[str]) -> None:
        """Raise Refused unless the caller holds the privilege for each verb on `table`."""
        for privilege in (f"prv{verb}{table.privilege_name}" for verb in verbs):
            if privilege not in caller.privileges:
                raise lacking(caller, table, privilege)

    def sees(self, caller: Caller, table: Table, verb: str, alias: str) -> str:
        """Return the SQL condition, `1` for every row, of the rows of `table` that the caller's privilege reaches.

        Of the rows that it does not reach by its depth the caller has those that are shared with it.
        """
        depth = dict(caller.reach).get(f"prv{verb}{table.privilege_name}")
        if depth is None or table.ownership != "user":
            return "1"
        own = {
            "Basic": f"{alias}.ownerid = '{caller.user_id}'",
            "Local": f"{alias}.owningbusinessunit = '{caller.business_unit_id}'",
            "Deep": f"{alias}.owningbusinessunit IN {_UNITS_BELOW.format(caller.business_unit_id)}",
        }[depth]
        shared = (
            f"SELECT 1 FROM _shares s WHERE s.tablename = '{table.logical_name}' AND s.principal = '{caller.user_id}' "
            f'AND s.record = {alias}."{table.primary_id}" AND s.rights & {ACCESS_RIGHTS[f"{verb}Access"]}'
        )
        return f"({own} OR EXISTS ({shared}))"

    def shared(self, user_id: str, table: str, key: str) -> int:
        """Return the rights, as a mask, that a user has to a row by sharing."""
        rows = self._store.rows(
            "SELECT rights FROM _shares WHERE tablename = ? AND record = ? AND principal = ?", (table, key, user_id)
        )
        return int(rows[0][0] or 0) if rows else 0

    def rights(self, user: Caller, table: Table, key: str) -> list[str]:
        """Return the names of what a user may do to a row, by its roles and by sharing."""
        held = []
        for name in ACCESS_RIGHTS:
            verb = name.removesuffix("Access")
            if f"prv{verb}{table.privilege_name}" in user.privileges:
                condition = self.sees(user, table, verb, "t")
                sql = f'SELECT 1 FROM "{table.logical_name}" t WHERE t."{table.primary_id}" = ? AND {condition}'
                held += [name] if self._store.rows(sql, (key,)) else []
        return held

    def require_row(self, caller: Caller, table: Table, verb: str, key: str) -> None:
        """Raise Refused (0x80048306) when the row exists and the caller's privilege for `verb` does not reach it."""
        condition = self.sees(caller, table, verb, "t")
        if condition == "1":
            return
        rows = self._store.rows(
            f'SELECT {condition}, t.ownerid, t.owningbusinessunit FROM "{table.logical_name}" t '
            f'WHERE t."{table.primary_id}" = ?',
            (key,),
        )
        if rows and not rows[0][0]:
            _, owner, unit = rows[0]
            raise refuse("row.no_access", key, owner, caller.user_id, table.type_code, unit, f"{verb}Access")

    def require_definitions(self, caller: Caller) -> None:
        """Raise Refused unless the caller may read table definitions, where that needs a privilege."""
        if READ_DEFINITIONS_PRIVILEGE not in caller.privileges:
            held = len(caller.privileges)
            id_ = privilege_id(READ_DEFINITIONS_PRIVILEGE)
            raise refuse("privilege.definitions", caller.user_id, id_, caller.business_unit_id, held, held)

    def require_bypass(self, caller: Caller, privilege: str) -> None:
        """Raise Refused unless the caller may leave out custom logic by `privilege`."""
        if privilege not in caller.privileges:
            held, mode = len(caller.privileges), caller.access_mode
            values = (caller.user_id, caller.role_count, held, mode, privilege, privilege_id(privilege))
            raise refuse("plugin.bypass", *values)

    def _find(self, column: str, value: str) -> bool:
        key = (column, value)
        return self._remembered(key) is not None or bool(
            self._store.rows(f"SELECT 1 FROM systemuser WHERE {column} = ?", (value,))
        )

    def _remembered(self, key: tuple[str, str]) -> Caller | None:
        writes = self._store.writes
        writes_seen = (sum(writes[table] for table in _SECURITY_TABLES), self._store.undone)
        if writes_seen != self._seen:
            self._seen = writes_seen
            self._known.clear()
        return self._known.get(key)

    def _caller(self, column: str, value: str) -> Caller:
        key = (column, value)
        caller = self._remembered(key)
        if caller is None:
            caller = self._known[key] = self._load(column, value)
        return caller

    def _load(self, column: str, value: str) -> Caller:
        rows = self._store.rows(f"SELECT {_USER} FROM systemuser WHERE {column} = ?", (value,))
        if not rows:
            raise refuse("user.unknown")
        user_id, object_id, application_id, disabled, mode, unit = rows[0]
        if disabled:
            raise refuse("user.disabled", user_id, "User IsDisabled=True")
        roles = self._store.rows(
            "SELECT r.name FROM systemuserroles s JOIN role r ON r.roleid = s.roleid WHERE s.systemuserid = ?",
            (user_id,),
        )
        if not roles:
            raise refuse("user.no_roles")
        privileges = self._store.rows(
            "SELECT p.privilege, "
            "max(CASE d.depth WHEN 'Basic' THEN 0 WHEN 'Local' THEN 1 WHEN 'Deep' THEN 2 ELSE 3 END) "
            "FROM _roleprivileges p JOIN systemuserroles r ON r.roleid = p.roleid "
            "LEFT JOIN _depths d ON d.roleid = p.roleid AND d.privilege = p.privilege "
            "WHERE r.systemuserid = ? GROUP BY p.privilege",
            (user_id,),
        )
        bias = self._store.rows("SELECT timezonebias FROM usersettings WHERE systemuserid = ?", (user_id,))
        return Caller(
            user_id=str(user_id),
            azure_object_id=str(object_id or ""),
            application_id=str(application_id or ""),
            privileges=frozenset(str(privilege[0]) for privilege in privileges),
            utc_offset_minutes=-int(bias[0][0] or 0) if bias else 0,
            business_unit_id=str(unit or ""),
            role_count=len(roles),
            reach=frozenset((str(name), DEPTHS[int(depth or 0)]) for name, depth in privileges if depth != _GLOBAL),
            administrator=(ADMINISTRATOR_ROLE,) in roles,
            access_mode=f"{mode or 0} {_ACCESS_MODES[int(mode or 0)]}",
        )


def lacking(caller: Caller, table: Table, privilege: str) -> Refused:
    """Return the refusal of what `caller` may not do to `table` without `privilege`."""
    held = len(caller.privileges)
    return refuse(
        "privilege.missing",
        caller.user_id,
        caller.role_count,
        held,
        caller.access_mode,
        caller.azure_object_id,
        held,
        caller.business_unit_id,
        privilege,
        privilege_id(privilege),
        table.type_code,
        table.logical_name,
        table.label,
        caller.user_id,
    )
