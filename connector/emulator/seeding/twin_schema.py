"""The schema of a twin: tables, columns, reasons and messages as the capture has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count

from connector.emulator.seeding.twin import Json, Twin, TwinRefused
from connector.emulator.world.customization import transition_xml
from connector.emulator.world.schema import (
    AlternateKey,
    Column,
    Kind,
    Labels,
    Lookup,
    Message,
    Required,
    Schema,
    StateOption,
    StatusOption,
    Table,
)

KINDS = {kind.type_name: kind for kind in Kind}
"""How a column of each type is stored; every other type is stored as text and told as what it is."""
_FIRST_CODE = 10_100
_UNLISTED = frozenset({"ReviseQuote", "GenerateQuoteFromOpportunity", "ConvertQuoteToSalesOrder"})
"""Messages of Sales that a capture does not ask for by their own names."""


def twin_schema(twin: Twin, base: Schema) -> Schema:
    """Return the twin's schema: tables, columns, reasons and messages as the capture has them, the rest from `base`.

    Raises TwinRefused for rows that make none.
    """
    try:
        return _schema(twin, base) if twin.whole("columns") else base
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TwinRefused(f"The capture holds a row that makes no schema: {error!r}.") from error


def _schema(twin: Twin, base: Schema) -> Schema:
    tables = {row["name"]: row for row in twin.rows("tables")}
    schema = base
    codes = count(_FIRST_CODE)
    for name, row in tables.items():
        if name not in base.tables:
            schema = schema.with_table(_stub(row, next(codes)))
    for name, row in tables.items():
        if name in base.tables and not row.get("target", False):
            schema = schema.with_table(_table(twin, base.tables[name], row))
    return replace(schema, messages=_messages(twin, base), listed=_listed(twin))


def _of(twin: Twin, section: str, table: str) -> Iterator[Json]:
    yield from (row for row in twin.rows(section) if row.get("table") == table)


def _table(twin: Twin, base: Table, row: Json) -> Table:
    name = base.logical_name
    options: dict[str, list[Json]] = {}
    for choice in _of(twin, "choices", name):
        options.setdefault(choice["column"], []).append(choice)
    columns = {each["name"]: _column(twin, each, options.get(each["name"], [])) for each in _of(twin, "columns", name)}
    hidden = {key: replace(old, hidden=True) for key, old in base.columns.items() if key not in columns}
    partners = {lookup.name: lookup.partner for lookup in base.lookups.values()}
    lookups = {
        each["name"]: Lookup(each["name"], each["column"], each["target"], partners.get(each["name"], ""))
        for each in _of(twin, "navigation", name)
    }
    return replace(
        base,
        entity_set=row["entity_set"],
        schema_name=row["schema_name"],
        columns={**columns, **hidden},
        lookups=lookups,
        states=tuple(_state(each, twin.language) for each in _of(twin, "states", name)) or base.states,
        statuses=tuple(_status(each, twin.language) for each in _of(twin, "reasons", name)) or base.statuses,
        keys=tuple(
            AlternateKey(name, each["name"], tuple(each["columns"]), each.get("status", ""))
            for each in _of(twin, "keys", name)
        ),
        enforce_transitions=row.get("transitions_enforced", False),
        change_tracking=row.get("change_tracking", False),
        labels=_labels(row),
        plural_labels=_labels(row, "plural_labels"),
        label=_text(row, twin.language) or base.label,
    )


def _column(twin: Twin, row: Json, options: list[Json]) -> Column:
    kind = KINDS.get(row["type"], Kind.STRING)
    if kind is Kind.DATETIME and row.get("behavior") == "DateOnly":
        kind = Kind.DATEONLY
    return Column(
        row["name"],
        kind,
        row.get("max_length") or 0,
        Required(row.get("required", "None")),
        row.get("create", True),
        row.get("update", True),
        row.get("read", True),
        _text(row, twin.language),
        row.get("schema_name") or row["name"],
        tuple(row.get("targets", ())),
        tuple((choice["value"], _text(choice, twin.language)) for choice in options),
        row.get("format", "") if row.get("format") == "DateOnly" else "",
        _labels(row),
        tuple((choice["value"], _labels(choice)) for choice in options),
        _precision(twin, row),
        row.get("secured", False),
        row.get("custom", False),
        declared=tuple(_declared(row, kind)),
    )


def _precision(twin: Twin, row: Json) -> int | None:
    """Return the decimals that count: the column's own, those of all prices, or None for the currency's."""
    source = row.get("precision_source")
    if source == 1:
        settings = {each["name"]: each.get("value") for each in twin.rows("settings")}
        return int(settings.get("pricingdecimalprecision") or 2)
    return None if source == 2 else row.get("precision")


def _messages(twin: Twin, base: Schema) -> Mapping[str, Message]:
    """Return the messages that can be called: those listed, and the organization's own actions, bound."""
    names = {row["name"] for row in twin.rows("messages")}
    optional = {name for name, message in base.messages.items() if message.pack in ("sales", "project operations")}
    called = {name for name in optional if name in names or not base.messages[name].table or name in _UNLISTED}
    callable_messages = {
        name: message
        for name, message in base.messages.items()
        if name not in optional or name in called or not twin.whole("messages")
    }
    for row in twin.rows("processes"):
        own = row.get("unique_name", "")
        if row["kind"] == "action" and own and own not in callable_messages:
            callable_messages[own] = Message(own, bound_to=row["table"], table=row["table"], pack="platform")
    return callable_messages


