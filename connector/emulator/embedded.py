"""The emulator inside a process: a reserved host, no socket, real tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from connector.clock import Clock
from connector.emulator.core import Emulator
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EMBEDDED_LOGIN, EMBEDDED_URL, MEMORY, EmulatorOptions
from connector.emulator.seeding.open_organization import TravelClock
from connector.handler import Handler

if TYPE_CHECKING:
    from connector.emulator.http.adapter import EmulatorAdapter


@dataclass(frozen=True, slots=True)
class EmbeddedEmulator:
    """An emulator to be called in the process, and what a client needs to sign in to it.

    `url` and `authority` are on hosts that exist nowhere (`.invalid`), so that nothing meant for it can leave the
    machine. `close` writes what is pending and closes the file.
    """

    emulator: Emulator
    url: str
    authority: str
    tenant_id: str
    client_id: str
    client_secret: str

    @property
    def handler(self) -> Handler:
        """Return the emulator as a function from request to response; planned cuts do not show there."""
        return self.emulator.handle

    def adapter(self) -> EmulatorAdapter:
        """Return an adapter for requests' sessions; mount it on `url` and on the authority's origin."""
        from connector.emulator.http.adapter import EmulatorAdapter

        return EmulatorAdapter(self.emulator, self.emulator.clock.sleep)

    def close(self) -> None:
        """Close the database; after it nothing is written, so that the folder may be copied or removed."""
        self.emulator.keys.wait()
        self.emulator.close()


def open_embedded(
    path: str | Path, clock: Clock, options: EmulatorOptions | None = None, keys: Keys | None = None
) -> EmbeddedEmulator:
    """Open (or make and fill) the organization at `path`, a SQLite file or `:memory:`.

    `options` default to a seeded organization; their path and addresses are replaced. `keys` may be shared by many
    emulators; those of a file are kept beside it. Raises OSError and the store's errors for an unusable file,
    LogicError for one of plug-ins.
    """
    chosen = replace(options or EmulatorOptions(), path=path, url=EMBEDDED_URL, login_url=EMBEDDED_LOGIN)
    if keys is None:
        keys = Keys(None if str(path) == MEMORY else Path(f"{path}-keys") / "signing.pem")
    emulator = Emulator(chosen, TravelClock(clock), keys)
    keys.begin()
    return EmbeddedEmulator(emulator, **chosen.sign_in())
