"""Settings of all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, is_hypothesis_test, settings

# Hundreds of processes start from the same modules: each module is compiled once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says more about the machine than about us, and how many are thrown away more about the seed;
# whatever else the profile in force says stays. A test that says itself what is not checked must name these too.
settings.register_profile(
    "any machine",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    max_examples=int(os.environ.get("TEST_EXAMPLES", "100")),
)
settings.load_profile("any machine")


STATE = tempfile.TemporaryDirectory(prefix="connector-tests-")
"""Where jobs and the audit log go that a test keeps nowhere else: never to those of whoever runs the tests."""


def pytest_configure() -> None:
    """Take no settings from whoever runs the tests, and hear Ctrl-C again.

    A shell that starts the tests in the background makes them deaf to it, and our programs would inherit that.
    """
    os.environ["XDG_STATE_HOME"] = STATE.name
    for name in [name for name in os.environ if name.startswith(("DATAVERSE_", "CONNECTOR_"))]:
        del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent
LONGEST = ("test_readme.py", "test_flow_engine.py", "test_simulated_load.py", "test_rehearsed.py", "test_crash.py")
"""Files of few and long tests: they come first, or one process would work on them alone at the end."""

UNMEASURED = ("bench", "clients", "crash", "emulator", "rehearsal", "scripts")
"""Rooms that go through lines which the tests of other rooms cover."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Keep what was collected out of every later collection of garbage."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage with examples: a property goes through the same lines hundreds of times, at twice the cost."""
    property_based = is_hypothesis_test(getattr(item, "obj", None)) or item.name == "runTest"
    unmeasured = property_based or item.path.relative_to(TESTS).parts[0] in UNMEASURED
    coverage = Coverage.current()
    if coverage is None or not unmeasured or item.get_closest_marker("no_cover"):
        return (yield)
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()
