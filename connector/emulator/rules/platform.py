"""The rules of the platform itself: keys, columns, lookups, states, privileges, users."""

from __future__ import annotations

from connector.emulator.rules.rule import Evidence, Rule

ROW_MISSING = Rule(
    "row.missing",
    "A row that does not exist is answered with 404.",
    Evidence.DOCUMENT,
    "powerapps-docs: compose-http-requests-handle-errors; perform-conditional-operations-using-web-api (wording)",
    404,
    "0x80040217",
    "{} With Id = {} Does Not Exist",
)
KEY_TAKEN = Rule(
    "row.key_taken",
    "A row with an id that is taken is refused with 412.",
    Evidence.RECORDING,
    "coe-starter-kit issue 3624 (a whole body); powerapps-docs: compose-http-requests-handle-errors (412)",
    412,
    "0x80040237",
    "A record with matching key values already exists.",
)
KEY_TAKEN_AMONG_MANY = Rule(
    "row.key_taken_among_many",
    "Messages for many rows phrase a taken id their own way.",
    Evidence.DOCUMENT,
    "powerapps-docs: bulk-operations",
    412,
    "0x80040237",
    "Cannot insert duplicate key.",
)
COLUMN_UNKNOWN = Rule(
    "column.unknown",
    "A column the table does not have is refused.",
    Evidence.DOCUMENT,
    "error list: InvalidAttribute is for entity attributes; ODataClientPayloadError for payloads",
    400,
    "0x80048d19",
    "Error identified in Payload provided by the user for Entity :'{}', the property '{}' does not exist on this type.",
)
VALUE_TYPE = Rule(
    "column.type",
    "A value of another type than the column's is refused.",
    Evidence.DOCUMENT,
    "error list: ODataClientPayloadError",
    400,
    "0x80048d19",
    "Error identified in Payload provided by the user for Entity :'{}', "
    "the value of '{}' cannot be converted to the column's type '{}'.",
)
READ_ONLY_COLUMN = Rule(
    "column.read_only",
    "A value for a column that is not valid for the operation is ignored, or refused by switch.",
    Evidence.INFERRED,
    "Dataverse metadata: IsValidForCreate, IsValidForUpdate",
    400,
    "0x8004022e",
    "The object cannot be updated because it is read-only.",
    "read_only_columns",
)
STATE_ON_CREATE = Rule(
    "state.on_create",
    "Records are born in state 0; statecode in a create is ignored, or refused by switch.",
    Evidence.DOCUMENT,
    "opportunity and quote entity reference: statecode is not valid for create",
    400,
    "0x80048408",
    "{} is not a valid state code for a new {}.",
    "statecode_on_create",
)
TEXT_TOO_LONG = Rule(
    "column.length",
    "Text longer than the column is refused.",
    Evidence.DOCUMENT,
    "error list: StringLengthTooLong; wording as on the wire",
    400,
    "0x80044331",
    "A validation error occurred. The length of the '{}' attribute of the '{}' entity exceeded the maximum allowed "
    "length of '{}'.",
)
CHOICE_UNKNOWN = Rule(
    "column.choice",
    "A choice column takes only the values of its option set.",
    Evidence.FORUM,
    "error list: PicklistValueOutOfRange; the wording of several support articles and issues",
    400,
    "0x8004431a",
    "A validation error occurred. The value {} of '{}' on record of type '{}' is outside the valid range. Accepted "
    "Values: {}",
)
NUMBER_RANGE = Rule(
    "column.number_range",
    "A decimal or floating-point number is within a hundred thousand million, money within 922,337,203,685,477.",
    Evidence.DOCUMENT,
    "error list: DecimalValueOutOfRange; entity reference, MinValue and MaxValue",
    400,
    "0x80044330",
    "A validation error occurred. The value of '{}' on record of type '{}' is outside the valid range.",
)
DATE_RANGE = Rule(
    "column.date_range",
    "No date is before 1753.",
    Evidence.DOCUMENT,
    "error list: InvalidDateTime; powerapps-docs: behavior-format-date-time-attribute",
    400,
    "0x80040239",
    "The date-time format is invalid, or value is outside the supported range.",
)
LOOKUP_TARGET = Rule(
    "lookup.target",
    "A lookup points only at the tables it is made for.",
    Evidence.DOCUMENT,
    "error list: InvalidTargetEntity",
    400,
    "0x80040369",
    "The specified target record type does not exist.",
)
REQUIRED_MISSING = Rule(
    "column.required",
    "Columns the organization requires are enforced when a row is created, with the text of a plug-in.",
    Evidence.INFERRED,
    "ce/sales: customize-opportunity-close-experience (custom required fields); the API itself does not enforce them",
    400,
    "0x80040265",
    "{} is required to create {}.",
    "required_columns",
)
STATUS_OF_STATE = Rule(
    "status.of_state",
    "A status reason belongs to one state; another one is refused.",
    Evidence.DOCUMENT,
    "error list: InvalidStateCodeStatusCode; wording as on the wire",
    400,
    "0x80048408",
    "{} is not a valid status code for state code {}State.{} on {} with Id {}.",
)
STATE_UNKNOWN = Rule(
    "state.unknown",
    "A state the table does not have is refused.",
    Evidence.DOCUMENT,
    "error list: InvalidStateCodeStatusCode",
    400,
    "0x80048408",
    "{} is not a valid state code on {} with Id {}.",
)
MISSING_PRIVILEGE = Rule(
    "privilege.missing",
    "Each operation needs its privilege; without it the answer is 403 with the long Principal user text.",
    Evidence.DOCUMENT,
    "powerapps-docs: compose-http-requests-handle-errors (403); SDK message reference (privileges per message)",
    403,
    "0x80040220",
    "Principal user (Id={}, type=8, roleCount={}, privilegeCount={}, accessMode='{}', AADObjectId='{}', "
    "MetadataCachePrivilegesCount={}, businessUnitId={}), is missing {} privilege (Id={}) on OTC={} for entity '{}' "
    "(LocalizedName='{}'). context.Caller={}. Consider adding missed privilege to one of the principal (user/team) "
    "roles.",
)
NOT_A_MEMBER = Rule(
    "user.unknown",
    "An application or person without a user row is not a member of the organization.",
    Evidence.DOCUMENT,
    "error list: UserNotMemberOfOrg",
    403,
    "0x80072560",
    "The user is not a member of the organization.",
)
USER_DISABLED = Rule(
    "user.disabled",
    "A disabled user is turned away.",
    Evidence.DOCUMENT,
    "error list: unManagedidsusernotenabled; wording of a Terraform provider's troubleshooting page",
    403,
    "0x80040225",
    "The specified user(Id = {}) is disabled. Consider enabling this user. Additional Details: {}",
)
USER_WITHOUT_ROLES = Rule(
    "user.no_roles",
    "A user without any role can do nothing.",
    Evidence.DOCUMENT,
    "error list: UserNotAssignedRoles",
    403,
    "0x80042f09",
    "The user has not been assigned any roles.",
)
CANNOT_ACT = Rule(
    "user.impersonation",
    "Impersonation needs prvActOnBehalfOfAnotherUser; the privileges are those that both users have.",
    Evidence.DOCUMENT,
    "powerapps-docs: impersonate-another-user-web-api; compose-http-requests-handle-errors (403); error list",
    403,
    "0x8004a110",
    "User does not have the privilege to act on behalf another user.",
    "impersonation_refusal",
)
ACT_ON_BEHALF = Rule(
    "user.impersonation_principal",
    "The other wording for impersonation without prvActOnBehalfOfAnotherUser: that of any missing privilege.",
    Evidence.FORUM,
    "client tests that name the server's message; the code is that of every missing privilege",
    403,
    "0x80040220",
    "Principal user (Id={}, type=8) is missing prvActOnBehalfOfAnotherUser privilege (Id={}).",
    "impersonation_refusal",
)
RELATIONSHIP_UNKNOWN = Rule(
    "relationship.unknown",
    "Rows are associated only through a relationship their tables have.",
    Evidence.DOCUMENT,
    "powerapps-docs: associate-disassociate-entities-using-web-api",
    400,
    "0x80040203",
    "Invalid argument. {} has no relationship {}.",
)
MESSAGE_UNSUPPORTED = Rule(
    "message.unsupported",
    "What a table does not support through this message is refused by name.",
    Evidence.DOCUMENT,
    "error list: SdkEntityDoesNotSupportMessage",
    400,
    "0x80040800",
    "The '{}' method does not support entities of type '{}'.",
)
PARAMETER_MISSING = Rule(
    "action.parameter_missing",
    "A message without a parameter it needs is refused.",
    Evidence.DOCUMENT,
    "error list: InvalidArgument; the parameters are not nullable in the metadata",
    400,
    "0x80040203",
    "Required field '{}' is missing for {}",
)
PARAMETER_UNKNOWN = Rule(
    "action.parameter_unknown",
    "A message with a parameter it does not have is refused.",
    Evidence.DOCUMENT,
    "powerapps-docs: use-web-api-actions",
    400,
    "0x80048d19",
    "The parameter '{}' in the request payload is not a valid parameter for the operation '{}'.",
)
PLUGIN_ABORT = Rule(
    "plugin.abort",
    "A synchronous plug-in may abort an operation; its text replaces the message.",
    Evidence.DOCUMENT,
    "powerapps-docs: compose-http-requests-handle-errors (IsvAborted)",
    400,
    "0x80040265",
    "{}",
)
BASE_AMOUNTS = Rule(
    "money.base_amounts",
    "Every amount has a base amount: the amount divided by the exchange rate of the row's currency.",
    Evidence.DOCUMENT,
    "powerapps-docs: transactioncurrency-currency-entity",
)
AUDIT_COLUMNS = Rule(
    "row.audit_columns",
    "The server sets who created and modified a row and when, its owner, and the next version number.",
    Evidence.DOCUMENT,
    "powerapps-docs: entity reference, read-only columns",
)

PLATFORM_RULES = (
    ROW_MISSING,
    KEY_TAKEN,
    KEY_TAKEN_AMONG_MANY,
    COLUMN_UNKNOWN,
    VALUE_TYPE,
    READ_ONLY_COLUMN,
    STATE_ON_CREATE,
    TEXT_TOO_LONG,
    CHOICE_UNKNOWN,
    NUMBER_RANGE,
    DATE_RANGE,
    LOOKUP_TARGET,
    REQUIRED_MISSING,
    STATUS_OF_STATE,
    STATE_UNKNOWN,
    MISSING_PRIVILEGE,
    NOT_A_MEMBER,
    USER_DISABLED,
    USER_WITHOUT_ROLES,
    CANNOT_ACT,
    ACT_ON_BEHALF,
    RELATIONSHIP_UNKNOWN,
    MESSAGE_UNSUPPORTED,
    PARAMETER_MISSING,
    PARAMETER_UNKNOWN,
    PLUGIN_ABORT,
    BASE_AMOUNTS,
    AUDIT_COLUMNS,
)
