"""A capture as a file, a row a line, so that it can be compared as text; and what changed between two of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connector.errors import InputError
from connector.organization.capture_model import SECTIONS, VERSION, Capture, Coverage, key_of, section

_AGAIN = "Make a new one, in another file: `connector org capture --out FILE`."
_OF_THE_MOMENT = {("requests",), ("seconds",), ("servers",)}
LARGEST = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""


def capture_text(capture: Capture) -> str:
    """Return the text of the file: the head, then each section with a row a line, and a digest of it all."""
    head = capture.model_dump(mode="json", exclude=set(SECTIONS))
    lines = [f" {_json(name)}: {_json(value)}" for name, value in head.items()]
    for name in SECTIONS:
        part = section(capture, name)
        rows = ",".join(f"\n  {_json(row.model_dump(mode='json', exclude_defaults=True))}" for row in part.rows)
        lines.append(f' {_json(name)}: {{"read": {_json(part.read)}, "why": {_json(part.why)}, "rows": [{rows}]}}')
    body = ",\n".join(lines)
    return f'{{\n{body},\n "digest": {_json(_digest(body))}\n}}\n'


def write_capture(path: Path, capture: Capture) -> None:
    """Write the file, whole or not at all. Raises InputError where it cannot be written."""
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_text(capture_text(capture), encoding="utf-8", newline="\n")
        aside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The capture {path} cannot be written: {reason}.", remedy="Name another place.") from error
    finally:
        if aside.exists():  # where nothing can be written, nothing can be removed either
            aside.unlink()


def read_capture(path: Path) -> Capture:
    """Return the capture in a file. Raises InputError for one that is cut off, of another version, or changed."""
    data = _loaded(path)
    version = data.get("capture")
    if type(version) is not int:
        raise InputError(f"{path} is no capture of an organization.", remedy=_AGAIN)
    if version != VERSION:
        whose = f"{path} was made by {'an earlier' if version < VERSION else 'a later'} version of this connector"
        raise InputError(f"{whose}: it is a capture of version {version}, not {VERSION}.", remedy=_AGAIN)
    digest = data.pop("digest", None)
    try:
        capture = Capture.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} cannot be used: {place}: {first['msg']}.", remedy=_AGAIN) from error
    if digest != json.loads(capture_text(capture))["digest"]:
        raise InputError(f"{path} was changed after it was taken: its digest is another.", remedy=_AGAIN)
    return capture


def _loaded(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is too large for a capture.", remedy=_AGAIN)
        data = json.loads(path.read_bytes(), parse_constant=_no_number)  # in any UTF, with a mark or without
    except OSError as error:
        raise InputError(f"The capture {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no capture, or it is cut off: {error}.", remedy=_AGAIN) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is no capture of an organization.", remedy=_AGAIN)
    return data


def _no_number(name: str) -> object:
    """Raise ValueError for NaN and the infinities, which JSON does not have."""
    raise ValueError(f"{name} is no number")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: `change` is added, removed, changed or read; `before` and `after` hold what differs."""

    section: str
    row: str
    change: str
    before: dict[str, Any]
    after: dict[str, Any]

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def line(self) -> str:
        """Return it as a line for people."""
        mark = {"added": "+", "removed": "-"}.get(self.change, "~")
        if self.change in ("added", "removed"):
            return f"{mark} {self.section} {self.row}"
        names = dict.fromkeys((*self.before, *self.after))
        parts = (f"{name} {_json(self.before.get(name))} -> {_json(self.after.get(name))}" for name in names)
        return f"{mark} {self.section} {self.row}: {', '.join(parts)}"


def differences(old: Capture, new: Capture) -> Iterator[Difference]:
    """Yield what differs. What a section that was not wholly read lacks is not told as removed or added.

    What was left of limits, and which servers happened to answer, is of the moment, and not compared.
    """
    for name in SECTIONS:
        before, after = section(old, name), section(new, name)
        if before.read != after.read:
            yield Difference(name, "(how much was read)", "read", {"read": before.read}, {"read": after.read})
        olds = {key_of(row): row for row in before.rows}
        news = {key_of(row): row for row in after.rows}
        for key in sorted((olds.keys() | news.keys()) - (_OF_THE_MOMENT if name == "limits" else set())):
            was, now = olds.get(key), news.get(key)
            row = was or now
            assert row is not None
            label = ".".join(str(getattr(row, part)) for part in row.key)
            if was is None and before.read is Coverage.ALL:
                yield Difference(name, label, "added", {}, {})
            elif now is None and after.read is Coverage.ALL:
                yield Difference(name, label, "removed", {}, {})
            elif was is not None and now is not None and was != now:
                yield _changed(name, label, was.model_dump(mode="json"), now.model_dump(mode="json"))


def _changed(name: str, label: str, was: dict[str, Any], now: dict[str, Any]) -> Difference:
    fields = [field for field in was if was[field] != now[field]]
    return Difference(
        name, label, "changed", {field: was[field] for field in fields}, {field: now[field] for field in fields}
    )
