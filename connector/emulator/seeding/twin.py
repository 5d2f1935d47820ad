"""A twin: an organization that looks like the one a capture was taken of, its schema and its logic made of data.

The file is read here by its documented form (docs/organization.md), with nothing shared with what wrote it. What a
section could not tell is taken from the emulator's own slice, and said in `gaps`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from connector.emulator.limits.protection import POSSIBLE, Limits
from connector.emulator.world.callers import VERBS
from connector.emulator.world.customization import Customization
from connector.emulator.world.schema import names

Json = Mapping[str, Any]
VERSION = 2
_FORMS: Mapping[str, str] = {
    "tables": "name:k entity_set:k schema_name primary_id:k primary_name?k target?b user_owned?b "
    "transitions_enforced?b change_tracking?b labels?m plural_labels?m",
    "columns": "table:k name:k type schema_name? custom?b required? create?b update?b read?b secured?b max_length?i "
    "precision?d precision_source?i format? behavior? targets?l labels?m",
    "choices": "table:k column:k value:i labels?m",
    "states": "table value:i default_reason:i invariant_name? labels?m",
    "reasons": "table value:i state:i transitions?v labels?m",
    "navigation": "table:k name:k column:k target:k",
    "keys": "table:k name columns:o status?",
    "messages": "table? name",
    "steps": "id name message table? plug_in? origin asynchronous?b stage?i rank?i columns?l bypassable?b",
    "times": "plug_in average_ms:n executions:i failure_percent:n",
    "processes": "id name kind table unique_name? real_time?b on_create?b on_delete?b columns?l managed?b",
    "flows": "id name table message:i action? scope?i run_as?i columns?l filter?",
    "currencies": "code precision:d base?b",
    "settings": "name value?x",
    "privileges": "name depth",
    "column_access": "table:k name:k read?b create?b update?b",
    "limits": "name value:n",
    "volumes": "state:i drafts:d actives:d closed:d rows:n",
    "answers": "question value code?",
}
"""The columns of each section's rows: `?` may be absent; then what it holds, text where nothing is said (`_KINDS`)."""
_TEXT = Annotated[str, Field(max_length=100_000)]
_NAME = Annotated[str, Field(pattern=r"^\w*$", max_length=200)]
_READ = Annotated[str, Field(pattern="^(all|own|refused|not_asked)$")]
_WHOLE = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_KINDS: Mapping[str, Any] = {
    "": _TEXT, "k": _NAME, "o": list[_NAME], "b": bool, "i": _WHOLE, "d": Annotated[int, Field(ge=0, le=10)],
    "l": list[_TEXT], "v": list[_WHOLE], "m": dict[_TEXT, _TEXT], "x": bool | _WHOLE | None,
    "n": Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)],
}  # fmt: skip
"""Text, a name, names, yes or no, a whole number, a digit or ten, texts, numbers, labels, a setting, an amount."""
SECTIONS = tuple(_FORMS)
MOST_ROWS = 50_000
"""Rows of a section that are read."""
_SWITCHES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("actions_in_set", "accepted"): ("actions_in_change_set", "accept"),
    ("actions_in_set", "refused"): ("actions_in_change_set", "refuse"),
    ("draft_close", "accepted"): ("draft_quote_close", "accept"),
    ("draft_close", "refused"): ("draft_quote_close", "refuse"),
    ("drafts_block", "yes"): ("open_quotes_block_close", "active_and_draft"),
    ("drafts_block", "no"): ("open_quotes_block_close", "active"),
    ("activity_id", "honored"): ("chosen_activity_id", "honor"),
    ("activity_id", "ignored"): ("chosen_activity_id", "ignore"),
    ("minus_one", "accepted"): ("minus_one_status", "accept"),
    ("minus_one", "refused"): ("minus_one_status", "refuse"),
    ("other_currency", "accepted"): ("revenue_currency", "off"),
    ("other_currency", "refused"): ("revenue_currency", "enforce"),
}
"""Which switch an answer of a probe turns."""
_ASKED = (
    names("Opportunity Quote Activity Account Contact Competitor TransactionCurrency"),
    names(
        "SdkMessage SdkMessageProcessingStep PluginType PluginTypeStatistic Workflow CallbackRegistration Organization "
        "User UserSettings"
    ),
    names("prvReadEntity prvActOnBehalfOfAnotherUser prvBypassCustomBusinessLogic prvBypassCustomPlugins"),
)
"""The privileges that a capture tells of: all verbs of these tables, reading of those, and some by name."""


class TwinRefused(ValueError):
    """The file is no capture that a twin can be made of; the message says why."""


