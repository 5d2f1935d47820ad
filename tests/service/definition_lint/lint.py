"""The fifty-two rules for a connector's files, and what breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.service.definition_lint import designer as lint_designer
from tests.service.definition_lint import operations as lint_operations
from tests.service.definition_lint import release as lint_release
from tests.service.definition_lint import shape as lint_shape
from tests.service.definition_lint.document import Document, Rule

RULES: Sequence[Rule] = sorted(
    (*lint_shape.RULES, *lint_operations.RULES, *lint_designer.RULES, *lint_release.RULES), key=lambda rule: rule.id
)
"""Every rule, by number: from the platform's validator and guidance, and from how its designer was seen to behave."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule, as a sentence."""

    rule: Rule
    message: str

    def __str__(self) -> str:
        """Return the number of the rule and the sentence."""
        return f"{self.rule.id}: {self.message}. {self.rule.text} ({self.rule.origin})"


def lint(document: Document) -> list[Finding]:
    """Return everything in `document` that breaks a rule, in the order of the rules."""
    return [Finding(rule, message) for rule in RULES for message in rule.check(document)]
