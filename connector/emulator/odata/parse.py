"""Reads $filter, $select, $orderby and $expand into trees, with the grammar the Dataverse documents list and no more.

Source: https://learn.microsoft.com/power-apps/developer/data-platform/webapi/query/filter-rows (operators eq ne gt
ge lt le, and or not, contains endswith startswith, any all, the query functions, parameter aliases).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from connector.emulator.odata.expressions import (
    Comparison,
    Expand,
    Expression,
    Lambda,
    Literal,
    LiteralKind,
    Logical,
    Not,
    Operand,
    Order,
    Path,
    Query,
    QueryFunction,
    TextMatch,
)
from connector.emulator.odata.lexer import NO_COMMA, ODataError, Reader, Token, TokenKind

COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
TEXT_FUNCTIONS = frozenset({"contains", "startswith", "endswith"})
NAMESPACE = "Microsoft.Dynamics.CRM."
DEEPEST = 60
_DIGITS = 9
NO_ALIASES: Mapping[str, str] = MappingProxyType({})
Read = TypeVar("Read")

_PLAIN = {
    TokenKind.GUID: lambda text: Literal(LiteralKind.GUID, text.lower()),
    TokenKind.DATETIME: lambda text: Literal(LiteralKind.DATETIME, text),
    TokenKind.DATE: lambda text: Literal(LiteralKind.DATE, text),
    TokenKind.DECIMAL: lambda text: Literal(LiteralKind.DECIMAL, float(text)),
    TokenKind.INTEGER: lambda text: Literal(LiteralKind.INTEGER, int(text)),
    TokenKind.STRING: lambda text: Literal(LiteralKind.STRING, text[1:-1].replace("''", "'")),
    TokenKind.QUOTED: lambda text: Literal(LiteralKind.STRING, text[1:-1]),
}
_WORDS = {
    "null": Literal(LiteralKind.NULL, None),
    "true": Literal(LiteralKind.BOOLEAN, value=True),
    "false": Literal(LiteralKind.BOOLEAN, value=False),
}


class Parser:
    """Reads one text; `aliases` are the `@name` parameters of the URL, `used` those that were looked up."""

    __slots__ = ("_aliases", "_depth", "_reader", "used")

    def __init__(self, text: str, aliases: Mapping[str, str], used: set[str]) -> None:
        self._reader = Reader(text)
        self._aliases = aliases
        self._depth = 0
        self.used = used

    def whole(self, rule: Callable[[Parser], Read]) -> Read:
        """Read the whole text by one of the rules below. Raises ODataError where it says anything else."""
        read = rule(self)
        self._reader.need_end()
        return read

    def top(self) -> int:
        """Read the number of `$top`."""
        return whole_number("$top", self._reader.take().text)

    def filter(self) -> Expression:
        """Read a filter expression."""
        operands = [self._and()]
        while self._word("or"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else Logical("or", tuple(operands))

    def _and(self) -> Expression:
        operands = [self._unary()]
        while self._word("and"):
            operands.append(self._unary())
        return operands[0] if len(operands) == 1 else Logical("and", tuple(operands))

    def _word(self, word: str) -> bool:
        return self._reader.now.kind is TokenKind.NAME and self._reader.skip(word)

    def _unary(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ODataError("Recursion depth exceeded allowed limit.")
        try:
            if self._word("not"):
                return Not(_negatable(self._unary()))
            if self._reader.skip("("):
                inner = self.filter()
                self._reader.need(")")
                return inner
            return self._predicate()
        finally:
            self._depth -= 1

    def _predicate(self) -> Expression:
        reader = self._reader
        if reader.now.kind is TokenKind.NAME and reader.following.text == "(":
            name = reader.now.text
            if name in TEXT_FUNCTIONS:
                return self._text_match()
            if name.startswith(NAMESPACE):
                return self._query_function()
            raise ODataError(
                f"An unknown function with name '{name}' was found. This may also be a function import or a key lookup "
                "on a navigation property, which is not allowed."
            )
        left = self.operand()
        if isinstance(left, Path) and left.segments[-1] in ("any", "all") and reader.now.text == "(":
            return self._lambda(left)
        operator = reader.now
        if operator.kind is not TokenKind.NAME or operator.text not in COMPARISONS:
            raise reader.error("A comparison (eq, ne, gt, ge, lt, le) expected")
        reader.take()
        return Comparison(operator.text, left, self.operand())

    def operand(self) -> Operand:
        """Read a literal or a path, as the value of an alias is."""
        token = self._reader.now
        if token.kind is TokenKind.ALIAS:
            self._reader.take()
            return self._alias(token)
        if token.kind is TokenKind.PUNCTUATION and token.text == "[":
            return self._list()
        if token.kind is not TokenKind.NAME:
            return self._literal()
        if token.text in _WORDS:
            self._reader.take()
            return _WORDS[token.text]
        if "." in token.text:
            return self._enum()
        return self._path()

    def _literal(self) -> Literal:
        token = self._reader.now
        make = _PLAIN.get(token.kind)
        if make is None:
            raise self._reader.error("A property or a value expected")
        self._reader.take()
        return make(token.text)

    def _enum(self) -> Literal:
        type_name = self._reader.need_name()
        token = self._reader.now
        if token.kind is not TokenKind.STRING or token.spaced:
            raise self._reader.error("The value of an enumeration in quotes expected")
        self._reader.take()
        return Literal(LiteralKind.ENUM, token.text[1:-1], type_name)

    def _list(self) -> Literal:
        self._reader.need("[")
        values: list[Literal] = []
        while not self._reader.skip("]"):
            if values and not self._reader.skip(","):
                raise ODataError(NO_COMMA)
            operand = self.operand()
            if not isinstance(operand, Literal) or operand.kind is LiteralKind.LIST:
                raise self._reader.error("A value expected")
            values.append(operand)
        return Literal(LiteralKind.LIST, tuple(values))

    def _path(self) -> Path:
        segments = [self._reader.need_name()]
        while self._reader.skip("/"):
            segments.append(self._reader.need_name())
        return Path(tuple(segments))

    def _alias(self, token: Token) -> Operand:
        self.used.add(token.text)
        if token.text not in self._aliases:
            return _WORDS["null"]  # OData 4.0 part 2, 5.3: an alias without a value is null
        inner = Parser(self._aliases[token.text], {}, self.used)
        return inner.whole(Parser.operand)

    def _text_match(self) -> TextMatch:
        reader = self._reader
        function = reader.need_name()
        reader.need("(")
        path = self.operand()
        reader.need(",")
        text = self.operand()
        reader.need(")")
        if not isinstance(path, Path):
            raise ODataError(f"The first argument of {function} must be a property.")
        if not isinstance(text, Literal) or not isinstance(text.value, str) or text.kind is not LiteralKind.STRING:
            raise ODataError(
                f"No function signature for the function with name '{function}' matches the specified arguments. "
                "The function signatures considered are: "
                f"{function}(Edm.String Nullable=true, Edm.String Nullable=true)."
            )
        return TextMatch(function, path, text.value)

    def _lambda(self, path: Path) -> Lambda:
        reader = self._reader
        *collection, quantifier = path.segments
        if not collection:
            raise reader.error(f"A collection before '{quantifier}' expected")
        reader.need("(")
        if quantifier == "any" and reader.skip(")"):
            return Lambda(Path(tuple(collection)), quantifier, "", None)
        variable = reader.need_name()
        reader.need(":")
        body = self.filter()
        reader.need(")")
        return Lambda(Path(tuple(collection)), quantifier, variable, body)

    def _query_function(self) -> QueryFunction:
        reader = self._reader
        name = reader.need_name().removeprefix(NAMESPACE)
        arguments: dict[str, Operand] = {}
        reader.need("(")
        while not reader.skip(")"):
            if arguments:
                reader.need(",")
            key = reader.need_name()
            if key in arguments:
                raise ODataError(f"The parameter '{key}' of the function '{name}' was given more than once.")
            reader.need("=")
            arguments[key] = self.operand()
        return _function(name, arguments)

    def orderby(self) -> tuple[Order, ...]:
        """Read the terms of $orderby."""
        return self._terms(self._order_term)

    def _terms(self, term: Callable[[], Read]) -> tuple[Read, ...]:
        terms = [term()]
        while self._reader.skip(","):
            terms.append(term())
        return tuple(terms)

    def _order_term(self) -> Order:
        operand = self.operand()
        if not isinstance(operand, Path):
            raise self._reader.error("A property expected")
        if self._word("desc"):
            return Order(operand, descending=True)
        self._word("asc")
        return Order(operand, descending=False)

    def select(self) -> tuple[str, ...]:
        """Read the names of $select; a trailing comma, as in documented samples, is let pass."""
        reader = self._reader
        names: list[str] = []
        while reader.now.kind in (TokenKind.NAME, TokenKind.PUNCTUATION) and reader.now.text not in (";", ")"):
            names.append("*" if reader.skip("*") else reader.need_name())
            if not reader.skip(","):
                break
        if not names:
            raise reader.error("A property expected")
        return tuple(names)

    def expand(self) -> tuple[Expand, ...]:
        """Read the terms of $expand."""
        return self._terms(self._expand_term)

    def _expand_term(self) -> Expand:
        reader = self._reader
        self._depth += 1
        if self._depth > DEEPEST:
            raise ODataError("Recursion depth exceeded allowed limit.")
        navigation = reader.need_name()
        if reader.skip("/"):
            reader.need("$ref")
            self._depth -= 1
            return Expand(navigation, reference=True, query=Query(), options="")
        begin = reader.now.position
        query = self._expand_options() if reader.now.text == "(" else Query()
        options = reader.text[begin : reader.now.position].strip().removesuffix(",").strip()
        self._depth -= 1
        return Expand(navigation, reference=False, query=query, options=options[1:-1])

    def _expand_options(self) -> Query:
        reader = self._reader
        reader.need("(")
        parts: dict[str, Any] = {}
        while not reader.skip(")"):
            if parts:
                reader.need(";")
                if reader.skip(")"):
                    break
            name = reader.take().text
            if name not in OPTION_RULES:
                raise ODataError(f"The query option '{name}' is not supported inside $expand.")
            if name in parts:
                raise once(name)
            reader.need("=")
            parts[name] = OPTION_RULES[name](self)
        return query_of(parts, parts)


OPTION_RULES: Mapping[str, Callable[[Parser], Any]] = {
    "$select": Parser.select,
    "$filter": Parser.filter,
    "$orderby": Parser.orderby,
    "$expand": Parser.expand,
    "$top": Parser.top,
}
"""By what each option is read, of a request as inside $expand."""


def query_of(read: Mapping[str, Any], written: Iterable[str]) -> Query:
    """Return the query of options that were read; `written` are the names of all that were there."""
    return Query(given=frozenset(written), **{name.removeprefix("$"): value for name, value in read.items()})


def once(name: str) -> ODataError:
    """Return the refusal of an option given twice."""
    return ODataError(f"Query option '{name}' was specified more than once, but it must be specified at most once.")


def whole_number(name: str, text: str) -> int:
    """Return the value of `$top`; raises ODataError in the words of OData when it is no number from 0 up."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ODataError(
            f"Invalid value '{text}' for {name} query option found. The {name} query option requires a non-negative "
            "integer value."
        )
    return int(text)


