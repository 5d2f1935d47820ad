"""A capture as a file: a row a line, so that it can be read, kept under version control and compared as text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connector.errors import InputError
from connector.organization.capture_model import SECTIONS, VERSION, Capture, section

_AGAIN = "Take it anew, to another file: `connector org capture --out FILE`."
LARGEST = 64 * 1024 * 1024
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
        raise InputError(
            f"The capture {path} cannot be written: {error.strerror or error}.", remedy="Name another place."
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def read_capture(path: Path) -> Capture:
    """Return the capture in a file. Raises InputError for one that is cut off, of another version, or changed."""
    data = _loaded(path)
    if data.get("capture") != VERSION:
        version = data.get("capture")
        what = f"is a capture of version {version}" if isinstance(version, int) else "is no capture of an organization"
        raise InputError(f"{path} {what}; this connector reads version {VERSION}.", remedy=_AGAIN)
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
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The capture {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no capture, or it is cut off: {error}.", remedy=_AGAIN) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is no capture of an organization.", remedy=_AGAIN)
    return data


def capture_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    schema = Capture.model_json_schema()
    schema["properties"]["digest"] = {"type": "string", "title": "Digest"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
