"""A slow audit: every close takes three seconds longer, and a flow notes it on the account afterwards.

connector emulator --plugins connector/emulator/examples/slow_audit.py
"""

from __future__ import annotations

from typing import Any

CLOSES = ("WinOpportunity", "LoseOpportunity", "CloseQuote", "WinQuote")
SECONDS = 3.0


def plugin(context: Any) -> None:
    """Take as long as a call to an audit service takes."""
    if context.message in CLOSES and context.stage == "post":
        context.trace(f"Audit of {context.message} {context.record_id}")
        context.sleep(SECONDS)


def flow(context: Any) -> None:
    """Note the close on the customer's account, after the commit and through the organization's rules."""
    if context.message not in ("WinOpportunity", "LoseOpportunity"):
        return
    account = context.retrieve("opportunity", context.record_id)["accountid"]
    if account:
        text = f"{context.message} {context.record_id}"
        context.execute("Update", {"Target": {"@table": "account", "accountid": account, "description": text}})


plugin.step_id = "a0a5d0a3-6a53-4b0f-9d4e-0d6b4b0c1a04"  # type: ignore[attr-defined]  # what the emulator reads
