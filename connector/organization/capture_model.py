"""What a capture holds: sections of rows, each section with how much of it the caller could see.

The JSON Schema of the file is made from these models (`connector docs` has it as capture.schema.json). No row holds a
customer's data: no person, no name of a record, no address, no `clientdata` of a flow, no `configuration` of a step.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Generic, Literal, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from connector.organization.fact_source import FactSource, followers, listed, table_name, text, texts_by_language

VERSION: Final = 2  # of the form; a file of another one is refused. 1 did not ask for `column_access`

SLICE = ("opportunity", "opportunityclose", "quote", "quoteclose")  # the tables that a close reads and writes

Name = Annotated[str, Field(max_length=400)]
Labels = dict[Annotated[str, Field(pattern=r"^\d{1,6}$")], Annotated[str, Field(max_length=4000)]]  # by LCID
Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Digits = Annotated[int, Field(ge=0, le=10)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
MOST_ROWS = 50_000  # of a section: with the bounds of numbers no file can exhaust the machine


class Coverage(StrEnum):
    """How much of a section the caller could read; an empty section that is not `all` says nothing."""

    ALL = "all"
    OWN = "own"
    REFUSED = "refused"
    NOT_ASKED = "not_asked"


class _Fact(BaseModel):
    """One row; `key` names the fields that tell it from the others of its section."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    key: ClassVar[tuple[str, ...]] = ("name",)


class TableFact(_Fact):
    """A table of the slice, or one that a lookup of it points at (`target`)."""

    name: Annotated[Name, FactSource("LogicalName")]
    entity_set: Annotated[Name, FactSource("EntitySetName", text)]
    schema_name: Annotated[Name, FactSource("SchemaName")]
    primary_id: Annotated[Name, FactSource("PrimaryIdAttribute", text)]
    primary_name: Annotated[Name, FactSource("PrimaryNameAttribute")] = ""
    target: bool = False
    user_owned: Annotated[bool, FactSource("OwnershipType", lambda kind: kind == "UserOwned")] = False
    transitions_enforced: Annotated[bool, FactSource("EnforceStateTransitions")] = False
    change_tracking: Annotated[bool, FactSource("ChangeTrackingEnabled")] = False
    labels: Annotated[Labels, FactSource("DisplayName", texts_by_language)] = {}
    plural_labels: Annotated[Labels, FactSource("DisplayCollectionName", texts_by_language)] = {}


class ColumnFact(_Fact):
    """A column. `type` is its AttributeTypeName; `precision_source` 2 means the currency's, 1 the organization's."""

    key: ClassVar = ("table", "name")
    table: Name
    name: Annotated[Name, FactSource("LogicalName")]
    type: Annotated[Name, FactSource("AttributeTypeName.Value")]
    schema_name: Annotated[Name, FactSource("SchemaName")] = ""
    custom: Annotated[bool, FactSource("IsCustomAttribute")] = False
    required: Annotated[Name, FactSource("RequiredLevel.Value")] = "None"
    create: Annotated[bool, FactSource("IsValidForCreate")] = True
    update: Annotated[bool, FactSource("IsValidForUpdate")] = True
    read: Annotated[bool, FactSource("IsValidForRead")] = True
    secured: Annotated[bool, FactSource("IsSecured")] = False
    max_length: Annotated[Whole | None, FactSource("MaxLength")] = None
    precision: Annotated[Digits | None, FactSource("Precision")] = None
    precision_source: Annotated[Whole | None, FactSource("PrecisionSource")] = None
    format: Annotated[Name, FactSource("Format")] = ""
    behavior: Annotated[Name, FactSource("DateTimeBehavior.Value")] = ""
    targets: Annotated[tuple[Name, ...], FactSource("Targets")] = ()
    labels: Annotated[Labels, FactSource("DisplayName", texts_by_language)] = {}


class ChoiceFact(_Fact):
    """An option of a choice column, or one of the two of a yes/no column."""

    key: ClassVar = ("table", "column", "value")
    table: Name
    column: Name
    value: Annotated[Whole, FactSource("Value")]
    labels: Annotated[Labels, FactSource("Label", texts_by_language)] = {}


class StateFact(_Fact):
    """A state of a table, with the status reason it comes with by default."""

    key: ClassVar = ("table", "value")
    table: Name
    value: Annotated[Whole, FactSource("Value")]
    default_reason: Annotated[Whole, FactSource("DefaultStatus")]
    invariant_name: Annotated[Name, FactSource("InvariantName")] = ""
    labels: Annotated[Labels, FactSource("Label", texts_by_language)] = {}


