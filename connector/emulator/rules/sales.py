"""The rules of opportunities and quotes: what may be closed, what closing does, what is refused and how."""

from __future__ import annotations

from connector.emulator.rules.rule import Evidence, Rule

OPPORTUNITY_ID = Rule(
    "opportunity.id_missing",
    "A close activity without its opportunity has no target.",
    Evidence.INFERRED,
    "opportunityclose entity reference (opportunityid is required); error list: MissingOpportunityId",
    400,
    "0x80043b15",
    "The opportunity id is missing or invalid.",
)
OPPORTUNITY_CLOSED = Rule(
    "opportunity.already_closed",
    "Only an open opportunity can be won or lost.",
    Evidence.DOCUMENT,
    "SupportArticles-docs: troubleshoot-opportunities-issues; error list: OpportunityIsAlreadyClosed",
    400,
    "0x80040515",
    "The opportunity is already closed.",
)
OPEN_QUOTES = Rule(
    "opportunity.open_quotes",
    "An opportunity with open quotes can be neither won nor lost.",
    Evidence.DOCUMENT,
    "SupportArticles-docs: troubleshoot-opportunities-issues (active or draft quotes); the code is inferred",
    400,
    "0x80040516",
    "The opportunity cannot be closed.",
    "open_quotes_block_close",
)
REVENUE_CURRENCY = Rule(
    "opportunity.revenue_currency",
    "The currency of the actual revenue must be that of the opportunity.",
    Evidence.DOCUMENT,
    "SupportArticles-docs: troubleshoot-opportunities-issues; the code CurrencyNotEqual is inferred",
    400,
    "0x80048cea",
    "The currency of the {} does not match the currency of the {}.",
    "revenue_currency",
)
STATE_BY_UPDATE = Rule(
    "opportunity.state_by_update",
    "Won and Lost cannot be reached by updating statecode.",
    Evidence.DOCUMENT,
    "error list: CannotUseOpportunitySetStateMessage; Colso.Xrm.DataTransporter issue 23 (wording)",
    400,
    "0x80100005",
    "This message can not be used to set the state of opportunity to {0}. In order to set state of opportunity to {0}, "
    "use the {0}OpportunityRequest message instead.",
)
ALREADY_OPEN = Rule(
    "opportunity.already_open",
    "Reopening an open opportunity is an update like any other, or refused by switch.",
    Evidence.FORUM,
    "error list: OpportunityAlreadyInOpenState; markcarrington.dev: restricted state transitions",
    400,
    "0x8004051a",
    "The opportunity is already in the open state.",
    "reopen_open_opportunity",
)
CLOSED_COLUMNS = Rule(
    "opportunity.closed_columns",
    "Ordinary columns of a closed opportunity stay writable through the API, or not, by switch.",
    Evidence.FORUM,
    "markcarrington.dev: read-only sales entities",
    400,
    "0x8004022e",
    "The entity cannot be updated because it is read-only.",
    "closed_opportunity_columns",
)
CURRENCY_LOCKED = Rule(
    "opportunity.currency_locked",
    "The currency of an opportunity is fixed once it has products, quotes or orders.",
    Evidence.DOCUMENT,
    "error list: CannotUpdateOpportunityCurrency",
    400,
    "0x80048479",
    "The currency cannot be changed because this opportunity has Products Quotes, and/ or Orders associated with it. "
    "If you want to change the currency please delete all of the Products/quotes/orders and then change the currency "
    "or create a new opportunity with the appropriate currency.",
)
QUOTE_CURRENCY_LOCKED = Rule(
    "quote.currency_locked",
    "The currency of a quote is fixed once it has products.",
    Evidence.DOCUMENT,
    "error list: CannotUpdateQuoteCurrency",
    400,
    "0x8004480e",
    "The currency cannot be changed because this quote has Products associated with it. If you want to change the "
    "currency please delete all of the Products and then change the currency or create a new quote with the "
    "appropriate currency.",
)
QUOTE_ID = Rule(
    "quote.id_missing",
    "A quote close activity without its quote has no target.",
    Evidence.INFERRED,
    "the message cannot know its target; error list: InvalidArgument",
    400,
    "0x80040203",
    "Invalid argument. The quote id is missing or invalid.",
)
QUOTE_NOT_ACTIVE = Rule(
    "quote.not_active",
    "Only an active quote can be closed or won; a draft is activated (or deleted) first.",
    Evidence.DOCUMENT,
    "ce/sales/close-quote; the code is open and therefore a switch",
    400,
    "0x80040216",
    "The target state is invalid. The target state may not exist or the system does not allow changing to the target "
    "state from the current state. Please check the documentation on this state change request.",
    "quote_not_active_code",
)
NOT_DRAFT = Rule(
    "quote.not_draft",
    "Only a draft quote can be activated.",
    Evidence.DOCUMENT,
    "error list: UnableToActivateQuoteNotInDraft",
    400,
    "0x80100003",
    "The quote cannot be activated because it is not in draft state.",
)
NO_PRICE_LIST = Rule(
    "quote.price_list",
    "Activation without a price list is accepted, or refused by switch.",
    Evidence.INFERRED,
    "error list: MissingPriceLevelId; not documented for activation",
    400,
    "0x80043b12",
    "The price level id is missing.",
    "activation_price_list",
)
QUOTE_STATE_BY_UPDATE = Rule(
    "quote.state_by_update",
    "Won and Closed cannot be reached by updating statecode.",
    Evidence.FORUM,
    "mscrm16tech.com: direct status updates (wording); the code is inferred",
    400,
    "0x80040216",
    "Quote status cannot be changed to {}. Please use the {} instead.",
)
QUOTE_READ_ONLY = Rule(
    "quote.read_only",
    "Ordinary columns of a quote that is not a draft are read-only.",
    Evidence.FORUM,
    "community.dynamics.com thread ca3600d1-0248-44ac-a9f9-6443e8520534; markcarrington.dev",
    400,
    "0x8004022e",
    "The entity cannot be updated because it is read-only.",
)
LINES_READ_ONLY = Rule(
    "quote.lines_read_only",
    "Lines of a quote that is not a draft cannot be changed.",
    Evidence.DOCUMENT,
    "error list: ParentReadOnly",
    400,
    "0x80043b09",
    "The parent is read only and cannot be edited.",
)
REVISE_NOT_CLOSED = Rule(
    "quote.revise_not_closed",
    "Only a closed quote can be revised.",
    Evidence.FORUM,
    "XrmMockup: TestQuote; the state error is inferred",
    400,
    "0x8004f00e",
    "The quote (Id={}) entity or component has attempted to transition from an invalid state: {}.",
)
REVISE_EXISTS = Rule(
    "quote.revision_exists",
    "A quote is not revised while another draft or active one has the same number.",
    Evidence.DOCUMENT,
    "error list: QuoteReviseExistingActiveQuote",
    400,
    "0x80048d00",
    "Quote cannot be revised as there already exists another quote in Draft/Active state and with same quote number.",
)
CLOSE_EFFECTS = Rule(
    "opportunity.close_effects",
    "Winning or losing sets state, status reason, actual value and close date, and creates a completed close activity.",
    Evidence.DOCUMENT,
    "powerapps-docs: use-web-api-actions; opportunityclose entity reference",
)
ACTUAL_VALUE = Rule(
    "opportunity.actual_value",
    "actualvalue is the activity's actualrevenue; a win without one takes estimatedvalue, a loss follows a switch.",
    Evidence.DOCUMENT,
    "opportunity entity reference (actualvalue); the loss is not documented",
    switch="actual_value_on_lost",
)
CLOSE_DATE = Rule(
    "opportunity.close_date",
    "actualclosedate is the day of the close activity's actualend, today when it has none.",
    Evidence.INFERRED,
    "date behaviour of both columns (entity reference)",
    switch="close_date_zone",
)
FORECAST = Rule(
    "opportunity.forecast_category",
    "The forecast category becomes Won or Lost on close, and Pipeline again on reopening.",
    Evidence.DOCUMENT,
    "ce/sales/close-opportunity-won-lost-sales; the way back is inferred",
)
REOPEN = Rule(
    "opportunity.reopen",
    "An update to state 0 reopens; completed close activities are cancelled, or kept by switch.",
    Evidence.DOCUMENT,
    "opportunityclose entity reference (statecode)",
    switch="close_activities_on_reopen",
)
CLOSE_BY_ROW = Rule(
    "opportunity.close_by_row",
    "Creating an opportunityclose row closes its opportunity, by the state of its opportunitystatuscode.",
    Evidence.DOCUMENT,
    "ce/sales/customize-opportunity-close-experience; which state is inferred",
    switch="close_row_creation",
)
QUOTE_CLOSE_EFFECTS = Rule(
    "quote.close_effects",
    "Closing or winning a quote sets state and status reason and creates a completed close activity; "
    "the opportunity is left alone.",
    Evidence.DOCUMENT,
    "dynamics-365-project-operations: basic-sales-process, quotes-key-concepts",
)
DEFAULT_STATUS = Rule(
    "status.minus_one",
    "Status -1 picks the default status reason of the target state.",
    Evidence.DOCUMENT,
    "previous-versions ms940610; Dynamics365-Apps-Samples: ProcessQuotesSalesOrdersInvoices",
    switch="default_closed_quote_status",
)
PROJECT_QUOTES = Rule(
    "project.quotes",
    "Project Operations closes all draft and active quotes of an opportunity at once; a won one closes its siblings.",
    Evidence.DOCUMENT,
    "dynamics-365-project-operations: articles/sales/close-opportunity, win-quote",
    switch="project_operations",
)
PROJECT_BUSY = Rule(
    "project.busy",
    "In the background mode a second run on an opportunity is refused while the first is under way.",
    Evidence.DOCUMENT,
    "dynamics-365-project-operations: long-running-jobs (a message says so); code and wording are inferred",
    400,
    "0x80040265",
    "A quote of this opportunity is already being closed. Try again when that has finished.",
    "project_operations",
)
OWN_MESSAGE = Rule(
    "organization.close_opportunity",
    "The platform has no message CloseOpportunity; an organization may have one, which wins or loses by status reason.",
    Evidence.DOCUMENT,
    "opportunity entity reference (messages)",
    switch="close_opportunity_message",
)

SALES_RULES = (
    OPPORTUNITY_ID,
    OPPORTUNITY_CLOSED,
    OPEN_QUOTES,
    REVENUE_CURRENCY,
    STATE_BY_UPDATE,
    ALREADY_OPEN,
    CLOSED_COLUMNS,
    CURRENCY_LOCKED,
    QUOTE_CURRENCY_LOCKED,
    QUOTE_ID,
    QUOTE_NOT_ACTIVE,
    NOT_DRAFT,
    NO_PRICE_LIST,
    QUOTE_STATE_BY_UPDATE,
    QUOTE_READ_ONLY,
    LINES_READ_ONLY,
    REVISE_NOT_CLOSED,
    REVISE_EXISTS,
    CLOSE_EFFECTS,
    ACTUAL_VALUE,
    CLOSE_DATE,
    FORECAST,
    REOPEN,
    CLOSE_BY_ROW,
    QUOTE_CLOSE_EFFECTS,
    DEFAULT_STATUS,
    PROJECT_QUOTES,
    PROJECT_BUSY,
    OWN_MESSAGE,
)
