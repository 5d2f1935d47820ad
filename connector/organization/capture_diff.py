"""What changed between two captures, a line for each row that came, went or is another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connector.organization.capture_model import SECTIONS, Capture, Coverage, key_of, section


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
        return {
            "section": self.section, "row": self.row, "change": self.change, "before": self.before, "after": self.after
        }  # fmt: skip

    def line(self) -> str:
        """Return it as a line for people."""
        mark = {"added": "+", "removed": "-"}.get(self.change, "~")
        if self.change in ("added", "removed"):
            return f"{mark} {self.section} {self.row}"
        parts = (f"{name} {_text(self.before.get(name))} -> {_text(self.after.get(name))}" for name in self._names())
        return f"{mark} {self.section} {self.row}: {', '.join(parts)}"

    def _names(self) -> list[str]:
        return list(dict.fromkeys((*self.before, *self.after)))


def differences(old: Capture, new: Capture) -> Iterator[Difference]:
    """Yield what differs. What a section that was not wholly read lacks is not told as removed or added."""
    for name in SECTIONS:
        before, after = section(old, name), section(new, name)
        if before.read != after.read:
            yield Difference(name, "(how much was read)", "read", {"read": before.read}, {"read": after.read})
        olds = {key_of(row): row for row in before.rows}
        news = {key_of(row): row for row in after.rows}
        for key in sorted(olds.keys() | news.keys()):
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


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