class ReasonFact(_Fact):
    """A status reason. `transitions` are those it may be followed by, None where the table says nothing of it."""

    key: ClassVar = ("table", "value")
    table: Name
    value: Annotated[Whole, FactSource("Value")]
    state: Annotated[Whole, FactSource("State")]
    transitions: Annotated[tuple[Whole, ...] | None, FactSource("TransitionData", followers)] = None
    labels: Annotated[Labels, FactSource("Label", texts_by_language)] = {}


class NavigationFact(_Fact):
    """A single-valued navigation property: the name that `@odata.bind` takes, its column, the table it leads to."""

    key: ClassVar = ("table", "name")
    table: Name
    name: Annotated[Name, FactSource("ReferencingEntityNavigationPropertyName")]
    column: Annotated[Name, FactSource("ReferencingAttribute")]
    target: Annotated[Name, FactSource("ReferencedEntity")]


class KeyFact(_Fact):
    """An alternate key."""

    key: ClassVar = ("table", "name")
    table: Name
    name: Annotated[Name, FactSource("LogicalName")]
    columns: Annotated[tuple[Name, ...], FactSource("KeyAttributes")]
    status: Annotated[Name, FactSource("EntityKeyIndexStatus")] = ""


class MessageFact(_Fact):
    """A message, and the table it is about; without a table it is one that is called by its own name."""

    key: ClassVar = ("table", "name")
    table: Name = ""
    name: Name


class StepFact(_Fact):
    """A registered plug-in step of a message that a close sends or sets off. Without a table it runs for all."""

    key: ClassVar = ("id",)
    id: Annotated[Name, FactSource("sdkmessageprocessingstepid")]
    name: Annotated[Name, FactSource("name", text)]
    message: Annotated[Name, FactSource("sdkmessageid.name")]
    table: Annotated[Name, FactSource("sdkmessagefilterid.primaryobjecttypecode", table_name)] = ""
    plug_in: Annotated[Name, FactSource("plugintypeid.typename")] = ""
    origin: Literal["own", "managed", "microsoft"]
    asynchronous: Annotated[bool, FactSource("mode", lambda mode: mode == 1)] = False
    stage: Annotated[Whole, FactSource("stage")] = 40
    rank: Annotated[Whole, FactSource("rank", lambda rank: rank or 1)] = 1
    columns: Annotated[tuple[Name, ...], FactSource("filteringattributes", listed)] = ()
    bypassable: Annotated[bool, FactSource("canbebypassed")] = True


class TimeFact(_Fact):
    """What a plug-in type took on average, over all its messages: a bound, not the time of one of its steps."""

    key: ClassVar = ("plug_in",)
    plug_in: Annotated[Name, FactSource("plugintypeid.typename")]
    average_ms: Annotated[Amount, FactSource("averageexecutetimeinmilliseconds", lambda mean: float(mean or 0))]
    executions: Annotated[Whole, FactSource("executecount", lambda count: count or 0)]
    failure_percent: Annotated[Amount, FactSource("failurepercent", lambda share: float(share or 0))]


class ProcessFact(_Fact):
    """A classic workflow or an action of the organization's own; a real-time one may refuse a close."""

    key: ClassVar = ("id",)
    id: Annotated[Name, FactSource("workflowid")]
    name: Annotated[Name, FactSource("name", text)]
    kind: Literal["workflow", "action"]
    table: Annotated[Name, FactSource("primaryentity")]
    unique_name: Annotated[Name, FactSource("uniquename")] = ""
    real_time: Annotated[bool, FactSource("mode", lambda mode: mode == 1)] = False
    on_create: Annotated[bool, FactSource("triggeroncreate")] = False
    on_delete: Annotated[bool, FactSource("triggerondelete")] = False
    columns: Annotated[tuple[Name, ...], FactSource("triggeronupdateattributelist", listed)] = ()
    managed: Annotated[bool, FactSource("ismanaged")] = False


class FlowFact(_Fact):
    """A cloud flow's registration. `message` is 1 added, 2 deleted, 3 modified, 4 to 7 combinations of them."""

    key: ClassVar = ("id",)
    id: Annotated[Name, FactSource("callbackregistrationid")]
    name: Name
    table: Annotated[Name, FactSource("entityname", text)]
    message: Annotated[Whole, FactSource("message")]
    action: Annotated[Name, FactSource("sdkmessagename")] = ""
    scope: Annotated[Whole, FactSource("scope", lambda scope: scope or 4)] = 4
    run_as: Annotated[Whole | None, FactSource("runas")] = None
    columns: Annotated[tuple[Name, ...], FactSource("filteringattributes", listed)] = ()
    filter: Annotated[str, Field(max_length=100_000), FactSource("filterexpression")] = ""


