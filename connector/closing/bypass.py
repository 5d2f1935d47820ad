"""Which of the organization's own logic a close leaves out on purpose, and the tag that its logic sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

KINDS = ("sync", "async", "flows")
"""Synchronous logic (plug-ins, real-time workflows), asynchronous logic, and Power Automate flows."""

MOST_STEPS = 3
"""Steps that can be left out by id (`BypassBusinessLogicExecutionStepIdsLimit`, the documented default)."""

LONGEST_TAG = 100
"""Characters of a tag that every header can carry."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """What is left out: `kinds` of KINDS, and single plug-in steps by id; `tag` goes to the logic that does run.

    Microsoft's own logic always runs. Source: learn.microsoft.com /power-apps/developer/data-platform
    /bypass-custom-business-logic, /bypass-power-automate-flows and /optional-parameters (`tag`).
    """

    kinds: tuple[str, ...] = ()
    steps: tuple[UUID, ...] = ()
    tag: str = ""

    @property
    def needs_privilege(self) -> bool:
        """Whether the caller needs prvBypassCustomBusinessLogic for it."""
        return bool(self.kinds or self.steps)

    @property
    def text(self) -> str:
        """Return it for people, and for the digest of a plan; empty when nothing is left out and there is no tag."""
        parts = []
        if self.kinds:
            parts.append(f"leaves out {', '.join(self.kinds)}")
        if self.steps:
            parts.append(f"leaves out the steps {', '.join(str(step) for step in self.steps)}")
        if self.tag:
            parts.append(f"tag {self.tag}")
        return "; ".join(parts)

    def data(self) -> dict[str, str]:
        """Return it as plain data, to keep with a job or a plan: `bypass_of` reads it again."""
        return {"kinds": ",".join(self.kinds), "steps": ",".join(str(step) for step in self.steps), "tag": self.tag}


NO_BYPASS = Bypass()
"""Everything of the organization's own logic runs."""


KEPT_BYPASS = "bypass"
"""The name under which a job and a plan keep it."""


def bypass_of(options: Mapping[str, object], otherwise: Bypass) -> Bypass:
    """Return what is kept in the options of a job or the head of a plan; `otherwise` where they keep nothing of it."""
    data = options.get(KEPT_BYPASS)
    if not isinstance(data, Mapping):
        return otherwise
    return read_bypass(*(str(data.get(name, "")) for name in ("kinds", "steps", "tag")))


def read_bypass(kinds: str, steps: str, tag: str) -> Bypass:
    """Return what settings or options say: words and ids with commas between them. Raises ValueError, a sentence."""
    words = tuple(dict.fromkeys(word.strip().lower() for word in kinds.split(",") if word.strip()))
    unknown = [word for word in words if word not in KINDS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is none of {', '.join(KINDS)}")
    try:
        ids = tuple(dict.fromkeys(UUID(step.strip()) for step in steps.split(",") if step.strip()))
    except ValueError:
        raise ValueError(f"{steps!r} is not a list of step ids (GUIDs) with commas between them") from None
    if len(ids) > MOST_STEPS:
        raise ValueError(f"{len(ids)} steps are named; the service leaves out at most {MOST_STEPS}")
    tag = tag.strip()
    if len(tag) > LONGEST_TAG or not tag.isascii() or (tag and not tag.isprintable()):
        raise ValueError(f"a tag has at most {LONGEST_TAG} plain (ASCII) characters on one line")
    return Bypass(tuple(word for word in KINDS if word in words), ids, tag)
