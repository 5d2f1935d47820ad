"""What comes with columns of some kinds: the columns beside a file or an image, the values of an autonumber column.

Sources: file-column-data (the name of the file), image-column-data (time, address and id of the image),
create-auto-number-attributes (the formats; numbers begin with 1000 unless a seed is set).
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace

from connector.clock import Clock
from connector.emulator.world.schema import Column, Kind, Table
from connector.emulator.world.store import Row, Store

_COMPANIONS: Mapping[Kind, tuple[tuple[str, Kind], ...]] = {
    Kind.FILE: (("_Name", Kind.STRING),),
    Kind.IMAGE: (("_Timestamp", Kind.BIGINT), ("_URL", Kind.STRING), ("Id", Kind.UUID)),
}
_PLACE = re.compile(r"\{(?P<kind>SEQNUM|RANDSTRING|DATETIMEUTC):(?P<form>[^}]+)\}")
_SEED = 1000


def with_companions(column: Column) -> Iterator[Column]:
    """Yield a column, and those that come with it: read by everybody, set by nobody."""
    yield column
    for suffix, kind in _COMPANIONS.get(column.kind, ()):
        name, of = f"{column.name}{suffix.lower()}", (("AttributeOf", column.name),)
        part = Column(name, kind, creatable=False, updatable=False, label=name, custom=True, declared=of)
        yield replace(part, schema_name=f"{column.schema_name}{suffix}")


class ColumnCounter:
    """Fills autonumber columns; a number that was given once does not come again."""

    def __init__(self, store: Store, clock: Clock, chance: random.Random) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._latest: dict[tuple[str, str], int] = {}

    def fill(self, table: Table, row: Row) -> None:
        """Give a new row the values of the columns that are numbered and have none."""
        for column in table.columns.values():
            if column.autonumber and row.get(column.name) is None:
                row[column.name] = self._next(table.logical_name, column)

    def _next(self, table: str, column: Column) -> str:
        ((rows,),) = self._store.rows(f'SELECT COUNT(*) FROM "{table}"')
        number = max(self._latest.get((table, column.name), 0) + 1, _SEED + int(str(rows)))
        self._latest[table, column.name] = number

        def part(match: re.Match[str]) -> str:
            if match["kind"] == "SEQNUM":
                return f"{number:0{match['form']}d}"
            if match["kind"] == "RANDSTRING":
                return "".join(self._chance.choices(string.ascii_uppercase + string.digits, k=int(match["form"])))
            return self._clock.now().strftime("%Y%m%d%H%M%S")

        return _PLACE.sub(part, column.autonumber)
