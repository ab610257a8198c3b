"""What every part of the settings is: frozen, checked, and documented by the text under each field; settings in words."""

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from bleep import registry


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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def described(tree: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (dotted name, type, default, help) of every setting of a tree of two levels, in order."""
    for name, field in tree.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            for key, inner in type(default).model_fields.items():
                yield f"{name}.{key}", _kind_words(inner), _plain(inner.default), inner.description or ""
        else:
            yield name, _kind_words(field), _plain(default), field.description or ""


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
