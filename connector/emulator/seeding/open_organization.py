"""The emulated organization as one thing: schema, store, world, first rows, clock; questions about all of them.

Its rows come from a generator, or from a file: JSON by table, or CSV of one table.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from connector.clock import Clock, VirtualClock
from connector.emulator.limits.faults import Fault
from connector.emulator.limits.limit_answers import operation_refusal
from connector.emulator.rules.rule import Refused, Switches
from connector.emulator.seeding.emulator_options import SCENARIOS, EmulatorOptions, Scenario, start_scenario
from connector.emulator.seeding.opportunities import seed_opportunities
from connector.emulator.seeding.organization import (
    BUSINESS_UNIT_ID,
    SALES_USER_ID,
    SeededUser,
    is_seeded,
    seed_organization,
)
from connector.emulator.seeding.twin_rows import fill_twin, list_plug_ins
from connector.emulator.seeding.twin_schema import twin_schema
from connector.emulator.world.callers import Caller, lacking
from connector.emulator.world.customization import Customization, read_metadata
from connector.emulator.world.plain_values import typed
from connector.emulator.world.records import TypedValue
from connector.emulator.world.schema import Table
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Row, Store
from connector.emulator.world.world import Invocation, World, WorldSnapshot

_VERBS = {"Create": "Create", "Delete": "Delete", "Retrieve": "Read", "RetrieveMultiple": "Read"}
"""The privilege that a planned missing privilege is about, by message; Write for every other."""
COUNTED = ("opportunity", "quote", "opportunityclose", "quoteclose", "account", "competitor")
LARGEST_BASELINE = 8 * 1024 * 1024
"""Bytes of the largest database that a copy of is kept in memory for `reset`."""
_OPENED = "opened"
"""The note that counts how often the file was opened."""
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
        schema = load_schema() if options.twin is None else twin_schema(options.twin, load_schema())
        self.store = Store(options.path, schema)
        scenario = _scenario(options)
        with self.store.transaction():  # of two that open a new file at once, one fills it
            chance = random.Random(f"{options.seed}:rows{self._opening()}")
            self.world = World(schema, self.store, Switches(), clock, chance)
            if is_seeded(self.world):
                self.world.use(Switches().with_values(scenario.switches))
            else:
                self._begin(scenario)
            if options.customization != Customization():
                self.world.customize(options.customization)
        for path in options.plugins:
            self.world.logic.load(path)
        list_plug_ins(self.world)
        self.entity_sets = frozenset(table.entity_set for table in schema.tables.values())
        self._baseline = self._copy()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    # Looking.

    def row_counts(self) -> dict[str, int]:
        """Return how many rows the tables of the job have."""
        return {table: _number(self.store.rows(f'SELECT COUNT(*) FROM "{table}"')[0][0]) for table in COUNTED}

    def closes(self, more_than: int) -> list[Mapping[str, Any]]:
        """Return `{table, id, closes}` of records with more than `more_than` completed close activities."""
        rows = self.store.rows(_CLOSES, {"more": more_than})
        return [{"table": table, "id": key, "closes": number} for table, key, number in rows]

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
        """Put rows, customizations and switches back as they were; raises OrganizationError for a large database."""
        if self._baseline is None:
            raise OrganizationError(
                f"The database was larger than {LARGEST_BASELINE // 2**20} MB at the start, so no copy is kept of it; "
                "copy the file yourself, or keep a snapshot."
            )
        self.world.restore(self._baseline)

    def start(self, name: str) -> None:
        """Throw everything away and begin with a named scenario, which `reset` returns to from now on.

        Raises OrganizationError when there is no such scenario.
        """
        if name not in SCENARIOS:
            raise OrganizationError(f"There is no scenario {name!r}; there are: {', '.join(SCENARIOS)}.")
        opened = self.store.note(_OPENED) or "1"
        with self.store.transaction():
            self.world.clear()
            self.store.keep_note(_OPENED, opened)
            self._begin(SCENARIOS[name])
            list_plug_ins(self.world)
        self._baseline = self._copy()

    def customize(self, document: Mapping[str, Any], table: str) -> None:
        """Take customizations in their own form or from exported metadata (see there); raises ImportRefused."""
        self.world.customize(read_metadata(document, self.world.schema, table))

    def generate(self, opportunities: int, seed: int) -> None:
        """Replace all opportunities, quotes and close activities by generated ones."""
        if opportunities < 0:
            raise OrganizationError("The number of opportunities is negative.")
        with self.store.transaction():
            for table in ("opportunitycompetitors", "opportunityclose", "quoteclose", "quote", "opportunity"):
                self.store.execute(f'DELETE FROM "{table}"')
            seed_opportunities(self.world, opportunities, seed)

    def load_rows(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of one table as they stand, all or nothing (see files); raises SeedRefused."""
        seed_json(self.world, {table: list(rows)})

    def fail(self, fault: Fault, invocation: Invocation) -> None:
        """Do what an operation fault does and raise its Refused."""
        table, record_id = invocation.table, invocation.record_id
        if fault.do == "plugin_reverts_quote" and self.store.exists("quote", record_id):
            self.store.update("quote", record_id, {"statecode": 0, "statuscode": 1})
        shape = self.world.schema.tables.get(table)
        if fault.do == "missing_privilege":
            shape = shape or self.world.schema.tables["organization"]
            verb = _VERBS.get(invocation.message, "Write")
            raise lacking(invocation.caller, shape, f"prv{verb}{shape.privilege_name}")
        raise operation_refusal(fault, shape.schema_name if shape else table, record_id)

    def _opening(self) -> str:
        """Count this opening of the file; returns what tells the ids of its rows from those of earlier openings."""
        before = self.store.note(_OPENED) or "0"
        self.store.keep_note(_OPENED, str(int(before) + 1))
        return f":{before}:{self.store.version}" if before != "0" else ""

    def _begin(self, scenario: Scenario) -> None:
        twin, members = self._options.twin, _members(self._options)
        seed_organization(self.world, members, None if twin is None else twin.secured)
        start_scenario(self.world, scenario, self._options.seed)
        if twin is not None:
            fill_twin(self.world, twin, volumes=self._options.volumes)

    def _copy(self) -> WorldSnapshot | None:
        pages = _number(self.store.rows("PRAGMA page_count")[0][0])
        size = _number(self.store.rows("PRAGMA page_size")[0][0])
        return self.world.snapshot() if pages * size <= LARGEST_BASELINE else None