class CurrencyFact(_Fact):
    """A currency: its ISO code and the decimals of its amounts."""

    key: ClassVar = ("code",)
    code: Annotated[Name, FactSource("isocurrencycode")]
    precision: Annotated[Digits, FactSource("currencyprecision")]
    base: bool = False


class SettingFact(_Fact):
    """A setting of the organization that matters to a close."""

    name: Name
    value: bool | Whole | None


class PrivilegeFact(_Fact):
    """A privilege of the caller with its depth: Basic, Local, Deep or Global."""

    name: Name
    depth: Name


class ColumnAccessFact(_Fact):
    """What the caller may do with a secured column, by column security profiles."""

    key: ClassVar = ("table", "name")
    table: Name
    name: Name
    read: bool = False
    create: bool = False
    update: bool = False


class LimitFact(_Fact):
    """What the organization's answers told of its limits: the highest value that was seen."""

    name: Name
    value: Amount


class VolumeFact(_Fact):
    """How many opportunities have this state and so many quotes of each kind; nine stands for nine or more."""

    key: ClassVar = ("state", "drafts", "actives", "closed")
    state: Whole
    drafts: Digits
    actives: Digits
    closed: Digits
    rows: Annotated[int, Field(ge=0, le=10**9)]


class AnswerFact(_Fact):
    """The answer that a probe got: `value` in one word, `code` of the error where one was the answer."""

    key: ClassVar = ("question",)
    question: Name
    value: Name
    code: Name = ""


FactT = TypeVar("FactT", bound=_Fact)


class Section(BaseModel, Generic[FactT]):
    """One part of a capture: how much of it was read, why not all, and its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    read: Coverage
    why: Annotated[str, Field(max_length=2000)] = ""
    rows: Annotated[tuple[FactT, ...], Field(max_length=MOST_ROWS)] = ()


class Logic(NamedTuple):
    """What an organization lists that a close may set off."""

    steps: Section[StepFact]
    processes: Section[ProcessFact]
    flows: Section[FlowFact]


class Capture(BaseModel):
    """What one caller could read of one organization at one time.

    `metadata` is the organization's metadata timestamp, `caller` a fingerprint of the user, which names nobody.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, defer_build=True, title="Capture of a Dataverse organization"
    )
    capture: Literal[2]
    taken: AwareDatetime
    of: Literal["organization", "emulator"]
    organization: Name
    version: Name
    metadata: Name
    base_language: Annotated[int, Field(ge=1, le=999_999)] = 1033
    caller: Name
    tables: Section[TableFact]
    columns: Section[ColumnFact]
    choices: Section[ChoiceFact]
    states: Section[StateFact]
    reasons: Section[ReasonFact]
    navigation: Section[NavigationFact]
    keys: Section[KeyFact]
    messages: Section[MessageFact]
    steps: Section[StepFact]
    times: Section[TimeFact]
    processes: Section[ProcessFact]
    flows: Section[FlowFact]
    currencies: Section[CurrencyFact]
    settings: Section[SettingFact]
    privileges: Section[PrivilegeFact]
    column_access: Section[ColumnAccessFact]
    limits: Section[LimitFact]
    volumes: Section[VolumeFact]
    answers: Section[AnswerFact]

    @property
    def logic(self) -> Logic:
        """What a close may set off."""
        return Logic(self.steps, self.processes, self.flows)


SECTIONS = tuple(name for name, field in Capture.model_fields.items() if "Section" in str(field.annotation))
DEFINITIONS = ("tables", "columns", "choices", "states", "reasons", "navigation", "keys")
"""The sections that stay as they are while the organization's metadata timestamp does."""


def section(capture: Capture, name: str) -> Section[_Fact]:
    """Return a section by its name."""
    facts: Section[_Fact] = getattr(capture, name)
    return facts


def sorted_section(facts: list[FactT], read: Coverage = Coverage.ALL, why: str = "") -> Section[FactT]:
    """Return a section of these rows in the order of their keys, each row once."""
    by_key = {key_of(fact): fact for fact in facts}
    return Section(read=read, why=why, rows=tuple(by_key[key] for key in sorted(by_key)))


def key_of(fact: _Fact) -> tuple[str, ...]:
    """Return what tells a row from the others, in a form that sorts: numbers by their value."""
    values = (getattr(fact, name) for name in fact.key)
    return tuple(f"{value + 10**12:013d}" if isinstance(value, int) else str(value) for value in values)
