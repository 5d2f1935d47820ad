"""Revenue is recalculated: a won opportunity is worth what its won quotes add up to, whatever the close said.

connector emulator --plugins connector/emulator/examples/recalculate_revenue.py
"""

from __future__ import annotations

from typing import Any

WON = 2


def plugin(context: Any) -> None:
    """Set the actual value from the won quotes, where there are any."""
    if (context.message, context.stage) != ("WinOpportunity", "post"):
        return
    quotes = context.query("quote", opportunityid=context.record_id, statecode=WON)
    if quotes:
        total = sum(quote["totalamount"] or 0 for quote in quotes)
        context.update("opportunity", context.record_id, {"actualvalue": total})


plugin.step_id = "a0a5d0a3-6a53-4b0f-9d4e-0d6b4b0c1a03"  # type: ignore[attr-defined]  # what the emulator reads