def _members(options: EmulatorOptions) -> Sequence[SeededUser]:
    applications = [
        SeededUser(application.object_id, application.name, application.client_id)
        for application in options.tenant.applications
    ]
    return applications + [SeededUser(person.object_id, person.name) for person in options.tenant.people]


def _scenario(options: EmulatorOptions) -> Scenario:
    """Return the named scenario, or the default one with the wanted number of opportunities."""
    if options.scenario:
        if options.scenario not in SCENARIOS:
            raise OrganizationError(f"There is no scenario {options.scenario!r}; there are: {', '.join(SCENARIOS)}.")
        return SCENARIOS[options.scenario]
    switches = options.twin.switches() if options.twin is not None else {}
    return replace(SCENARIOS["default"], opportunities=0 if options.twin else options.seeded, switches=switches)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


JITTER = 0.01
"""Seconds by which the machine's two clocks may drift apart before it counts as one of them having been set."""


class TravelClock:
    """Another clock plus all the time that was skipped. On a virtual clock waiting takes no time.

    The machine's clock may be set while the emulator serves. Set forward, the emulator's time follows (so it is right
    after the machine has slept); set back, it goes on from where it was, so that no row is older than what it was made
    from and no token is used before it was issued.
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._skipped = 0.0
        self.virtual = isinstance(base, VirtualClock)
        self._ahead = base.now().timestamp() - base.monotonic()
        """The most that the base's wall clock has been ahead of its monotonic one."""

    def now(self) -> datetime:
        """Return the base's wall-clock time, or what it would be had it not been set back, plus what was skipped."""
        now, extra = self._base.now(), self._skipped
        if self.virtual:
            return now + timedelta(seconds=extra) if extra else now
        ahead = now.timestamp() - self._base.monotonic()
        if ahead > self._ahead:
            self._ahead = ahead
        elif self._ahead - ahead > JITTER:
            extra += self._ahead - ahead
        return now + timedelta(seconds=extra) if extra else now

    def monotonic(self) -> float:
        """Return the base's elapsed seconds plus what was skipped."""
        return self._base.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Wait as the base does: really, or by moving a virtual clock."""
        self._base.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Skip `seconds`; a value that is not positive does nothing."""
        if seconds > 0:
            self._skipped += seconds


