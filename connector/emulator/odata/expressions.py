"""What a query says, as values: the trees of its options, and a filter applied to plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from connector.emulator.odata.lexer import ODataError


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


TYPE_PREFIX = "Microsoft.Dynamics.CRM."


def holds(node: Expression, answer: Mapping[str, Any], kind: str) -> bool:
    """Return whether `one`, of the type `kind`, meets a filter. Raises ODataError for what such filters cannot say."""
    match node:
        case Logical():
            held = [holds(operand, answer, kind) for operand in node.operands]
            return all(held) if node.operator == "and" else any(held)
        case Not():
            return not holds(node.operand, answer, kind)
        case Comparison(left=Path() as path, right=Literal() as literal):
            return _compares(node.operator, _value(path, answer, kind), literal)
        case TextMatch():
            value = str(_value(node.path, answer, kind) or "").lower()
            text = node.text.lower()
            tests = {"contains": text in value, "startswith": value.startswith(text), "endswith": value.endswith(text)}
            return tests[node.function]
        case _:
            raise ODataError("This filter is not supported here.")


def _value(path: Path, answer: Mapping[str, Any], kind: str) -> object:
    value: Any = answer
    for name in path.segments:
        if not isinstance(value, Mapping) or name not in value:
            raise no_such_property("/".join(path.segments), kind)
        value = value[name]
    return value


def _compares(operator: str, value: object, literal: Literal) -> bool:
    if literal.kind is LiteralKind.LIST or (
        literal.kind is LiteralKind.ENUM and not literal.type_name.startswith(TYPE_PREFIX)
    ):
        raise ODataError("This value is not supported in filters here.")
    fits = value is None or literal.value is None or isinstance(value, bool) == isinstance(literal.value, bool)
    if not fits or (literal.value is not None and not isinstance(value, type(literal.value) | type(None))):
        raise ODataError(
            f"A binary operator with incompatible types was detected. Found operand types '{type(value).__name__}' and "
            f"'{literal.kind.value}' for operator kind '{operator}'."
        )
    if operator in ("eq", "ne"):
        return (value == literal.value) == (operator == "eq")
    raise ODataError(f"The operator '{operator}' is not supported here.")


def no_such_property(name: str, kind: str) -> ODataError:
    """Return the refusal of a property that the type does not have."""
    return ODataError(f"Could not find a property named '{name}' on type '{TYPE_PREFIX}{kind}'.")
