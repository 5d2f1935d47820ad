"""Actions and functions: which there are, reading their parameters, calling them, answering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connector.emulator.api.definition_values import definition_id
from connector.emulator.api.operation import ApiRequest, no_content, ok
from connector.emulator.api.payload import PayloadReader, moment, not_understood, read_json
from connector.emulator.api.reading import ReadOperations, no_options
from connector.emulator.api.rows import Json, wire_name
from connector.emulator.api.writing import no_conditions
from connector.emulator.odata.expressions import TYPE_PREFIX
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import Segment, text_of
from connector.emulator.odata.values import GUID
from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import Caller, privilege_id
from connector.emulator.world.records import Ref
from connector.emulator.world.schema import Message, Parameter, Schema, Table
from connector.emulator.world.world import World
from connector.handler import Response

Function = Callable[[ApiRequest, Mapping[str, str]], Json]
"""Returns the members of what a function returns."""
_NO_ID = "00000000-0000-0000-0000-000000000000"
ATTRIBUTE_PRIVILEGES = "RetrievePrincipalAttributePrivileges"
ROW_ACCESS = "RetrievePrincipalAccess"
USER_FUNCTIONS = ("RetrieveUserPrivileges", "RetrieveUserSetOfPrivilegesByNames", ATTRIBUTE_PRIVILEGES, ROW_ACCESS)
"""The functions bound to a user."""
_ALLOWED = 4
_ACCESS_TYPE = "Microsoft.Dynamics.CRM.EndpointAccessType"


class MessageOperations:
    """Answers actions (POST) and functions (GET); `version` and `tenant_id` are what they tell of the organization."""

    def __init__(self, world: World, schema: Schema, reading: ReadOperations, version: str, tenant_id: str) -> None:
        self._world = world
        self._schema = schema
        self._reading = reading
        self._version = version
        self._tenant_id = tenant_id
        self.functions: Mapping[str, tuple[Function, tuple[str, ...]]] = {
            "WhoAmI": (self._who_am_i, ()),
            "RetrieveVersion": (lambda _request, _given: {"Version": self._version}, ()),
            "RetrieveTimestamp": (lambda _request, _given: {"Timestamp": self._world.metadata_stamp}, ()),
            "RetrieveCurrentOrganization": (self._current_organization, ("AccessType",)),
            "RetrieveTotalRecordCount": (self._total_record_count, ("EntityNames",)),
        }

    # --- actions ------------------------------------------------------------------------------------------------

    def action(
        self, request: ApiRequest, message: Message, reader: PayloadReader, target: Ref | None = None
    ) -> Response:
        """Answer POST of an action, bound to `target` or unbound."""
        request.about(message.name, message.table, target.id if target else "")
        if not message.returns.startswith("entity:"):
            no_options(request.options)
        if target is None:
            no_conditions(request)
        body = read_json(request.body, message.name) if request.body.strip() or message.parameters else {}
        arguments = self._arguments(message, body, reader)
        request.row_id = request.row_id or _subject(arguments)
        answer = self._world.call(request.caller, message.name, arguments, target)
        if answer is None:
            return no_content()
        columns = arguments.get("ColumnSet")
        if columns and not columns.get("AllColumns") and "$select" not in request.options.values:
            self._select(request, self._schema.tables[message.returns.removeprefix("entity:")], columns)
        return self._answer(request, message, answer)

    @staticmethod
    def _select(request: ApiRequest, table: Table, column_set: Mapping[str, Any]) -> None:
        """Read a ColumnSet as $select: the columns by their logical names. Raises Refused for others."""
        wire = []
        for name in column_set.get("Columns") or [table.primary_id]:
            column = table.columns.get(str(name))
            if column is None:
                raise refuse("query.no_attribute", table.logical_name, name)
            wire.append(wire_name(column))
        request.query = f"$select={','.join(wire)}"
        request.options = replace(request.options, values={**request.options.values, "$select": ",".join(wire)})

    def _answer(self, request: ApiRequest, message: Message, answer: Ref | Mapping[str, object]) -> Response:
        if isinstance(answer, Ref):
            table = self._schema.tables[answer.table]
            plan = self._reading.plan(request, table, row=True)
            context = request.context(f"{table.entity_set}{plan.scope}/$entity")
            return ok(
                {"@odata.context": context} | self._reading.render(request, plan, self._reading.fetch(plan, answer.id))
            )
        return ok({"@odata.context": request.context(TYPE_PREFIX + message.returns), **answer})

    def _arguments(self, message: Message, body: Mapping[str, Any], reader: PayloadReader) -> dict[str, Any]:
        parameters = {parameter.name: parameter for parameter in message.parameters}
        arguments: dict[str, Any] = {}
        for name, value in body.items():
            if name.endswith("@odata.type") or name == "@odata.context":
                continue
            if name not in parameters:
                raise not_understood(
                    message.name,
                    f"The parameter '{name}' in the request payload is not a valid parameter for the "
                    f"operation '{message.name}'.",
                )
            if value is not None:
                arguments[name] = self._argument(message, parameters[name], value, reader)
        for parameter in message.parameters:
            if parameter.required and parameter.name not in arguments:
                raise refuse("action.parameter_missing", parameter.name, message.name)
        return arguments

    def _argument(self, message: Message, parameter: Parameter, value: Any, reader: PayloadReader) -> object:
        kind = parameter.type
        if kind.startswith("entity:") and isinstance(value, dict):
            table = self._schema.tables[kind.removeprefix("entity:")]
            return {"@table": table.logical_name, **reader.row(table, value)}
        fits: Mapping[str, Callable[[Any], bool]] = {
            "Edm.Int32": lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31,
            "Edm.Boolean": lambda value: isinstance(value, bool),
            "Edm.String": lambda value: isinstance(value, str),
            "Edm.Guid": lambda value: isinstance(value, str) and bool(GUID.match(value)),
            "mscrm.ColumnSet": lambda value: (
                isinstance(value, dict)
                and set(value) <= {"AllColumns", "Columns", "AttributeExpressions", "@odata.type"}
            ),
        }
        if kind in ("mscrm.crmbaseentity", "mscrm.PrincipalAccess") and isinstance(value, dict):
            return value
        if kind == "Edm.DateTimeOffset" and isinstance(value, str) and (instant := moment(value)) is not None:
            return instant
        if kind in fits and fits[kind](value):
            return value.strip("{}").lower() if kind == "Edm.Guid" else value
        raise not_understood(
            message.name, f"Cannot convert the value of the parameter '{parameter.name}' to the expected type '{kind}'."
        )

    # --- functions ----------------------------------------------------------------------------------------------

    def function(self, request: ApiRequest, segment: Segment, reader: PayloadReader) -> Response:
        """Answer GET of a function; raises ODataError for missing or unknown parameters."""
        request.about(segment.name)
        arguments = self._written(request, segment)
        message = self._world.messages.get(segment.name)
        if message is not None and segment.name not in self.functions:
            return self._message_function(request, message, arguments, reader)
        call, parameters = self.functions[segment.name]
        if set(arguments) != set(parameters):
            raise refuse(
                "query.not_understood",
                f"The function '{segment.name}' takes the parameters ({', '.join(parameters)}), "
                f"but ({', '.join(arguments)}) came.",
            )
        context = request.context(f"{TYPE_PREFIX}{segment.name}Response")
        return ok({"@odata.context": context, **call(request, arguments)})

    @staticmethod
    def _written(request: ApiRequest, segment: Segment) -> dict[str, str]:
        """Return the parameters as they are written, the values of aliases in their place; no option comes beside."""
        arguments, used = dict(segment.pairs), set[str]()
        for name, written in arguments.items():
            if written.startswith("@"):
                used.add(written)
                if written not in request.options.aliases:
                    raise ODataError(f"The parameter alias '{written}' has no value.")
                arguments[name] = request.options.aliases[written]
        request.options.allow()
        request.options.allow_aliases(used)
        return arguments

    def _message_function(
        self, request: ApiRequest, message: Message, written: Mapping[str, str], reader: PayloadReader
    ) -> Response:
        arguments: dict[str, Any] = {}
        for parameter in message.parameters:
            if parameter.name not in written:
                raise refuse("action.parameter_missing", parameter.name, message.name)
            arguments[parameter.name] = _literal(parameter, written[parameter.name], reader)
        unknown = set(written) - set(arguments)
        if unknown:
            raise ODataError(f"The function '{message.name}' has no parameter '{min(unknown)}'.")
        answer = self._world.call(request.caller, message.name, arguments)
        return no_content() if answer is None else self._answer(request, message, answer)

    def of_user(self, request: ApiRequest, user_id: str, segment: Segment, reader: PayloadReader) -> Response:
        """Answer a function bound to a user: its privileges (all or some), secured columns, rights to a row."""
        name = segment.name.removeprefix(TYPE_PREFIX)
        request.about(name, "systemuser", user_id)
        message = self._world.messages[name]
        arguments = self._written(request, segment)
        if set(arguments) != {parameter.name for parameter in message.parameters}:
            takes = ", ".join(parameter.name for parameter in message.parameters) or "no parameters"
            raise ODataError(f"The function '{name}' takes {takes}.")
        self._world.check_read(request.caller, "systemuser")
        user = self._world.access.user(user_id)
        context = {"@odata.context": request.context(TYPE_PREFIX + message.returns)}
        if name == ATTRIBUTE_PRIVILEGES:
            return ok(context | {"AttributePrivileges": self._attribute_privileges(user)})
        if name == ROW_ACCESS:
            target = _reference(arguments["Target"], reader)
            rights = ",".join(self._world.access.rights(user, self._schema.tables[target.table], target.id))
            return ok(context | {"AccessRights": rights or "None"})
        names = user.privileges & set(_texts(arguments["PrivilegeNames"])) if arguments else user.privileges
        reach = dict(user.reach)
        privileges = [
            {
                "Depth": reach.get(privilege, "Global"),
                "PrivilegeId": privilege_id(privilege),
                "BusinessUnitId": user.business_unit_id,
                "PrivilegeName": privilege,
            }
            for privilege in sorted(names)
        ]
        return ok(context | {"RolePrivileges": privileges})

    def _attribute_privileges(self, user: Caller) -> list[dict[str, object]]:
        """Return what the user may do with each secured column; 4 is allowed, 0 is not (FieldPermissionType)."""
        closed = {verb: self._world.closed_columns(user, verb.lower()) for verb in ("Create", "Read", "Update")}
        return [
            {"AttributeId": definition_id(table, column)}
            | {f"Can{verb}": 0 if (table, column) in columns else _ALLOWED for verb, columns in closed.items()}
            for table, column in sorted(self._world.customization.secured)
        ]

    def _who_am_i(self, request: ApiRequest, _given: Mapping[str, str]) -> Json:
        # The real caller, also under impersonation (measured on a live organization).
        caller = request.caller
        user = caller.impersonating_user_id or caller.user_id
        unit = self._world.store.get("systemuser", user, ("businessunitid",)) or {}
        unit_id = unit.get("businessunitid") or caller.business_unit_id or _NO_ID
        return {"BusinessUnitId": unit_id, "UserId": user, "OrganizationId": self._organization()[0]}

    def _organization(self) -> tuple[str, str]:
        rows = self._world.store.rows("SELECT organizationid, name FROM organization")
        return (str(rows[0][0]), str(rows[0][1])) if rows else (_NO_ID, "")

    def _current_organization(self, request: ApiRequest, arguments: Mapping[str, str]) -> Json:
        kind, _, value = arguments["AccessType"].partition("'")
        if kind != _ACCESS_TYPE or value.rstrip("'") not in ("Default", "Internet", "Intranet"):
            raise ODataError(f"'{arguments['AccessType']}' is no value of the enumeration {_ACCESS_TYPE}.")
        key, name = self._organization()
        unique_name = name.lower().replace(" ", "")
        service, web = f"{request.origin}/XRMServices/2011/Organization.svc", f"{request.origin}/"
        endpoints = {
            "WebApplication": web,
            "OrganizationService": service,
            "OrganizationDataService": f"{request.root}/",
        }
        detail = {
            "OrganizationId": key,
            "FriendlyName": name,
            "OrganizationVersion": self._version,
            "OrganizationType": "CustomerTest",
            "EnvironmentId": key,
            "DatacenterId": _NO_ID,
            "Geo": "NA",
            "TenantId": self._tenant_id,
            "UrlName": unique_name,
            "UniqueName": unique_name,
            "State": "Enabled",
            "Endpoints": _collection(list(endpoints), list(endpoints.values())),
        }
        return {"Detail": detail}

    def _total_record_count(self, request: ApiRequest, arguments: Mapping[str, str]) -> Json:
        names = _texts(arguments["EntityNames"])
        counts = []
        for name in names:
            table = self._schema.tables.get(name)
            if table is None:
                raise refuse("query.not_understood", f"The entity with a name = '{name}' was not found.")
            self._world.check_read(request.caller, name)
            counts.append(int(str(self._world.store.rows(f'SELECT count(*) FROM "{name}"')[0][0])))
        return {"EntityRecordCountCollection": _collection(names, counts)}


def _collection(keys: list[str], values: Sequence[object]) -> Json:
    """Return keys with their values as the service writes them."""
    return {"Count": len(keys), "IsReadOnly": False, "Keys": keys, "Values": values}


def _texts(written: str) -> list[str]:
    """Return a collection of texts, in single or double quotes."""
    return [text_of(part.strip()) or part.strip().strip('"') for part in written.strip("[]").split(",")]


def _subject(arguments: Mapping[str, Any]) -> str:
    """Return the id of the row that an entity argument points at, for the journal."""
    for value in arguments.values():
        if isinstance(value, dict):
            for name in ("opportunityid", "quoteid"):
                if isinstance(value.get(name), Ref):
                    return str(value[name].id)
    return ""


def _literal(parameter: Parameter, written: str, reader: PayloadReader) -> object:
    if parameter.type == "mscrm.crmbaseentity" or parameter.type.startswith("entity:"):
        return _reference(written, reader)
    text = text_of(written)
    if parameter.type == "Edm.String" and text is not None:
        return text
    if parameter.type == "Edm.Int32" and written.lstrip("-").isdigit():
        return int(written[:12])
    raise ODataError(f"'{written}' is no value of the type '{parameter.type}' of '{parameter.name}'.")


def _reference(written: str, reader: PayloadReader) -> Ref:
    body = read_json(written.replace("'", '"').encode(), "parameter")  # both quotes are documented
    address = body.get("@odata.id")
    if set(body) != {"@odata.id"} or not isinstance(address, str):
        raise ODataError("A reference is written {'@odata.id':'set(id)'}.")
    return reader.reference(address)


def bound_message(world: World, table: Table, name: str) -> Message | None:
    """Return the message `name` bound to a row of `table`, or None."""
    message = world.messages.get(name.removeprefix(TYPE_PREFIX))
    return message if message is not None and message.bound_to == table.logical_name else None
