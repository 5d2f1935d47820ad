"""What Entra says when it refuses: OAuth error, AADSTS number, a sentence; and the form fields it insists on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

Form = Mapping[str, str]
"""Fields of a form or a query, each once."""


class EntraError(Exception):
    """A refusal of the identity provider: HTTP status, OAuth error, AADSTS number and its sentence."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.status, self.error, self.number, self.text = status, error, number, text


def required(form: Form, name: str) -> str:
    """Return a form field; raises EntraError when it is absent or empty."""
    value = form.get(name, "")
    if not value:
        raise missing(name)
    return value


def missing(name: str) -> EntraError:
    """Return what Entra says about an absent parameter."""
    return entra_error("900144", name)


def entra_error(key: str, *values: object) -> EntraError:
    """Return the refusal that `data/entra_errors.json` has under an AADSTS number, its sentence filled with `values`.

    A letter after the number tells the sentences of one number apart.
    """
    entry = _errors()[key]
    return EntraError(entry["status"], entry["error"], int(key.rstrip("bc")), entry["text"].format(*values))


@cache
def _errors() -> Mapping[str, Any]:
    text = (resources.files("connector.emulator") / "data" / "entra_errors.json").read_text("utf-8")
    errors: Mapping[str, Any] = json.loads(text)
    return errors