def _listed(twin: Twin) -> Mapping[str, tuple[str, ...]]:
    listed: dict[str, tuple[str, ...]] = {}
    for row in twin.rows("messages") if twin.whole("messages") else ():
        table = row.get("table", "")
        listed[row["name"]] = (*listed.get(row["name"], ()), *((table,) if table else ()))
    return listed


def _stub(row: Json, code: int) -> Table:
    """Return a table that lookups point at: its key and its name, nothing else."""
    key, name = row["primary_id"], row.get("primary_name", "")
    columns = {key: Column(key, Kind.UUID), "versionnumber": Column("versionnumber", Kind.BIGINT, creatable=False)}
    if name:
        columns[name] = Column(name, Kind.STRING, 200)
    return Table(
        logical_name=row["name"],
        entity_set=row["entity_set"],
        schema_name=row["schema_name"],
        type_code=code,
        primary_id=key,
        primary_name=name,
        label=row["name"],
        plural_label=row["entity_set"],
        ownership="user" if row.get("user_owned") else "organization",
        privilege_name=row["schema_name"],
        change_tracking=False,
        columns=columns,
        lookups={},
        collections={},
    )


def _declared(row: Json, kind: Kind) -> Iterator[tuple[str, object]]:
    """Yield the properties of a column's definition that its kind alone does not tell."""
    if row["type"] not in KINDS:
        yield "@odata.type", "#Microsoft.Dynamics.CRM.AttributeMetadata"
        yield "AttributeType", "Virtual"
        yield "AttributeTypeName", {"Value": row["type"]}
    for field, name in (("precision", "Precision"), ("precision_source", "PrecisionSource")):
        if row.get(field) is not None:
            yield name, row[field]
    if kind in (Kind.DATETIME, Kind.DATEONLY):
        yield "Format", row.get("format") or None
        yield "DateTimeBehavior", {"Value": row.get("behavior") or None}


def _labels(row: Json, name: str = "labels") -> Labels:
    return tuple((int(language), text) for language, text in row.get(name, {}).items())


def _text(row: Json, language: str) -> str:
    labels = row.get("labels", {})
    return str(labels.get(language) or next(iter(labels.values()), ""))


def _state(row: Json, language: str) -> StateOption:
    return StateOption(
        row["value"], _text(row, language), row["default_reason"], row.get("invariant_name", ""), _labels(row)
    )


def _status(row: Json, language: str) -> StatusOption:
    followers = row.get("transitions")
    data = transition_xml(row["value"], tuple(followers)) if followers is not None else None
    return StatusOption(row["value"], _text(row, language), row["state"], data, _labels(row))
