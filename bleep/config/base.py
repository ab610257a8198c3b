"""What every part of the settings is: frozen, checked, documented by the text under each field; read from YAML and merged."""

import ast
import inspect
import reprlib
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from bleep import registry
from bleep.errors import ConfigError
from bleep.files import check_file


@dataclass(frozen=True, slots=True)
class KnownName:
    """Checks a choice by name: one of bleep's own, or of a part that another package brings."""

    kind: registry.KindName
    own: tuple[str, ...]

    def __call__(self, name: str) -> str:
        if name not in self.own and name not in registry.names(self.kind):
            *most, last = [repr(one) for one in self.all()]
            raise PydanticCustomError("unknown_name", "Input should be {there}", {"there": f"{', '.join(most)} or {last}"})
        return name

    def all(self) -> tuple[str, ...]:
        """Return the names there are."""
        return *self.own, *registry.names(self.kind)


def known(kind: registry.KindName, own: tuple[str, ...]) -> AfterValidator:
    """Return what a field of a choice by name is annotated with."""
    return AfterValidator(KnownName(kind, own))


class Settings(BaseModel):
    """One flat section of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def described(tree: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (dotted name, type, default, help) of every setting of a tree of two levels, in order."""
    told = _told_under(tree)
    for name, field in tree.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            inside = _told_under(type(default))
            for key, inner in type(default).model_fields.items():
                yield f"{name}.{key}", _kind_words(inner), _plain(inner.default), inside.get(key, "")
        else:
            yield name, _kind_words(field), _plain(default), told.get(name, "")


@cache
def _told_under(section: type[BaseModel]) -> dict[str, str]:
    """Return the text under each field of a class; Pydantic would parse the sources each time the library is imported."""
    try:
        lines = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    except OSError:  # installed without sources
        return {}
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(getattr(lines, "body", []))
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _plain(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def _kind_words(field: FieldInfo) -> str:
    for mark in field.metadata:
        if isinstance(mark, AfterValidator) and isinstance(mark.func, KnownName):
            return " | ".join(mark.func.all())
    return _type_words(field.annotation)


def _type_words(annotation: Any) -> str:
    text = str(annotation) if not isinstance(annotation, type) or hasattr(annotation, "__args__") else annotation.__name__
    if "Literal[" in text:
        start = text.index("Literal[") + len("Literal[")
        return text[start : text.index("]", start)].replace("'", "").replace(", ", " | ")
    for long, short in {"dict[str, ": "mapping", "tuple[str": "list of names", "tuple[": "list of numbers"}.items():
        if long in text:
            return short
    for kind in ("Path", "float", "int", "bool", "str"):
        if kind in text:
            return {"Path": "path", "float": "number", "int": "whole number", "bool": "true | false", "str": "text"}[kind]
    return text


def sentence(error: ValidationError, files: str, tree: type[BaseModel]) -> str:
    """Return the first fault that pydantic found as one sentence; `files` names where the settings are from."""
    first = error.errors()[0]
    name = " ".join(".".join(str(part) for part in first["loc"]).split())[:100]
    where = f" ({files})" if files else ""
    if first["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(name, [field for field, *_ in described(tree)] + list(tree.model_fields), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `bleep config docs` lists every setting"
        return f"{name}: unknown setting{where}{hint}"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]) + where
    return f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}, but found {_shown(first['input'])}{where}"


def _shown(value: object) -> str:
    """Return a value as it is written in Python, its middle left out where it is long or holds itself."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlong, short.maxother = 2, 120, 120, 120
    try:
        return short.repr(value)
    except ValueError:
        return "a number of more digits than Python writes"


VALUES = 1_000_000
"""More values than any recipe has."""


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a mapping from YAML; an empty file is an empty one.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else than a mapping.
        DataError: it is a pipe or a device.

    """
    check_file(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration file ({_first_line(error)})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({_first_line(error)}); mend that place") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested far deeper than any recipe; write it flat") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets through what its parts raise at a value that looks like a date or a number and is none.
        raise ConfigError(f"{path}: holds a value that YAML cannot read ({_first_line(error)}); write it in quotes") from None
    if _size(tree, {}) > VALUES:
        raise ConfigError(f"{path}: names more than {VALUES:,} values by pointing at itself (*), far more than any recipe has")
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__} where a mapping such as `data:` was expected")
    return tree


def _size(tree: object, known: dict[int, int]) -> int:
    """Return how many values a tree holds once what is pointed at several times is written out; one that holds itself, none."""
    if not isinstance(tree, dict | list | tuple | set):
        return 1
    if id(tree) not in known:
        known[id(tree)] = 0
        known[id(tree)] = 1 + sum(_size(each, known) for each in (tree.values() if isinstance(tree, dict) else tree))
    return known[id(tree)]


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    said = str(getattr(error, "problem", None) or error) or type(error).__name__
    return where + said.splitlines()[0][:200]


def merged(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` with the leaves of `over` in their places."""
    joined = dict(base)
    for key, value in over.items():
        below = joined.get(key)
        joined[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return joined
