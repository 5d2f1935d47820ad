"""Change tracking: `Prefer: odata.track-changes` gives a delta link, following it gives what changed since."""

# ruff: noqa: S608 - every name in a statement comes from the schema, never from a request; values are always bound

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from connector.emulator.odata.tokens import ODataError
from connector.emulator.operations.ask import VERSION, Ask, applied, ok
from connector.emulator.operations.plans import make_plan, read_query
from connector.emulator.operations.reading import Reading
from connector.emulator.operations.rows import Annotations, Json
from connector.emulator.records.schema import Table
from connector.emulator.rules.protocol import NOT_IMPLEMENTED, TRACKING_DISABLED
from connector.emulator.world.world import World
from connector.handler import Response

_TOKEN = re.compile(r"(\d{1,18})!(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)")
_FORMAT = "%m/%d/%Y %H:%M:%S"
EXPIRES = timedelta(days=7)
"""How long a delta token is good (ExpireChangeTrackingInDays, default)."""
LARGEST_DELTA = 5000
_REFUSED = ("$filter", "$orderby", "$expand", "$top")


class Tracking:
    """Answers reads with change tracking.

    A first answer holds every row and the delta link; more than 5,000 rows in one answer are refused by name, since the
    service's way of paging them is not documented.
    """

    def __init__(self, world: World, reading: Reading) -> None:
        self._world = world
        self._reading = reading

    def answer(self, ask: Ask, table: Table) -> Response:
        """Answer a first read with odata.track-changes, or a delta link."""
        ask.about("RetrieveEntityChanges", table.logical_name)
        since, given = self._checked(ask, table)
        plan = make_plan(
            self._world.schema,
            table,
            read_query(ask.options, ("$select", "$deltatoken")),
            Annotations.of(ask.preferences),
        )
        version = self._world.store.version
        rows = self._world.store.rows(
            f'SELECT {plan.select} FROM "{table.logical_name}" t WHERE t.versionnumber > ? ORDER BY t.versionnumber '
            f"LIMIT {LARGEST_DELTA + 1}",
            (since,),
        )
        if len(rows) > LARGEST_DELTA:
            raise NOT_IMPLEMENTED.refuse(f"change tracking over more than {LARGEST_DELTA} rows at once")
        body: Json = {"@odata.context": ask.context(f"{table.entity_set}{plan.scope}{'/$delta' if given else ''}")}
        body["value"] = [self._reading.render(ask, plan, row) for row in rows]
        if given:
            body["value"] += self._deleted(ask, table, since)
        body["@odata.deltaLink"] = self._link(ask, table, version)
        return ok(body, *applied(ask.preferences, "track", "annotations"))

    def count(self, ask: Ask, table: Table) -> Response:
        """Answer `/$count?$deltatoken=`: how many rows changed or went."""
        ask.about("RetrieveEntityChanges", table.logical_name)
        ask.options.allow("$deltatoken")
        since, _ = self._checked(ask, table)
        sql = f'SELECT count(*) FROM "{table.logical_name}" WHERE versionnumber > ?'
        changed = int(str(self._world.store.rows(sql, (since,))[0][0]))
        total = changed + len(self._world.store.deleted_since(table.logical_name, since))
        return Response(200, (("Content-Type", "text/plain"), VERSION), str(total).encode())

    def _checked(self, ask: Ask, table: Table) -> tuple[int, bool]:
        """Return the version to start from and whether a token gave it. Raises Refused, ODataError."""
        for name in _REFUSED:
            if name in ask.options.values:
                raise ODataError(
                    f'The "{name.removeprefix("$")}" query parameter isn\'t supported when Change Tracking is enabled.'
                )
        if not table.change_tracking:
            raise TRACKING_DISABLED.refuse(table.logical_name)
        self._world.check_read(ask.caller, table.logical_name)
        token = ask.options.values.get("$deltatoken")
        if token is None:
            return 0, False
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ODataError(f"The delta token '{token}' could not be read.")
        try:
            made = datetime.strptime(match.group(2), _FORMAT).replace(tzinfo=UTC)
        except ValueError:
            raise ODataError(f"The delta token '{token}' could not be read.") from None
        if self._world.clock.now() - made > EXPIRES:
            raise ODataError("The delta token has expired.")
        return int(match.group(1)), True

    def _deleted(self, ask: Ask, table: Table, since: int) -> list[Json]:
        context = ask.context(f"{table.entity_set}/$deletedEntity")
        gone = self._world.store.deleted_since(table.logical_name, since)
        return [{"@odata.context": context, "id": key, "reason": "deleted"} for key, _ in gone]

    def _link(self, ask: Ask, table: Table, version: int) -> str:
        stamp = self._world.clock.now().astimezone(UTC).strftime(_FORMAT)
        token = re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quote(f"{version}!{stamp}", safe=""))
        select = ask.options.values.get("$select")
        chosen = f"$select={quote(select, safe=',')}&" if select else ""
        return f"{ask.root}/{table.entity_set}?{chosen}$deltatoken={token}"