@dataclass(frozen=True, slots=True)
class Twin:
    """What a capture tells of an organization; `rows` of a section are as they stand in the file."""

    data: Json

    def rows(self, section: str) -> list[Json]:
        """Return the rows of a section."""
        return list(self.data[section]["rows"])

    def whole(self, section: str) -> bool:
        """Return whether all of a section was read: what it lacks is then not there."""
        return bool(self.data[section]["read"] == "all")

    @property
    def version(self) -> str:
        """The organization's version."""
        return str(self.data["version"])

    @property
    def secured(self) -> Customization:
        """The secured columns; who may use them is told by `column_access`."""
        rows = self.rows("columns") if self.whole("columns") else []
        return Customization(secured=tuple((row["table"], row["name"]) for row in rows if row.get("secured")))

    @property
    def gaps(self) -> list[str]:
        """Sentences about what the capture could not tell, so that the emulator's own stands in."""
        sentences = [
            f"{name}: {part['read'].replace('_', ' ')}. {part['why']}".strip()
            for name in SECTIONS
            if (part := self.data[name])["read"] != "all"
        ]
        if any(map(_spent, self.rows("limits"))):
            sentences.append("limits: too little was left of them when the capture was taken to tell what they are.")
        if self.data["of"] != "organization":
            sentences.insert(
                0, "The capture was taken of an emulator: what this twin shows is known of no organization."
            )
        return sentences

    def limits(self, limits: Limits) -> Limits:
        """Return limits as the organization told them: the answer that told most had spent one request."""
        values = {row["name"]: row["value"] for row in self.rows("limits") if not _spent(row)}
        return replace(
            limits,
            requests=int(values["requests"]) + 1 if "requests" in values else limits.requests,
            execution_seconds=float(math.ceil(values.get("seconds", limits.execution_seconds))),
            dop_hint=int(values.get("parallelism", limits.dop_hint)),
            servers=int(values.get("servers", limits.servers)),
        )

    def switches(self) -> dict[str, str]:
        """Return the switches that probe answers, messages and refused sections turn."""
        answers = {row["question"]: row for row in self.rows("answers")}
        pairs = [_SWITCHES[key] for row in answers.values() if (key := (row["question"], row["value"])) in _SWITCHES]
        turned = dict(pairs)
        code = answers.get("draft_close", {}).get("code", "")
        if code in ("0x8004f00e", "0x80040233", "0x80040265"):
            turned["quote_not_active_code"] = code
        names = {row["name"] for row in self.rows("messages")}
        if any(name.startswith("msdyn_") for name in names):
            turned["project_operations"] = "immediate"
        if self.data["columns"]["read"] == "refused" and "prvReadEntity" in self.data["columns"]["why"]:
            turned["definitions_privilege"] = "prvReadEntity"
        return turned

    def privileges(self, everything: frozenset[str]) -> tuple[frozenset[str], dict[str, str]]:
        """Return what the caller of the capture held, with the depths that are less than the organization."""
        if not self.whole("privileges"):
            return everything, {}
        every, read, others = _ASKED
        needed = {f"prv{verb}{name}" for verb in VERBS for name in every} | {f"prvRead{name}" for name in read}
        held = {row["name"]: row["depth"] for row in self.rows("privileges")}
        depths = {name: "Local" if depth == "Deep" else depth for name, depth in held.items() if depth != "Global"}
        return frozenset(everything - needed - set(others)) | frozenset(held), depths

    @property
    def language(self) -> str:
        """The base language, as its code in text."""
        return str(self.data["base_language"])


def _spent(row: Json) -> bool:
    """Return whether so little was left of a limit that it tells how busy the user was, not what the limit is."""
    return bool(row["value"] < {"requests": 100, "seconds": 10}.get(row["name"], 0))


LARGEST = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""


@cache
def _form() -> type[BaseModel]:
    """Return the form of a capture: every number has its bounds, so that none can exhaust the machine."""
    strict, sections = ConfigDict(extra="forbid", strict=True), {}
    for name, columns in _FORMS.items():
        fields: dict[str, Any] = {}
        for column, optional, kind in re.findall(r"(\w+)(\??):?(\w?)(?: |$)", columns):
            fields[column] = (_KINDS[kind] | None, None) if optional else _KINDS[kind]
        row = create_model(f"Row of {name}", __config__=strict, **fields)
        rows = Annotated[list[row], Field(max_length=MOST_ROWS)]  # type: ignore[valid-type]
        sections[name] = create_model(f"Section of {name}", __config__=strict, read=_READ, why=_TEXT, rows=rows)
    head: dict[str, Any] = dict.fromkeys(names("taken of organization version metadata caller digest"), _TEXT)
    head |= {"capture": int, "base_language": Annotated[int, Field(ge=1, le=999_999)], **sections}
    return create_model("Form of a capture", __config__=strict, **head)


def _refuse_constant(name: str) -> object:
    """Raise ValueError for NaN and the infinities, which JSON does not have."""
    raise ValueError(f"{name} is no number")


def read_twin(path: Path) -> Twin:
    """Return the twin of the organization of a capture. Raises TwinRefused."""
    try:
        if path.stat().st_size > LARGEST:
            raise TwinRefused(f"{path} is too large for a capture.")
        data = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise TwinRefused(f"{path} is no capture, or it is cut off: {error}.") from error
    if not isinstance(data, dict) or type(data.get("capture")) is not int:
        raise TwinRefused(f"{path} is no capture of an organization.")
    if data["capture"] != VERSION:
        raise TwinRefused(f"{path} is a capture of version {data['capture']}, not {VERSION}: capture again.")
    try:
        _form().model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise TwinRefused(f"{path} is not as a capture is written: {place}: {first['msg']}.") from error
    twin = Twin(data)
    servers = twin.limits(Limits()).servers
    if not POSSIBLE["servers"][0] <= servers <= POSSIBLE["servers"][1]:
        raise TwinRefused(f"{path} is not as a capture is written: no organization has {servers:,} web servers.")
    if _digest_of(data) != data["digest"]:
        raise TwinRefused(f"{path} was changed after it was taken: its digest is another.")
    return twin


def _digest_of(data: Json) -> str:
    """Return the digest of what was taken, as the documents say it is made."""
    text, lines = partial(json.dumps, ensure_ascii=False), []
    for name in (name for name in data if name != "digest"):
        part = data[name]
        if name in SECTIONS:
            rows = ",".join(f"\n  {text(row)}" for row in part["rows"])
            lines.append(
                f' {text(name)}: {{"read": {text(part["read"])}, "why": {text(part["why"])}, "rows": [{rows}]}}'
            )
        else:
            lines.append(f" {text(name)}: {text(part)}")
    return hashlib.sha256(",\n".join(lines).encode()).hexdigest()[:32]
