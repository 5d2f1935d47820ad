"""The rules of the Web API as a protocol: what is refused before any record is looked at, and in which words."""

from __future__ import annotations

from connector.emulator.rules.rule import Evidence, Rule

_SUPPORT = "SupportArticles-docs: web-api-client-errors (2023-10)"
_CONDITIONAL = "powerapps-docs: perform-conditional-operations-using-web-api"
_BATCH = "powerapps-docs: execute-batch-operations-using-web-api"
_OURS = "this emulator's own limit; the code is NotImplemented of the error list"

UNKNOWN_PATH = Rule(
    "path.unknown",
    "A path that names no resource is refused; names are case-sensitive.",
    Evidence.DOCUMENT,
    _SUPPORT,
    404,
    "0x8006088a",
    "Resource not found for the segment '{}'.",
    "unknown_path",
)
UNKNOWN_PATH_NEWER = Rule(
    "path.unknown_newer",
    "The other wording for a path that names no resource.",
    Evidence.RECORDING,
    "a live body of 2024",
    400,
    "0x80060888",
    "URL was not parsed due to an ODataUnrecognizedPathException. Resource not found for the segment '{}'.",
    "unknown_path",
)
WRONG_VERB = Rule(
    "path.wrong_verb",
    "A verb that the resource does not answer to is refused with 404 and an empty code.",
    Evidence.DOCUMENT,
    _SUPPORT,
    404,
    "",
    "No HTTP resource was found that matches the request URI '{}'.",
)
QUERY = Rule(
    "query.not_understood",
    "A query option, preference, header, property or literal that is not understood is refused, never skipped.",
    Evidence.DOCUMENT,
    _SUPPORT,
    400,
    "0x0",
    "{}",
    "query_error_code",
)
PAYLOAD = Rule(
    "payload.not_understood",
    "A body that is not what the resource takes is refused.",
    Evidence.DOCUMENT,
    _SUPPORT,
    400,
    "0x80048d19",
    "Error identified in Payload provided by the user for Entity :'{}'  ---->  InnerException : "
    "Microsoft.OData.ODataException: {}",
)
UNKNOWN_PROPERTY = Rule(
    "payload.unknown_property",
    "A property in a body that the table does not have is refused.",
    Evidence.DOCUMENT,
    _SUPPORT,
    400,
    "0x0",
    "An error occurred while validating input parameters: Microsoft.Crm.CrmException: Invalid property '{}' was found "
    "in entity 'Microsoft.Dynamics.CRM.{}'. ---> Microsoft.OData.ODataException: Does not support untyped value in "
    "non-open type.",
)
INVALID_INPUT = Rule(
    "payload.invalid_input",
    "A value that cannot be read, or a reference to another service root, is refused while input is validated.",
    Evidence.FORUM,
    "powerapps-docs issue 519 (absoluteuri, servicerouteuri); the prefix is that of the documented property error",
    400,
    "0x0",
    "An error occurred while validating input parameters: {}",
)
DIRECT_LOOKUP = Rule(
    "payload.direct_lookup",
    "A lookup is set through its navigation property, never as a plain value.",
    Evidence.RECORDING,
    "several public recordings of 2024 to 2026",
    400,
    "0x80060888",
    "CRM do not support direct update of Entity Reference properties, Use Navigation properties instead.",
)
EMPTY_BODY = Rule(
    "payload.empty",
    "A write needs a body.",
    Evidence.DOCUMENT,
    "error list: InvalidRequestBody",
    400,
    "0x80072530",
    "Passed entity object cannot be null or empty.",
)
NOT_IMPLEMENTED = Rule(
    "emulator.not_implemented",
    "What the service has and the emulator has not is refused by name, with 501.",
    Evidence.INFERRED,
    _OURS,
    501,
    "0x80040219",
    "The requested functionality is not yet implemented. This emulator does not have {}.",
)
VERSION_MISMATCH = Rule(
    "row.version",
    "A write with the ETag of an older version is refused.",
    Evidence.DOCUMENT,
    _CONDITIONAL,
    412,
    "0x80060882",
    "The version of the existing record doesn't match the RowVersion property provided.",
)
ROW_EXISTS = Rule(
    "row.exists",
    "An upsert with If-None-Match: * does not touch a row that exists.",
    Evidence.DOCUMENT,
    _CONDITIONAL,
    412,
    "0x80040237",
    "A record with matching key values already exists.",
)
CONCURRENCY_DISABLED = Rule(
    "row.concurrency_disabled",
    "A table without optimistic concurrency takes no ETag in If-Match.",
    Evidence.DOCUMENT,
    "powerapps-docs: optimistic-concurrency; error list: OptimisticConcurrencyNotEnabled",
    400,
    "0x8006088d",
    "Optimistic concurrency isn't enabled for entity type {0}. The IfVersionMatches value of ConcurrencyBehavior can "
    "only be used if optimistic concurrency is enabled.",
)
NO_SUCH_KEY = Rule(
    "row.no_such_key",
    "An alternate key must be defined; no table of the slice has one.",
    Evidence.DOCUMENT,
    "error list: EntityKeyNotDefined",
    400,
    "0x80060890",
    "The specified key attributes are not a defined key for the {} entity",
)
PAGING_COOKIE = Rule(
    "paging.cookie",
    "A next link is opaque; a changed one is refused.",
    Evidence.DOCUMENT,
    "error list: QueryBuilderInvalidPagingCookie",
    400,
    "0x8004112a",
    "Invalid page number in paging cookie.",
)
PAGING_ORDER = Rule(
    "paging.order",
    "A next link belongs to the order it was made for.",
    Evidence.DOCUMENT,
    "error list: QueryBuilderPagingOrderBy",
    400,
    "0x80041129",
    "Order by columns do not match those in paging cookie.",
)
TRACKING_DISABLED = Rule(
    "tracking.disabled",
    "Only tables with change tracking answer odata.track-changes.",
    Evidence.DOCUMENT,
    "error list: ChangeTrackingNotEnabledForEntity",
    400,
    "0x80072491",
    "Entity {} isn't enabled for change tracking.",
)
CONTENT_ID = Rule(
    "batch.content_id",
    "A reference to a Content-ID that has not been declared is refused.",
    Evidence.DOCUMENT,
    _BATCH,
    400,
    "",
    "Content-ID Reference: '${}' does not exist in the batch context.",
)
BATCH_BODY = Rule(
    "batch.body",
    "A batch body that cannot be read is refused; every line must end in CRLF.",
    Evidence.DOCUMENT,
    _SUPPORT,
    400,
    "0x80048d19",
    "Error identified in Payload provided by the user for Entity :'$batch'  ---->  InnerException : "
    "Microsoft.OData.ODataException: {}",
    "batch_line_ends",
)
BATCH_CONTENT = Rule(
    "batch.content",
    "A batch holds at most 1,000 operations and no batch; a change set holds no reads.",
    Evidence.DOCUMENT,
    f"{_BATCH}; the wording is ours, that for the number is OData.NET's",
    400,
    "0x0",
    "{}",
)
EVENT_LOG = Rule(
    "emulator.failed",
    "A failure of the emulator itself.",
    Evidence.DOCUMENT,
    "error list: UnExpected",
    500,
    "0x80040216",
    "An unexpected error occurred.",
)

PROTOCOL_RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
"""Every rule above."""
