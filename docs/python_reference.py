"""The reference of the Python interface, made from signatures and docstrings of the names that `import bleep` has."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import bleep


def python_markdown() -> str:
    """Return a part for each public name: functions, then classes, then errors."""
    found = {name: getattr(bleep, name) for name in bleep.__all__}
    errors = {name for name, value in found.items() if isinstance(value, type) and issubclass(value, Exception)}
    modules = {name: value for name, value in found.items() if inspect.ismodule(value)}
    functions = {name for name, value in found.items() if not isinstance(value, type)} - set(modules)
    lines: list[str] = []
    for title, names in (
        ("Functions", functions),
        ("Classes", set(found) - functions - errors - set(modules)),
        ("Errors", errors),
    ):
        lines += [f"## {title}", ""]
        for name in sorted(names, key=str.lower):
            lines += _class(name, found[name]) if isinstance(found[name], type) else _function(name, found[name], "###")
    for name, module in modules.items():
        lines += [f"## Module `bleep.{name}`", "", *_text(inspect.getdoc(module))]
        for inner in module.__all__:
            lines += _function(f"{name}.{inner}", getattr(module, inner), "###")
    return "\n".join(lines) + "\n"


def _function(name: str, function: Any, level: str) -> list[str]:
    return [f"{level} `{name}`", "", "```python", f"{name}{_signature(function)}", "```", "", *_text(inspect.getdoc(function))]


def _class(name: str, kind: type) -> list[str]:
    lines = [f"### `{name}`", ""]
    if not issubclass(kind, Exception) and (is_dataclass(kind) or "__init__" in vars(kind)):
        lines += ["```python", f"{name}{_signature(kind)}", "```", ""]
    lines += _text(inspect.getdoc(kind))
    fields = [f"- `{field}`: {' '.join(text.split())}" for field, text in _fields(kind)]
    lines += [*fields, ""] if fields else []
    for key, value in vars(kind).items():
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        doc = inspect.getdoc(value.fget if isinstance(value, property) else inner)
        if key.startswith("_") or not doc or isinstance(value, type) or (name == "Config" and not inspect.isroutine(inner)):
            continue
        if isinstance(value, property):
            lines += [f"`{name}.{key}`", f": {_one_line(doc)}", ""]
        elif inspect.isfunction(inner):
            lines += [
                f"`{name}.{key}{_signature(inner, bound=not isinstance(value, staticmethod))}`",
                f": {_one_line(doc)}",
                "",
            ]
    return lines


def _signature(function: Any, *, bound: bool = False) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    kept = list(signature.parameters.values())[1 if bound else 0 :]
    text = str(signature.replace(parameters=kept))
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text).replace("'", "").replace("~", "")
    return re.sub(r"\b(?:bleep|pathlib|collections|jaxtyping|numpy|pandas|torch)\.(?:\w+\.)*", "", text)


def _fields(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of a record with the text below each."""
    if not is_dataclass(kind):
        return
    (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for one, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not one.target.id.startswith("_"):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            yield one.target.id, str(after.value.value) if said else ""  # type: ignore[union-attr]


def _text(doc: str | None) -> list[str]:
    """Return a docstring as Markdown: its sections as lists, its examples as code."""
    lines: list[str] = []
    for part in re.split(r"\n\n+", (doc or "").strip()):
        section = re.match(r"(Raises|Args|Returns|Yields):\n", part)
        if section:
            body = inspect.cleandoc(part[section.end() - 1 :])
            items = re.split(r"\n(?=\S)", body)
            lines += [f"*{section.group(1)}*", "", *(f"- {' '.join(item.split())}" for item in items), ""]
        elif part.lstrip().startswith(">>>"):
            lines += ["```pycon", inspect.cleandoc(part), "```", ""]
        else:
            lines += [part, ""]
    return lines


def _one_line(doc: str) -> str:
    return " ".join(doc.split("\n\n")[0].split())
