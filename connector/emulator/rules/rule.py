"""What a rule and a refusal are: every refusal names the rule it follows, and every rule its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How a rule is known."""

    DOCUMENT = "document"
    RECORDING = "recording"
    FORUM = "forum"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the emulated service.

    A rule that refuses has the HTTP `status`, the service's `code` (always one of the documented list) and the wording
    with `{}` places; a rule about effects has none of them. `switch` names the switch that can turn it.
    """

    id: str
    text: str
    evidence: Evidence
    source: str
    status: int = 0
    code: str = ""
    message: str = ""
    switch: str = ""

    def refuse(self, *values: object) -> Refused:
        """Return the refusal, its wording filled with `values`."""
        return Refused(self.status, self.code, self.message.format(*values), self.id)

    def refuse_as(self, code: str, *values: object) -> Refused:
        """Return the refusal under another code, as a switch asks for."""
        return Refused(self.status, code, self.message.format(*values), self.id)


class Refused(Exception):
    """The service turned the operation down; everything it did in this transaction is undone.

    `status` is the HTTP status, `code` lower-case hexadecimal, `rule` the id of the rule that said no.
    """

    def __init__(self, status: int, code: str, message: str, rule: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.rule = rule
