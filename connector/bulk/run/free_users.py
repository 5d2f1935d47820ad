"""The users of the settings that no other process acts as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from connector.bulk.run.paced_client import PacedClient
from connector.clock import Clock
from connector.ledger.ledger import Ledger
from connector.ledger.user_slots import UserSlots

USER_LOOK = 0.5
"""Seconds between looks whether a user is free."""


@contextmanager
def free_users(
    ledger: Ledger, lanes: Mapping[str, PacedClient], clock: Clock, name: str, tell: Callable[[str], None]
) -> Iterator[dict[str, PacedClient]]:
    """Give the clients, by user, of the users that no other process acts as; where there is none, wait for one.

    What the service allows a user is counted over all of them, so two governors would spend it twice.
    """
    holder = ledger.enter(f"{name} for its users")
    try:
        told = False
        while not (taken := {user: lanes[user] for user in lanes if UserSlots(ledger).take(holder, [user])}):
            if not told:
                told = True
                tell(
                    "Waiting: every user of the settings is at work in another process already. More of them"
                    " (DATAVERSE_IDENTITIES) could work side by side. Ctrl-C gives up; nothing is lost."
                )
            clock.sleep(USER_LOOK)
        yield taken
    finally:
        holder.leave()