_SEEDER = Caller(SALES_USER_ID, "", "", frozenset(), business_unit_id=BUSINESS_UNIT_ID)


class SeedRefused(ValueError):
    """A seed file cannot be used; the text names the row and what is wrong with it. Nothing was added."""


def seed_csv(world: World, table: str, lines: Iterable[str]) -> int:
    """Add the rows of one table from CSV with column names in the first line; an empty field is no value.

    Returns how many rows were added. Raises SeedRefused.
    """
    try:
        reader = csv.DictReader(lines, strict=True)
        columns, raws = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise SeedRefused(f"The file is not CSV: {error}.") from error
    shape = world.schema.tables.get(table) or world.schema.by_entity_set.get(table)
    unknown = [name for name in columns if shape is not None and name not in shape.columns]
    if not columns or unknown:
        names = ", ".join(map(repr, unknown)) or "no column at all"
        raise SeedRefused(f"The first line of the file names {names}, which {table} does not have.")
    for number, raw in enumerate(raws, 1):
        if None in raw or None in raw.values():
            raise SeedRefused(f"{table} row {number} has not {len(columns)} fields, as the first line has.")
    return seed_json(world, {table: [{name: value for name, value in raw.items() if value} for raw in raws]})


def seed_json(world: World, document: Mapping[str, Any]) -> int:
    """Add rows from `{table: [row, ...]}`, tables in the order that lookups need.

    Columns go by their logical names. A lookup is an id, or `table:id` where it can point at several tables. States are
    taken as they stand: seeding describes a situation, it does not act. Raises SeedRefused.
    """
    if not isinstance(document, Mapping) or not all(isinstance(rows, list) for rows in document.values()):
        raise SeedRefused("Seed data is an object with a list of rows for each table.")
    added = 0
    with world.store.transaction():
        for name, rows in document.items():
            table = world.schema.tables.get(name) or world.schema.by_entity_set.get(name)
            if table is None or table.derived_from:
                raise SeedRefused(f"The emulator has no table {name} to seed.")
            for number, raw in enumerate(rows, 1):
                _add(world, table, raw, number)
                added += 1
    return added


def _add(world: World, table: Table, raw: Mapping[str, Any], number: int) -> None:
    place = f"{table.logical_name} row {number}"
    if not isinstance(raw, Mapping):
        raise SeedRefused(f"{place} is no object of columns and values.")
    values = {name: _value(table, name, value, place) for name, value in raw.items()}
    try:
        row: Row = world.records.convert(_SEEDER, table, values)
        world.records.create(_SEEDER, table, {}, row)
    except Refused as refusal:
        raise SeedRefused(f"{place}: {refusal.message}") from refusal


def _value(table: Table, name: str, value: Any, place: str) -> TypedValue:
    column = table.columns.get(name)
    if column is None:
        raise SeedRefused(f"{place}: there is no column {name}.")
    if value is None:
        return None
    try:
        return typed(column, value)
    except (ValueError, TypeError, OverflowError) as error:
        raise SeedRefused(f"{place}: {value!r:.80} is no value for {name} ({column.kind}).") from error
