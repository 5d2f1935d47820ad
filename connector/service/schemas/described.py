"""What a designer shows of a field: its label, the sentence under it, and how prominent it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

IMPORTANT: JsonDict = {"x-ms-visibility": "important"}
ADVANCED: JsonDict = {"x-ms-visibility": "advanced"}
INTERNAL: JsonDict = {"x-ms-visibility": "internal"}


def described(title: str, description: str, default: Any = ..., *, shown: JsonDict | None = None) -> Any:
    """Return a field of pydantic with this label and sentence; `shown` has the designer's `x-ms-*` keys."""
    return Field(default, title=title, description=description, json_schema_extra=shown)