def _negatable(operand: Expression) -> Expression:
    """Return what `not` may stand before: no query function (use-web-api-functions). Raises ODataError."""
    for inner in operand.operands if isinstance(operand, Logical) else ():
        _negatable(inner)
    if isinstance(operand, QueryFunction):
        raise ODataError("Not operator along with the Custom Named Condition operators is not allowed")
    return operand


def _function(name: str, arguments: dict[str, Operand]) -> QueryFunction:
    parameters = tuple(sorted(arguments))
    unknown = [key for key in parameters if key not in ("PropertyName", "PropertyValue", "PropertyValues")]
    if unknown:
        raise ODataError(f"The parameter '{unknown[0]}' is not a parameter of the function '{NAMESPACE}{name}'.")
    property_name = arguments.get("PropertyName")
    if isinstance(property_name, Literal) and property_name.kind is LiteralKind.STRING:
        path = Path(tuple(str(property_name.value).split("/")))
    elif isinstance(property_name, Path):
        path = property_name
    else:
        raise ODataError(
            f"The parameter 'PropertyName' of the function '{NAMESPACE}{name}' must be the name of a property."
        )
    values: list[Literal] = []
    for key in ("PropertyValue", "PropertyValues"):
        operand = arguments.get(key)
        if isinstance(operand, Path):
            raise ODataError(f"The parameter '{key}' of the function '{NAMESPACE}{name}' must be a value.")
        if operand is not None:
            values += operand.value if isinstance(operand.value, tuple) else [operand]
    return QueryFunction(name, path, tuple(values), parameters)


def parse_option(name: str, text: str, aliases: Mapping[str, str] = NO_ALIASES, used: set[str] | None = None) -> Any:
    """Return what an option of a query says; names of aliases met are added to `used`. Raises ODataError."""
    return Parser(text, aliases, set() if used is None else used).whole(OPTION_RULES[name])
