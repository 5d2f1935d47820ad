"""What Entra says when it refuses: OAuth error, AADSTS number, a sentence; and the form fields it insists on."""

from __future__ import annotations

from collections.abc import Mapping

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
    text = f"The request body must contain the following parameter: '{name}'."
    return EntraError(400, "invalid_request", 900144, text)
