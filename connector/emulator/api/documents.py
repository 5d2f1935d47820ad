"""The service document and `$metadata`: what there is, as lists and as CSDL."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from http import HTTPStatus

from connector.emulator.api.operation import VERSION, ApiRequest, ok
from connector.emulator.api.rows import wire_name
from connector.emulator.odata.lexer import ODataError
from connector.emulator.world.schema import Column, Kind, Message, Schema, Table
from connector.emulator.world.world import World
from connector.handler import Response

NAMESPACE = "Microsoft.Dynamics.CRM"
_ACTIVITY = "activitypointer"
_PRINCIPAL = "principal"
"""What an owner is: a user or a team."""
_PRINCIPAL_TYPE = (
    f'<EntityType Name="{_PRINCIPAL}" BaseType="mscrm.crmbaseentity" Abstract="true">'
    '<Key><PropertyRef Name="ownerid" /></Key><Property Name="ownerid" Type="Edm.Guid" /></EntityType>'
)
_EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
_EDM = "http://docs.oasis-open.org/odata/ns/edm"
_TRACKED = (
    '<Annotation Term="Org.OData.Capabilities.V1.ChangeTracking"><Record><PropertyValue Property="Supported" '
    'Bool="true" /></Record></Annotation>'
)
"""What marks a set with change tracking (use-change-tracking-synchronize-data-external-systems)."""
_RESPONSES = {
    "WhoAmIResponse": (("BusinessUnitId", "Edm.Guid"), ("UserId", "Edm.Guid"), ("OrganizationId", "Edm.Guid")),
    "RetrieveVersionResponse": (("Version", "Edm.String"),),
    "CalculateActualValueOpportunityResponse": (("Value", "Edm.Decimal"),),
    "IsValidStateTransitionResponse": (("IsValid", "Edm.Boolean"),),
    "CanCloseOpportunityResponse": (("CanClose", "Edm.Boolean"),),
    "RetrieveDefaultStatusForStateResponse": (("Status", "Edm.Int32"),),
    "RetrieveCurrentOrganizationResponse": (("Detail", "mscrm.OrganizationDetail"),),
    "OrganizationDetail": (("OrganizationId", "Edm.Guid"), ("FriendlyName", "Edm.String"), ("UrlName", "Edm.String")),
    "RetrieveTotalRecordCountResponse": (("EntityRecordCountCollection", "mscrm.EntityRecordCountCollection"),),
    "EntityRecordCountCollection": (("Count", "Edm.Int32"), ("Keys", "Collection(Edm.String)")),
    "RetrieveUserPrivilegesResponse": (("RolePrivileges", "Collection(mscrm.RolePrivilege)"),),
    "RetrieveUserSetOfPrivilegesByNamesResponse": (("RolePrivileges", "Collection(mscrm.RolePrivilege)"),),
    "RetrievePrincipalAttributePrivilegesResponse": (("AttributePrivileges", "Collection(mscrm.AttributePrivilege)"),),
    "RetrievePrincipalAccessResponse": (("AccessRights", "mscrm.AccessRights"),),
    "PrincipalAccess": (("AccessMask", "mscrm.AccessRights"), ("Principal", "mscrm.principal")),
    "AttributePrivilege": (
        ("AttributeId", "Edm.Guid"),
        ("CanCreate", "Edm.Int32"),
        ("CanRead", "Edm.Int32"),
        ("CanUpdate", "Edm.Int32"),
    ),
    "RolePrivilege": (("Depth", "Edm.String"), ("PrivilegeId", "Edm.Guid"), ("PrivilegeName", "Edm.String")),
    "ColumnSet": (("AllColumns", "Edm.Boolean"), ("Columns", "Collection(Edm.String)")),
}
"""Complex types that messages take or return."""


class ServiceDocuments:
    """Answers the service document and `$metadata` for the schema and the messages that exist now."""

    def __init__(self, schema: Schema, world: World) -> None:
        self._schema = schema
        self._world = world

    def service(self, request: ApiRequest) -> Response:
        """Answer GET of the service root: every entity set."""
        request.about("ServiceDocument")
        request.options.allow()
        sets = sorted(table.entity_set for table in self._schema.tables.values())
        value = [{"name": name, "kind": "EntitySet", "url": name} for name in [*sets, "EntityDefinitions"]]
        return ok({"@odata.context": f"{request.root}/$metadata", "value": value})

    def metadata(self, request: ApiRequest) -> Response:
        """Answer GET of `$metadata`; `annotations=true` marks the entity sets that track changes."""
        request.about("Metadata")
        request.options.allow("annotations")
        annotations = request.options.values.get("annotations", "false")
        if annotations not in ("true", "false"):
            raise ODataError("The value of 'annotations' must be true or false.")
        mark = _TRACKED if annotations == "true" else ""
        return Response(HTTPStatus.OK, (("Content-Type", "application/xml"), VERSION), self.csdl(mark).encode())

    def csdl(self, tracked: str = "") -> str:
        """Return the schema as CSDL; `tracked` stands in every entity set that tracks changes."""
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            f'<edmx:Edmx Version="4.0" xmlns:edmx="{_EDMX}">',
            "<edmx:DataServices>",
            f'<Schema Namespace="{NAMESPACE}" Alias="mscrm" xmlns="{_EDM}">',
            '<EntityType Name="crmbaseentity" Abstract="true" />',
            _PRINCIPAL_TYPE,
            *(line for table in self._schema.tables.values() for line in self._entity_type(table)),
            *_complex_types(),
            '<EnumType Name="EndpointAccessType"><Member Name="Default" Value="0" />',
            '<Member Name="Internet" Value="1" /><Member Name="Intranet" Value="2" /></EnumType>',
            *(line for message in self._world.messages.values() for line in _message(message)),
            *self._container(tracked),
            "</Schema>",
            "</edmx:DataServices>",
            "</edmx:Edmx>",
        ]
        return "\n".join(lines)

    def _entity_type(self, table: Table) -> Iterator[str]:
        base = self._schema.tables.get(_ACTIVITY)
        derived = base is not None and table.logical_name in base.derived_from
        parent = _ACTIVITY if derived else "crmbaseentity"
        yield f'<EntityType Name="{table.logical_name}" BaseType="mscrm.{parent}">'
        if not derived:
            yield f'<Key><PropertyRef Name="{table.primary_id}" /></Key>'
        inherited = base.columns if derived and base is not None else {}
        for column in table.columns.values():
            if column.name not in inherited and not column.hidden:
                yield _property(column)
        for lookup in table.lookups.values():
            if lookup.target in self._schema.tables:
                kind, key = lookup.target, self._schema.tables[lookup.target].primary_id
                if table.columns[lookup.column].kind is Kind.OWNER:
                    kind, key = _PRINCIPAL, "ownerid"
                yield (
                    f'<NavigationProperty Name="{lookup.name}" Type="mscrm.{kind}" Nullable="false"'
                    f'{_partner(lookup.partner)}><ReferentialConstraint Property="_{lookup.column}_value" '
                    f'ReferencedProperty="{key}" /></NavigationProperty>'
                )
        for collection in table.collections.values():
            kind = f"Collection(mscrm.{collection.table})"
            yield f'<NavigationProperty Name="{collection.name}" Type="{kind}"{_partner(collection.partner)} />'
        yield "</EntityType>"

    def _container(self, tracked: str) -> Iterator[str]:
        yield '<EntityContainer Name="System">'
        for table in sorted(self._schema.tables.values(), key=lambda value: value.entity_set):
            yield f'<EntitySet Name="{table.entity_set}" EntityType="{NAMESPACE}.{table.logical_name}">'
            owners = {column.name for column in table.columns.values() if column.kind is Kind.OWNER}
            targets = {lookup.name: lookup.target for lookup in table.lookups.values() if lookup.column not in owners}
            targets |= {collection.name: collection.table for collection in table.collections.values()}
            for name, target in targets.items():
                if target in self._schema.tables:
                    entity_set = self._schema.tables[target].entity_set
                    yield f'<NavigationPropertyBinding Path="{name}" Target="{entity_set}" />'
            if tracked and table.change_tracking:
                yield tracked
            yield "</EntitySet>"
        for message in self._world.messages.values():
            if not message.bound_to:
                kind = "Function" if message.is_function else "Action"
                yield f'<{kind}Import Name="{message.name}" {kind}="{NAMESPACE}.{message.name}" />'
        yield "</EntityContainer>"


def _partner(name: str) -> str:
    return f' Partner="{name}"' if name else ""


def _property(column: Column) -> str:
    kind = column.kind.edm
    facets = ' Unicode="false"' if kind == "Edm.String" else ' Scale="Variable"' if kind == "Edm.Decimal" else ""
    return f'<Property Name="{wire_name(column)}" Type="{kind}"{facets} />'


def _type(name: str) -> str:
    if name.startswith("entity:"):
        return f"mscrm.{name.removeprefix('entity:')}"
    return name if name.startswith(("Edm.", "mscrm.", "Collection(")) else f"mscrm.{name}"


def _message(message: Message) -> Iterator[str]:
    kind = "Function" if message.is_function else "Action"
    bound = ' IsBound="true"' if message.bound_to else ""
    yield f'<{kind} Name="{escape(message.name)}"{bound}>'
    if message.bound_to:
        yield f'<Parameter Name="entity" Type="mscrm.{message.bound_to}" Nullable="false" />'
    for parameter in message.parameters:
        nullable = ' Nullable="false"' if parameter.required else ""
        yield f'<Parameter Name="{parameter.name}" Type="{_type(parameter.type)}"{nullable} />'
    if message.returns:
        yield f'<ReturnType Type="{_type(message.returns)}" Nullable="false" />'
    yield f"</{kind}>"


def _complex_types() -> Iterator[str]:
    for name, members in _RESPONSES.items():
        yield f'<ComplexType Name="{name}">'
        for member, kind in members:
            yield f'<Property Name="{member}" Type="{kind}" />'
        yield "</ComplexType>"
