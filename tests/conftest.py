"""Settings of all tests."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

from hypothesis import HealthCheck, settings

# Hundreds of processes start from the same modules: each module is compiled once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says more about the machine than about us; whatever else the profile in force says stays.
settings.register_profile(
    "any machine",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("TEST_EXAMPLES", "100")),
)
settings.load_profile("any machine")


STATE = tempfile.TemporaryDirectory(prefix="connector-tests-")
"""Where jobs and the audit log go that a test keeps nowhere else: never to those of whoever runs the tests."""


def pytest_configure() -> None:
    """Hear Ctrl-C again where a shell started the tests in the background: our programs would inherit its deafness."""
    os.environ["XDG_STATE_HOME"] = STATE.name
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
