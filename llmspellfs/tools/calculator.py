"""calculator: an expression of numbers, evaluated by simpleeval; no text, no attributes, bounded sizes."""

from __future__ import annotations

import ast
import math
import operator
import statistics
import warnings
from collections.abc import Callable, Mapping

import simpleeval

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

MAX_LENGTH = 4096
"""Characters of an expression."""
MAX_BITS = 1000
"""Bits of a whole number on the way: less than what a float can hold."""
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.Call, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau, "true": True, "false": False}


def run(*, expression: str, variables: Mapping[str, object]) -> object:
    """Return the value of *expression*, with ^ and ** for powers; raise InvalidValue where it has none."""
    names = {**_CONSTANTS, **{name: _number(name, value) for name, value in variables.items()}}
    evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS, names=names)
    try:
        value = evaluator.eval(expression, previously_parsed=_parsed(expression))
    except (simpleeval.InvalidExpression, ArithmeticError, ValueError, TypeError, statistics.StatisticsError) as error:
        raise InvalidValue("expression", f"{error}"[:200]) from None
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    raise InvalidValue("expression", "the result is no finite number")


def _parsed(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise InvalidValue("expression", f"expected {MAX_LENGTH} characters at most, not {len(expression)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        why = f"at column {error.offset}: {error.msg}" if isinstance(error, SyntaxError) else "not an expression"
        raise InvalidValue("expression", why) from None
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise InvalidValue("expression", f"{type(node).__name__} has no place in a calculation")
        if isinstance(node, ast.Constant):
            _number("expression", node.value)
    return tree.body


def _number(where: str, value: object) -> object:
    if not isinstance(value, int | float):
        raise InvalidValue(where, f"expected numbers, not {type(value).__name__}")
    return _bounded(value)


def _bounded(value: object) -> object:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise InvalidValue("expression", f"a number of more than {MAX_BITS} bits")
    return value


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * MAX_BITS:
        return float(base) ** exponent
    return base**exponent  # type: ignore[no-any-return]  # a float, or complex, which run refuses


def _shift(value: int, by: int) -> int:
    if by > MAX_BITS:
        raise InvalidValue("expression", f"a number of more than {MAX_BITS} bits")
    return value << by


def _factorial(of: int) -> int:
    if of > 170:
        raise InvalidValue("expression", "factorial: expected 0 to 170")
    return math.factorial(of)


def _binomial(of: int, choose: int) -> int:
    if of > MAX_BITS:
        raise InvalidValue("expression", f"comb: expected 0 to {MAX_BITS}")
    return math.comb(of, choose)


def _round(number: float, digits: int | None = None) -> float:
    if digits is not None and abs(digits) > 300:
        raise InvalidValue("expression", "round: expected -300 to 300 digits")
    return round(number, digits)


def _checked(function: Callable[..., object]) -> Callable[..., object]:
    return lambda *arguments: _bounded(function(*arguments))


_OPERATORS: dict[type[ast.AST], Callable[..., object]] = {
    **{
        kind: _checked(function)
        for kind, function in {
            ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
            ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power, ast.LShift: _shift,
            ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
        }.items()
    },
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.invert,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., object]] = {
    **{
        name: _checked(getattr(math, name))
        for name in (
            "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "cosh", "degrees", "exp", "floor", "fmod", "gcd",
            "hypot", "isqrt", "lcm", "log", "log10", "log1p", "log2", "radians", "sin", "sinh", "sqrt", "tan", "tanh",
            "trunc",
        )
    },
    "abs": abs,
    "comb": _checked(_binomial),
    "factorial": _checked(_factorial),
    "max": lambda *numbers: max(numbers),
    "mean": lambda *numbers: statistics.fmean(numbers),
    "median": lambda *numbers: statistics.median(numbers),
    "min": lambda *numbers: min(numbers),
    "pow": _checked(_power),
    "round": _checked(_round),
    "stdev": lambda *numbers: statistics.stdev(numbers),
    "sum": _checked(lambda *numbers: sum(numbers)),
}  # fmt: skip

TOOL = Tool(
    "evaluate an expression of numbers, with functions such as sqrt, round, min, mean",
    run,
    (
        Parameter("expression", "string", "such as (a + 2) * sqrt(b); ^ and ** are powers", required=True),
        Parameter("variables", "object", "the numbers that names in it stand for", default={}),
    ),
)
