"""Change tracking: `Prefer: odata.track-changes` gives a delta link, following it gives what changed since."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

from connector.emulator.api.operation import VERSION, ApiRequest, applied, ok
from connector.emulator.api.paging import SortKey, next_link, next_token, read_token
from connector.emulator.api.plans import make_plan, read_query
from connector.emulator.api.preferences import LARGEST_PAGE
from connector.emulator.api.reading import ReadOperations
from connector.emulator.api.rows import Annotations, Json
from connector.emulator.odata.lexer import ODataError
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Table
from connector.emulator.world.world import World
from connector.handler import Response

_TOKEN = re.compile(r"(\d{1,18})!(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)")
_FORMAT = "%m/%d/%Y %H:%M:%S"
EXPIRES = timedelta(days=7)
"""How long a delta token is good (ExpireChangeTrackingInDays, default)."""
_REFUSED = ("$filter", "$orderby", "$expand", "$top")
_ORDER = (
    SortKey("versionnumber", "t.versionnumber", descending=False, text=False),
    SortKey("begun", "", descending=False, text=False),
)
"""What the cookie of a next link holds: where the page ended, and where the first page was read."""


def follows_changes(request: ApiRequest) -> bool:
    """Return whether a read asks for change tracking: by preference, by delta token, or by a page of such an answer."""
    values = request.options.values
    tracked_page = 'istracking="True"' in values.get("$skiptoken", "")
    return request.preferences.track_changes or "$deltatoken" in values or tracked_page


class ChangeTracking:
    """Answers reads with change tracking.

    Rows come in the order of their versions, at most 5,000 a page; the last page holds what was deleted and the delta
    link (bengribaudo.com, Dataverse Web API tip 9). The delta link begins where the first page was read, so that what
    changes while pages are read comes again and nothing is lost.
    """

    def __init__(self, world: World, reading: ReadOperations) -> None:
        self._world = world
        self._reading = reading

    def answer(self, request: ApiRequest, table: Table) -> Response:
        """Answer a first read with odata.track-changes, or a delta link."""
        request.about("RetrieveEntityChanges", table.logical_name)
        since, continues = self._checked(request, table)
        plan = make_plan(
            self._world.schema,
            table,
            read_query(request.options, ("$select", "$deltatoken", "$skiptoken")),
            Annotations.of(request.preferences, self._world.closed_columns(request.caller, "read")),
        )
        after, begun, number = self._place(request, since)
        size = request.preferences.page_size or LARGEST_PAGE
        rows = self._world.store.rows(
            f'SELECT {plan.select}, t.versionnumber FROM "{table.logical_name}" t WHERE t.versionnumber > ? '
            f"ORDER BY t.versionnumber LIMIT {size + 1}",
            (after,),
        )
        body: Json = {
            "@odata.context": request.context(f"{table.entity_set}{plan.scope}{'/$delta' if continues else ''}")
        }
        body["value"] = [self._reading.render(request, plan, row) for row in rows[:size]]
        if len(rows) > size:
            token = next_token(number, _ORDER, (rows[0][-1], begun), (rows[size - 1][-1], begun), "True")
            body["@odata.nextLink"] = next_link(f"{request.root}/{request.path}", request.query, token)
        else:
            if continues:
                body["value"] += self._deleted(request, table, since)
            body["@odata.deltaLink"] = self._link(request, table, begun)
        return ok(body, *applied(request.preferences, "track", "page", "annotations"))

    def _place(self, request: ApiRequest, since: int) -> tuple[int, int, int]:
        """Return after which version the page begins, at which version the first page was read, and its number."""
        token = request.options.values.get("$skiptoken")
        if token is None:
            return since, self._world.store.version, 1
        cookie = read_token(token, _ORDER)
        after, begun = (number if isinstance(number, int) else 0 for number in cookie.last)
        return after, begun, cookie.page

    def count(self, request: ApiRequest, table: Table) -> Response:
        """Answer `/$count?$deltatoken=`: how many rows changed or went."""
        request.about("RetrieveEntityChanges", table.logical_name)
        request.options.allow("$deltatoken")
        since, _ = self._checked(request, table)
        sql = f'SELECT count(*) FROM "{table.logical_name}" WHERE versionnumber > ?'
        changed = int(str(self._world.store.rows(sql, (since,))[0][0]))
        total = changed + len(self._world.store.deleted_since(table.logical_name, since))
        return Response(HTTPStatus.OK, (("Content-Type", "text/plain"), VERSION), str(total).encode())

    def _checked(self, request: ApiRequest, table: Table) -> tuple[int, bool]:
        """Return the version to start from and whether a token gave it. Raises Refused, ODataError."""
        for name in _REFUSED:
            if name in request.options.values:
                raise ODataError(
                    f'The "{name.removeprefix("$")}" query parameter isn\'t supported when Change Tracking is enabled.'
                )
        if not table.change_tracking:
            raise refuse("tracking.disabled", table.logical_name)
        self._world.check_read(request.caller, table.logical_name)
        token = request.options.values.get("$deltatoken")
        if token is None:
            return 0, False
        match = _TOKEN.fullmatch(token)
        version, stamp = match.groups() if match else ("", "")
        try:
            made = datetime.strptime(stamp, _FORMAT).replace(tzinfo=UTC)
        except ValueError:
            raise ODataError(f"The delta token '{token}' could not be read.") from None
        if self._world.clock.now() - made > EXPIRES:
            raise ODataError("The delta token has expired.")
        return int(version), True

    def _deleted(self, request: ApiRequest, table: Table, since: int) -> list[Json]:
        context = request.context(f"{table.entity_set}/$deletedEntity")
        gone = self._world.store.deleted_since(table.logical_name, since)
        return [{"@odata.context": context, "id": key, "reason": "deleted"} for key, _ in gone]

    def _link(self, request: ApiRequest, table: Table, version: int) -> str:
        stamp = self._world.clock.now().astimezone(UTC).strftime(_FORMAT)
        token = re.sub("%[0-9A-F]{2}", lambda value: value.group().lower(), quote(f"{version}!{stamp}", safe=""))
        select = request.options.values.get("$select")
        chosen = f"$select={quote(select, safe=',')}&" if select else ""
        return f"{request.root}/{table.entity_set}?{chosen}$deltatoken={token}"
