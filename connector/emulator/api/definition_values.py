"""Table definitions as JSON: tables, attributes with their choices, relationships.

Shapes: the references of EntityMetadata, AttributeMetadata and the like (data/definitions.json has their properties),
query-metadata-web-api.md and recorded definitions. Ids are the emulator's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any
from uuid import UUID, uuid5

from connector.emulator.api.writing import NOT_CONCURRENT
from connector.emulator.odata.expressions import TYPE_PREFIX
from connector.emulator.world.schema import (
    FRACTION_KINDS,
    AlternateKey,
    Collection,
    Column,
    Kind,
    Labels,
    Lookup,
    Schema,
    Table,
    names,
)

Json = dict[str, Any]
_IDS = UUID("0d6fd7b1-8a3c-5b0e-9a4f-6b7c1b9f2d10")
_ENGLISH = 1033

_OWN = frozenset(
    names(
        "MetadataId LogicalName SchemaName EntityLogicalName ColumnNumber AttributeType AttributeTypeName DisplayName "
        "Description RequiredLevel IsPrimaryId IsPrimaryName IsValidForCreate IsValidForUpdate IsValidForRead "
        "IsCustomAttribute"
    )
)
"""Properties of every attribute that are computed."""

OPTION_KINDS = frozenset({Kind.PICKLIST, Kind.CHOICES, Kind.STATE, Kind.STATUS, Kind.BOOLEAN})


def definition_id(*names: str) -> str:
    """Return the id under which a definition is known here."""
    return str(uuid5(_IDS, ".".join(names)))


def label(text: str, labels: Labels = ()) -> Json:
    """Return a Label: `text` in English, or `labels` by language, of which the user sees English or else the first."""
    localized = [
        {
            "Label": each,
            "LanguageCode": language,
            "IsManaged": not labels,
            "MetadataId": definition_id("label", str(language), each),
            "HasChanged": None,
        }
        for language, each in (labels or ((_ENGLISH, text),))
    ]
    if not text and not labels:
        return _NO_LABEL
    own = next((each for each in localized if each["LanguageCode"] == _ENGLISH), localized[0])
    return {"LocalizedLabels": localized, "UserLocalizedLabel": own}


_NO_LABEL: Json = {"LocalizedLabels": [], "UserLocalizedLabel": None}


def table_definition(table: Table) -> Json:
    """Return the EntityMetadata of a table."""
    return _defaults()["EntityMetadata"] | {
        "MetadataId": definition_id(table.logical_name),
        "LogicalName": table.logical_name,
        "LogicalCollectionName": table.entity_set,
        "SchemaName": table.schema_name,
        "CollectionSchemaName": table.plural_label.replace(" ", ""),
        "EntitySetName": table.entity_set,
        "ObjectTypeCode": table.type_code,
        "PrimaryIdAttribute": table.primary_id,
        "PrimaryNameAttribute": table.primary_name,
        "OwnershipType": "UserOwned" if table.ownership == "user" else "OrganizationOwned",
        "IsActivity": "activitytypecode" in table.columns,
        "IsCustomEntity": False,
        "IsOptimisticConcurrencyEnabled": table.logical_name not in NOT_CONCURRENT,
        "ChangeTrackingEnabled": table.change_tracking,
        "EnforceStateTransitions": table.enforce_transitions,
        "DisplayName": label(table.label, table.labels),
        "DisplayCollectionName": label(table.plural_label, table.plural_labels),
        "Description": _NO_LABEL,
    }


@cache
def _defaults() -> Mapping[str, Json]:
    """Return the documented properties of each type of definition with the values that ours have of them."""
    text = (resources.files("connector.emulator") / "data" / "definitions.json").read_text("utf-8")
    defaults: Mapping[str, Json] = json.loads(text)
    return defaults


def attribute_properties() -> set[str]:
    """Return the properties of AttributeMetadata: what can be selected without a cast to a derived type."""
    return {*_defaults()["AttributeMetadata"], *_OWN}


def attribute_definition(table: Table, column: Column) -> Json:
    """Return the AttributeMetadata of a column; `OptionSet` and `GlobalOptionSet` are only shown when expanded."""
    kind = column.kind
    definition: Json = {"@odata.type": f"#{TYPE_PREFIX}{kind.definition}"}
    definition |= _defaults()["AttributeMetadata"] | _defaults().get(kind.definition, {})
    definition |= {
        "MetadataId": definition_id(table.logical_name, column.name),
        "LogicalName": column.name,
        "SchemaName": column.schema_name,
        "EntityLogicalName": table.logical_name,
        "ColumnNumber": list(table.columns).index(column.name) + 1,
        "AttributeType": kind.code,
        "AttributeTypeName": {"Value": kind.type_name},
        "DisplayName": label(column.label, column.labels),
        "Description": _NO_LABEL,
        "RequiredLevel": {
            "Value": str(column.required),
            "CanBeChanged": False,
            "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
        },
        "IsPrimaryId": column.name == table.primary_id,
        "IsPrimaryName": column.name == table.primary_name,
        "IsValidForCreate": column.creatable,
        "IsValidForUpdate": column.updatable,
        "IsValidForRead": column.readable,
        "IsCustomAttribute": column.custom,
        "IsManaged": not column.custom,
        "IsSecured": column.secured,
    }
    definition |= _kind_properties(column) | dict(column.declared)
    if kind in OPTION_KINDS:
        definition["OptionSet"] = option_set(table, column)
        definition["GlobalOptionSet"] = None
    return definition


def _kind_properties(column: Column) -> Json:
    """Return the properties that only columns of some kinds have."""
    definition: Json = {}
    if column.kind in (Kind.STRING, Kind.MEMO):
        definition["MaxLength"] = column.max_length or None
    if column.is_lookup:
        definition["Targets"] = list(column.targets)
    if column.kind in FRACTION_KINDS:
        definition["Precision"] = 2 if column.precision is None else column.precision
    if column.kind is Kind.MONEY:  # 2: the precision of the currency; 0: the column's own
        definition["PrecisionSource"] = 2 if column.precision is None else 0
    if column.autonumber:
        definition["AutoNumberFormat"] = column.autonumber
    if column.kind is Kind.FILE:  # file-attributes: the default, 32 MB
        definition["MaxSizeInKB"] = 32_768
    if column.kind is Kind.IMAGE:  # image-attributes: the default, 10 MB, and a thumbnail of 144 by 144 pixels
        definition |= {"MaxSizeInKB": 10_240, "MaxHeight": 144, "MaxWidth": 144}
        definition |= {"CanStoreFullImage": False, "IsPrimaryImage": False}
    if column.kind in (Kind.DATEONLY, Kind.DATETIME):
        only = column.kind is Kind.DATEONLY
        definition["Format"] = "DateOnly" if only or column.date_format == "DateOnly" else "DateAndTime"
        definition["DateTimeBehavior"] = {"Value": "DateOnly" if only else "UserLocal"}
    return definition


def option_set(table: Table, column: Column) -> Json:
    """Return the choices of a column; states carry DefaultStatus and InvariantName, status reasons their State."""
    shared = _defaults()["OptionSetMetadata"] | {
        "MetadataId": definition_id("optionset", table.logical_name, column.name),
        "Name": f"{table.logical_name}_{column.name}",
        "IsCustomOptionSet": column.custom,
        "IsManaged": not column.custom,
        "DisplayName": label(column.label, column.labels),
        "Description": _NO_LABEL,
        "OptionSetType": "Picklist" if column.kind is Kind.CHOICES else column.kind.code,
    }
    if column.kind is Kind.BOOLEAN:
        texts, labels = dict(column.options) or {0: "No", 1: "Yes"}, dict(column.option_labels)
        both = {"TrueOption": 1, "FalseOption": 0}
        return {**shared, **{name: _option(value, texts[value], labels.get(value, ())) for name, value in both.items()}}
    return {**shared, "Options": list(_options(table, column))}


def _options(table: Table, column: Column) -> Iterator[Json]:
    if column.kind is Kind.STATE:
        for state in table.states:
            yield {
                "@odata.type": f"#{TYPE_PREFIX}StateOptionMetadata",
                **_option(state.value, state.label, state.labels),
                "DefaultStatus": state.default_status,
                "InvariantName": state.invariant_name,
            }
    elif column.kind is Kind.STATUS:
        for status in table.statuses:
            yield {
                "@odata.type": f"#{TYPE_PREFIX}StatusOptionMetadata",
                **_option(status.value, status.label, status.labels),
                "State": status.state,
                "TransitionData": status.transition_data,
            }
    else:
        by_value = dict(column.option_labels)
        for value, text in column.options:
            yield _option(value, text, by_value.get(value, ()))


def _option(value: int, text: str, labels: Labels = ()) -> Json:
    return {"Value": value, "Label": label(text, labels), "Description": _NO_LABEL, **_defaults()["OptionMetadata"]}


def lookup_definition(schema: Schema, table: Table, lookup: Lookup) -> Json:
    """Return the OneToManyRelationshipMetadata behind a single-valued navigation property."""
    target = schema.tables[lookup.target]
    return _relationship(table.logical_name, lookup.column, lookup.name, target, lookup.partner)


def collection_definition(table: Table, collection: Collection) -> Json:
    """Return the OneToManyRelationshipMetadata behind a collection-valued navigation property."""
    return _relationship(collection.table, collection.column, collection.partner, table, collection.name)


def _relationship(table: str, column: str, navigation: str, target: Table, partner: str) -> Json:
    name = partner or f"{target.logical_name}_{table}_{column}"
    shared = _defaults()["RelationshipMetadata"] | _defaults()["OneToManyRelationshipMetadata"]
    return shared | {
        "MetadataId": definition_id("relationship", name, table),
        "SchemaName": name,
        "RelationshipType": "OneToManyRelationship",
        "ReferencedAttribute": target.primary_id,
        "ReferencedEntity": target.logical_name,
        "ReferencingAttribute": column,
        "ReferencingEntity": table,
        "ReferencedEntityNavigationPropertyName": partner or None,
        "ReferencingEntityNavigationPropertyName": navigation,
    }


def many_to_many_definition(table: Table, collection: Collection) -> Json:
    """Return the ManyToManyRelationshipMetadata of an N:N navigation property."""
    link = collection.association
    if link is None:
        raise AssertionError(collection.name)  # asked for N:N relationships only
    return _defaults()["RelationshipMetadata"] | {
        "MetadataId": definition_id("relationship", collection.name),
        "SchemaName": collection.name,
        "RelationshipType": "ManyToManyRelationship",
        "Entity1LogicalName": table.logical_name,
        "Entity1IntersectAttribute": link.near,
        "Entity1NavigationPropertyName": collection.name,
        "Entity2LogicalName": collection.table,
        "Entity2IntersectAttribute": link.far,
        "Entity2NavigationPropertyName": collection.partner,
        "IntersectEntityName": link.table,
    }


def key_definition(key: AlternateKey) -> Json:
    """Return the EntityKeyMetadata of an alternate key."""
    return {
        "MetadataId": definition_id("key", key.table, key.name),
        "HasChanged": None,
        "LogicalName": key.name,
        "SchemaName": key.name,
        "EntityLogicalName": key.table,
        "KeyAttributes": list(key.columns),
        "EntityKeyIndexStatus": key.status,
        "IsManaged": False,
        "DisplayName": label(key.name),
    }
