"""The emulated organization as one thing: schema, store, world, its first rows, and questions about all of them."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connector.clock import Clock
from connector.emulator import rules_platform, rules_protocol, rules_sales
from connector.emulator.callers import Caller
from connector.emulator.fault_answers import FAULT_RULES, operation_refusal
from connector.emulator.faults import Fault
from connector.emulator.options import EmulatorOptions
from connector.emulator.rules import Rule
from connector.emulator.schema import FRACTION_KINDS, LOOKUP_KINDS, WHOLE_KINDS, Kind, Table, load_schema
from connector.emulator.seed import Member, is_seeded, seed_organization, seed_parties
from connector.emulator.seed_opportunities import seed_opportunities
from connector.emulator.store import Row, Snapshot, Store, Value
from connector.emulator.switches import Switches
from connector.emulator.world import World

COUNTED = ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "competitor")
LARGEST_BASELINE = 8 * 1024 * 1024
"""Bytes of the largest database that a copy of is kept in memory for `reset`."""
_CLOSES = """
SELECT 'opportunity' AS tbl, opportunityid AS id, COUNT(*) AS closes FROM opportunityclose
WHERE statecode = 1 AND opportunityid IS NOT NULL GROUP BY opportunityid HAVING COUNT(*) > :more
UNION ALL
SELECT 'quote', quoteid, COUNT(*) FROM quoteclose
WHERE statecode = 1 AND quoteid IS NOT NULL GROUP BY quoteid HAVING COUNT(*) > :more ORDER BY 3 DESC, 1, 2
"""
"""Completed close activities per record: canceled ones belong to closes that were undone by reopening."""


class OrganizationError(ValueError):
    """Rows that cannot be loaded, or a reset that cannot be done; the message says why."""


class Organization:
    """One organization's data and rules, opened from a file or made in memory."""

    def __init__(self, options: EmulatorOptions, clock: Clock) -> None:
        self._options = options
        schema = load_schema()
        self.store = Store(options.path, schema)
        chance = random.Random(f"{options.seed}:rows")  # noqa: S311 - row ids of a reproducible run
        self.world = World(schema, self.store, Switches(), clock, chance)
        if not is_seeded(self.world):
            seed_organization(self.world, _members(options))
            seed_parties(self.world)
            if options.seeded:
                seed_opportunities(self.world, options.seeded, options.seed)
        self.entity_sets = frozenset(table.entity_set for table in schema.tables.values())
        self._chance = chance
        self._baseline = self._copy()
        self._chance_baseline = chance.getstate()

    def caller_for(self, *, application_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return the caller behind a token; raises Refused (403)."""
        return self.world.caller_for(application_id=application_id, object_id=object_id)

    def impersonate(self, caller: Caller, *, user_id: str | None = None, object_id: str | None = None) -> Caller:
        """Return `caller` acting as another user; raises Refused (403)."""
        return self.world.impersonate(caller, user_id=user_id, object_id=object_id)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    # Looking.

    def rules(self) -> list[Rule]:
        """Return every rule, those of planned failures included, by id."""
        found = {rule.id: rule for rule in FAULT_RULES}
        for module in (rules_platform, rules_protocol, rules_sales):
            found |= {rule.id: rule for rule in vars(module).values() if isinstance(rule, Rule)}
        return sorted(found.values(), key=lambda rule: rule.id)

    def row_counts(self) -> dict[str, int]:
        """Return how many rows the tables of the job have."""
        return {table: _number(self.store.rows(f'SELECT COUNT(*) FROM "{table}"')[0][0]) for table in COUNTED}  # noqa: S608 - fixed names

    def closes(self, more_than: int) -> list[Mapping[str, Any]]:
        """Return `{table, id, closes}` of records with more than `more_than` completed close activities."""
        found = self.store.rows(_CLOSES, {"more": more_than})
        return [{"table": table, "id": key, "closes": number} for table, key, number in found]

    def accounts_of(self, records: Iterable[str]) -> list[str]:
        """Return the customers whose rows these ids are (opportunities, quotes, accounts), each once, in order."""
        customers: dict[str, None] = {}
        for key in records:
            for table in ("opportunity", "quote"):
                row = self.store.get(table, key, ("customerid",))
                if row is not None and row["customerid"] is not None:
                    customers[str(row["customerid"])] = None
            if self.store.exists("account", key):
                customers[key] = None
        return sorted(customers)

    # Changing.

    def reset(self) -> None:
        """Put all rows and switches back as they were at the start; raises OrganizationError for a large database."""
        if self._baseline is None:
            raise OrganizationError(
                f"The database was larger than {LARGEST_BASELINE // 2**20} MB at the start, so no copy is kept of it; "
                "copy the file yourself, or keep a snapshot."
            )
        self.store.restore(self._baseline)
        self.world.use(Switches())
        self._chance.setstate(self._chance_baseline)

    def generate(self, opportunities: int, seed: int) -> None:
        """Replace all opportunities, quotes and close activities by generated ones."""
        if opportunities < 0:
            raise OrganizationError("The number of opportunities is negative.")
        with self.store.transaction():
            for table in ("opportunitycompetitors", "opportunityclose", "quoteclose", "quote", "opportunity"):
                self.store.execute(f'DELETE FROM "{table}"')  # noqa: S608 - fixed names
            seed_opportunities(self.world, opportunities, seed)

    def load_csv(self, table: str, text: str) -> None:
        """Insert the rows of a CSV text whose first line names columns; raises OrganizationError."""
        self.load_rows(table, list(csv.DictReader(io.StringIO(text))))

    def load_rows(self, table: str, rows: object) -> None:
        """Insert rows (objects of column and value) as they are, beside all rules; raises OrganizationError.

        A missing id is made up; lookups are ids, polymorphic ones with their target in `<column>_type`. All or nothing.
        """
        shape = self.world.schema.tables.get(table)
        if shape is None or not isinstance(rows, list):
            raise OrganizationError(f"There is no table {table!r}, or the rows are no list.")
        with self.store.transaction():
            for number, row in enumerate(rows, 1):
                self.store.insert(table, self._typed(shape, number, row))

    def fail(self, fault: Fault, table: str, record_id: str) -> None:
        """Do what an operation fault does and raise its Refused."""
        if fault.do == "plugin_reverts_quote" and self.store.exists("quote", record_id):
            self.store.update("quote", record_id, {"statecode": 0, "statuscode": 1})
        shape = self.world.schema.tables.get(table)
        raise operation_refusal(fault, shape.schema_name if shape else table, record_id)

    def _typed(self, table: Table, number: int, row: object) -> Row:
        if not isinstance(row, dict):
            raise OrganizationError(f"Row {number} is no object.")
        moment = self.world.records.now()
        values: dict[str, Value] = {table.primary_id: self.world.records.new_id(), "createdon": moment}
        values = {name: value for name, value in values.items() if name in table.columns}
        for name, value in row.items():
            column = table.columns.get(str(name).removesuffix("_type"))
            if column is None:
                raise OrganizationError(f"Row {number}: {table.logical_name} has no column {name!r}.")
            try:
                values[name] = _value(column.kind if name in table.columns else Kind.STRING, value)
            except ValueError as error:
                raise OrganizationError(f"Row {number}: {name} cannot be {value!r}.") from error
        return values

    def _copy(self) -> Snapshot | None:
        pages = _number(self.store.rows("PRAGMA page_count")[0][0])
        size = _number(self.store.rows("PRAGMA page_size")[0][0])
        return self.store.snapshot() if pages * size <= LARGEST_BASELINE else None


def _members(options: EmulatorOptions) -> Sequence[Member]:
    applications = [Member(one.object_id, one.name, one.client_id) for one in options.tenant.applications]
    return applications + [Member(one.object_id, one.name) for one in options.tenant.people]


def _value(kind: Kind, value: Any) -> Value:  # noqa: ANN401 - JSON or CSV
    if value is None or value == "":
        return None
    if kind in WHOLE_KINDS or kind is Kind.BOOLEAN:
        return int(value)
    if kind in FRACTION_KINDS:
        return float(value)
    return str(value).lower() if kind is Kind.UUID or kind in LOOKUP_KINDS else str(value)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
