"""Winning a large opportunity needs an approval: its description has to say so.

connector emulator --plugins connector/emulator/examples/approval_required.py
"""

from __future__ import annotations

from typing import Any

LARGE = 100_000


def plugin(context: Any) -> None:
    """Refuse to win what is large and not approved."""
    if (context.message, context.stage) != ("WinOpportunity", "pre"):
        return
    deal = context.retrieve("opportunity", context.record_id)
    if (deal["estimatedvalue"] or 0) >= LARGE and "approved" not in (deal["description"] or "").lower():
        context.abort(
            f"Approval is missing: {deal['name']} is worth {LARGE:,} or more.", trace="Looked at description."
        )


plugin.step_id = "a0a5d0a3-6a53-4b0f-9d4e-0d6b4b0c1a01"  # type: ignore[attr-defined]  # what the emulator reads
