"""Says, from the tables the code runs on, what of the Web API this emulator has and what it refuses, as Markdown.

`python -m tests.emulator.coverage_page` writes the page of the emulator; a test fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from connector.emulator.api import payload, preferences, routing
from connector.emulator.api.batch import MOST_OPERATIONS
from connector.emulator.api.definitions import ATTRIBUTE_TYPES, LISTS
from connector.emulator.api.plans import MOST_EXPANDS, READ_OPTIONS, ROW_OPTIONS
from connector.emulator.api.preferences import LARGEST_PAGE
from connector.emulator.api.reading import MOST_COUNTED
from connector.emulator.odata import functions as odata_functions
from connector.emulator.odata import parse as odata_parse
from connector.emulator.odata import path as odata_options
from connector.emulator.rules.rule import Switches, rules
from connector.emulator.world.custom_logic import DEEPEST, SANDBOX_SECONDS, LogicContext
from connector.emulator.world.schema import Kind
from connector.emulator.world.schema_file import load_schema

PAGE = Path(__file__).parents[2] / "connector" / "emulator" / "COVERAGE.md"

PREFERENCES = {
    "return=representation": "create, update, upsert answer with the row",
    "odata.maxpagesize": f"rows of one page, at most {LARGEST_PAGE}; nested collections too",
    "odata.include-annotations": "patterns with `*`, lists, exclusions with `-`; errors too",
    "odata.track-changes": "delta links, on tables with change tracking",
    "odata.continue-on-error": "on `$batch`",
}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _tables() -> Iterator[str]:
    yield "## Tables\n"
    schema = load_schema()
    rows = (
        (
            f"`{table.entity_set}`",
            f"`{table.logical_name}`",
            str(len(table.columns)),
            "yes" if table.change_tracking else "no",
        )
        for table in sorted(schema.tables.values(), key=lambda value: value.entity_set)
    )
    yield from _table(("entity set", "table", "columns", "change tracking"), rows)


def _messages() -> Iterator[str]:
    yield "## Messages\n"
    rows = [(f"`{name}`", "action on an entity set", "", "`Targets`", "platform") for name in routing.MULTIPLE]
    for message in load_schema().messages.values():
        kind = "function" if message.is_function else "action"
        parameters = _code(f"{parameter.name}{'' if parameter.required else '?'}" for parameter in message.parameters)
        rows.append((f"`{message.name}`", kind, message.bound_to, parameters, message.pack))
    yield from _table(("message", "kind", "bound to", "parameters", "pack"), rows)
    yield "Packs: `project operations` and `organization` exist only when their switches say so.\n"


def _queries() -> Iterator[str]:
    yield "## Queries\n"
    yield from _table(
        ("what", "understood"),
        (
            ("options of a collection", _code(READ_OPTIONS)),
            ("options of a row", _code(ROW_OPTIONS)),
            ("options inside `$expand`", _code(sorted(odata_parse.OPTION_RULES))),
            ("comparisons", _code(sorted(odata_parse.COMPARISONS))),
            ("text functions", _code(sorted(odata_parse.TEXT_FUNCTIONS))),
            ("logic and lambdas", "`and`, `or`, `not`, `any`, `all`, parameter aliases `@p`"),
            ("query functions", _code(sorted(odata_functions.IMPLEMENTED))),
            ("limits", f"{MOST_EXPANDS} expands, {LARGEST_PAGE} rows a page, counts up to {MOST_COUNTED}"),
        ),
    )
    yield "Refused by name; what the service has and the emulator has not (from the query functions on) with 501:\n"
    rows = [(f"`{name}`", text) for name, text in odata_options.REFUSED_OPTIONS.items()]
    rows += [(f"`{name}`", "query function") for name in sorted(odata_functions.REFUSED)]
    rows += [(f"`{name}`", "message for many rows") for name in routing.NOT_MULTIPLE]
    rows += [(f"`{name}`", text) for name, text in (routing.NOT_HERE | odata_options.OPTIONS_NOT_IMPLEMENTED).items()]
    rows += [(f"`{name}`", "a table of every sales organization") for name in sorted(routing.ELSEWHERE)]
    yield from _table(("what", "why"), rows)


def _requests() -> Iterator[str]:
    yield "## Headers, preferences, bodies\n"
    yield from _table(("preference", "effect"), ((f"`{name}`", text) for name, text in PREFERENCES.items()))
    yield "Accepted without effect, each for a reason:\n"
    rows = [(f"`{name}`", "header", text) for name, text in sorted(preferences.WITHOUT_EFFECT.items())]
    rows += [(f"`{name}`", "query option", text) for name, text in sorted(odata_options.IGNORED_OPTIONS.items())]
    rows += [
        (f"`{name}`", "annotation in a body", "what reads answer with may be sent back") for name in payload.IGNORABLE
    ]
    yield from _table(("what", "kind", "reason"), rows)
    yield f"Headers that matter: {_code(sorted(preferences.UNDERSTOOD))}. Any other header is ignored.\n"
    yield (
        f"`$batch`: up to {MOST_OPERATIONS} operations, change sets with `$1` references, absolute, absolute-path and "
        "relative addresses; no batch in a batch, no GET in a change set. Deep inserts are refused by name.\n"
    )


def _logic() -> Iterator[str]:
    yield "## The organization's own logic\n"
    yield (
        "`connector emulator --plugins FILE.py`, `DATAVERSE_EMULATOR_PLUGINS` for the embedded one, "
        "`dataverse_emulator_plugins` for pytest; examples in `connector/emulator/examples`.\n"
    )
    yield from _table(
        ("what", "how"),
        (
            ("`plugin(context)`", "before and after each message that writes, inside its transaction"),
            ("`plugin.mode = 'async'`, `flow(context)`", "after the commit; what it does wrong reaches no client"),
            ("`context`", _code(name for name in dir(LogicContext) if name[0] != "_" and name != "run")),
            ("depth", f"{DEEPEST}; a plug-in that takes {SANDBOX_SECONDS:.0f} seconds is cut off"),
            (
                "left out by",
                _code(sorted(name for name in preferences.UNDERSTOOD if "bypass" in name or "callbackreg" in name)),
            ),
        ),
    )
    rows = (
        (f"`{rule.id}`", str(rule.status), f"`{rule.code}`", rule.text, rule.source)
        for rule in rules().values()
        if rule.id.startswith("plugin.")
    )
    yield from _table(("rule", "status", "code", "text", "source"), rows)


def _definitions() -> Iterator[str]:
    yield "## Definitions\n"
    yield from _table(
        ("what", "understood"),
        (
            ("below `EntityDefinitions(LogicalName='...')`", _code(LISTS)),
            ("casts of `Attributes`", _code(sorted(ATTRIBUTE_TYPES))),
            ("options", "`$select`, `$filter`, `$expand` (also `OptionSet`, `GlobalOptionSet`)"),
        ),
    )


def _own_columns() -> Iterator[str]:
    yield "## Columns of an organization's own\n"
    kinds = (
        (f"`{kind}`", f"`{kind.edm}`", f"`{kind.definition}`", _OF_KIND.get(kind, ""))
        for kind in Kind
        if kind not in (Kind.UUID, Kind.STATE, Kind.STATUS, Kind.OWNER, Kind.ENTITYNAME)
    )
    yield from _table(("kind", "in `$metadata`", "definition", "further"), kinds)


_OF_KIND = {
    Kind.STRING: "with `autonumber` it is filled by a create that gives none, from 1000 on (create-auto-number-attributes)",
    Kind.FILE: "with a read-only `_name`; not set by create or update (file-column-data)",
    Kind.IMAGE: "with a read-only `_timestamp`, `_url` and `id` (image-column-data); its data with 501",
}


def _rules() -> Iterator[str]:
    yield "## What the protocol refuses\n"
    rows = (
        (f"`{rule.id}`", str(rule.status), f"`{rule.code}`" if rule.code else "", rule.text, str(rule.evidence))
        for rule in rules().values()
        if rule.group == "protocol"
    )
    yield from _table(("rule", "status", "code", "text", "evidence"), rows)
    yield "## Switches\n"
    switches = (
        (f"`{switch.name}`", _code(switch.values), switch.text, switch.evidence) for switch in Switches().describe()
    )
    yield from _table(("switch", "values, the default first", "decides", "evidence of the default"), switches)


def coverage() -> str:
    """Return the page."""
    sections = (_tables, _messages, _queries, _requests, _logic, _definitions, _own_columns, _rules)
    lines = [
        "# What the emulator has of the Dataverse Web API",
        "",
        "Generated from the code: `python -m tests.emulator.coverage_page`.",
        "",
        *(line for section in sections for line in section()),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(coverage(), encoding="utf-8")
