"""Conditions on the spots that may answer: `patient != 'P3' and organ in ['liver', 'lung']`, read without running code."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from bleep.errors import ConfigError

COMPARISONS: Mapping[type[ast.cmpop], Callable[[pd.Series, Any], pd.Series]] = {
    ast.Eq: lambda column, value: column == value,
    ast.NotEq: lambda column, value: column != value,
    ast.Lt: lambda column, value: column < value,
    ast.LtE: lambda column, value: column <= value,
    ast.Gt: lambda column, value: column > value,
    ast.GtE: lambda column, value: column >= value,
    ast.In: lambda column, value: column.isin(value),
    ast.NotIn: lambda column, value: ~column.isin(value),
}
"""What a column may be compared by."""
SIGNS: Mapping[type[ast.cmpop], str] = dict(zip(COMPARISONS, ("==", "!=", "<", "<=", ">", ">=", "in", "not in"), strict=True))
EXPECTED = "expected comparisons of a column with a value, joined by and, or, not: \"patient != 'P3' and organ == 'liver'\""

LONG = 300
"""Characters of a condition that a sentence names."""
LARGEST = 2**53
"""Up to here a database and Python mean the same by a number."""
UNWRITTEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no file's text has, and that a database does not read."""


@final
@dataclass(frozen=True, slots=True)
class Where:
    """The spots that may answer a query."""

    text: str
    """The condition, as a database reads it too."""
    rows: Int64[np.ndarray, " rows"]
    """The rows that meet it, in ascending order."""


def select(condition: str, spots: pd.DataFrame) -> Where:
    """Return the rows of a table that meet a condition.

    Columns are compared with strings, numbers or lists of them by `==`, `!=`, `<`, `<=`, `>`, `>=`, `in` and `not in`, and
    comparisons are joined by `and`, `or`, `not` and parentheses. An empty string stands for a value that is not known.

    Raises:
        ConfigError: it cannot be read, names a column that is not there, compares it with a value of another kind, or no
            row meets it.

    >>> spots = pd.DataFrame({"patient": ["P1", "P2", "P3"], "organ": ["liver", "liver", "skin"]})
    >>> select("patient != 'P1' and organ == 'liver'", spots).rows.tolist()
    [1]

    """
    try:
        tree = ast.parse(condition.strip(), mode="eval").body
        rows = np.flatnonzero(_Reader(condition, spots).mask(tree)).astype(np.int64)
        if len(rows):
            return Where(_text(tree), rows)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        # The last two are of parentheses, or of `not not not`, beyond what can be followed.
        raise ConfigError(f"--where {_named(condition)}: cannot be read; {EXPECTED}") from None
    raise ConfigError(f"--where {_named(condition)}: none of the {len(spots)} reference spots meets it; {_values(tree, spots)}")


def _named(condition: str) -> str:
    """Return a condition as sentences name it: a long one is cut."""
    return repr(condition) if len(condition) <= LONG else f"{condition[:LONG]!r}..."


def _text(node: ast.expr) -> str:
    """Return a condition that was read, with every parenthesis: databases rank `not` otherwise than Python."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            return f" {'and' if isinstance(op, ast.And) else 'or'} ".join(f"({_text(part)})" for part in parts)
        case ast.UnaryOp(operand=part):
            return f"not ({_text(part)})"
        case ast.Compare(left=ast.Name(id=name), ops=[way], comparators=[right]):
            return f"{name} {SIGNS[type(way)]} {json.dumps(ast.literal_eval(right), ensure_ascii=False)}"
    raise AssertionError(ast.dump(node))


@final
class _Reader:
    def __init__(self, condition: str, spots: pd.DataFrame) -> None:
        self._condition, self._spots = condition, spots

    def mask(self, node: ast.expr) -> Bool[np.ndarray, " spots"]:
        """Return which rows meet a part of the condition."""
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return np.logical_and.reduce([self.mask(part) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return np.logical_or.reduce([self.mask(part) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return ~self.mask(part)
            case ast.Compare(left=ast.Name(id=name), ops=[way], comparators=[right]):
                return self._compared(name, way, right)
        raise self._wrong(f"cannot be read at {ast.unparse(node)!r}; {EXPECTED}")

    def _compared(self, name: str, way: ast.cmpop, right: ast.expr) -> Bool[np.ndarray, " spots"]:
        if name not in self._spots.columns:
            raise self._wrong(f"names a column {name!r}; the index has {', '.join(map(str, self._spots.columns))}")
        column, value = self._spots[name], self._value(name, way, right)
        numbers = pd.api.types.is_numeric_dtype(column)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) == numbers:
                kinds = ("numbers", "text") if numbers else ("text", "a number")
                raise self._wrong(f"compares {name!r}, which holds {kinds[0]}, with {one!r}, which is {kinds[1]}")
        return COMPARISONS[type(way)](column if numbers else column.fillna(""), value).to_numpy(dtype=bool)

    def _value(self, name: str, way: ast.cmpop, right: ast.expr) -> Any:
        try:
            value = ast.literal_eval(right)
        except (ValueError, TypeError, SyntaxError):
            raise self._wrong(f"compares {name!r} with {ast.unparse(right)!r}; write text in quotes") from None
        listed = isinstance(way, ast.In | ast.NotIn)
        if type(way) not in COMPARISONS or isinstance(value, list) != listed:
            raise self._wrong(f"cannot be read at {name!r}; {EXPECTED}; `in` takes a list")
        if not all(type(one) in (str, int, float) for one in (value if listed else [value])):
            raise self._wrong(f"compares {name!r} with {ast.unparse(right)}; expected text in quotes or a number")
        for one in value if listed else [value]:
            if isinstance(one, str) and UNWRITTEN.search(one):
                raise self._wrong(f"compares {name!r} with {one!r}, which holds a character that no text has")
            if not isinstance(one, str) and not abs(one) <= LARGEST:
                raise self._wrong(f"compares {name!r} with a number beyond {LARGEST:,}, which no column holds")
        return value

    def _wrong(self, why: str) -> ConfigError:
        return ConfigError(f"--where {_named(self._condition)}: {why}")


def _values(tree: ast.expr, spots: pd.DataFrame) -> str:
    """Return what the first column named in a condition holds."""
    name = next(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    if pd.api.types.is_numeric_dtype(spots[name]):
        return f"{name} is {spots[name].min():g} to {spots[name].max():g}"
    known = sorted(map(str, spots[name].fillna("").unique()))
    return f"{name} is {', '.join(map(repr, known[:8]))}{' and so on' if len(known) > 8 else ''}"
