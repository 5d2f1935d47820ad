"""A closed quote closes its siblings: closing or winning one closes every other open quote of the opportunity.

connector emulator --plugins connector/emulator/examples/close_siblings.py
"""

from __future__ import annotations

from typing import Any

DRAFT, ACTIVE, CLOSED, CANCELED = 0, 1, 3, 6


def plugin(context: Any) -> None:
    """Close the other draft and active quotes, as Project Operations does for project quotes."""
    if context.message not in ("CloseQuote", "WinQuote") or context.stage != "post":
        return
    opportunity = context.retrieve("quote", context.record_id)["opportunityid"]
    for quote in context.query("quote", opportunityid=opportunity) if opportunity else ():
        if quote["statecode"] in (DRAFT, ACTIVE):
            context.update("quote", quote["quoteid"], {"statecode": CLOSED, "statuscode": CANCELED})


plugin.step_id = "a0a5d0a3-6a53-4b0f-9d4e-0d6b4b0c1a02"  # type: ignore[attr-defined]  # what the emulator reads
