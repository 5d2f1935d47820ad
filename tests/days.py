"""Zones in which a test can ask for the day without a midnight in the middle of it."""

from __future__ import annotations

from datetime import UTC, datetime


def zone_of_another_day() -> str:
    """Return a zone whose day is not that of UTC at this hour, and whose next day is an hour away at the least."""
    return "Pacific/Kiritimati" if datetime.now(UTC).hour >= 10 else "Pacific/Pago_Pago"
