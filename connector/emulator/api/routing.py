"""Finds what a path names and who answers it; what is not found is refused in the service's words."""

from __future__ import annotations

from connector.emulator.api.definitions import EntityDefinitions
from connector.emulator.api.documents import ServiceDocuments
from connector.emulator.api.invoking import USER_FUNCTIONS, MessageOperations, bound_message
from connector.emulator.api.operation import ApiRequest
from connector.emulator.api.payload import row_by_key
from connector.emulator.api.plans import related_rows
from connector.emulator.api.reading import ReadOperations, check_read
from connector.emulator.api.tracking import ChangeTracking, follows_changes
from connector.emulator.api.writing import WriteOperations
from connector.emulator.odata.expressions import TYPE_PREFIX
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import Segment, segments
from connector.emulator.odata.sql import no_property
from connector.emulator.rules.rule import refuse, rules
from connector.emulator.world.records import Ref
from connector.emulator.world.schema import Schema, Table, names
from connector.emulator.world.world import Refused, World
from connector.handler import Response

NOT_HERE = {
    "GlobalOptionSetDefinitions": "global choices",
    "RelationshipDefinitions": "RelationshipDefinitions (see EntityDefinitions(...)/ManyToOneRelationships)",
    "ManagedPropertyDefinitions": "managed properties",
    "ExecuteAsync": "background operations",
    "asyncoperations": "background operations",
    "pluginassemblies": "plug-in registration",
    "serviceendpoints": "webhooks and service endpoints",
    "BulkDelete": "BulkDelete",
    "Merge": "Merge",
    "InitializeFrom": "InitializeFrom",
}
"""First segments that exist in every organization and are refused by name here, and what they stand for."""

ELSEWHERE = frozenset(
    names(
        "activityparties annotations appointments asyncoperations bulkdeleteoperations campaigns connections contracts "
        "customeraddresses duplicaterules emails entitlements faxes fieldsecurityprofiles fieldpermissions goals "
        "importfiles imports incidents invoicedetails invoices knowledgearticles leads letters lists mailboxes "
        "marketinglists phonecalls plugintracelogs pricelevelitems privileges processsessions productpricelevels "
        "products publishers queueitems queues recurringappointmentmasters roleprivilegescollection salesorderdetails "
        "salesliteratures sites socialactivities solutioncomponents solutions subjects systemforms tasks teams "
        "teammemberships territories uoms uomschedules userforms webresources workflowlogs "
        "organizationsettings processstages principalobjectaccessset timezonedefinitions environmentvariabledefinitions"
    )
)
"""Tables of every sales organization that are not of this slice; they are refused by name, not as typing errors."""
_PAIR = 2
MULTIPLE = ("CreateMultiple", "UpdateMultiple")
NOT_MULTIPLE = ("DeleteMultiple", "UpsertMultiple")


