"""Records that can be looked up by their keys, and how often somebody did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connector.closing.record_keys import RecordKey, RecordMatch


@dataclass
class Directory:
    records: Mapping[str, Sequence[RecordMatch]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        self.asked.append(len(keys))
        return {key: self.records.get(key.value, ()) for key in keys}
