"""Takes a query string apart: every option is known, refused by name, or declared to be without effect."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_plus

from connector.emulator.odata.lexer import ODataError
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import names

UNDERSTOOD = frozenset(
    names(
        "$select $filter $orderby $expand $top $count $skiptoken $deltatoken $id annotations savedQuery userQuery "
        "fetchXml"
    )
)
"""Options that some resource understands; each resource says which of them it takes."""

IGNORABLE = {
    "tag": "A shared variable for plug-ins (optional-parameters.md); the plug-ins here do not read it.",
    "LabelLanguages": "Labels come in one language here.",
}
"""Options that are accepted and change nothing, each with the reason."""

REFUSED = {
    "$skip": "Skip Clause is not supported in CRM",
    "$search": "The query option '$search' is not supported.",
    "$format": "The query option '$format' is not supported.",
    "$compute": "The query option '$compute' is not supported.",
    "$index": "The query option '$index' is not supported.",
    "$levels": "The query option '$levels' is not supported.",
}
"""Options that are refused by name. `$skip`: the service's own words, seen in recordings; the rest are ours."""


NOT_IMPLEMENTED = {"$apply": "aggregation ($apply)", "sql": "SQL queries (sql)"}
"""Options that the service has and the emulator has not."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one query string: values by name, decoded, and the parameter aliases (`@p1`)."""

    values: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def allow(self, *names: str) -> None:
        """Raise ODataError when an option other than `names` and the ignorable ones is given."""
        for name in self.values:
            if name not in names and name not in IGNORABLE:
                raise ODataError(f"The query option '{name}' is not supported for this resource.")

    def allow_aliases(self, used: set[str]) -> None:
        """Raise ODataError when an alias is given that nothing in the request uses."""
        for name in self.aliases:
            if name not in used:
                raise ODataError(f"The parameter alias '{name}' is not used in the request.")


EMPTY = Options()


@lru_cache(maxsize=2048)
def options(query: str) -> Options:
    """Return the options of the percent-encoded `query`; a `+` is a space. Raises ODataError and Refused.

    The value is shared between calls: do not change it.
    """
    if not query:
        return EMPTY
    values: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair.strip():
            continue
        written, equals, encoded = pair.partition("=")
        name, value = unquote_plus(written).strip(), unquote_plus(encoded)
        _check(name, equals)
        into = aliases if name.startswith("@") else values
        if name in into:
            raise ODataError(
                f"Query option '{name}' was specified more than once, but it must be specified at most once."
            )
        into[name] = value.strip() if name.startswith("$") else value
    return Options(values, aliases)


def _check(name: str, equals: str) -> None:
    if name in NOT_IMPLEMENTED:
        raise refuse("emulator.not_implemented", NOT_IMPLEMENTED[name])
    if name in REFUSED:
        raise ODataError(REFUSED[name])
    if not name.startswith("@") and name not in UNDERSTOOD and name not in IGNORABLE:
        raise ODataError(f"The query parameter '{name}' is not supported.")
    if not equals:
        raise ODataError(f"The query option '{name}' has no value.")