class Router:
    """Everything that answers below one service root, for one state of the schema."""

    def __init__(self, world: World, schema: Schema, version: str, tenant_id: str) -> None:
        self._world = world
        self.schema = schema
        self.reading = ReadOperations(world, schema)
        self.writing = WriteOperations(world, schema, self.reading)
        self.invoking = MessageOperations(world, schema, self.reading, version, tenant_id)
        self.definitions = EntityDefinitions(schema)
        self.documents = ServiceDocuments(schema, world)
        self.tracking = ChangeTracking(world, self.reading)

    def answer(self, request: ApiRequest) -> Response:
        """Return the answer to one operation. Raises Refused and ODataError."""
        if request.method == "GET":
            check_read(request)
        steps = segments(request.path)
        if not steps:
            _need(request, "GET")
            return self.documents.service(request)
        first = steps[0]
        table = self.schema.by_entity_set.get(first.name)
        if table is not None:
            return self._rows(request, table, steps)
        if first.name == "$metadata" and len(steps) == 1 and not first.called:
            _need(request, "GET")
            return self.documents.metadata(request)
        if first.name == "EntityDefinitions":
            if request.method != "GET":
                raise refuse("emulator.not_implemented", "changes of table definitions")
            if self._world.switches.definitions_privilege != "none":
                self._world.access.require_definitions(request.caller)
            return self.definitions.answer(request, steps)
        if len(steps) == 1:
            return self._message(request, first)
        raise self.unknown(first.name)

    def unknown(self, name: str) -> Refused:
        """Return the refusal of a segment that names nothing."""
        if name in NOT_HERE or name in ELSEWHERE:
            return refuse("emulator.not_implemented", NOT_HERE.get(name, f"the table behind '{name}'"))
        newer = self._world.switches.unknown_path == rules()["path.unknown_newer"].code
        return refuse("path.unknown_newer" if newer else "path.unknown", name)

    # --- messages -------------------------------------------------------------------------------------------------

    def _message(self, request: ApiRequest, segment: Segment) -> Response:
        message = self._world.messages.get(segment.name)
        reader = self.writing.reader(request)
        if segment.name in self.invoking.functions or (message is not None and message.is_function):
            _need(request, "GET")
            return self.invoking.function(request, segment, reader)
        if message is None or message.bound_to:
            raise self.unknown(segment.name)
        _need(request, "POST")
        if segment.called:
            raise ODataError(f"The action '{segment.name}' takes its parameters in the body.")
        return self.invoking.action(request, message, reader)

    # --- rows -----------------------------------------------------------------------------------------------------

    def _rows(self, request: ApiRequest, table: Table, steps: tuple[Segment, ...]) -> Response:
        first = steps[0]
        if not first.called:
            return self._set(request, table, steps)
        if not first.pairs and first.key is None:
            raise ODataError(f"The key of a row expected in '{first.name}()'.")
        key = first.key_by(table.primary_id) or row_by_key(self._world.store, table, first.pairs)
        return self._row(request, table, key) if len(steps) == 1 else self._below(request, table, key, steps)

    def _set(self, request: ApiRequest, table: Table, steps: tuple[Segment, ...]) -> Response:
        if len(steps) == 1:
            if request.method == "GET":
                read = self.tracking.answer if follows_changes(request) else self.reading.collection
                return read(request, table)
            _need(request, "POST")
            return self.writing.create(request, table)
        second = steps[1]
        if len(steps) == _PAIR and second.name == "$count" and not second.called:
            _need(request, "GET")
            if "$deltatoken" in request.options.values:
                return self.tracking.count(request, table)
            return self.reading.count(request, table)
        name = second.name.removeprefix(TYPE_PREFIX)
        if len(steps) == _PAIR and name != second.name and not second.called:
            if name in MULTIPLE:
                _need(request, "POST")
                return self.writing.multiple(request, table, name)
            if name in NOT_MULTIPLE:
                raise refuse("emulator.not_implemented", f"{name}")
        raise self.unknown(second.name)

    def _row(self, request: ApiRequest, table: Table, key: str) -> Response:
        _need(request, "GET", "PATCH", "DELETE")
        if request.method == "GET":
            return self.reading.row(request, table, key)
        return (self.writing.update if request.method == "PATCH" else self.writing.delete)(request, table, key)

    def _below(self, request: ApiRequest, table: Table, key: str, steps: tuple[Segment, ...]) -> Response:
        second, rest = steps[1], steps[2:]
        if second.name in table.lookups or second.name in table.collections:
            return self._navigation(request, table, key, second, rest)
        if second.name.startswith(TYPE_PREFIX):
            return self._bound(request, table, key, second, rest)
        raw = len(rest) == 1 and rest[0].name == "$value" and not rest[0].called
        if second.called or (rest and not raw):
            raise self.unknown(rest[0].name if rest else second.name)
        if second.name not in table.columns and not second.name.startswith("_"):
            raise self.unknown(second.name) if second.name.startswith("$") else no_property(second.name, table)
        if request.method == "GET":
            return self.reading.property(request, table, key, second.name, raw=raw)
        _need(request, *(("PUT", "DELETE") if not raw else ()))
        write = self.writing.put_property if request.method == "PUT" else self.writing.delete_property
        return write(request, table, key, second.name)

    def _bound(
        self, request: ApiRequest, table: Table, key: str, second: Segment, rest: tuple[Segment, ...]
    ) -> Response:
        if table.logical_name == "systemuser" and second.name.removeprefix(TYPE_PREFIX) in USER_FUNCTIONS and not rest:
            return self._of_user(request, table, key, second)
        message = bound_message(self._world, table, second.name)
        if message is None or rest:
            raise self.unknown(second.name)
        _need(request, "POST")
        if second.pairs or second.key:
            raise ODataError(f"The action '{second.name}' takes its parameters in the body.")
        if not self._world.store.exists(table.logical_name, key):
            request.about(message.name, table.logical_name, key)
            raise refuse("row.missing", table.schema_name, key)
        return self.invoking.action(request, message, self.writing.reader(request), Ref(table.logical_name, key))

    def _of_user(self, request: ApiRequest, table: Table, key: str, function: Segment) -> Response:
        _need(request, "GET")
        if not self._world.store.exists(table.logical_name, key):
            raise refuse("row.missing", table.schema_name, key)
        return self.invoking.of_user(request, key, function, self.writing.reader(request))

    def _navigation(
        self, request: ApiRequest, table: Table, key: str, second: Segment, rest: tuple[Segment, ...]
    ) -> Response:
        last = rest[0].name if len(rest) == 1 and not rest[0].called else ""
        if rest and last not in ("$ref", "$count"):
            raise refuse("emulator.not_implemented", f"paths beyond '{second.name}'")
        if second.pairs or (second.called and second.key is None):
            raise refuse("row.no_such_key", table.logical_name)
        if last == "$ref" and request.method in ("POST", "PUT") and second.key is None:
            return self.writing.relate(request, table, key, second.name)
        if last == "$ref" and request.method == "DELETE":
            return self.writing.unrelate(request, table, key, second.name, second.key)
        _need(request, "GET")
        if second.key is not None:
            raise refuse("emulator.not_implemented", f"reading one row through '{second.name}'")
        return self._navigated(request, table, key, second.name, last)

    def _navigated(self, request: ApiRequest, table: Table, key: str, name: str, last: str) -> Response:
        lookup = table.lookups.get(name)
        if lookup is not None:
            if last == "$count" or lookup.target not in self.schema.tables:
                raise self.unknown(last or name)
            return self.reading.single(request, table, key, lookup, reference=last == "$ref")
        collection = table.collections[name]
        if last == "$count":
            target = self.schema.tables[collection.table]
            return self.reading.count(request, target, related_rows(self.schema, table, collection), [key])
        return self.reading.related(request, table, key, collection, reference=last == "$ref")


def _need(request: ApiRequest, *verbs: str) -> None:
    """Raise Refused for any other verb."""
    if request.method not in verbs:
        raise refuse("path.wrong_verb", request.url)
