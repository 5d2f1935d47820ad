"""What the sources leave open, as named switches with a documented default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


def _switch(default: str, *values: str, text: str, evidence: str, source: str) -> Any:
    return field(
        default=default,
        metadata={"values": (default, *values), "text": text, "evidence": evidence, "source": source},
    )


@dataclass(frozen=True, slots=True)
class SwitchInfo:
    """A switch as people read it: its values (the default first), what it decides, and on what evidence."""

    name: str
    value: str
    values: tuple[str, ...]
    text: str
    evidence: str
    source: str


class UnknownSwitch(ValueError):
    """No switch has this name, or it does not take this value."""


@dataclass(frozen=True, slots=True)
class Switches:
    """How this emulated organization answers where documents are silent or disagree.

    The first value named is the default. `evidence` is that of the default: document, recording, forum or inferred.
    """

    open_quotes_block_close: str = _switch(
        "active_and_draft", "active", "off",
        text="Which open quotes keep an opportunity from being won or lost.",
        evidence="document",
        source="SupportArticles-docs: troubleshoot-opportunities-issues (both); Project Operations names active",
    )  # fmt: skip
    draft_quote_close: str = _switch(
        "refuse", "work_based", "accept",
        text="Whether CloseQuote and WinQuote take a draft: never, only work-based ones, or always.",
        evidence="document",
        source="ce/sales/close-quote; dynamics-365-project-operations: articles/sales/win-quote",
    )  # fmt: skip
    quote_not_active_code: str = _switch(
        "0x80040216", "0x8004f00e", "0x80040233", "0x80040265",
        text="The error code when CloseQuote or WinQuote meets a quote that is not active.",
        evidence="inferred",
        source="no captured answer is public; the generic text was seen for contracts in CRM 3.0 (KB 932477)",
    )  # fmt: skip
    close_repeat_check: str = _switch(
        "state_first", "key_first",
        text="Which check comes first when a close is sent again with the activityid of a close that stands.",
        evidence="inferred",
        source="not documented",
    )  # fmt: skip
    default_closed_quote_status: str = _switch(
        "metadata", "lost",
        text="What Status -1 means for CloseQuote: the default of the state in metadata (7 Revised), or 5 Lost.",
        evidence="document",
        source="quote entity reference; XrmMockup maps it to 5",
    )  # fmt: skip
    actual_value_on_lost: str = _switch(
        "null", "zero", "keep",
        text="actualvalue of an opportunity lost without actualrevenue.",
        evidence="inferred",
        source="not documented",
    )  # fmt: skip
    close_activities_on_reopen: str = _switch(
        "cancel", "keep",
        text="Whether reopening an opportunity cancels its completed close activities.",
        evidence="document",
        source="opportunityclose entity reference; UltimateWorkflowToolkit issues 37, 38 say an update keeps them",
    )  # fmt: skip
    actuals_on_reopen: str = _switch(
        "keep", "clear",
        text="Whether reopening clears actualvalue and actualclosedate.",
        evidence="inferred",
        source="not documented",
    )  # fmt: skip
    reopen_open_opportunity: str = _switch(
        "accept", "refuse",
        text="Whether setting statecode 0 on an open opportunity is accepted or refused with 0x8004051A.",
        evidence="forum",
        source="markcarrington.dev: restricted state transitions; the code is in the documented error list",
    )  # fmt: skip
    closed_opportunity_columns: str = _switch(
        "writable", "read_only",
        text="Whether ordinary columns of a won or lost opportunity can be updated.",
        evidence="forum",
        source="markcarrington.dev: read-only sales entities; the column text says read-only until reactivated",
    )  # fmt: skip
    close_date_zone: str = _switch(
        "user", "utc",
        text="Whose calendar turns the close activity's actualend (a moment) into actualclosedate (a date).",
        evidence="inferred",
        source="actualend is UserLocal, actualclosedate is DateOnly (entity reference)",
    )  # fmt: skip
    bare_date: str = _switch(
        "utc", "user",
        text="What a date without a time means in a column that holds a moment: midnight UTC or midnight of the user.",
        evidence="inferred",
        source="Web API values without an offset are read as UTC",
    )  # fmt: skip
    quote_closedon: str = _switch(
        "set", "leave",
        text="Whether CloseQuote and WinQuote fill the quote's closedon.",
        evidence="inferred",
        source="not documented",
    )  # fmt: skip
    activation_price_list: str = _switch(
        "optional", "required",
        text="Whether a quote without a price list can be activated (refused with 0x80043B12).",
        evidence="inferred",
        source="not documented; the sample ProcessQuotesSalesOrdersInvoices activates a quote without products",
    )  # fmt: skip
    close_row_creation: str = _switch(
        "closes", "only_stores",
        text="Whether creating an opportunityclose row closes its opportunity.",
        evidence="document",
        source="ce/sales: customize-opportunity-close-experience",
    )  # fmt: skip
    revenue_currency: str = _switch(
        "enforce", "off",
        text="Whether the currency of a close activity must be the opportunity's.",
        evidence="document",
        source="SupportArticles-docs: troubleshoot-opportunities-issues; the code 0x80048CEA is inferred",
    )  # fmt: skip
    caller_parameter: str = _switch(
        "accept", "refuse",
        text="Whether WinOpportunity and LoseOpportunity take the undocumented string parameter Caller.",
        evidence="recording",
        source="dataverse-ify: WinOpportunity.ts generated from an online organization",
    )  # fmt: skip
    statecode_on_create: str = _switch(
        "ignore", "refuse",
        text="What becomes of statecode in a create: records are born in state 0.",
        evidence="inferred",
        source="the column is not valid for create (entity reference)",
    )  # fmt: skip
    read_only_columns: str = _switch(
        "ignore", "refuse",
        text="What becomes of a value for a column that is not valid for create or update.",
        evidence="inferred",
        source="Dataverse metadata: IsValidForCreate, IsValidForUpdate",
    )  # fmt: skip
    required_columns: str = _switch(
        "enforce", "off",
        text="Whether columns that the organization's imported metadata requires are enforced, as a plug-in would.",
        evidence="inferred",
        source="ce/sales/close-opportunity-won-lost-sales (custom close form)",
    )  # fmt: skip
    actions_in_change_set: str = _switch(
        "accept", "refuse",
        text="Whether a change set may hold the close actions; refusing lets a client test its step-by-step way.",
        evidence="inferred",
        source="not documented for these actions",
    )  # fmt: skip
    close_opportunity_message: str = _switch(
        "absent", "present",
        text="Whether the organization has its own message CloseOpportunity(OpportunityClose, Status).",
        evidence="document",
        source="the platform has no message of that name (opportunity entity reference); custom APIs may be called so",
    )  # fmt: skip
    project_operations: str = _switch(
        "off", "immediate", "background",
        text="Whether the Project Operations messages exist, and whether they act at once or in a background job.",
        evidence="document",
        source="dynamics-365-project-operations: close-opportunity, long-running-jobs",
    )  # fmt: skip
    project_win_and_opportunity: str = _switch(
        "stays_open", "closes",
        text="What becomes of the opportunity when a project quote is won.",
        evidence="document",
        source="dynamics-365-project-operations: win-quote says it stays open, quotes-key-concepts that it is closed",
    )  # fmt: skip
    impersonation_refusal: str = _switch(
        "0x8004a110", "0x80040220",
        text="The error code when a caller acts for another user without prvActOnBehalfOfAnotherUser.",
        evidence="document",
        source="error list: CannotActOnBehalfOfAnotherUser, named among the 403 errors; clients' tests have the other",
    )  # fmt: skip
    unknown_path: str = _switch(
        "0x8006088a", "0x80060888",
        text="How a path that names nothing is refused: 404 with 0x8006088a, or 400 with 0x80060888.",
        evidence="document",
        source="support article on Web API client errors (2023-10); a live body of 2024 has the other one",
    )  # fmt: skip
    query_error_code: str = _switch(
        "0x0", "0x80060888",
        text="The error code of a query that could not be parsed (an unknown property in $select, say).",
        evidence="document",
        source="support article on Web API client errors (2023-10); recordings of 2024 to 2026 have the other one",
    )  # fmt: skip
    batch_line_ends: str = _switch(
        "strict", "loose",
        text="Whether every line of a $batch body must end in CRLF.",
        evidence="document",
        source="support article on Web API client errors: Stream was not readable",
    )  # fmt: skip
    environment: str = _switch(
        "open",
        "administration_mode",
        "disabled",
        text="Whether the environment is open, in administration mode (administrators only) or disabled.",
        evidence="document",
        source="power-platform/admin: administration-mode; error list: OrganizationDisabled",
    )

    def with_values(self, values: Mapping[str, str]) -> Switches:
        """Return switches changed by name; raises UnknownSwitch naming every problem at once."""
        problems = [problem for name, value in values.items() if (problem := _problem(name, value))]
        if problems:
            raise UnknownSwitch(" ".join(problems))
        return replace(self, **values)

    def describe(self) -> tuple[SwitchInfo, ...]:
        """Return every switch with its present value, its choices and its evidence."""
        return tuple(SwitchInfo(switch.name, getattr(self, switch.name), **switch.metadata) for switch in fields(self))


def _problem(name: str, value: str) -> str:
    known = {switch.name: switch.metadata["values"] for switch in fields(Switches)}
    if name not in known:
        return f"There is no switch {name!r}."
    if value not in known[name]:
        return f"{name} takes {', '.join(known[name])}, not {value!r}."
    return ""
