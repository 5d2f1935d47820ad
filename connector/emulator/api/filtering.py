"""Filters over answers that are no rows of a table: table definitions, instances of global discovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.emulator.odata.expressions import Comparison, Expression, Literal, LiteralKind, Logical, Not, TextMatch
from connector.emulator.odata.expressions import Path as ODataPath
from connector.emulator.odata.lexer import ODataError

PREFIX = "Microsoft.Dynamics.CRM."


def holds(node: Expression, answer: Mapping[str, Any], kind: str) -> bool:
    """Return whether `one`, of the type `kind`, meets a filter. Raises ODataError for what such filters cannot say."""
    match node:
        case Logical():
            held = [holds(operand, answer, kind) for operand in node.operands]
            return all(held) if node.operator == "and" else any(held)
        case Not():
            return not holds(node.operand, answer, kind)
        case Comparison(left=ODataPath() as path, right=Literal() as literal):
            return _compares(node.operator, _value(path, answer, kind), literal)
        case TextMatch():
            value = str(_value(node.path, answer, kind) or "").lower()
            text = node.text.lower()
            tests = {"contains": text in value, "startswith": value.startswith(text), "endswith": value.endswith(text)}
            return tests[node.function]
        case _:
            raise ODataError("This filter is not supported here.")


def _value(path: ODataPath, answer: Mapping[str, Any], kind: str) -> object:
    value: Any = answer
    for name in path.segments:
        if not isinstance(value, Mapping) or name not in value:
            raise no_such_property("/".join(path.segments), kind)
        value = value[name]
    return value


def _compares(operator: str, value: object, literal: Literal) -> bool:
    if literal.kind is LiteralKind.LIST or (
        literal.kind is LiteralKind.ENUM and not literal.type_name.startswith(PREFIX)
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
    return ODataError(f"Could not find a property named '{name}' on type '{PREFIX}{kind}'.")
