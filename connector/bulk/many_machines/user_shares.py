"""How machines share out the users they can act as: each works it out for itself, and all find the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from connector.ledger.jobs import WorkerInfo

_LABEL = re.compile(r"machine (?P<who>.+) as (?P<users>\S+(?:, \S+)*)")


def label(who: str, users: Iterable[str]) -> str:
    """Return how a machine is called in the ledger: for people, and for the other machines to share with it."""
    return f"machine {who} as {', '.join(users)}"


def shares(present: Sequence[WorkerInfo]) -> dict[str, int]:
    """Return which machine, by its id, is to act as which user.

    Users that few can act as are given first, each to whoever has fewest, the oldest machine first.
    """
    able: dict[str, list[int]] = {}
    for worker in present:
        said = _LABEL.fullmatch(worker.name)
        for user in said["users"].split(", ") if said else ():
            able.setdefault(user, []).append(worker.id)
    given: dict[str, int] = {}
    load = Counter[int]()
    for user in sorted(able, key=lambda user: (len(able[user]), user)):
        given[user] = min(able[user], key=lambda machine: (load[machine], machine))
        load[given[user]] += 1
    return given
