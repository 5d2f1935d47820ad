"""Rows as the platform treats them: values checked and converted, audit columns, base amounts, states."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from connector.clock import Clock
from connector.emulator.rules.rule import Refused, Switches, refuse
from connector.emulator.world.callers import Access, Caller
from connector.emulator.world.own_columns import ColumnCounter
from connector.emulator.world.schema import (
    FRACTION_KINDS,
    LOOKUP_KINDS,
    TEXT_KINDS,
    WHOLE_KINDS,
    Column,
    Kind,
    Schema,
    Table,
)
from connector.emulator.world.store import DuplicateKey, Row, Store, Value


@dataclass(frozen=True, slots=True)
class Ref:
    """A row, named by table and id."""

    table: str
    id: str


TypedValue = Ref | str | int | float | bool | date | None
"""A typed value as it comes from the wire; `datetime` is a `date` too, and must carry its offset."""

Values = Mapping[str, TypedValue]

_FOLLOWER = re.compile(r"tostatusid=[\"'](-?\d+)[\"']")
_MOST = {Kind.INTEGER: 2**31, Kind.DECIMAL: 1e11, Kind.DOUBLE: 1e11, Kind.MONEY: 922_337_203_685_477}
_FIRST_YEAR, _OUT_OF_RANGE = 1753, {Kind.INTEGER: "0x8004432f"}


class Records:
    """The rows of the organization, with the rules that hold for every table and none of the sales rules.

    `access` says what callers may do. `required` names, by table, the columns that the organization's imported metadata
    requires. `chance` gives new ids.
    """

    def __init__(self, schema: Schema, store: Store, switches: Switches, clock: Clock, chance: random.Random) -> None:
        self.schema = schema
        self.store = store
        self.access = Access(store)
        self.switches = switches
        self.clock = clock
        self.chance = chance
        self.required: dict[str, frozenset[str]] = {}
        self._rates: dict[str, float] = {}
        self._rates_seen = (-1, -1)
        self._numbering = ColumnCounter(store, clock, chance)
        self._second = (0, "")

    # --- small facts ------------------------------------------------------------------------------------------------

    def now(self) -> str:
        """Return this moment as it is stored."""
        moment = self.clock.now()
        second = int(moment.timestamp())
        if second != self._second[0]:
            self._second = (second, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return self._second[1]

    def new_id(self) -> str:
        """Return a fresh random (version 4) id."""
        digits = f"{self.chance.getrandbits(128):032x}"
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

    def rate(self, currency: Value) -> float:
        """Return how many units of the currency one unit of the base currency is worth; 1 for the base currency."""
        writes_seen = (self.store.writes["transactioncurrency"], self.store.undone)
        if writes_seen != self._rates_seen:
            rows = self.store.rows("SELECT transactioncurrencyid, exchangerate FROM transactioncurrency")
            self._rates = {str(key): float(value or 1) for key, value in rows}
            self._rates_seen = writes_seen
        return self._rates.get(str(currency), 1.0)

    def currency_precision(self, currency: Value) -> int:
        """Return how many decimals amounts in the currency have; 2 when nothing says so."""
        row = self.store.get("transactioncurrency", str(currency), ("currencyprecision",))
        return 2 if row is None or row["currencyprecision"] is None else int(row["currencyprecision"])

    def base_currency(self) -> Value:
        """Return the id of the organization's base currency."""
        rows = self.store.rows("SELECT basecurrencyid FROM organization")
        return rows[0][0] if rows else None

    def unit_of(self, owner: Value) -> Value:
        """Return the business unit of a user, which is that of the rows it owns; None for whom there is not."""
        row = self.store.get("systemuser", str(owner), ("businessunitid",))
        return None if row is None else row["businessunitid"]

    def get(self, table: str, key: str, columns: Sequence[str]) -> Row:
        """Return these columns of a row; raises Refused (404) when it does not exist."""
        row = self.store.get(table, key, columns)
        if row is None:
            raise refuse("row.missing", table, key)
        return row

    def local_date(self, caller: Caller, moment: str) -> str:
        """Return the day of a stored moment on the caller's calendar, or on that of UTC by switch `close_date_zone`."""
        if self.switches.close_date_zone == "utc" or not caller.utc_offset_minutes:
            return moment[:10]
        local = datetime.fromisoformat(moment) + timedelta(minutes=caller.utc_offset_minutes)
        return local.date().isoformat()

    # --- values -----------------------------------------------------------------------------------------------------

    def convert(self, caller: Caller, table: Table, values: Values) -> Row:
        """Return the values as they are stored; raises Refused for unknown columns and values that do not fit."""
        row: Row = {}
        for name, value in values.items():
            column = table.columns.get(name)
            if column is None:
                raise refuse("column.unknown", table.logical_name, name)
            if value is None:
                row[name] = None
            elif column.kind in LOOKUP_KINDS:
                row[name] = self._target(table, column, value)
            else:
                row[name] = self._plain(caller, table, column, value)
            if column.polymorphic:
                row[f"{name}_type"] = value.table if isinstance(value, Ref) else None
        return row

    def _target(self, table: Table, column: Column, value: TypedValue) -> str:
        if not isinstance(value, Ref):
            raise refuse("column.type", table.logical_name, column.name, column.kind)
        if value.table not in column.targets:
            raise refuse("lookup.target")
        if not self.store.exists(value.table, value.id):
            raise refuse("row.missing", value.table, value.id)
        return value.id

    def _plain(self, caller: Caller, table: Table, column: Column, value: TypedValue) -> Value:
        kind = column.kind
        if kind in TEXT_KINDS and isinstance(value, str):
            if column.max_length and len(value.encode("utf-16-le", "surrogatepass")) > 2 * column.max_length:
                raise refuse("column.length", column.name, table.logical_name, column.max_length)
            return value
        if kind in _MOST and isinstance(value, int | float) and not isinstance(value, bool):
            bounds = {word: float(str(limit)) for word, limit in column.declared if word in ("MinValue", "MaxValue")}
            if not bounds.get("MinValue", -_MOST[kind]) <= value <= bounds.get("MaxValue", _MOST[kind]):
                raise refuse("column.number_range", column.name, table.logical_name, code=_OUT_OF_RANGE.get(kind, ""))
        if kind in FRACTION_KINDS and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if column.precision is None else round(float(value), column.precision)
        several = kind is Kind.CHOICES and isinstance(value, str)
        if isinstance(value, str | int) and (several or (kind in WHOLE_KINDS and type(value) is int)):
            chosen = [part.strip() for part in str(value).split(",") if part.strip()]
            options = [str(option) for option, _ in column.options]
            if options and (unknown := [part for part in chosen if part not in options]):
                raise refuse("column.choice", unknown[0], column.name, table.logical_name, ",".join(options))
            return (",".join(chosen) or None) if several else value
        if kind is Kind.BOOLEAN and isinstance(value, bool):
            return int(value)
        dated = (Kind.DATETIME,) if isinstance(value, datetime) else (Kind.DATETIME, Kind.DATEONLY)
        if isinstance(value, date) and kind in dated:
            return self._date(caller, column, value)
        raise refuse("column.type", table.logical_name, column.name, kind)

    def _date(self, caller: Caller, column: Column, value: date) -> str:
        if value.year < _FIRST_YEAR:
            raise refuse("column.date_range")
        return self.moment(caller, value) if column.kind is Kind.DATETIME else value.isoformat()

    def moment(self, caller: Caller, value: date) -> str:
        """Return a date or an aware datetime as a stored moment; a bare date follows switch `bare_date`."""
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
            if self.switches.bare_date == "user":
                value -= timedelta(minutes=caller.utc_offset_minutes)
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- creating and updating ----------------------------------------------------------------------------------------

    def create(self, caller: Caller, table: Table, values: Values, defaults: Row | None = None) -> str:
        """Add a row with its audit columns, state and base amounts, and return its id.

        `defaults` are stored values that are used where `values` names none; they may set columns that callers cannot.
        Raises Refused.
        """
        allowed = self._allowed(table, values, creating=True)
        row = self.convert(caller, table, allowed)
        for name, value in (defaults or {}).items():
            if row.get(name) is None:
                row[name] = value
        key = row[table.primary_id] = str(row.get(table.primary_id) or self.new_id())
        self._set_state(table, row, key)
        self._numbering.fill(table, row)
        self._check_required(table, row)
        return self.add(caller, table, row)

    def add(self, caller: Caller, table: Table, row: Row) -> str:
        """Add stored values as they are, with audit columns and base amounts, and return the id of the row."""
        key = row[table.primary_id] = str(row.get(table.primary_id) or self.new_id())
        self._numbering.fill(table, row)
        self._audit_new(caller, table, row)
        self._amounts(table, row, row)
        try:
            self.store.insert(table.logical_name, row)
        except DuplicateKey as error:
            raise _taken(table, error) from error
        return key

    def _allowed(self, table: Table, values: Values, *, creating: bool) -> Values:
        columns = table.columns
        refused = [
            name
            for name in values
            if (column := columns.get(name)) is not None and not (column.creatable if creating else column.updatable)
        ]
        if not refused:
            return values
        for name in refused:
            state = name == "statecode"
            if state and self.switches.statecode_on_create == "refuse":
                raise refuse("state.on_create", values[name], table.logical_name)
            if not state and self.switches.read_only_columns == "refuse":
                raise refuse("column.read_only")
        return {name: value for name, value in values.items() if name not in refused}

    def _set_state(self, table: Table, row: Row, key: str) -> None:
        if not table.states:
            return
        state = row.setdefault("statecode", 0)
        if row.get("statuscode") is None:
            row["statuscode"] = table.default_status(int(state or 0))
        else:
            self.check_status(table, int(state or 0), int(row["statuscode"] or 0), key)

    def check_status(self, table: Table, state: int, status: int, key: str) -> None:
        """Raise Refused (0x80048408) unless `status` is a status reason of `state`."""
        state_option = table.state(state)
        if state_option is None:
            raise refuse("state.unknown", state, table.logical_name, key)
        option = table.status(status)
        if option is None or option.state != state:
            raise refuse(
                "status.of_state", status, table.schema_name, state_option.invariant_name, table.logical_name, key
            )

    def _check_required(self, table: Table, row: Row) -> None:
        required = self.required.get(table.logical_name)
        if not required or self.switches.required_columns == "off":
            return
        for name in sorted(required):
            if row.get(name) in (None, ""):
                raise refuse("column.required", table.columns[name].label, table.label)

    def _audit_new(self, caller: Caller, table: Table, row: Row) -> None:
        columns = table.columns
        moment = self.now()
        row["createdon"] = row["modifiedon"] = moment
        if row.get("overriddencreatedon") is not None:
            row["createdon"], row["overriddencreatedon"] = row["overriddencreatedon"], moment
        if "createdby" in columns:
            row["createdby"] = row["modifiedby"] = caller.user_id
            if caller.impersonating_user_id:
                row["createdonbehalfby"] = row["modifiedonbehalfby"] = caller.impersonating_user_id
        if table.ownership == "user":
            if row.get("ownerid") is None:
                row["ownerid"], row["ownerid_type"] = caller.user_id, "systemuser"
            row["owninguser"] = row["ownerid"] if row["ownerid_type"] == "systemuser" else None
            row["owningbusinessunit"] = self.unit_of(row["ownerid"]) or caller.business_unit_id or None
        if "createdon" not in columns:
            del row["createdon"], row["modifiedon"]

    def update(self, caller: Caller, table: Table, key: str, values: Values, extra: Row | None = None) -> None:
        """Change a row; `extra` are stored values that callers cannot set. Raises Refused (404 when it is missing)."""
        row = self.convert(caller, table, self._allowed(table, values, creating=False))
        if extra:
            row.update(extra)
        self.write(caller, table, key, row)

    def write(self, caller: Caller, table: Table, key: str, row: Row) -> None:
        """Change stored values of a row, with audit columns and base amounts; raises Refused when it is missing."""
        if "modifiedon" in table.columns:
            row["modifiedon"] = self.now()
        if "modifiedby" in table.columns:
            row["modifiedby"] = caller.user_id
            if caller.impersonating_user_id:
                row["modifiedonbehalfby"] = caller.impersonating_user_id
        if "ownerid" in row:
            row["owninguser"] = row["ownerid"] if row.get("ownerid_type") == "systemuser" else None
            row["owningbusinessunit"] = self.unit_of(row["ownerid"])
        if "transactioncurrencyid" in row:
            amounts = (name for name in table.columns if f"{name}_base" in table.columns)
            self._amounts(table, row, self.get(table.logical_name, key, ("transactioncurrencyid", *amounts)) | row)
        elif any(f"{name}_base" in table.columns for name in row):
            self._amounts(table, row, self.get(table.logical_name, key, ("transactioncurrencyid",)) | row)
        if table.enforce_transitions and row.get("statuscode") is not None:
            self._check_transition(table, key, int(row["statuscode"] or 0))
        try:
            changed = self.store.update(table.logical_name, key, row)
        except DuplicateKey as error:
            raise _taken(table, error) from error
        if not changed:
            raise refuse("row.missing", table.logical_name, key)

    def _check_transition(self, table: Table, key: str, status: int) -> None:
        """Raise Refused unless the status reason may follow the one that the row has."""
        was = int(self.get(table.logical_name, key, ("statuscode",))["statuscode"] or 0)
        option = table.status(was)
        if was == status or option is None or not option.transition_data:
            return
        followers = {int(value) for value in _FOLLOWER.findall(option.transition_data)}
        if status not in followers:
            raise refuse("status.transition", was, status, table.logical_name, key)

    def _round_money(self, table: Table, row: Row, decimals: int) -> None:
        """Round the money of a row as its currency says; columns with a precision of their own are rounded already."""
        for name, value in row.items():
            column = table.columns.get(name)
            if column is not None and column.kind is Kind.MONEY and column.precision is None and value is not None:
                row[name] = round(float(value), decimals)

    def _amounts(self, table: Table, row: Row, whole: Row) -> None:
        columns = table.columns
        if "exchangerate" not in columns or table.logical_name == "transactioncurrency":
            return
        if whole.get("transactioncurrencyid") is None:
            row["transactioncurrencyid"] = whole["transactioncurrencyid"] = self.base_currency()
        rate = self.rate(whole["transactioncurrencyid"])
        row["exchangerate"] = rate
        self._round_money(table, row, self.currency_precision(whole["transactioncurrencyid"]))
        whole |= row
        for name, value in list(whole.items()):
            if f"{name}_base" in columns:
                row[f"{name}_base"] = None if value is None else round(float(value) / rate, 4)


def _taken(table: Table, error: DuplicateKey) -> Refused:
    """Return the refusal of a row whose id, or whose values of an alternate key, another row has."""
    for key in table.keys:
        if set(key.columns) == set(error.columns):
            return refuse("row.alternate_key_taken", key.name, ", ".join(key.columns))
    return refuse("row.key_taken")
