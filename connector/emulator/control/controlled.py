"""What the control interface and the page need of an emulator: its parts by name, and to put it back."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from connector.emulator.control.journal import Journal
from connector.emulator.control.referee import Referee
from connector.emulator.identity.bearer import Bearer
from connector.emulator.identity.grants import Grants
from connector.emulator.limits.faults import Faults
from connector.emulator.limits.protection import Protection
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.open_organization import Organization
from connector.emulator.seeding.travel_clock import TravelClock


class ControlledEmulator(Protocol):
    """An emulator as its control interface sees it."""

    options: EmulatorOptions
    clock: TravelClock
    organization: Organization
    protection: Protection
    bearer: Bearer
    grants: Grants
    faults: Faults
    journal: Journal
    referee: Referee
    authority_file: Path | None

    def reset(self) -> None:
        """Put rows and switches back as they were at the start and forget everything counted."""

    def set_faults(self, faults: Faults) -> None:
        """Put another fault plan to work."""
