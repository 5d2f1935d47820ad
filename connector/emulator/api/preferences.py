"""Reads the headers that change an answer; an unknown preference is refused, an unknown header ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache

from connector.emulator.odata.lexer import ODataError
from connector.emulator.rules.rule import refuse
from connector.emulator.world.callers import BYPASS_LOGIC_PRIVILEGE, BYPASS_PLUGINS_PRIVILEGE, Access, Bypass, Caller
from connector.emulator.world.schema import names

FORMATTED = "OData.Community.Display.V1.FormattedValue"
LOOKUP_NAME = "Microsoft.Dynamics.CRM.lookuplogicalname"
LOOKUP_NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
TOTAL = "Microsoft.Dynamics.CRM.totalrecordcount"
TOTAL_EXCEEDED = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"
MORE_RECORDS = "Microsoft.Dynamics.CRM.morerecords"
PAGING_COOKIE = "Microsoft.Dynamics.CRM.fetchxmlpagingcookie"
METADATA_VERSION = "Microsoft.Dynamics.CRM.globalmetadataversion"
LARGEST_PAGE = 5000
"""Rows of the largest page; a larger odata.maxpagesize is cut to it (page-results.md)."""

WITHOUT_EFFECT = {
    "accept": "Answers are JSON; anything that excludes JSON is refused.",
    "accept-charset": "Answers are UTF-8.",
    "accept-encoding": "Answers are not compressed.",
    "accept-language": "Labels come in one language here.",
    "authorization": "Checked before the request gets here.",
    "cache-control": "Nothing is cached.",
    "content-id": "Belongs to the part of a batch.",
    "connection": "Belongs to the connection.",
    "consistency": "Metadata is always fresh here.",
    "content-length": "Belongs to the connection.",
    "content-transfer-encoding": "Parts are binary.",
    "cookie": "Routing is done before the request gets here.",
    "date": "The server has its own clock.",
    "host": "Part of the URL.",
    "isolation": "Reads are consistent here.",
    "keep-alive": "Belongs to the connection.",
    "mscrm.mergelabels": "Labels cannot be changed here.",
    "origin": "Answers carry no CORS headers.",
    "pragma": "Nothing is cached.",
    "referer": "Not looked at.",
    "te": "Belongs to the connection.",
    "traceparent": "Correlation only.",
    "tracestate": "Correlation only.",
    "transfer-encoding": "Belongs to the connection.",
    "upgrade-insecure-requests": "Everything is TLS.",
    "user-agent": "Only logged.",
}
"""Headers that are accepted and change no answer, each with the reason; so are those beginning with x-, ms- or sec-."""

UNDERSTOOD = frozenset(
    names(
        "callerobjectid content-type if-match if-none-match mscrm.suppressduplicatedetection mscrmcallerid "
        "odata-maxversion odata-version prefer mscrm.bypassbusinesslogicexecution "
        "mscrm.bypassbusinesslogicexecutionstepids mscrm.bypasscustompluginexecution "
        "mscrm.suppresscallbackregistrationexpanderjob tag"
    )
)
"""Headers that change an answer, or that are checked."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the Prefer header asks for; `applied` is the value of Preference-Applied, empty when there is none."""

    representation: bool = False
    page_size: int | None = None
    annotations: str = ""
    track_changes: bool = False
    continue_on_error: bool = False

    def wants(self, annotation: str) -> bool:
        """Tell whether the client asked for `annotation` (patterns with `*`, lists, exclusions with `-`)."""
        return bool(self.annotations) and _wanted(self.annotations, annotation)


NONE = Preferences()


@lru_cache(maxsize=512)
def _wanted(patterns: str, annotation: str) -> bool:
    included = False
    for written in patterns.split(","):
        pattern = written.strip()
        exclude = pattern.startswith("-")
        if re.match(translate(pattern.removeprefix("-")), annotation):
            included = not exclude
    return included


_PREFERENCE = re.compile(r"""\s*([A-Za-z.\-]+)\s*(?:=\s*("[^"]*"|[^\s,;"]+))?\s*(?:,|$)""")


@lru_cache(maxsize=512)
def preferences(header: str | None) -> Preferences:
    """Return what a Prefer header asks for. Raises ODataError for a preference that is not known."""
    if not header:
        return NONE
    written: dict[str, str | None] = {}
    position = 0
    while position < len(header):
        match = _PREFERENCE.match(header, position)
        if match is None:
            raise ODataError(f"The Prefer header '{header}' could not be read.")
        name = match.group(1).lower()
        if name in written:
            raise ODataError(f"The preference '{name}' was specified more than once.")
        written[name] = match.group(2).strip('"') if match.group(2) else None
        position = match.end()
    return _preferences(written)


