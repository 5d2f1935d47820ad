"""What a query says, as values: the tree of a filter, and the parts of select, orderby and expand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class LiteralKind(Enum):
    """The kinds of literal, by the Edm type the service names in its errors."""

    NULL = "null"
    BOOLEAN = "Edm.Boolean"
    INTEGER = "Edm.Int32"
    DECIMAL = "Edm.Decimal"
    STRING = "Edm.String"
    GUID = "Edm.Guid"
    DATE = "Edm.Date"
    DATETIME = "Edm.DateTimeOffset"
    ENUM = "enum"
    LIST = "Collection"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `value`: None, bool, int, float, str (GUID in lower case, dates as written), a tuple for LIST.

    `type_name` is the enumeration's qualified name for ENUM.
    """

    kind: LiteralKind
    value: object
    type_name: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """A property, possibly behind navigations: `opportunityid/name` is ("opportunityid", "name")."""

    segments: tuple[str, ...]


Operand = Literal | Path


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`; operator is one of eq ne gt ge lt le."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class TextMatch:
    """contains, startswith or endswith of a property and a text."""

    function: str
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class QueryFunction:
    """`Microsoft.Dynamics.CRM.Name(PropertyName=...,PropertyValue=...)`; `values` is empty, one or many."""

    name: str
    path: Path
    values: tuple[Literal, ...]
    given: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    """`path/any(variable:body)` or all; `body` is None for `any()`."""

    path: Path
    quantifier: str
    variable: str
    body: Expression | None


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of `operand`."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` or `or` of two or more operands."""

    operator: str
    operands: tuple[Expression, ...]


Expression = Comparison | TextMatch | QueryFunction | Lambda | Not | Logical


@dataclass(frozen=True, slots=True)
class Order:
    """One term of $orderby."""

    path: Path
    descending: bool


@dataclass(frozen=True, slots=True)
class Expand:
    """One term of $expand; `reference` is set for `nav/$ref`."""

    navigation: str
    reference: bool
    query: Query
    options: str


@dataclass(frozen=True, slots=True)
class Query:
    """The system query options of one request or of one expand; `select` is None when not given."""

    select: tuple[str, ...] | None = None
    filter: Expression | None = None
    orderby: tuple[Order, ...] = ()
    expand: tuple[Expand, ...] = ()
    top: int | None = None
    count: bool = False
    given: frozenset[str] = field(default_factory=frozenset)
