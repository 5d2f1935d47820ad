"""A request that the plan holds: nobody answers it until another plan comes, and everything else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.seeding.emulator_options import EmulatorOptions

PATIENCE = 60.0


def sign_in(emulator: ServedEmulator, answers: list[int]) -> None:
    form = {
        "grant_type": "client_credentials", "client_id": emulator.client_id,
        "client_secret": emulator.client_secret, "scope": f"{emulator.url}/.default",
    }  # fmt: skip
    url = f"{emulator.authority}/oauth2/v2.0/token"
    answers.append(requests.post(url, form, verify=str(emulator.ca_file), timeout=PATIENCE).status_code)


@pytest.mark.parametrize("other", [[], [{"do": "hold", "message": "$batch"}]])
def test_a_held_request_is_answered_when_another_plan_comes(tmp_path: Path, other: list[Mapping[str, Any]]) -> None:
    with served(EmulatorOptions(seeded=0), SystemClock(), tmp_path) as emulator:
        control = emulator.emulator.control
        control.set_faults([{"do": "hold", "message": "token", "nth": 1}])
        answers: list[int] = []
        held = threading.Thread(target=sign_in, args=(emulator, answers))
        held.start()
        ends = time.monotonic() + PATIENCE
        while control.faults()["acted"] != [1] and time.monotonic() < ends:
            time.sleep(0.01)
        sign_in(emulator, answers)
        assert answers == [200], "the other one is still held"
        control.set_faults(other)
        held.join(PATIENCE)
        assert answers == [200, 200]