def _preferences(written: Mapping[str, str | None]) -> Preferences:
    size: int | None = None
    for name, value in written.items():
        if name in ("odata.track-changes", "odata.continue-on-error"):
            if value not in (None, "true"):
                raise ODataError(f"The preference '{name}={value}' is not supported.")
        elif name == "return":
            if value not in ("representation", "minimal"):
                raise ODataError(f"The preference 'return={value}' is not supported.")
        elif name in ("odata.maxpagesize", "maxpagesize"):
            if not value or not value.isdigit() or int(value[:10]) == 0:
                raise ODataError(f"The preference '{name}={value}' is not supported: a positive number is needed.")
            size = min(int(value[:10]), LARGEST_PAGE)
        elif name != "odata.include-annotations" or not value:
            raise ODataError(f"The preference '{name}' is not supported.")
    return Preferences(
        representation=written.get("return") == "representation",
        page_size=size,
        annotations=written.get("odata.include-annotations") or "",
        track_changes="odata.track-changes" in written,
        continue_on_error="odata.continue-on-error" in written,
    )


def check_headers(headers: Mapping[str, str], path: str = "") -> None:
    """Raise ODataError for a header whose value is not served. A header that nobody knows is ignored."""
    for name, value in headers.items():
        if name in _CHECKED and not (name == "accept" and path == "$metadata"):
            _check(name, value)


MOST_STEPS = 3
"""Step ids that may be left out in one request (BypassBusinessLogicExecutionStepIdsLimit, default)."""
_LOGIC = frozenset({"customsync", "customasync"})
_BYPASS = "mscrm.bypassbusinesslogicexecution"
_LEGACY_BYPASS = "mscrm.bypasscustompluginexecution"
_NO_FLOWS = "mscrm.suppresscallbackregistrationexpanderjob"


def bypassing(access: Access, caller: Caller, headers: Mapping[str, str]) -> Caller:
    """Return `caller` with what the headers leave out of the organization's own logic.

    Raises Refused without the privilege for it, ODataError for values that there are not.
    """
    kinds = {kind.strip().lower() for kind in headers.get(_BYPASS, "").split(",") if kind.strip()}
    steps = [step.strip("{} ").lower() for step in headers.get(f"{_BYPASS}stepids", "").split(",") if step.strip()]
    legacy, no_flows = _flag(headers, _LEGACY_BYPASS), _flag(headers, _NO_FLOWS)
    if not (kinds or steps or legacy or no_flows):
        return caller
    if kinds - _LOGIC:
        raise ODataError(f"The value '{headers[_BYPASS]}' of the header '{_BYPASS}' is not supported.")
    if kinds or steps:
        access.require_bypass(caller, BYPASS_LOGIC_PRIVILEGE)
    if legacy:
        access.require_bypass(caller, BYPASS_PLUGINS_PRIVILEGE)
    if len(steps) > MOST_STEPS:
        raise refuse("plugin.bypass_steps", len(steps), MOST_STEPS)
    sync = legacy or "customsync" in kinds
    return replace(caller, bypass=Bypass(sync, "customasync" in kinds, no_flows, frozenset(steps)))


def _flag(headers: Mapping[str, str], name: str) -> bool:
    value = headers.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ODataError(f"The header '{name}' must be true or false, not '{value}'.")
    return value == "true"


_CHECKED = frozenset({"accept", "odata-version", "odata-maxversion", "mscrm.suppressduplicatedetection"})


_SERVED = frozenset({"application/json", "application/*", "*/*", "multipart/mixed", "text/plain"})
"""Kinds of answer: JSON, counts and single values as text, batches. `$metadata` is XML and asks about nothing."""


def _check(name: str, value: str) -> None:
    if name == "accept":
        kinds = {kind.split(";")[0].strip().lower() for kind in value.split(",")}
        if not kinds & _SERVED:
            raise ODataError(f"The Accept header '{value}' excludes JSON, which is the only format.")
    elif name == "mscrm.suppressduplicatedetection":
        # "false" turns detection on; there are no duplicate detection rules here, so both mean the same.
        if value.lower() not in ("true", "false"):
            raise ODataError(f"The header '{name}' must be true or false, not '{value}'.")
    elif value not in ("4.0", "4.01"):
        raise ODataError(f"The value '{value}' of the header '{name}' is not supported: 4.0 is.")
